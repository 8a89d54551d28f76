"""Near duplicates of one human text go, and nothing else does."""

import json

from papers.llm_detector.texts import Text, read_texts, write_texts
from papers.llm_detector.unique import unique, write_unique

WORDS = [f"w{k}" for k in range(40)]


def text(start, source="s", generator="human", number=12):
    return Text(f"{source}-{generator}-{start}", source, "d", generator, " ".join(WORDS[start : start + number]))


def test_a_text_that_begins_later_in_the_same_text_is_dropped_and_others_are_not():
    same, later, apart = text(0), text(3), text(20)
    other_source, machine = text(3, "t"), text(3, generator="x")
    assert unique([same, later, apart, other_source, machine]) == [same, apart, other_source, machine]
    assert unique([text(0), text(5)]) == [text(0), text(5)]  # seven words in common are not eight


def test_what_is_dropped_is_counted(tmp_path):
    for name in ("corpus", "unique"):
        (tmp_path / name).mkdir()
    write_texts(tmp_path / "corpus" / "texts.jsonl", [text(0), text(2), text(4, generator="x")])
    (tmp_path / "corpus" / "counts.json").write_text(json.dumps({"not drawn": 5, "kept": 3}))
    write_unique(tmp_path / "unique", corpus=tmp_path / "corpus")
    counts = json.loads((tmp_path / "unique" / "counts.json").read_text())
    assert counts == {"not drawn": 5, "kept": 2, "near duplicates": 1}
    assert read_texts(tmp_path / "unique" / "texts.jsonl") == [text(0), text(4, generator="x")]
