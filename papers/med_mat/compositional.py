"""Arithmetic of compositional generalisation: the success rule, sampling error of an accuracy, test sizes behind percents.

Accuracies are percentages, as printed. Used by the Med-MAT notebooks.

>>> accuracy_error(50.0, 100)
array([5.])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, finite
from lib.streams import stream


def _percentages(values: ArrayLike, name: str) -> np.ndarray:
    found = finite(values, name, ndim=1)
    if len(found) and (found.min() < 0 or found.max() > 100):
        raise EvaluationError(f"{name} holds {found[(found < 0) | (found > 100)][0]:g}; give percentages in [0, 100].")
    return found


def gains(trained: ArrayLike, baseline: ArrayLike, baseline_plus: ArrayLike | None = None) -> np.ndarray:
    """Trained minus the better of the baselines, in points (N,); Tables 10-14 print no Baseline+."""
    arms = [_percentages(trained, "trained"), _percentages(baseline, "baseline")]
    if baseline_plus is not None:
        arms.append(_percentages(baseline_plus, "baseline_plus"))
    if len({len(arm) for arm in arms}) > 1:
        raise EvaluationError(
            f"the arms have {', '.join(str(len(a)) for a in arms)} targets; give each arm every target."
        )
    return arms[0] - np.max(arms[1:], axis=0)


def passes(trained: ArrayLike, baseline: ArrayLike, baseline_plus: ArrayLike | None = None) -> np.ndarray:
    """The paper's rule for "composition helps": strictly above both baselines. (N,) bool."""
    return gains(trained, baseline, baseline_plus) > 0


def implied_test_size(percentages: Sequence[float]) -> int | None:
    """The smallest number of questions of which every printed percentage is a whole count, rounded; ``None`` if none is.

    A lower bound in truth: multiples of it fit as well. Percentages have two decimals; up to 1,000 questions are tried.
    """
    printed = np.abs(finite(percentages, "percentages", ndim=1))
    if not len(printed):
        raise EvaluationError("no percentage is given; a test size needs at least one.")
    half = 0.5 * 10.0**-2 + 1e-9
    for n in range(1, 1_001):
        if (np.abs(100 * np.round(printed * n / 100) / n - printed) <= half).all():
            return n
    return None


def accuracy_error(accuracy: ArrayLike, n: ArrayLike) -> np.ndarray:
    """Binomial standard error of accuracies (percent) on ``n`` questions, in points."""
    rate = _percentages(np.atleast_1d(accuracy), "accuracy") / 100
    size = finite(np.atleast_1d(n), "n", ndim=1)
    if size.min(initial=1) < 1:
        raise EvaluationError(f"n is {size.min():g}; a test has at least one question.")
    return 100 * np.sqrt(rate * (1 - rate) / size)


def gain_error(trained: ArrayLike, baseline: ArrayLike, n: ArrayLike) -> np.ndarray:
    """Standard error of the difference of two accuracies on ``n`` questions, taken as independent.

    Both are measured on the same questions, which usually makes the true error smaller; the pairing is not printed.
    """
    return np.hypot(accuracy_error(trained, n), accuracy_error(baseline, n))


def shuffled_successes(arms: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """Null of the success count: which of a row's accuracies is called Trained is drawn at random. (10,000,) int.

    ``arms`` (N, K): one row a combination, one column an arm. Success is strict, so ties fail, as in the rule.
    """
    values = finite(arms, "arms", ndim=2)
    rng = stream(seed, "arms at random")
    best = values.max(axis=1, keepdims=True)
    alone = (values == best) & ((values == best).sum(axis=1, keepdims=True) == 1)  # wins when called Trained
    return rng.binomial(1, alone.mean(axis=1), size=(10_000, len(values))).sum(axis=1)
