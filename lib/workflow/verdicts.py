"""From measured arms to a verdict: *holds*, *contradicted*, *undecided* or *invalid (null)*.

The claim itself (arms, direction, margin, null) is read from ``paper.yml``; a notebook only hands over what each arm
measured, one value a seed, so it cannot test anything but what the paper's file states.

>>> claim = Claim.model_validate({
...     "id": "C1", "statement": "It is better.", "quantity": "AUC", "direction": "higher", "exhibit": "tab_a",
...     "arms": {"treatment": "full", "baseline": "plain"},
...     "null": {"arms": {"treatment": "shuffled", "baseline": "plain"}, "description": "shuffled pairs"}})
>>> judge(claim, {"full": [0.8, 0.9, 0.8], "plain": [0.5, 0.6, 0.5], "shuffled": [0.5, 0.5, 0.6]}).verdict
'holds'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lib.evaluation.statistics import Difference, paired_difference
from lib.workflow.papers import Arms, Claim

HOLDS, CONTRADICTED, UNDECIDED, INVALID = "holds", "contradicted", "undecided", "invalid (null)"


@dataclass(frozen=True)
class Verdict:
    """A verdict with the paired differences (treatment - baseline, mean and 95 % interval) it rests on."""

    claim: str
    verdict: str
    difference: Difference
    null: Difference

    def as_dict(self) -> dict:
        return asdict(self)


def _shows(claim: Claim, difference: Difference, margin: float) -> bool:
    """Whether the whole interval lies where the claim says it should."""
    if claim.direction == "higher":
        return difference.low > margin
    if claim.direction == "lower":
        return difference.high < -margin
    return difference.low >= -margin and difference.high <= margin


def _shows_the_opposite(claim: Claim, difference: Difference) -> bool:
    """Whether the whole interval lies on the other side of the margin (design: "wholly on the other side")."""
    if claim.direction == "higher":
        return difference.high < claim.margin
    if claim.direction == "lower":
        return difference.low > -claim.margin
    return difference.low > claim.margin or difference.high < -claim.margin


def _difference(arms: Arms, measured: Mapping[str, Sequence[float]], claim_id: str) -> Difference:
    def values(name: str) -> Sequence[float]:
        if name not in measured:
            raise KeyError(f"claim {claim_id} needs the arm '{name}'; measured were: {', '.join(measured)}")
        return measured[name]

    baseline = arms.baseline if isinstance(arms.baseline, float) else values(arms.baseline)
    return paired_difference(values(arms.treatment), baseline)


def _decide(claim: Claim, difference: Difference, null: Difference) -> Verdict:
    if _shows(claim, null, claim.margin if claim.null.margin is None else claim.null.margin):
        verdict = INVALID
    elif _shows(claim, difference, claim.margin):
        verdict = HOLDS
    elif _shows_the_opposite(claim, difference):
        verdict = CONTRADICTED
    else:
        verdict = UNDECIDED
    return Verdict(claim=claim.id, verdict=verdict, difference=difference, null=null)


def judge(claim: Claim, measured: Mapping[str, Sequence[float]]) -> Verdict:
    """Judge ``claim`` from ``measured``: arm name -> the quantity, one value a seed, seeds in the same order in every arm.

    Raises ``KeyError`` naming the arm when one that the claim or its null needs was not measured.
    """
    difference = _difference(claim.arms, measured, claim.id)
    return _decide(claim, difference, _difference(claim.null.arms, measured, claim.id))


def judge_interval(
    claim: Claim, *, difference: tuple[float, float, float], null: tuple[float, float, float], n: int
) -> Verdict:
    """Judge ``claim`` by the same rules from 95 % intervals computed elsewhere, such as a bootstrap over studies.

    ``difference`` and ``null`` are (estimate, low, high) of treatment minus baseline of the claim's arms and of its
    null's; ``n`` is how many independent units they rest on. For recomputed numbers, which have no seeds: handing
    bootstrap resamples to :func:`judge` as if they were seeds would shrink the interval without limit. Raises
    ``ValueError`` unless low <= high and ``n`` >= 1.
    """
    for name, (_, low, high) in {"difference": difference, "null": null}.items():
        if not low <= high or n < 1:
            raise ValueError(
                f"claim {claim.id}: the {name} has the interval {low} to {high}, n = {n}; give low <= high, n >= 1"
            )
    return _decide(claim, Difference(*map(float, difference), n=n), Difference(*map(float, null), n=n))
