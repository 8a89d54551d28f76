"""From measured arms to an outcome: *holds*, *contradicted*, *undecided* or *invalid (control)*; for a miniature *direction
seen* and *opposite seen*, because a generated world certifies nothing.

The claim itself (arms, direction, margin, control) is read from ``paper.yml``; a notebook only hands over what each arm
measured, one value a replicate, so it cannot test anything but what the paper's file states. With the effect e
(treatment minus baseline) and the control c of each replicate, and 95 % Student intervals over replicates:

* *shown*: e wholly beyond the margin, e - c wholly above zero (both in the claimed direction), and e of the same sign
  on every base;
* *opposite*: the same on the other side;
* *control*: e wholly beyond the margin on either side, but e - c not clear of zero: the control does it too;
* *open*: everything else.

A claim that arms differ is shown on either side. Equality is shown when e lies within the margin and the positive
control, an arm known to differ, lies wholly outside.

>>> claim = Claim.model_validate({
...     "id": "C1", "statement": "It is better.", "source": "paper", "evidence": ["miniature"], "quantity": "AUC",
...     "direction": "higher", "exhibit": "tab_a", "arms": {"treatment": "full", "baseline": "plain"},
...     "control": {"arms": {"treatment": "shuffled", "baseline": "plain"}, "reason": "same steps, pairs shuffled"}})
>>> arms = {"full": [0.8, 0.9, 0.8, 0.8], "plain": [0.5, 0.6, 0.5, 0.6], "shuffled": [0.5, 0.5, 0.6, 0.5]}
>>> judge(claim, arms).outcome
'shown'
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from lib.evaluation.statistics import Difference, one_sided_p, paired_difference
from lib.workflow.papers import Arms, Claim

SHOWN, OPPOSITE, CONTROL, OPEN = "shown", "opposite", "control", "open"
_REAL = {SHOWN: "holds", OPPOSITE: "contradicted", CONTROL: "invalid (control)", OPEN: "undecided"}
#: What an outcome is called, by the evidence it rests on.
WORDS = {
    "released": _REAL,
    "real": _REAL,
    "miniature": {**_REAL, SHOWN: "direction seen", OPPOSITE: "opposite seen"},
}

#: Of real data there is as much as there is: what it could tell at all is said before the outcome.
POWER_FIRST = ("real",)


@dataclass(frozen=True)
class Verdict:
    """An outcome with what it rests on: mean and 95 % interval of the effect, of the control, and of their difference.

    Of equality ``control`` is the positive control and there is no ``excess``. ``bases``: how many pretrained bases
    stand under the replicates; ``same``: on how many of them the effect says what it says over all. ``p``: two-sided,
    of all that the outcome needs, so that outcomes can be counted with an eye on how many were tried. ``replicates``:
    effect, control and base (counted from 0) of each; empty where the intervals were computed elsewhere.
    """

    claim: str
    outcome: str
    effect: Difference
    control: Difference
    excess: Difference | None
    bases: int
    same: int
    p: float
    replicates: dict[str, list] = field(default_factory=dict)

    def as_dict(self) -> dict:
        return asdict(self)


def _within(difference: Difference, margin: float) -> bool:
    return difference.low >= -margin and difference.high <= margin


def _outside(difference: Difference, margin: float) -> bool:
    return difference.low > margin or difference.high < -margin


def _equality(claim: Claim, effect: Difference, positive: Difference, agree: bool) -> tuple[str, float]:
    def outside(difference: Difference) -> float:
        return 2 * min(one_sided_p(difference, above=claim.margin), one_sided_p(difference, below=-claim.margin))

    within = 2 * max(one_sided_p(effect, above=-claim.margin), one_sided_p(effect, below=claim.margin))
    p = min(outside(effect), max(within, outside(positive)))
    if _outside(effect, claim.margin):
        return (OPPOSITE if agree else OPEN), p
    if not _within(effect, claim.margin):
        return OPEN, p
    if not _outside(positive, claim.margin):
        return CONTROL, p
    return (SHOWN if agree else OPEN), p


def _direction(claim: Claim, effect: Difference, excess: Difference, agree: bool) -> tuple[str, float]:
    if claim.direction == "lower" or (claim.direction == "different" and effect.mean < 0):
        effect, excess = effect.mirrored(), excess.mirrored()
    up = max(one_sided_p(effect, above=claim.margin), one_sided_p(excess, above=0.0))
    down = max(one_sided_p(effect, below=-claim.margin), one_sided_p(excess, below=0.0))
    p = min(1.0, 2 * min(up, down))
    if not _outside(effect, claim.margin):
        return OPEN, p
    rises = effect.low > claim.margin
    if not (excess.low > 0 if rises else excess.high < 0):
        return CONTROL, p
    return ((SHOWN if rises else OPPOSITE) if agree else OPEN), p


def _decide(
    claim: Claim, effect: Difference, control: Difference, excess: Difference | None, signs: list[bool]
) -> Verdict:
    decide = _equality if claim.direction == "equal" else _direction
    outcome, p = decide(claim, effect, control if excess is None else excess, all(signs))
    return Verdict(claim.id, outcome, effect, control, excess, bases=len(signs), same=sum(signs), p=min(1.0, p))


def _replicates(arms: Arms, measured: Mapping[str, Sequence[float]], claim_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Treatment and baseline, one value a replicate each; a number as baseline stands for all of them."""

    def values(name: str) -> np.ndarray:
        if name not in measured:
            raise KeyError(f"claim {claim_id} needs the arm '{name}'; measured were: {', '.join(measured)}")
        return np.asarray(measured[name], dtype=np.float64)

    treatment = values(arms.treatment)
    baseline = np.full(treatment.shape, arms.baseline) if isinstance(arms.baseline, float) else values(arms.baseline)
    return treatment, baseline


def judge(claim: Claim, measured: Mapping[str, Sequence[float]], *, bases: Sequence[Hashable] | None = None) -> Verdict:
    """Judge ``claim`` from ``measured``: arm name -> the quantity, one value a replicate, in the same order in every arm.

    ``bases``: the pretrained base (or generated world) under each replicate; ``None``: each has its own. Raises
    ``KeyError`` naming the arm when one that the claim or its control needs was not measured, ``ValueError`` when the
    replicates and their bases are not equally many.
    """
    treatment, baseline = _replicates(claim.arms, measured, claim.id)
    effect = paired_difference(treatment, baseline)
    bases = list(range(effect.n)) if bases is None else list(bases)
    if len(bases) != effect.n:
        raise ValueError(f"claim {claim.id}: {effect.n} replicates on {len(bases)} bases; name the base of each")
    values, known = treatment - baseline, list(dict.fromkeys(bases))
    means = [values[[base == one for base in bases]].mean() for one in known]
    other = _replicates(claim.counterpart.arms, measured, claim.id)
    control = paired_difference(*other)
    each = {"effect": values.tolist(), "control": (other[0] - other[1]).tolist(), "base": list(map(known.index, bases))}
    if claim.direction == "equal":
        middle = _within(Difference(effect.mean, effect.mean, effect.mean, effect.n), claim.margin)
        signs = [bool((abs(mean) <= claim.margin) == middle) for mean in means]
        return replace(_decide(claim, effect, control, None, signs), replicates=each)
    excess = paired_difference(values, other[0] - other[1])
    signs = [bool(mean * effect.mean > 0) for mean in means]
    return replace(_decide(claim, effect, control, excess, signs), replicates=each)


def judge_cases(
    claim: Claim,
    *,
    effect: tuple[float, float, float],
    control: tuple[float, float, float],
    excess: tuple[float, float, float],
    n: int,
) -> Verdict:
    """Judge a directed ``claim`` by the same rules from 95 % bootstrap intervals over ``n`` cases of released files.

    Each triple is (estimate, low, high): of the claim's arms, of its control's, and of their difference, drawn on the
    same resamples. Handing resamples to :func:`judge` as if they were replicates would shrink the interval without
    limit. Raises ``ValueError`` for a claim of equality, and unless low <= high and ``n`` > 1.
    """
    if claim.direction == "equal":
        raise ValueError(f"claim {claim.id} says that arms are equal; judge it from its replicates")
    for name, (_, low, high) in {"effect": effect, "control": control, "excess": excess}.items():
        if not low <= high or n < 2:
            raise ValueError(
                f"claim {claim.id}: the {name} has the interval {low} to {high}, n = {n}; give low <= high, n >= 2"
            )
    found = (Difference(*map(float, triple), n=n) for triple in (effect, control, excess))
    return _decide(claim, *found, signs=[True])


def survivors(p_values: Sequence[float], *, rate: float = 0.05) -> int:
    """How many outcomes remain when the false ones among them shall be ``rate`` at most (Benjamini and Hochberg 1995).

    >>> survivors([0.001, 0.02, 0.03, 0.8])
    3
    """
    ranked = np.sort(np.asarray(p_values, dtype=np.float64))
    passed = np.flatnonzero(ranked <= rate * np.arange(1, len(ranked) + 1) / max(1, len(ranked)))
    return int(passed[-1]) + 1 if passed.size else 0
