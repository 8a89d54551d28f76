"""Intervals over cases that come in clusters: structures of one kind, questions of one document.

>>> bootstrap_means([[1.0], [2.0], [4.0]], ["a", "a", "b"], resamples=200, seed=0)[0][0]
2.3333333333333335
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, finite
from lib.evaluation.statistics import CONFIDENCE
from lib.streams import stream


def bootstrap_means(
    values: ArrayLike, clusters: ArrayLike, *, resamples: int, seed: int
) -> list[tuple[float, float, float]]:
    """(mean, low, high) of each column of ``values`` (N, K), 95 % percentile intervals over resampled ``clusters`` (N,).

    All columns are drawn together, so that a difference of two is a column of its own. Cases of one cluster come and go
    together, because they are alike. Raises ``EvaluationError`` for unequal lengths and for fewer than two clusters.
    """
    columns, labels = finite(values, "values", ndim=2), np.asarray(clusters)
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
