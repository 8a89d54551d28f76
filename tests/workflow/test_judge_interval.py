"""Verdicts from intervals computed elsewhere: the rules of ``judge``, whatever the interval came from."""

import math

import pytest

from lib.evaluation.statistics import paired_difference
from lib.workflow.papers import Claim
from lib.workflow.verdicts import judge, judge_interval

NOTHING = (0.0, -0.01, 0.01)


def claim(direction="higher", margin=0.0):
    arms = {"treatment": "new", "baseline": "old"}
    null = {"arms": {"treatment": "shuffled", "baseline": "old"}, "description": "labels permuted"}
    text = {"statement": "new beats old", "quantity": "AUC", "exhibit": "tab_a"}
    return Claim(id="C1", **text, direction=direction, margin=margin, arms=arms, null=null)


@pytest.mark.parametrize(
    ("direction", "margin", "interval", "verdict"),
    [
        ("higher", 0.0, (0.03, 0.02, 0.04), "holds"),
        ("higher", 0.02, (0.03, 0.02, 0.04), "undecided"),  # the end of the interval is not beyond the margin
        ("higher", 0.0, (0.03, -0.01, 0.07), "undecided"),
        ("higher", 0.0, (-0.03, -0.04, -0.02), "contradicted"),
        ("lower", 0.0, (-0.03, -0.04, -0.02), "holds"),
        ("lower", 0.0, (0.03, 0.02, 0.04), "contradicted"),
        ("equal", 0.05, (0.03, 0.02, 0.04), "holds"),
        ("equal", 0.01, (0.03, 0.02, 0.04), "contradicted"),
    ],
)
def test_the_interval_decides(direction, margin, interval, verdict):
    null = NOTHING if direction != "equal" else (1.0, 0.9, 1.1)
    found = judge_interval(claim(direction, margin), difference=interval, null=null, n=40)
    assert found.verdict == verdict
    assert (found.difference.mean, found.difference.low, found.difference.high, found.difference.n) == (*interval, 40)


def test_a_null_that_shows_the_effect_makes_it_invalid():
    found = judge_interval(claim(), difference=(0.03, 0.02, 0.04), null=(0.01, 0.001, 0.02), n=40)
    assert found.verdict == "invalid (null)"


def test_the_rules_are_those_of_judge():
    measured = {
        "new": [0.8, 0.82, 0.81, 0.83, 0.8],
        "old": [0.7, 0.73, 0.7, 0.74, 0.72],
        "shuffled": [0.7, 0.7, 0.71, 0.74, 0.7],
    }
    found = {name: paired_difference(measured[name], measured["old"]) for name in ("new", "shuffled")}
    triples = {name: (d.mean, d.low, d.high) for name, d in found.items()}
    assert judge_interval(claim(), difference=triples["new"], null=triples["shuffled"], n=5) == judge(claim(), measured)


@pytest.mark.parametrize(("interval", "n"), [((0.0, 0.1, -0.1), 40), ((0.0, math.nan, 0.1), 40), ((0.0, -0.1, 0.1), 0)])
def test_an_interval_that_is_none_is_refused(interval, n):
    with pytest.raises(ValueError, match="claim C1: the difference"):
        judge_interval(claim(), difference=interval, null=NOTHING, n=n)
    with pytest.raises(ValueError, match="claim C1"):
        judge_interval(claim(), difference=NOTHING, null=interval, n=n)
