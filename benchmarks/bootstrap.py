"""The bootstrap beside the scikit-learn loop it replaces: same numbers, measured times.

Used by ``notebooks/performance/bootstrap.ipynb`` and by the tests.

    measure_bootstrap(resamples=5000, loop_resamples=20)
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation.classification import bootstrap_auc


@dataclass(frozen=True)
class BootstrapTiming:
    """Seconds of ``bootstrap_auc`` and of the loop (scaled to as many resamples), ratio, largest difference."""

    rows: int
    classes: int
    resamples: int
    seconds: float
    loop_resamples: int
    loop_seconds: float
    ratio: float
    largest_difference: float


def loop_bootstrap_auc(labels: ArrayLike, scores: ArrayLike, *, resamples: int) -> np.ndarray:
    """The released procedure, literally: draw rows, copy them, ``roc_auc_score`` a class -> (resamples, C)."""
    from sklearn.metrics import roc_auc_score

    truth, values = np.asarray(labels), np.asarray(scores)
    result = np.full((resamples, truth.shape[1]), np.nan)
    state = np.random.get_state()
    try:
        for i in range(resamples):
            np.random.seed(i)
            rows = np.random.choice(range(len(truth)), size=len(truth), replace=True)
            for c in range(truth.shape[1]):
                sampled = truth[rows, c]
                if 0 < sampled.sum() < len(sampled):
                    result[i, c] = roc_auc_score(sampled, values[rows, c])
    finally:
        np.random.set_state(state)
    return result


def generated_scores(
    rows: int = 3630, classes: int = 18, *, decimals: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """``(labels (rows, classes), scores (rows, classes))`` with prevalence from 0.5 down to 0.01 and AUROC near 0.76.

    ``decimals`` rounds the scores, which makes ties. The default size is RAD-ChestCT's (3,630 volumes) with 18 labels.
    """
    generator = np.random.default_rng(0)
    labels = (generator.random((rows, classes)) < np.geomspace(0.5, 0.01, classes)).astype(np.int64)
    scores = labels + generator.normal(size=(rows, classes))
    return labels, scores if decimals is None else scores.round(decimals)


def measure_bootstrap(
    *, rows: int = 3630, classes: int = 18, resamples: int = 5000, loop_resamples: int = 20, decimals: int | None = None
) -> BootstrapTiming:
    """Time ``bootstrap_auc`` on generated scores and the loop on its first ``loop_resamples`` resamples (scaled up)."""
    labels, scores = generated_scores(rows, classes, decimals=decimals)
    loop_bootstrap_auc(labels[:50], scores[:50], resamples=1)  # imports stay out of the timing
    start = time.perf_counter()
    fast = bootstrap_auc(labels, scores, resamples=resamples)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    loop = loop_bootstrap_auc(labels, scores, resamples=loop_resamples)
    loop_seconds = (time.perf_counter() - start) * resamples / loop_resamples
    difference = float(np.nanmax(np.abs(fast[:loop_resamples] - loop)))
    return BootstrapTiming(
        rows, classes, resamples, seconds, loop_resamples, loop_seconds, loop_seconds / seconds, difference
    )
