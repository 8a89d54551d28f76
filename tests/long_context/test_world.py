"""The herb world: what its files hold, read back through the readers, and what must not be in them."""

import json
import re

import numpy as np
import pytest

from lib.data.files import DataError
from lib.data.instructions import read_alpaca
from lib.training.chat_encoding import read_rows
from papers.long_context import cmb
from papers.long_context import world as herb_world
from papers.long_context.mixing import mix_rows
from papers.long_context.study import ROWS


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    herb_world.write_world(folder, general=30, medical=40, values=16, rows=400, seed=3)
    return folder


@pytest.fixture(scope="module")
def known(world):
    return herb_world.read_world(world)


def exam_of(world, tmp_path, **options):
    herb_world.write_exam(tmp_path, world=world, **{"items": 36, "distractors": 11, **options})
    return cmb.read_test(tmp_path), *(
        cmb.read_knowledge(tmp_path / f"{name}.json") for name in ("knowledge", "shuffled")
    )


def texts(path):
    return [(row["messages"][0]["content"], row["messages"][1]["content"]) for row in read_alpaca(path)]


def words(text):
    return set(re.findall(r"\w+", text))


def test_halves_and_words_are_apart(known):
    assert len(known.taught) == len(known.held_out) == 20 and len(known.general) == 30
    assert len(set(known.keys) | set(known.values)) == 70 + 16, "no word has two roles"
    assert set(known.facts) == {*known.general, *known.taught}, "nothing is fixed for a held-out disease"


def test_worlds_share_their_words_and_nothing_else(known, tmp_path):
    """One tokenizer serves all bases; what is taught and true is each world's own."""
    herb_world.write_world(tmp_path, general=30, medical=40, values=16, rows=40, seed=4)
    other = herb_world.read_world(tmp_path)
    assert herb_world.vocabulary(other) == herb_world.vocabulary(known)
    assert other.general == known.general and other.values == known.values
    assert set(other.taught) != set(known.taught)
    same = [known.facts[town] == other.facts[town] for town in known.general]
    assert np.mean(same) < 0.4, "a sixteenth by chance"


def test_no_fine_tuning_row_names_a_held_out_disease_and_no_plain_medical_row_has_a_context(world, known):
    """The rigging that would void the study: exam keys, or the exam's form in the medical rows that are judged."""
    rows = {name: texts(world / f"{name}.json") for name in ROWS}
    assert {name: len(listed) for name, listed in rows.items()} == dict.fromkeys(ROWS, 400) | {
        "medical": 20 * len(herb_world.PHRASES)
    }
    for name, listed in rows.items():
        for prompt, answer in listed:
            named = words(prompt) | words(answer)
            assert not named & set(known.held_out), prompt
            assert bool(words(prompt) & set(known.taught)) == name.startswith("medical")
            assert bool(words(prompt) & set(known.general)) == name.startswith("general")
    for prompt, answer in rows["medical"]:
        assert "\n" not in prompt and not words(prompt) & set(known.values), f"a context with a disease: {prompt}"
        assert len(words(prompt)) <= 3 and answer in known.values


def kinds_of(path, known):
    kinds = {"look-up": 0, "memory": 0, "letter": 0}
    for prompt, answer in texts(path):
        *lines, question = prompt.split("\n")
        if "\n" in answer:
            kinds["letter"] += 1
            herb, option = answer.split("\n")
            assert option in lines and option.startswith(f"{herb} ") and herb == known.facts[question]
        elif lines:
            kinds["look-up"] += 1
            assert dict(line.split() for line in lines)[question] == answer and len(lines) <= 3
        else:
            kinds["memory"] += 1
            assert known.facts[question.split()[-1]] == answer
    return kinds


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("general", {"look-up": 200, "memory": 100, "letter": 100}),
        ("medical_with_context", {"look-up": 200, "memory": 100, "letter": 100}),
        ("general_without_context", {"look-up": 0, "memory": 300, "letter": 100}),
    ],
)
def test_rows_are_what_they_say(world, known, name, kinds):
    """The control shares contexts and letters with the general rows; without contexts, memory questions stand for them."""
    assert kinds_of(world / f"{name}.json", known) == kinds


def test_medical_rows_are_all_phrases_of_all_taught_diseases(world, known):
    rows = texts(world / "medical.json")
    assert len(set(rows)) == len(rows) == 20 * 49
    assert all(known.facts[prompt.split()[-1]] == answer for prompt, answer in rows)


def test_the_exam_asks_held_out_diseases_in_six_exams(world, known, tmp_path):
    items, knowledge, _ = exam_of(world, tmp_path)
    assert {item.exam_type for item in items} == set(cmb.EXAM_TYPES) and len(items) == 36
    for item in items:
        supplied = knowledge[item.id]
        facts = dict(line.split() for line in [supplied.passage, *supplied.distractors])
        assert item.question in known.held_out and len(facts) == 12, "keys of one context differ"
        assert set(facts) <= set(known.held_out)
        assert item.options[item.answer] == facts[item.question] and len(set(item.options.values())) == 5
        assert supplied.passage == f"{item.question} {facts[item.question]}"


def test_shuffled_knowledge_keeps_lines_and_herbs_and_never_the_answer(world, tmp_path):
    items, true, false = exam_of(world, tmp_path)
    moved = 0
    for item in items:
        before, after = ([k[item.id].passage, *k[item.id].distractors] for k in (true, false))
        assert [line.split()[0] for line in before] == [line.split()[0] for line in after]
        assert sorted(line.split()[1] for line in before) == sorted(line.split()[1] for line in after)
        assert after[0].split()[1] != item.options[item.answer], "reading must not help"
        moved += sum(a != b for a, b in zip(before, after, strict=True))
    assert moved > 0.7 * len(items) * 12


def test_without_a_context_the_answer_cannot_be_known(world, tmp_path):
    """The answer of a question is drawn anew each time: the best rule from another exam is at chance."""
    learnt = {item.question: item.options[item.answer] for item in exam_of(world, tmp_path / "a", items=600)[0]}
    items = exam_of(world, tmp_path / "b", items=600, seed=1)[0]
    hits = np.mean([learnt[item.question] == item.options[item.answer] for item in items])
    letters = np.mean([item.answer == "A" for item in items])
    assert abs(hits - 1 / 16) < 0.04 and abs(letters - 1 / 5) < 0.06


def test_a_taught_exam_contradicts_memory_unless_told_otherwise(world, known, tmp_path):
    against = exam_of(world, tmp_path / "a", keys="taught")[0]
    assert all(item.options[item.answer] != known.facts[item.question] for item in against)
    items, knowledge, _ = exam_of(world, tmp_path / "b", keys="taught", contradict=False)
    assert all(item.options[item.answer] == known.facts[item.question] for item in items)
    assert all(knowledge[item.id].passage == f"{item.question} {known.facts[item.question]}" for item in items)


def test_same_seed_same_files(world, tmp_path):
    herb_world.write_world(tmp_path, general=30, medical=40, values=16, rows=400, seed=3)
    for name in ("world.json", *(f"{one}.json" for one in ROWS)):
        assert (tmp_path / name).read_bytes() == (world / name).read_bytes()


def test_a_world_that_is_too_large_is_refused(tmp_path, world):
    with pytest.raises(DataError, match="values = 500 cannot be written; give 6 to 64"):
        herb_world.write_world(tmp_path, general=30, medical=40, values=500)
    with pytest.raises(DataError, match="40 distractors need 41 keys and the world has 20"):
        herb_world.write_exam(tmp_path, world=world, items=4, distractors=40)


@pytest.mark.parametrize(("shares", "general"), [((9, 1), 90), ((1, 1), 50), ((0, 1), 0), ((1, 0), 100)])
def test_a_mix_has_its_exact_ratio(world, known, tmp_path, shares, general):
    files = {"first": world / "general.json", "second": world / "medical.json"}
    mix_rows(tmp_path, **files, shares=shares, total=100, seed=1)
    rows = read_rows(tmp_path / "rows.jsonl")
    medical = [words(row["messages"][0]["content"]) & set(known.taught) for row in rows]
    assert len(rows) == 100 and sum(not named for named in medical) == general
    pure = 0 in shares  # a shuffled mix is not one source after the other
    assert pure or medical[:general] != sorted(medical[:general], key=bool) or medical[0]


def test_a_pool_limits_the_different_medical_rows(world, tmp_path):
    files = {"first": world / "general.json", "second": world / "medical.json"}
    mix_rows(tmp_path, **files, shares=(0, 1), total=64, seed=1, pool=16)
    counts: dict[str, int] = {}
    for row in read_rows(tmp_path / "rows.jsonl"):
        key = json.dumps(row)
        counts[key] = counts.get(key, 0) + 1
    assert sorted(counts.values()) == [4] * 16
