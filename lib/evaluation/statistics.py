"""Intervals and exact tests for a handful of seeds or pairs.

``paired_difference`` is what every verdict rests on; ``sign_flip_test`` gives exact p-values for matched pairs;
``binomial_interval`` goes with shares such as the pointing game.

>>> paired_difference([0.71, 0.73, 0.70, 0.72, 0.74], [0.70, 0.70, 0.69, 0.70, 0.71]).low > 0
True
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, finite, numbers

CONFIDENCE = 0.95
MOST_FLIPS = 22  # 2^22 sums: 32 MB


@dataclass(frozen=True)
class Difference:
    """Mean paired difference (treatment - baseline), its 95 % interval, and how many pairs it rests on."""

    mean: float
    low: float
    high: float
    n: int

    def mirrored(self) -> Difference:
        """Baseline minus treatment."""
        return Difference(-self.mean, -self.high, -self.low, self.n)


def paired_difference(treatment: ArrayLike, baseline: ArrayLike | float) -> Difference:
    """Mean difference over paired replicates with its 95 % Student interval.

    ``treatment`` (R,), ``baseline`` (R,) with the replicates in the same order, or one number all are compared with.
    One replicate has no spread to read; its interval is infinite.
    Raises ``EvaluationError`` for unequal lengths, no replicates, values that are not finite.
    """
    from scipy.special import stdtrit

    values = finite(treatment, "treatment", ndim=1)
    base = numbers(baseline, "baseline")
    base = finite(np.full(values.shape, base) if base.ndim == 0 else base, "baseline", ndim=1)
    if len(values) != len(base):
        raise EvaluationError(
            f"treatment has {len(values)} replicates and baseline {len(base)}; run both arms with the same seeds."
        )
    n = len(values)
    if n == 0:
        raise EvaluationError("there are no replicates; a difference needs at least one.")
    difference = values - base
    mean = float(difference.mean())
    if n == 1:
        return Difference(mean=mean, low=-np.inf, high=np.inf, n=1)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * difference.std(ddof=1) / np.sqrt(n))
    return Difference(mean=mean, low=mean - half, high=mean + half, n=n)


def one_sided_p(difference: Difference, *, above: float | None = None, below: float | None = None) -> float:
    """p-value in [0, 1] of a difference that would truly reach ``above`` at most (or ``below`` at least).

    Student's t with the standard error that the 95 % interval holds. Give one of the two bounds.

    >>> one_sided_p(Difference(0.1, 0.0, 0.2, n=5), above=0.0)      # zero is the end of the two-sided interval
    0.025
    """
    from scipy.special import stdtr, stdtrit

    if (above is None) == (below is None):
        raise EvaluationError("give one bound, above or below.")
    distance = difference.mean - above if below is None else below - difference.mean
    freedom = max(1, difference.n - 1)
    error = (difference.high - difference.low) / 2 / stdtrit(freedom, (1 + CONFIDENCE) / 2)
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return round(float(stdtr(freedom, -distance / error)), 12)


def sign_flip_test(differences: ArrayLike) -> float:
    """Exact two-sided p-value that paired differences are symmetric about 0.

    The share of the 2^n sign patterns whose mean is at least as far from 0 as the one seen.

    ``differences`` (n,), 1 <= n <= 22. The smallest p possible is 2 / 2^n: 0.0625 with five pairs.
    Raises ``EvaluationError`` for other lengths and values that are not finite.
    """
    values = finite(differences, "differences", ndim=1)
    if not 1 <= len(values) <= MOST_FLIPS:
        raise EvaluationError(
            f"{len(values)} differences; the exact test takes 1 to {MOST_FLIPS}: use scipy's permutation_test."
        )
    sums = np.zeros(1)
    for value in np.abs(values):
        sums = np.concatenate([sums + value, sums - value])
    # sums that are equal on paper differ in the last bits; the pattern seen must always count itself.
    # scipy's permutation_test allows too little for that: of 400 draws of rounded scores it gave another p for one
    reach = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    return float((np.abs(sums) >= reach).mean())


def binomial_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval ``(low, high)``, in [0, 1]; ``EvaluationError`` unless 0 <= successes <= trials."""
    if trials < 1 or not 0 <= successes <= trials:
        raise EvaluationError(
            f"{successes} successes of {trials} trials; give whole numbers with 0 <= successes <= trials."
        )
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(trials)).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
