"""What the notebooks ask for: the split of the world's problems, rows of each arm, and searches counted."""

import json
from collections import Counter

import pytest

from lib.models.causal_lm import pieces
from papers.huatuogpt_o1 import search_study
from papers.huatuogpt_o1.search import Limits
from papers.huatuogpt_o1.world import Sizes, draw_world

SIZES = {"diseases": 12, "findings": 8, "each": 4, "shared": 3, "values": 6}


def test_shares_by_ending_sum_to_one_and_match_the_records():
    for limits in (Limits(), Limits(refinements=0, attempts=4), Limits(refinements=1, attempts=1, label_guided=True)):
        records = search_study.searched(SIZES, seed=0, limits=limits, count=40)
        ends = search_study.depths(records)
        assert sum(ends.values()) == pytest.approx(1) and 1 - ends.get("discarded", 0) == pytest.approx(
            search_study.solved(records)
        )
        assert ("label-guided" in ends) == limits.label_guided
        tried = sum(count for _, count in search_study.by_strategy(records).values())
        said = [kind for one in records for part in (one, *one["prior_fail_try"]) for kind in part["response_type"]]
        assert tried == sum(kind.startswith("Re_CoT_") for kind in said)


def test_more_depth_and_more_attempts_solve_more():
    def share(n, t):
        return search_study.solved(
            search_study.searched(SIZES, seed=0, limits=Limits(refinements=n, attempts=t), count=40)
        )

    assert share(0, 1) < share(1, 1) <= share(3, 1) and share(0, 1) < share(0, 3)


def test_a_disease_that_lacks_a_finding_is_a_wrong_reason():
    records = search_study.searched(SIZES, seed=0, limits=Limits(), count=40)
    world = draw_world(Sizes(**SIZES), seed=0)
    found = search_study.right_for_wrong_reasons(records, SIZES, seed=0)
    by_name, wrong, solved = {one.name: one for one in world.diseases}, 0, 0
    for case, record in zip(search_study.sound_cases(world, seed=0), records, strict=False):
        if record["solved"]:
            thoughts = [action["content"] for action in record["Long_CoT"] if action["action"] == "Inner Thinking"]
            last = by_name[pieces(thoughts[-1])[1]]
            solved, wrong = solved + 1, wrong + any(finding not in last.findings for finding in case.findings)
    assert found == wrong / solved and 0 < found < 1


def test_sound_questions_have_one_answer_and_both_names_are_asked_for():
    world = draw_world(Sizes(**SIZES), seed=0)
    listed = search_study.sound_cases(world, seed=0)
    assert len({(one.disease, frozenset(one.findings), one.attribute) for one in listed}) == len(listed)
    assert set(Counter(one.name for one in listed)) == {0, 1}
    assert json.dumps(search_study.problem(world, listed[0]))


def test_an_unknown_verifier():
    with pytest.raises(ValueError, match="no verifier 'judge' here; choose from alias table, exact match"):
        search_study.verifier_of(draw_world(Sizes(**SIZES), seed=0), "judge")
