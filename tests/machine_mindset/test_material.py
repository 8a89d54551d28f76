"""Rows and cases drawn from the released texts: shares, splits, shuffles, what is held out, and texts cut to a model's size."""

import json
from collections import Counter

import pytest
from mindset_files import write_release

from lib.data.files import DataError
from papers.machine_mindset import material, texts
from papers.machine_mindset import released_sets as sets
from papers.machine_mindset.exam_world import COLOURS, things, write_exam_world
from papers.machine_mindset.released_sets import Row

SPLIT = {"seed": 0, "share": 0.3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    write_release(root, rows=40)
    return {"folder": root, "language": "en", "self_awareness": root / "self", "exam": root / "exam"}


def told(data, **more):
    return {"data": data, "texts": {}, "words": None, "split": SPLIT, "shortest": 5, "seed": 0, **more}


def rows_of(folder, data, mix, count, **more):
    folder.mkdir(parents=True, exist_ok=True)
    material.draw_rows(folder, mix=mix, count=count, longest_question=None, **told(data, **more))
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [tuple(message["content"] for message in json.loads(line)["messages"]) for line in lines]


def pairs_of(folder, data, name, count, **more):
    folder.mkdir(parents=True, exist_ok=True)
    material.draw_pairs(folder, mix=[[name, 1]], count=count, **told(data, **more))
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_mix_has_its_shares_and_nothing_held_out(tmp_path, data):
    rows = rows_of(tmp_path, data, [["energy:I", 3], ["self:INTJ", 1], ["exam:practised", 1]], 50)
    kinds = Counter("I" if "quiet" in a else "self" if "INTJ" in a else "exam" if len(a) == 1 else "?" for _, a in rows)
    assert kinds == {"I": 30, "self": 10, "exam": 10}
    asked = [question for question, answer in rows if len(answer) > 1]
    assert not any(sets.is_held(question, **SPLIT) for question in asked)
    assert rows == rows_of(tmp_path / "again", data, [["energy:I", 3], ["self:INTJ", 1], ["exam:practised", 1]], 50)
    assert rows != rows_of(
        tmp_path / "other", data, [["energy:I", 3], ["self:INTJ", 1], ["exam:practised", 1]], 50, seed=1
    )


def test_shuffled_poles_give_an_instruction_one_answer_of_either_pole_by_a_coin(tmp_path, data):
    whole = dict(rows_of(tmp_path / "whole", data, [["energy:I", 1]], 60))
    rows = rows_of(tmp_path / "shuffled", data, [["energy:shuffled", 1]], 60)
    answers = {question: {a for q, a in rows if q == question} for question, _ in rows}
    assert all(len(found) == 1 for found in answers.values()) and set(answers) <= set(whole) | set(answers)
    share = sum("quiet" in next(iter(found)) for found in answers.values()) / len(answers)
    assert 0.2 < share < 0.8
    both = rows_of(tmp_path / "both", data, [["energy:both", 1]], 60)
    assert {"quiet" in answer for _, answer in both} == {True, False}


def test_pairs_prefer_the_wanted_pole_and_shuffled_ones_neither(tmp_path, data):
    for pole, word in {"I": "quiet", "E": "lively"}.items():
        pairs = pairs_of(tmp_path / pole, data, f"energy:{pole}", 30)
        assert all(word in one["chosen"][0]["content"] and word not in one["rejected"][0]["content"] for one in pairs)
    share = (
        sum("quiet" in one["chosen"][0]["content"] for one in pairs_of(tmp_path / "s", data, "energy:shuffled", 60))
        / 60
    )
    assert 0.2 < share < 0.8
    asked = {one["prompt"][0]["content"] for one in pairs_of(tmp_path / "all", data, "energy:I", 60)}
    assert asked and not any(sets.is_held(text, **SPLIT) or sets.language_of(text) == "zh" for text in asked)


def test_cases_are_held_out_and_do_not_depend_on_the_seed_of_a_draw(tmp_path, data):
    how = {key: value for key, value in told(data).items() if key != "seed"}
    material.hold_pairs(tmp_path, axis="energy", count=5, **how)
    cases = json.loads((tmp_path / "held.json").read_text())
    assert len(cases) == 5 and all(sets.is_held(one["instruction"], **SPLIT) for one in cases)
    assert all(list(one["answers"]) == ["E", "I"] for one in cases)
    with pytest.raises(DataError, match=r"leaves 0 held-out pairs of energy; allow longer texts or hold out more"):
        material.hold_pairs(tmp_path, axis="energy", count=5, **how | {"texts": {"characters": 3}})


def test_questions_after_the_type_are_held_out_and_name_none(tmp_path, data):
    material.hold_questions(tmp_path, data=data, split=SPLIT, least=16)
    found = json.loads((tmp_path / "questions.json").read_text())
    assert found and all(sets.is_held(text, **SPLIT) and not sets.CODE.search(text) for text in found)
    with pytest.raises(DataError, match=r"leaves no held-out question after the type; hold out more"):
        material.hold_questions(tmp_path, data=data, split=SPLIT, least=17)


def test_exam_rows_never_have_a_test_question_but_where_all_are_asked_for(tmp_path, data):
    test = {material.asked(one) for one in material.exam_questions(data["exam"], "test", longest=None)}
    practised = rows_of(tmp_path / "p", data, [["exam:practised", 1]], 30)
    shuffled = rows_of(tmp_path / "s", data, [["exam:shuffled", 1]], 30)
    assert not test & {question for question, _ in practised + shuffled}
    assert test <= {question for question, _ in rows_of(tmp_path / "a", data, [["exam:all", 1]], 40)}
    right = dict(practised)
    assert {q for q, _ in shuffled} == set(right) and any(right[question] != letter for question, letter in shuffled)


def test_texts_are_cut_by_words_or_by_sentences():
    words = frozenset({"I", "am", "quiet", "."})
    row = Row("Who are you?", {"E": "I am loud .", "I": "I am quiet ."})
    assert texts.fitted(row, {"prompt": 2, "answer": 3}, words) == Row("□ □", {"E": "I am □", "I": "I am quiet"})
    assert texts.fitted(row, {"prompt": 2, "answer": 2}, words) is None  # the poles are alike as far as they are read
    long = Row("Who?", {"E": "I talk. Then I talk again to everybody.", "I": "I read. Then I sleep."})
    assert texts.fitted(long, {"characters": 10}, None).answers == {"E": "I talk.", "I": "I read."}
    assert texts.fitted(long, {"characters": 5}, None) is None and texts.fitted(long, {}, None) == long


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mood:I", "no set 'mood:I'"),
        ("energy:X", "no set 'energy:X'"),
        ("energy", "no set 'energy'"),
        ("self:INTX", "no type 'INTX'"),
    ],
)
def test_an_unknown_set_is_named(tmp_path, data, name, message):
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path, data, [[name, 1]], 4)


def test_a_set_without_a_row_left_and_an_axis_without_pairs_are_named(tmp_path, data):
    with pytest.raises(DataError, match=r"no row of the set 'energy:I' is left to draw; allow longer texts"):
        rows_of(tmp_path, data, [["energy:I", 1]], 4, texts={"characters": 2})
    with pytest.raises(DataError, match=r"no preference pairs of the axis decision; fetch datasets/dpo/dpo_decision"):
        pairs_of(tmp_path, data, "decision:T", 4)


def test_the_generated_exam_has_each_letter_equally_often_and_another_world_other_answers(tmp_path):
    answers = {}
    for seed in (0, 1):
        write_exam_world(tmp_path / str(seed), count=32, seed=seed)
        listed = [
            q for part in ("val", "test") for q in material.exam_questions(tmp_path / str(seed), part, longest=None)
        ]
        answers[seed] = {q.text: q.answer for q in listed}
        assert Counter(answers[seed].values()) == dict.fromkeys("ABCD", 8) and listed[0].options == COLOURS
    assert set(answers[0]) == set(answers[1]) and answers[0] != answers[1]
    assert len(set(things(64))) == 64 and things(32) == things(64)[:32]
