"""Near duplicates of one human text go, and nothing else does."""

import json
from collections import Counter

from papers.llm_detector import corpora
from papers.llm_detector.texts import HUMAN, Text, read_texts
from papers.llm_detector.unique import unique

WORDS = [f"w{k}" for k in range(60)]
MODELS = ("davinci", "gpt-3.5-turbo", "gpt-4")


def text(start, source="s", generator="human", number=12):
    return Text(f"{source}-{generator}-{start}", source, "d", generator, " ".join(WORDS[start : start + number]))


def test_a_text_that_begins_later_in_the_same_text_is_dropped_and_others_are_not():
    same, later, apart = text(0), text(3), text(20)
    other_source, machine = text(3, "t"), text(3, generator="x")
    assert unique([same, later, apart, other_source, machine]) == [same, apart, other_source, machine]
    assert unique([text(0), text(5)]) == [text(0), text(5)]  # seven words in common are not eight


def written(folder, rules):
    folder.mkdir()
    told = {"format": "pairs", "most": 12, "fewest": 8, "cell": None, "seed": 0}
    corpora.write_corpus_texts(folder, source=folder.parent / "pairs", rules=rules, **told)
    return read_texts(folder / "texts.jsonl"), json.loads((folder / "counts.json").read_text())


def test_a_human_text_in_the_file_of_each_model_is_used_once_and_every_text_is_counted(tmp_path):
    """Each model begins with more of the human's words, so what is left of the human text begins later each time; cut to twelve
    words the three would share no eight in a row."""
    (tmp_path / "pairs").mkdir()
    for model, shared in zip(MODELS, (8, 20, 32), strict=True):
        rows = {"original": [], "sampled": []}
        for k in range(4):
            human = [f"{word}of{k}" for word in WORDS]
            rows["original"].append(" ".join(human))
            rows["sampled"].append(" ".join([*human[:shared], *(f"{model}{k}x{j}" for j in range(20))]))
        (tmp_path / "pairs" / f"xsum_{model}.raw_data.json").write_text(json.dumps(rows))
    every, before = written(tmp_path / "every", {})
    once, counts = written(tmp_path / "once", {"near_duplicates": True})
    assert Counter(one.generator for one in every)[HUMAN] == 12 and before["cleaned"]["near duplicates"] == 0
    assert Counter(one.generator for one in once) == {HUMAN: 4, "davinci": 4, "GPT-3.5-turbo": 4, "GPT-4": 4}
    assert {one.source for one in once} == {one.source for one in every}
    cleaned = counts["cleaned"]
    assert cleaned["near duplicates"] == 8 and cleaned["read"] == 2 * counts["source"]["kept"] == 24
    assert sum(cleaned[why] for why in ("duplicates", "refusals", "too short", "near duplicates", "kept")) == 24
    assert cleaned["kept"] - counts["too short or alone"] - counts["not drawn"] == counts["kept"] == len(once) == 16
