"""Prompts and marks of the open-book exam: what stands in front of a question, what counts as an answer, what is told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from open_book_items import ITEM, SUPPLIED, WORDING

from lib.data.files import DataError
from lib.evaluation import EvaluationError
from lib.models import causal_lm
from papers.long_context import cmb, open_book


@pytest.mark.parametrize(("position", "place"), [(0.0, 0), (0.5, 2), (1.0, 3)])
def test_the_passage_that_answers_stands_where_it_should(position, place):
    listed = open_book.context(SUPPLIED, size=4, position=position, rng=np.random.default_rng(0))
    assert listed.index("gout Mint") == place and len(listed) == len(set(listed)) == 4


def test_any_place_means_every_place():
    rng = np.random.default_rng(0)
    places = {open_book.context(SUPPLIED, size=6, position=None, rng=rng).index("gout Mint") for _ in range(80)}
    assert places == set(range(6))


def test_too_few_distractors_are_told_and_nothing_is_padded():
    with pytest.raises(DataError, match="question 1 has 5 distractors and 6 are wanted"):
        open_book.context(SUPPLIED, size=7, position=None, rng=np.random.default_rng(0))


def test_the_text_of_a_question():
    text = open_book.question_text(ITEM, ["gout Mint", "d0 Basil"], options=False, wording=WORDING)
    assert text == "gout Mint\nd0 Basil\ngout"
    listed = open_book.question_text(ITEM, ["gout Mint"], options=True, wording=WORDING)
    assert listed == "gout Mint\nBasil A\nMint B\ngout"
    assert open_book.question_text(ITEM, [], options=False, wording=WORDING) == "gout"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "names no base model under 'base_model_name_or_path'"),
        ('{"base_model_name_or_path": null}', "names no base model"),
        ('{"base_model_name_or_path": "a", "base_model_name_or_path": "b"}', "more than once"),
        ("{", "is not JSON"),
    ],
)
def test_an_adapter_that_does_not_name_its_base_is_told(tmp_path, content, message):
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(DataError, match=rf"adapter_config\.json .*{message}"):
        open_book.lend(tmp_path)


def test_marks_of_one_reply_differ_by_scoring():
    marks = {
        reply: [open_book._mark([ITEM], [reply], scoring)[0] for scoring in ("text", "strict", "released")]
        for reply in ("Mint", "Mint\nMint B", "Basil", "B", "Basil\nBasil B")
    }
    assert marks == {
        "Mint": [True, False, False],
        "Mint\nMint B": [True, True, True],
        "Basil": [False, False, True],  # the trap: B of Basil
        "B": [False, True, True],
        "Basil\nBasil B": [False, True, True],
    }


@pytest.fixture
def sitting(tmp_path):
    """A tiny model, an exam of two questions (one with two answers) and what `open_book.score` takes."""
    texts = ["gout Mint Basil A B d0 d1", "\n"]
    sizes = {"chat_template": "plain", "architecture": "llama", "width": 8, "depth": 1, "heads": 2}
    causal_lm.write_checkpoint(tmp_path / "model", texts=texts, max_position_embeddings=20, **sizes)
    causal_lm.write_checkpoint(tmp_path / "other", texts=[*texts, "more"], **sizes)
    several = replace(ITEM, id="2", question_type=cmb.MULTIPLE, answer="AB")
    cmb.write_test(tmp_path, [ITEM, several])
    cmb.write_knowledge(tmp_path / "knowledge.json", [SUPPLIED, replace(SUPPLIED, id="2")])
    given = {"exams_at": {"held_out": tmp_path}, "wording": WORDING, "longest": 2, "batch": 2}
    return tmp_path, given


def test_what_was_not_read_is_counted(sitting, monkeypatch):
    folder, given = sitting
    said = iter(["A or B", "nothing"])
    monkeypatch.setattr(open_book.exams, "generate", lambda *a, **k: [[0], [0]])
    tokenizer = causal_lm.load(folder / "model")[1]
    monkeypatch.setattr(type(tokenizer), "decode", lambda *a, **k: next(said))
    asked = {"lettered": {"options": True, "scoring": ["text", "strict", "likelihood"]}}
    open_book.score(folder, models=[folder / "model"], conditions=asked, **given)
    assert json.loads((folder / "unread.json").read_text())["lettered"] == {
        "text": [{}], "strict": [{"no letter": 1, "ambiguous": 1}], "likelihood": [{"several answers, not asked": 1}],
    }  # fmt: skip
    scores = json.loads((folder / "scores.json").read_text())["lettered"]
    assert scores["strict"] == [{"physician": 0.0}] and scores["likelihood"][0]["physician"] in (0.0, 1.0)


def test_prompts_over_the_context_and_models_with_other_tokenizers_are_named(sitting):
    folder, given = sitting
    with pytest.raises(
        EvaluationError, match=r"model, condition far: prompt 0 has \d+ tokens and its reply 2, together more"
    ):
        open_book.score(folder, models=[folder / "model"], conditions={"far": {"size": 6}}, **given)
    with pytest.raises(
        EvaluationError, match=r"other has another tokenizer or chat template than .*model; score it apart"
    ):
        open_book.score(folder, models=[folder / "model", folder / "other"], conditions={"near": {}}, **given)
    assert not (folder / "scores.json").exists()
