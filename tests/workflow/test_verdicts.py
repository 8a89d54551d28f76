"""Verdicts: each of the four from each direction, exactly at the margins, with its null, and with an arm missing."""

import json
import math

import numpy as np
import pytest
import toy_project as toy

from lib.workflow import paths
from lib.workflow.papers import Claim
from lib.workflow.session import SessionError, start
from lib.workflow.verdicts import CONTRADICTED, HOLDS, INVALID, UNDECIDED, judge

BASE = [0.70, 0.72, 0.69, 0.73, 0.71]
NOISE = np.array([0.001, -0.001, 0.002, -0.002, 0.0])


def _claim(direction: str, *, margin: float = 0.0, baseline: str | float = "plain") -> Claim:
    facts = toy.paper_facts()["claims"][0]
    facts |= {"direction": direction, "margin": margin, "published": []}
    facts["arms"]["baseline"] = facts["null"]["arms"]["baseline"] = baseline
    return Claim.model_validate(facts)


def _arms(shift: float, *, null: float) -> dict[str, list[float]]:
    """Treatment and null whose paired differences scatter by 0.002 around ``shift`` and ``null``."""
    base = np.array(BASE)
    return {"plain": BASE, "full": list(base + shift + NOISE), "shuffled": list(base + null - NOISE)}


# a null that does not show the effect: far on the other side ("equal": far off)
SILENT = {"higher": -0.2, "lower": 0.2, "equal": 0.3}


@pytest.mark.parametrize(
    "direction, margin, shift, expected",
    [
        ("higher", 0.0, 0.05, HOLDS),
        ("higher", 0.0, -0.05, CONTRADICTED),
        ("higher", 0.0, 0.0, UNDECIDED),
        ("higher", 0.02, 0.05, HOLDS),
        ("higher", 0.02, 0.01, CONTRADICTED),  # better, but surely by less than claimed
        ("higher", 0.02, 0.02, UNDECIDED),
        ("lower", 0.0, -0.05, HOLDS),
        ("lower", 0.0, 0.05, CONTRADICTED),
        ("lower", 0.0, 0.0, UNDECIDED),
        ("lower", 0.02, -0.05, HOLDS),
        ("lower", 0.02, -0.01, CONTRADICTED),
        ("lower", 0.02, -0.02, UNDECIDED),
        ("equal", 0.02, 0.0, HOLDS),
        ("equal", 0.02, 0.015, HOLDS),
        ("equal", 0.02, 0.05, CONTRADICTED),
        ("equal", 0.02, -0.05, CONTRADICTED),
        ("equal", 0.02, 0.02, UNDECIDED),
        ("equal", 0.02, -0.02, UNDECIDED),
    ],
)
def test_each_verdict_from_each_direction(direction, margin, shift, expected):
    verdict = judge(_claim(direction, margin=margin), _arms(shift, null=SILENT[direction]))
    assert verdict.verdict == expected
    assert verdict.difference.mean == pytest.approx(shift) and verdict.difference.n == 5
    assert verdict.difference.low <= shift <= verdict.difference.high


@pytest.mark.parametrize("direction, shift", [("higher", 0.05), ("lower", -0.05), ("equal", 0.0)])
@pytest.mark.parametrize("treatment", ["as claimed", "opposite"])
def test_a_null_that_shows_the_effect_makes_any_verdict_invalid(direction, shift, treatment):
    claim = _claim(direction, margin=0.02)
    arms = _arms(shift if treatment == "as claimed" else SILENT[direction], null=shift)
    assert judge(claim, arms).verdict == INVALID


def test_a_null_that_may_show_the_effect_but_need_not_leaves_the_verdict():
    assert judge(_claim("higher"), _arms(0.05, null=0.0)).verdict == HOLDS


@pytest.mark.parametrize("margin, expected", [(None, HOLDS), (0.1, HOLDS), (0.01, INVALID), (0.0, INVALID)])
def test_a_null_may_have_a_margin_of_its_own(margin, expected):
    facts = _claim("higher", margin=0.05).model_dump()
    facts["null"]["margin"] = margin
    assert judge(Claim.model_validate(facts), _arms(0.2, null=0.03)).verdict == expected


@pytest.mark.parametrize("direction, sign", [("higher", 1), ("lower", -1)])
def test_exactly_at_the_margin_nothing_is_shown(direction, sign):
    """Differences without scatter: the interval is one point, and beyond means beyond."""
    arms = {"plain": [0.5] * 5, "full": [0.5 + sign * 0.25] * 5, "shuffled": [0.5] * 5}
    assert judge(_claim(direction, margin=0.25), arms).verdict == UNDECIDED
    assert judge(_claim(direction, margin=0.2499), arms).verdict == HOLDS
    assert judge(_claim(direction, margin=0.2501), arms).verdict == CONTRADICTED


def test_equal_includes_its_margin():
    arms = {"plain": [0.5] * 5, "full": [0.75] * 5, "shuffled": [1.5] * 5}
    assert judge(_claim("equal", margin=0.25), arms).verdict == HOLDS
    assert judge(_claim("equal", margin=0.2499), arms).verdict == CONTRADICTED


def test_pairs_are_by_seed():
    """Seeds differ by far more than the arms do; only pairing sees the effect, and order matters."""
    base = [0.1, 0.5, 0.9, 0.3, 0.7]
    arms = {"plain": base, "full": [b + 0.01 for b in base], "shuffled": base}
    assert judge(_claim("higher"), arms).verdict == HOLDS
    arms["full"] = arms["full"][::-1]
    assert judge(_claim("higher"), arms).verdict == UNDECIDED


def test_a_number_as_baseline():
    verdict = judge(_claim("higher", baseline=0.5), {"full": [0.8, 0.82, 0.79, 0.81, 0.8], "shuffled": [0.4] * 5})
    assert verdict.verdict == HOLDS and verdict.difference.mean == pytest.approx(0.304)


@pytest.mark.parametrize("gone", ["full", "plain", "shuffled"])
def test_a_missing_arm_is_named_with_those_there_are(gone):
    arms = _arms(0.05, null=0.0)
    del arms[gone]
    with pytest.raises(KeyError) as caught:
        judge(_claim("higher"), arms)
    assert f"claim C1 needs the arm '{gone}'" in str(caught.value)
    assert all(name in str(caught.value) for name in arms)


def test_arms_with_other_seeds_are_refused():
    arms = _arms(0.05, null=0.0)
    arms["plain"] = arms["plain"][:4]
    with pytest.raises(ValueError, match="same seeds"):
        judge(_claim("higher"), arms)


def test_one_seed_decides_nothing():
    arms = {"plain": [0.5], "full": [0.9], "shuffled": [0.5]}
    verdict = judge(_claim("higher"), arms)
    assert verdict.verdict == UNDECIDED and math.isinf(verdict.difference.low)


# ---------------------------------------------------------------------- as a notebook calls it
@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)


def test_a_run_prints_one_line_and_saves_what_it_rests_on(project, capsys):
    run = start("toy", "tab_a", profile="mini", seeds=5)
    run.judge("C1", _arms(0.05, null=0.0))
    assert capsys.readouterr().out == "C1 holds. Claim: The full arm is better than the plain one.\n"
    saved = json.loads(run.save().read_text())
    assert saved["claims"]["C1"]["verdict"] == HOLDS and saved["seeds"] == [0, 1, 2, 3, 4]
    assert saved["claims"]["C1"]["difference"]["mean"] == pytest.approx(0.05)
    arms = {row["arm"]: row["values"] for row in saved["numbers"]}
    assert arms["plain"] == BASE and set(arms) == {"plain", "full", "shuffled"}
    assert {"hardware", "commit", "versions", "seconds"} <= set(saved["provenance"])


def test_a_profile_without_verdicts_judges_nothing(project, capsys):
    run = start("toy", "tab_a", profile="smoke", seeds=1)
    run.judge("C1", {"full": [0.9], "plain": [0.1]})
    assert "no verdict at this profile" in capsys.readouterr().out and run.judged == {}


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"profile": "gpu"}, r"papers/toy/experiments\.yml has no profile 'gpu'; it has smoke, mini"),
        ({"exhibit": "tab_b"}, r"has no experiment 'tab_b'; it has tab_a"),
        ({"seeds": 0}, "seeds must be a positive number"),
        ({"seeds": [1, 1]}, "list of different numbers"),
    ],
)
def test_a_session_that_cannot_start_says_why(project, changes, sentence):
    wanted = {"exhibit": "tab_a", "profile": "mini", "seeds": 5, **changes}
    with pytest.raises(SessionError, match=sentence):
        start("toy", wanted.pop("exhibit"), **wanted)


def test_a_gpu_profile_without_a_gpu_names_the_remedy(project, monkeypatch):
    facts = toy.experiment_facts()
    facts["profiles"]["gpu"] = {"device": "cuda"}
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SessionError, match=r"needs a CUDA GPU.*PROFILE=mini"):
        start("toy", "tab_a", profile="gpu", seeds=1)


def test_the_four_words_are_those_of_the_design():
    assert {HOLDS, CONTRADICTED, UNDECIDED, INVALID} == {"holds", "contradicted", "undecided", "invalid (null)"}
