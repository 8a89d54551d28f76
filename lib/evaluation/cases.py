"""Intervals over the cases of real data: each case is measured in every arm, and the cases are resampled.

Of a generated world the replicates are drawn anew; of real data there is one set of cases, and what another set would
have given is told by resampling it.

>>> over_cases([0.2, 0.1, 0.3, 0.2], [0.0, 0.1, 0.0, -0.1], resamples=1000)["effect"]
(0.2, 0.125, 0.275)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError
from lib.evaluation.statistics import CONFIDENCE
from lib.streams import stream

Interval = tuple[float, float, float]  # mean, low, high


def bootstrap_means(
    values: np.ndarray, clusters: Sequence[str] | np.ndarray, *, resamples: int, seed: int
) -> list[Interval]:
    """(mean, low, high) of each column of ``values`` (N, K), 95 % percentile intervals over resampled ``clusters`` (N,).

    All columns are drawn together, so that a difference of two is a column of its own. Cases of one cluster come and go
    together, because they are alike. (``classification.bootstrap_auc`` draws as BrgSA's released loop does, which is for its
    scores.)
    Raises ``EvaluationError`` for unequal lengths and for fewer than two clusters.
    """
    columns, labels = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    names, member = np.unique(labels, return_inverse=True)
    if labels.shape != columns.shape[:1] or len(names) < 2:
        raise EvaluationError(
            f"{len(columns)} rows in {len(names)} clusters, {len(labels)} labels; give each row a cluster, two or more in all."
        )
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, member, columns)
    sizes = np.bincount(member)
    drawn = stream(seed, "clusters").integers(len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)[:, None]
    ends = np.percentile(means, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    return [(float(m), float(low), float(high)) for m, low, high in zip(columns.mean(axis=0), *ends, strict=True)]


def over_cases(
    effect: ArrayLike, control: ArrayLike, *, clusters: Sequence[Any] | None = None, resamples: int, seed: int = 0
) -> dict[str, Any]:
    """What ``Run.judge_cases`` takes: effect, control and their difference, each (mean, low, high), and the number of clusters.

    ``effect``, ``control`` (N,): treatment minus baseline of each case, by the claim's arms and by its control's.
    ``clusters`` (N,): what is resampled together; by default every case is its own.
    """
    effect, control = np.asarray(effect, dtype=np.float64), np.asarray(control, dtype=np.float64)
    clusters = np.arange(len(effect)) if clusters is None else clusters
    columns = np.stack([effect, control, effect - control], axis=1)
    triples = bootstrap_means(columns, clusters, resamples=resamples, seed=seed)
    return {**dict(zip(("effect", "control", "excess"), triples, strict=True)), "n": len(set(clusters))}
