"""The two files that detectors read: round trips, and every bad row named in one sentence."""

import json

import pytest

from lib.data.files import DataError
from papers.llm_detector.texts import Mixed, Text, read_mixed, read_texts, write_mixed, write_texts

TEXTS = [
    Text("a-human", "a", "news", "human", "It rained all day.", "It"),
    Text("a-gpt", "a", "news", "GPT-4", "It was a rainy day."),
]
MIXED = [Mixed("m", "m", "news", "GPT-4", (("It rained.", "human"), ("It did so all day.", "machine")))]


def test_texts_and_mixed_documents_come_back_as_they_were(tmp_path):
    write_texts(tmp_path / "texts.jsonl", TEXTS)
    write_mixed(tmp_path / "mixed.jsonl", MIXED)
    assert read_texts(tmp_path / "texts.jsonl") == TEXTS and read_mixed(tmp_path / "mixed.jsonl") == MIXED
    assert [one.label for one in TEXTS] == ["human", "machine"] == MIXED[0].labels
    assert MIXED[0].text == "It rained. It did so all day."


def broken(tmp_path, change, name="texts"):
    """The error of reading a file of which one thing was changed; a function changes the lines, a dict the last row."""
    path = tmp_path / f"{name}.jsonl"
    (write_texts if name == "texts" else write_mixed)(path, TEXTS if name == "texts" else MIXED)
    lines = path.read_text().splitlines()
    if callable(change):
        content = change("\n".join(lines))
    else:
        content = "\n".join([*lines[:-1], json.dumps({**json.loads(lines[-1]), **change})])
    path.write_text(content)
    with pytest.raises(DataError) as error:
        (read_texts if name == "texts" else read_mixed)(path)
    said = str(error.value)
    assert path.name in said and "\n" not in said and said.endswith(".")
    return said


def test_a_bad_text_is_told_with_file_line_and_remedy(tmp_path):
    assert "line 2 is not JSON" in broken(tmp_path, lambda text: text[:-20])  # cut off in its last line
    assert "line 2 has the id 'a-human' of line 1; give" in broken(tmp_path, {"id": "a-human"})
    assert "line 2: the label 'robot' is neither human nor machine" in broken(tmp_path, {"label": "robot"})
    assert "line 2: 'text' is empty; complete it or take" in broken(tmp_path, {"text": " \n"})
    assert "line 2: the label is 'human' and the generator 'GPT-4'" in broken(tmp_path, {"label": "human"})
    assert "line 2 has the key 'score'" in broken(tmp_path, {"score": 1})
    assert "line 2: 'text' is a int, not text" in broken(tmp_path, {"text": 3})


def test_a_bad_mixed_document_is_told_with_its_sentence(tmp_path):
    bad = {"sentences": [{"text": "One.", "label": "human"}, {"text": "Two.", "label": "ai"}]}
    assert "line 1, sentence 2: the label 'ai' is neither" in broken(tmp_path, bad, "mixed")
    assert "line 1, sentence 1: 'text' is empty" in broken(
        tmp_path, {"sentences": [{"text": "", "label": "human"}]}, "mixed"
    )
    assert "'sentences' is no list of sentences" in broken(tmp_path, {"sentences": []}, "mixed")
    assert "line 1, sentence 1 lacks 'label'" in broken(tmp_path, {"sentences": [{"text": "One."}]}, "mixed")
