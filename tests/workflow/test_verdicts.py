"""Outcomes: each of the four from each direction, exactly at the margins, with its control, its bases, an arm missing."""

import json
import math

import numpy as np
import pytest
import toy_project as toy
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.error_rates import shares
from lib.workflow import paths
from lib.workflow.papers import Claim
from lib.workflow.session import SessionError, start
from lib.workflow.verdicts import CONTROL, OPEN, OPPOSITE, SHOWN, WORDS, judge, judge_cases, survivors

BASE = [0.70, 0.72, 0.69, 0.73, 0.71]
NOISE = np.array([0.001, -0.001, 0.002, -0.002, 0.0])


def _claim(direction: str, *, margin: float = 0.0, baseline: str | float = "plain") -> Claim:
    facts = toy.paper_facts()["claims"][0]
    facts |= {"direction": direction, "margin": margin, "published": []}
    facts["arms"]["baseline"] = facts["control"]["arms"]["baseline"] = baseline
    if direction == "equal":
        facts["positive_control"] = facts.pop("control")
    return Claim.model_validate(facts)


def _arms(shift: float, *, control: float) -> dict[str, list[float]]:
    """Treatment and control whose paired differences scatter by 0.002 around ``shift`` and ``control``."""
    base = np.array(BASE)
    return {"plain": BASE, "full": list(base + shift + NOISE), "shuffled": list(base + control - NOISE)}


@pytest.mark.parametrize(
    "direction, margin, shift, control, expected",
    [
        ("higher", 0.0, 0.05, 0.0, SHOWN),
        ("higher", 0.0, -0.05, 0.0, OPPOSITE),
        ("higher", 0.0, 0.0, 0.0, OPEN),
        ("higher", 0.02, 0.05, 0.0, SHOWN),
        ("higher", 0.02, 0.01, 0.0, OPEN),  # better, by less than claimed: neither shown nor the opposite
        ("higher", 0.02, -0.01, 0.0, OPEN),
        ("higher", 0.02, -0.05, 0.0, OPPOSITE),
        ("lower", 0.0, -0.05, 0.0, SHOWN),
        ("lower", 0.0, 0.05, 0.0, OPPOSITE),
        ("lower", 0.0, 0.0, 0.0, OPEN),
        ("lower", 0.02, -0.01, 0.0, OPEN),
        ("different", 0.0, 0.05, 0.0, SHOWN),
        ("different", 0.0, -0.05, 0.0, SHOWN),
        ("different", 0.0, 0.0, 0.0, OPEN),
        ("equal", 0.02, 0.0, 0.3, SHOWN),
        ("equal", 0.02, 0.015, 0.3, SHOWN),
        ("equal", 0.02, 0.05, 0.3, OPPOSITE),
        ("equal", 0.02, -0.05, 0.3, OPPOSITE),
        ("equal", 0.02, 0.02, 0.3, OPEN),
        # the control does it too, on either side, or even more so
        ("higher", 0.0, 0.05, 0.05, CONTROL),
        ("higher", 0.0, 0.05, 0.08, CONTROL),
        ("higher", 0.0, -0.05, -0.05, CONTROL),
        ("lower", 0.0, -0.05, -0.05, CONTROL),
        ("lower", 0.0, 0.05, 0.09, CONTROL),
        ("different", 0.0, -0.05, -0.05, CONTROL),
        # half of it: the effect is larger than its control's
        ("higher", 0.0, 0.05, 0.02, SHOWN),
        # the two that should differ do not, so that an equality says nothing
        ("equal", 0.02, 0.0, 0.0, CONTROL),
        ("equal", 0.02, 0.0, 0.02, CONTROL),
    ],
)
def test_each_outcome_from_each_direction(direction, margin, shift, control, expected):
    verdict = judge(_claim(direction, margin=margin), _arms(shift, control=control))
    assert verdict.outcome == expected
    assert verdict.effect.mean == pytest.approx(shift) and verdict.effect.n == 5
    assert verdict.effect.low <= verdict.effect.mean <= verdict.effect.high
    assert (verdict.p < 0.05) == (expected in (SHOWN, OPPOSITE))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=15, max_size=15), st.sampled_from([0.0, 0.1, 0.5])
)
def test_the_rule_is_symmetric(values, margin):
    arms = dict(zip(("full", "plain", "shuffled"), np.reshape(values, (3, 5)), strict=True))
    mirrored = {name: -one for name, one in arms.items()}
    there, back = judge(_claim("higher", margin=margin), arms), judge(_claim("lower", margin=margin), mirrored)
    assert there.outcome == back.outcome and there.p == pytest.approx(back.p)
    turned = judge(_claim("higher", margin=margin), mirrored)
    assert turned.outcome == {SHOWN: OPPOSITE, OPPOSITE: SHOWN}.get(there.outcome, there.outcome)


def test_bases_that_disagree_leave_it_open():
    arms = _arms(0.05, control=0.0)
    assert judge(_claim("higher"), arms, bases=[0, 1, 2, 0, 1]).outcome == SHOWN
    arms["full"] = list(np.array(BASE) + [0.05, 0.06, -0.001, 0.05, 0.06])  # the third base says no
    of_one = judge(_claim("higher"), arms, bases=[0, 1, 2, 0, 1])
    assert (of_one.outcome, of_one.same, of_one.bases) == (OPEN, 2, 3)
    with pytest.raises(ValueError, match="5 replicates on 3 bases"):
        judge(_claim("higher"), arms, bases=[0, 1, 2])


@pytest.mark.parametrize("direction, sign", [("higher", 1), ("lower", -1)])
def test_exactly_at_the_margin_nothing_is_shown(direction, sign):
    """Differences without scatter: the interval is one point, and beyond means beyond."""
    arms = {"plain": [0.5] * 5, "full": [0.5 + sign * 0.25] * 5, "shuffled": [0.5] * 5}
    assert judge(_claim(direction, margin=0.25), arms).outcome == OPEN
    assert judge(_claim(direction, margin=0.2499), arms).outcome == SHOWN


def test_equal_includes_its_margin():
    arms = {"plain": [0.5] * 5, "full": [0.75] * 5, "shuffled": [1.5] * 5}
    assert judge(_claim("equal", margin=0.25), arms).outcome == SHOWN
    assert judge(_claim("equal", margin=0.2499), arms).outcome == OPPOSITE


def test_pairs_are_by_replicate():
    """Replicates differ by far more than the arms do; only pairing sees the effect, and order matters."""
    base = [0.1, 0.5, 0.9, 0.3, 0.7]
    arms = {"plain": base, "full": [b + 0.01 for b in base], "shuffled": base}
    assert judge(_claim("higher"), arms).outcome == SHOWN
    arms["full"] = arms["full"][::-1]
    assert judge(_claim("higher"), arms).outcome == OPEN


def test_a_number_as_baseline():
    verdict = judge(_claim("higher", baseline=0.5), {"full": [0.8, 0.82, 0.79, 0.81, 0.8], "shuffled": [0.4] * 5})
    assert verdict.outcome == SHOWN and verdict.effect.mean == pytest.approx(0.304)


@pytest.mark.parametrize("gone", ["full", "plain", "shuffled"])
def test_a_missing_arm_is_named_with_those_there_are(gone):
    arms = _arms(0.05, control=0.0)
    del arms[gone]
    with pytest.raises(KeyError) as caught:
        judge(_claim("higher"), arms)
    assert f"claim C1 needs the arm '{gone}'" in str(caught.value)
    assert all(name in str(caught.value) for name in arms)


def test_arms_with_other_seeds_are_refused():
    arms = _arms(0.05, control=0.0)
    arms["plain"] = arms["plain"][:4]
    with pytest.raises(ValueError, match="same seeds"):
        judge(_claim("higher"), arms)


def test_one_replicate_decides_nothing():
    verdict = judge(_claim("higher"), {"plain": [0.5], "full": [0.9], "shuffled": [0.5]})
    assert verdict.outcome == OPEN and math.isinf(verdict.effect.low) and verdict.p == 1.0


# ---------------------------------------------------------------------- bootstrap over cases
NOTHING = (0.0, -0.01, 0.01)


@pytest.mark.parametrize(
    ("direction", "margin", "effect", "excess", "expected"),
    [
        ("higher", 0.0, (0.03, 0.02, 0.04), (0.03, 0.02, 0.04), SHOWN),
        ("higher", 0.02, (0.03, 0.02, 0.04), (0.03, 0.02, 0.04), OPEN),  # the end is not beyond the margin
        ("higher", 0.0, (0.03, -0.01, 0.07), (0.03, 0.02, 0.04), OPEN),
        ("higher", 0.0, (0.03, 0.02, 0.04), (0.01, -0.01, 0.03), CONTROL),
        ("higher", 0.0, (-0.03, -0.04, -0.02), (-0.03, -0.04, -0.02), OPPOSITE),
        ("lower", 0.0, (-0.03, -0.04, -0.02), (-0.03, -0.04, -0.02), SHOWN),
    ],
)
def test_intervals_over_cases_decide_by_the_same_rule(direction, margin, effect, excess, expected):
    found = judge_cases(_claim(direction, margin=margin), effect=effect, control=NOTHING, excess=excess, n=40)
    assert found.outcome == expected and (found.bases, found.same, found.effect.n) == (1, 1, 40)


@pytest.mark.parametrize(("interval", "n"), [((0.0, 0.1, -0.1), 40), ((0.0, math.nan, 0.1), 40), ((0.0, -0.1, 0.1), 1)])
def test_an_interval_that_is_none_is_refused(interval, n):
    with pytest.raises(ValueError, match="claim C1: the effect"):
        judge_cases(_claim("higher"), effect=interval, control=NOTHING, excess=NOTHING, n=n)
    with pytest.raises(ValueError, match="arms are equal"):
        judge_cases(_claim("equal", margin=0.1), effect=NOTHING, control=NOTHING, excess=NOTHING, n=40)


# ---------------------------------------------------------------------- error rates of the whole rule
@pytest.mark.parametrize("bases", [5, 3])
@pytest.mark.slow
def test_the_rule_errs_as_seldom_as_it_says(bases):
    """2,000 synthetic claims of each kind; heavy tails, shared base effects, five replicates."""
    kinds = {kind: shares(kind, claims=2000, seed=1, bases=bases) for kind in ("no effect", "an effect")}
    shared = shares("an effect that the control shares", claims=2000, seed=1, bases=bases)
    assert kinds["no effect"][SHOWN] <= 0.05 and kinds["no effect"][OPPOSITE] <= 0.05
    assert kinds["an effect"][SHOWN] >= 0.7 and kinds["an effect"][OPPOSITE] == 0
    assert shared[SHOWN] <= 0.05 and shared[CONTROL] >= 0.8


def test_survivors_are_those_of_benjamini_and_hochberg():
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(0)
    for _ in range(50):
        p = np.concatenate([rng.random(20), rng.random(10) * 0.01])
        assert survivors(p) == int((false_discovery_control(p) <= 0.05).sum())
    assert survivors([]) == 0


# ---------------------------------------------------------------------- as a notebook calls it
@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)


def _evidence(kind: str) -> None:
    facts = toy.experiment_facts()
    facts["experiments"]["tab_a"]["stands_on"] = kind
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)


@pytest.mark.parametrize("kind, word", [("miniature", "direction seen"), ("real", "holds"), ("released", "holds")])
def test_a_run_prints_one_line_and_saves_what_it_rests_on(project, capsys, kind, word):
    _evidence(kind)
    run = start("toy", "tab_a", profile="mini", seeds=5)
    run.judge("C1", _arms(0.05, control=0.0))
    bases = "" if kind == "released" else ", 5 of 5 bases"
    said = f"C1 {word}{bases}. Claim: The full arm is better than the plain one.\n"
    told = "C1: by the spread of effect minus control, less than 0.0039 could not be told from none.\n"
    power = told if kind == "real" else ""
    assert capsys.readouterr().out == power + said
    saved = json.loads(run.save().read_text())
    assert saved["claims"]["C1"]["outcome"] == word and saved["seeds"] == [0, 1, 2, 3, 4] and saved["evidence"] == kind
    assert saved["claims"]["C1"]["effect"]["mean"] == pytest.approx(0.05)
    arms = {row["arm"]: row["values"] for row in saved["numbers"]}
    assert arms["plain"] == BASE and set(arms) == {"plain", "full", "shuffled"}
    assert {"hardware", "commit", "versions", "seconds"} <= set(saved["provenance"])


def test_what_outcomes_rest_on_is_drawn_replicate_by_replicate(project, capsys):
    run = start("toy", "tab_a", profile="mini", seeds=5)
    run.outcomes()
    assert not paths.outcomes("toy", "tab_a", "mini", "png", root=paths.output_root()).exists()  # nothing was judged
    run.judge("C1", _arms(0.05, control=0.0))
    run.outcomes()
    assert "outcomes toy/tab_a: C1" in capsys.readouterr().out
    drawn = json.loads(paths.outcomes("toy", "tab_a", "mini", "json", root=paths.output_root()).read_text())
    [panel] = drawn["panels"]
    assert panel["title"] == "C1: direction seen"
    [one] = panel["series"]
    assert one["effect"][3:] == pytest.approx(0.05 + NOISE) and one["control"][3:] == pytest.approx(-NOISE)
    assert one["base"] == [0, 1, 2, 3, 4] and one["margin"] == [0.0]
    assert paths.outcomes("toy", "tab_a", "mini", "png", root=paths.output_root()).stat().st_size > 2000


def test_replicates_stand_on_as_many_bases_as_the_profile_says(project):
    facts = toy.experiment_facts()
    facts["profiles"]["mini"]["bases"] = 3
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    run = start("toy", "tab_a", profile="mini", seeds=[20, 21, 22, 23, 24])
    assert run.bases == [20, 21, 22, 20, 21]
    run.judge("C1", _arms(0.05, control=0.0))
    assert run.judged["C1"]["bases"] == 3
    assert start("toy", "tab_a", profile="mini", seeds=2).bases == [0, 1]


def test_printed_numbers_are_checked_and_never_judged(project, capsys):
    _evidence("printed")
    run = start("toy", "tab_a", profile="mini", seeds=5)
    run.check("C1", True, "80.5 against 79")
    assert capsys.readouterr().out.startswith("C1 consistent (80.5 against 79). Claim:")
    assert json.loads(run.save().read_text())["checks"] == {"C1": {"outcome": "consistent", "why": "80.5 against 79"}}
    with pytest.raises(SessionError, match="rests on printed numbers"):
        run.judge("C1", _arms(0.05, control=0.0))
    with pytest.raises(SessionError, match="not among the claims"):
        run.check("C2", False, "no")


def test_a_claim_that_what_was_measured_cannot_tell_is_left_with_its_reason(project, capsys):
    run = start("toy", "tab_a", profile="mini", seeds=5)
    run.decline("C1", "the base never learnt the exam")
    assert capsys.readouterr().out.startswith("C1 not judged (the base never learnt the exam). Claim: The full arm")
    saved = json.loads(run.save().read_text())
    assert saved["declined"] == {"C1": "the base never learnt the exam"} and saved["claims"] == {}


def test_a_claim_that_a_miniature_cannot_test_is_refused(project):
    facts = toy.paper_facts()
    facts["claims"][0]["evidence"] = ["real"]
    toy.write_yaml(paths.paper("toy") / "paper.yml", facts)
    run = start("toy", "tab_a", profile="mini", seeds=5)
    with pytest.raises(SessionError, match="can be tested by real evidence, and tab_a rests on miniature"):
        run.judge("C1", _arms(0.05, control=0.0))


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
    facts["profiles"]["gpu"] = {"machine": {"device": "cuda"}}
    facts["stands_on"]["gpu"] = "miniature"
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SessionError, match=r"needs a CUDA GPU.*PROFILE=mini"):
        start("toy", "tab_a", profile="gpu", seeds=1)


def test_a_miniature_never_holds():
    words = {word for outcome in (SHOWN, OPPOSITE) for word in [WORDS["miniature"][outcome]]}
    assert words == {"direction seen", "opposite seen"} and "printed" not in WORDS
