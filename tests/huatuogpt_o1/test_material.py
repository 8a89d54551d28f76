"""What the tiny reasoners read: no test problem in training, the same problems in compared arms, nulls that are nulls."""

import json
from collections import Counter

import numpy as np
import pytest

from lib.data.files import read_json_lines
from lib.models.causal_lm import pieces
from papers.huatuogpt_o1 import material
from papers.huatuogpt_o1.replies import sections
from papers.huatuogpt_o1.world import Sizes, draw_world

SIZES = {"diseases": 12, "findings": 8, "each": 4, "shared": 3, "values": 6}
SHARES = {"sft": 0.45, "rl": 0.25, "test": 0.3}
WORLD = draw_world(Sizes(**SIZES), seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("arms")
    material.write_arms(made, sizes=SIZES, shares=SHARES, base=0, seed=3)
    return made


def said(folder, arm):
    return [tuple(turn["content"] for turn in row["messages"]) for _, row in read_json_lines(folder / f"{arm}.jsonl")]


def test_no_three_findings_stand_in_two_parts_and_every_question_is_sound():
    parts = material.problems_of(WORLD, SHARES, seed=0)
    findings = {part: {case.findings for case in listed} for part, listed in parts.items()}
    assert all(findings.values())
    assert not (
        findings["sft"] & findings["rl"] or findings["sft"] & findings["test"] or findings["rl"] & findings["test"]
    )
    for case in (one for listed in parts.values() for one in listed):
        assert list(case.findings) == sorted(case.findings, key=WORLD.findings.index)
        assert {WORLD.diseases[k].known[case.attribute] for k in WORLD.fitting(case.findings)} == {
            WORLD.diseases[case.disease].known[case.attribute]
        }


def test_the_arms_that_are_compared_have_the_same_problems(folder):
    questions = {arm: [asked for asked, _ in said(folder, arm)] for arm in material.ARMS}
    assert (
        questions["none"] == questions["simple"] == questions["complex"] == questions["swapped"] == questions["filler"]
    )
    assert set(questions["first"]) <= set(questions["complex"]) and len(questions["first"]) < len(questions["complex"])
    test = set(material.read_part(folder, "test").questions)
    assert not test & {asked for listed in questions.values() for asked in listed}


def test_a_simple_chain_thinks_of_one_disease_and_a_complex_one_corrects_itself(folder):
    thoughts = {
        arm: [sections(reply)[0].count("aybe") for _, reply in said(folder, arm)] for arm in ("simple", "complex")
    }
    assert set(thoughts["simple"]) == {1} and max(thoughts["complex"]) > 1
    by_name = {one.name: one for one in WORLD.diseases}
    for asked, reply in said(folder, "complex"):
        thinking, answer = sections(reply)
        for line in thinking.splitlines()[:-1]:
            words = line.split()
            words = words[words.index("maybe" if "maybe" in words else "Maybe") + 1 :]
            stated = dict(zip(words[1::2], words[2::2], strict=True))
            assert all((finding in by_name[words[0]].findings) == (yes == "yes") for finding, yes in stated.items())
            assert list(stated) == [
                finding for finding in asked.replace(",", "").replace(".", "").split() if finding in stated
            ]
        assert any(name in answer for name in WORLD.aliases())


def test_swapped_chains_are_those_of_others_and_fillers_say_nothing(folder):
    own, other, simple = (dict(said(folder, arm)) for arm in ("complex", "swapped", "simple"))
    chains = {question: sections(reply)[0] for question, reply in own.items()}
    moved = {question: sections(reply)[0] for question, reply in other.items()}
    assert Counter(chains.values()) == Counter(moved.values())
    assert (
        np.mean([chains[question] == moved[question] for question in chains]) < 0.2
    )  # two problems may have equal chains
    assert all(sections(other[question])[1] == sections(own[question])[1] for question in own)
    for question, reply in said(folder, "filler"):
        words = pieces(sections(reply)[0])
        assert set(words) == {material.FILLER} and len(words) == len(pieces(sections(simple[question])[0]))


def test_permuted_truths_are_mostly_wrong(folder):

    right = {}
    for case in material.problems_of(WORLD, SHARES, seed=0)["sft"]:
        right[material.problem(WORLD, case)[material.QUESTION]] = WORLD.names(case.disease, case.attribute)
    shares = {
        arm: np.mean([any(name in sections(reply)[1] for name in right[asked]) for asked, reply in said(folder, arm)])
        for arm in ("complex", "permuted")
    }
    assert shares["complex"] == 1.0 and shares["permuted"] < 0.5


def test_documents_of_the_base_do_not_diagnose(tmp_path):
    material.write_documents(tmp_path, sizes=SIZES, rows=400, seed=0)
    fits = []
    by_name = {one.name: one for one in WORLD.diseases}
    for asked, reply in said(tmp_path, "rows"):
        findings = {word.strip(".,") for word in asked.split()} & set(WORLD.findings)
        lines = sections(reply)[0].splitlines()
        last = by_name[lines[-2].split("aybe ")[1].split()[0]]
        fits.append(findings <= set(last.findings))
    able = np.mean(
        [
            len(WORLD.fitting(case.findings)) / len(WORLD.diseases)
            for case in material.problems_of(WORLD, SHARES, seed=0)["test"]
        ]
    )
    assert np.mean(fits) < 2 * able  # no more often than by chance
    words = {piece for text in material.vocabulary(SIZES, [0]) for piece in pieces(text)}
    assert {piece for asked, reply in said(tmp_path, "rows") for piece in pieces(asked + " " + reply)} <= words


def test_a_derangement_keeps_nobody():
    for count in (2, 3, 50):
        moved = material.derangement(count, seed=1)
        assert sorted(moved) == list(range(count)) and not (moved == np.arange(count)).any()


def test_an_unknown_arm():
    with pytest.raises(ValueError, match="no arm 'long'; choose from none, simple"):
        material.arm_rows("long", {}, seed=0)


def test_what_is_read_is_what_was_written(folder):
    part = material.read_part(folder, "rl")
    assert len(part.questions) == len(part.truths) == len(json.loads((folder / "rl.json").read_text()))
    assert all(truth in part.aliases for truth in part.truths) and len(part.diseases) == SIZES["diseases"]
