"""Multi-label classification: AUROC of each class, and groups of classes by how frequent they are.

Used by every zero-shot notebook and by ``lib.evaluation.bootstrap``. Rows are samples, columns are classes.

>>> macro_auc([[0, 1], [1, 0], [1, 1]], [[0.1, 0.8], [0.7, 0.3], [0.9, 0.6]])
1.0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation.inputs import EvaluationError, labels_and_scores


def auc_per_class(labels: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Area under the ROC curve of each class, by ranks (ties share their middle rank).

    ``labels`` (N, C) in {0, 1}, ``scores`` (N, C), larger = more likely present. Returns (C,) in [0, 1]; nan for a
    class whose labels have one value only. Equals scikit-learn's ``roc_auc_score(average=None)``. Raises
    ``EvaluationError`` for other shapes, labels that are not 0/1, and scores that are not finite.
    """
    from scipy.stats import rankdata

    truth, values = labels_and_scores(labels, scores)
    positives = truth.sum(axis=0).astype(np.float64)  # (C,)
    negatives = len(truth) - positives
    # Mann-Whitney: pairs won = sum of the positives' ranks minus the least that sum can be
    won = np.where(truth, rankdata(values, axis=0), 0.0).sum(axis=0) - positives * (positives + 1) / 2
    pairs = positives * negatives
    return np.divide(won, pairs, out=np.full(truth.shape[1], np.nan), where=pairs > 0)


def macro_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Unweighted mean of ``auc_per_class`` over the classes where it is defined; nan when there is none."""
    per_class = auc_per_class(labels, scores)
    defined = ~np.isnan(per_class)
    return float(per_class[defined].mean()) if defined.any() else float("nan")


def frequency_groups(labels: ArrayLike, *, head: int = 100, tail: int = 10) -> np.ndarray:
    """Group of each class, (C,): ``"head"`` (>= ``head`` positives), ``"tail"`` (< ``tail``) or ``"medium"``.

    Default cuts: BrgSA's long-tail evaluation (>= 100, 10-99, < 10). ``labels`` (N, C) in {0, 1}.
    """
    if tail > head:
        raise EvaluationError(f"tail={tail} exceeds head={head}; a class would be in both groups: lower tail.")
    truth, _ = labels_and_scores(labels, np.zeros(np.shape(labels)))
    positives = truth.sum(axis=0)
    return np.where(positives >= head, "head", np.where(positives < tail, "tail", "medium"))
