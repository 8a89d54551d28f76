"""Multi-label classification: AUROC, average precision, operating points, ranking metrics, frequency groups.

Used by every zero-shot notebook and by ``lib.evaluation.bootstrap``. Rows are samples, columns are classes.

>>> macro_auc([[0, 1], [1, 0], [1, 1]], [[0.1, 0.8], [0.7, 0.3], [0.9, 0.6]])
1.0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation.inputs import EvaluationError, finite, labels_and_scores

ZSCORE_EPSILON = 1e-8  # added to the standard deviation in the released BrgSA evaluation


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


def average_precision_per_class(labels: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Average precision of each class: sum over distinct thresholds of (recall step) x precision, no interpolation.

    Arguments as ``auc_per_class``. Returns (C,) in (0, 1]; nan for a class without a positive. Equals scikit-learn's
    ``average_precision_score`` elsewhere (which gives 0 for a class without a positive).
    """
    truth, values = labels_and_scores(labels, scores)
    result = np.full(truth.shape[1], np.nan)
    for c in np.flatnonzero(truth.any(axis=0)):
        everything, positive = np.sort(values[:, c]), np.sort(values[truth[:, c], c])
        # at each positive's own score: how many positives, how many rows lie at or above it
        true_above = len(positive) - np.searchsorted(positive, positive, side="left")
        all_above = len(everything) - np.searchsorted(everything, positive, side="left")
        result[c] = (true_above / all_above).mean()
    return result


def roc_corner_thresholds(labels: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Threshold of each class whose ROC point lies nearest the corner (FPR 0, TPR 1); predict ``score > threshold``.

    BrgSA's rule (released evaluation code): every distinct score is tried, the distance is sqrt((1 - TPR)^2 + FPR^2),
    equal distances go to the larger threshold. A rate without a denominator counts as 0, so a class without a positive
    gets its largest score (nothing is predicted). Returns (C,). O(N log N) a class. The paper fits these on the test
    set itself, so metrics that use them are optimistic.
    """
    truth, values = labels_and_scores(labels, scores)
    thresholds = np.empty(truth.shape[1])
    for c in range(truth.shape[1]):
        positive, negative = np.sort(values[truth[:, c], c]), np.sort(values[~truth[:, c], c])
        candidates = np.unique(values[:, c])  # ascending
        true_rate = (len(positive) - np.searchsorted(positive, candidates, side="right")) / max(len(positive), 1)
        false_rate = (len(negative) - np.searchsorted(negative, candidates, side="right")) / max(len(negative), 1)
        distance = np.sqrt((1 - true_rate) ** 2 + false_rate**2)
        thresholds[c] = candidates[len(candidates) - 1 - np.argmin(distance[::-1])]  # last of the equal ones
    return thresholds


def metrics_from_confusion(
    true_positive: np.ndarray, false_positive: np.ndarray, false_negative: np.ndarray, true_negative: np.ndarray
) -> dict[str, np.ndarray]:
    """``f1`` (mean of both classes' F1 weighted by their size), ``accuracy``, ``precision``, ``recall`` from counts.

    Counts of any one shape, which the results share. Precision of an empty prediction is 0 (scikit-learn's convention);
    recall of a class without a positive is nan (there: 0), because an absent finding was not missed.
    """
    tp, fp, fn, tn = (
        np.asarray(x, dtype=np.float64) for x in (true_positive, false_positive, false_negative, true_negative)
    )

    def ratio(top: np.ndarray, bottom: np.ndarray, *, empty: float) -> np.ndarray:
        return np.divide(top, bottom, out=np.full(top.shape, empty), where=bottom > 0)

    total = tp + fp + fn + tn
    f1_present, f1_absent = ratio(2 * tp, 2 * tp + fp + fn, empty=0.0), ratio(2 * tn, 2 * tn + fp + fn, empty=0.0)
    return {
        "f1": ((tp + fn) * f1_present + (tn + fp) * f1_absent) / total,
        "accuracy": (tp + tn) / total,
        "precision": ratio(tp, tp + fp, empty=0.0),
        "recall": ratio(tp, tp + fn, empty=np.nan),
    }


def threshold_metrics(labels: ArrayLike, scores: ArrayLike, thresholds: ArrayLike) -> dict[str, np.ndarray]:
    """``f1`` (weighted), ``accuracy``, ``precision``, ``recall``, each (C,), of the prediction ``score > threshold``.

    ``thresholds`` (C,). Conventions of empty cases: see ``metrics_from_confusion``.
    """
    truth, values = labels_and_scores(labels, scores)
    predicted = values > checked_thresholds(thresholds, classes=truth.shape[1])
    return metrics_from_confusion(
        (truth & predicted).sum(axis=0),
        (~truth & predicted).sum(axis=0),
        (truth & ~predicted).sum(axis=0),
        (~truth & ~predicted).sum(axis=0),
    )


def checked_thresholds(thresholds: ArrayLike, *, classes: int) -> np.ndarray:
    """``thresholds`` as (C,); raises ``EvaluationError`` for another length."""
    cut = finite(thresholds, "thresholds", ndim=1)
    if len(cut) != classes:
        raise EvaluationError(
            f"{len(cut)} thresholds for {classes} classes; give one threshold a class, in column order."
        )
    return cut


def ranking_metrics(truth: np.ndarray, values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Recall@1 and precision@3 of checked ``truth``, ``values`` (N, C), row i counting ``counts[i]`` times."""
    rows = np.flatnonzero(counts)
    truth, values, weight = truth[rows], values[rows], counts[rows].astype(np.float64)
    mean = weight @ values / weight.sum()
    spread = np.sqrt(weight @ (values - mean) ** 2 / weight.sum())
    z = (values - mean) / (spread + ZSCORE_EPSILON)
    found = np.take_along_axis(truth, z.argmax(axis=1)[:, None], axis=1)[:, 0]  # (rows,) is the top class present?
    k = min(3, z.shape[1])
    top = np.argpartition(z, -k, axis=1)[:, -k:]
    share = np.take_along_axis(truth, top, axis=1).sum(axis=1) / k
    present = truth.sum(axis=1)
    with_positive = present > 0
    recall = float("nan")
    if with_positive.any():
        kept = weight[with_positive]
        recall = float(kept @ (found[with_positive] / present[with_positive]) / kept.sum())
    return recall, float(weight @ share / weight.sum())


def recall_at_1(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean over samples with a positive of (1 if the top class is present else 0) / (classes present).

    Scores are first z-scored by column over the rows given, so that one common class cannot win every row. Range [0,
    1]; nan when no sample has a positive. BrgSA, released evaluation code (``strict_recall_at_k``, k = 1).
    """
    truth, values = labels_and_scores(labels, scores)
    return ranking_metrics(truth, values, np.ones(len(truth)))[0]


def precision_at_3(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean over all samples of (classes present among the 3 highest) / 3, z-scored by column as ``recall_at_1``.

    Samples without a positive count as 0 here (the released code skips them for recall only). With fewer than three
    classes the divisor is the number of classes.
    """
    truth, values = labels_and_scores(labels, scores)
    return ranking_metrics(truth, values, np.ones(len(truth)))[1]


def _groups(head: np.ndarray, tail: np.ndarray) -> np.ndarray:
    return np.where(head, "head", np.where(tail, "tail", "medium"))


def frequency_groups(labels: ArrayLike, *, head: int = 100, tail: int = 10) -> np.ndarray:
    """Group of each class, (C,): ``"head"`` (>= ``head`` positives), ``"tail"`` (< ``tail``) or ``"medium"``.

    Default cuts: BrgSA's long-tail evaluation (>= 100, 10-99, < 10). ``labels`` (N, C) in {0, 1}.
    """
    if tail > head:
        raise EvaluationError(f"tail={tail} exceeds head={head}; a class would be in both groups: lower tail.")
    truth, _ = labels_and_scores(labels, np.zeros(np.shape(labels)))
    positives = truth.sum(axis=0)
    return _groups(positives >= head, positives < tail)


def quantile_frequency_groups(labels: ArrayLike, *, head: float = 0.75, tail: float = 0.25) -> np.ndarray:
    """``frequency_groups`` with cuts at quantiles of the counts: above ``head`` head, at or below ``tail`` tail.

    BrgSA's 56 further RAD-ChestCT labels use 0.75 / 0.25, CARZero's PadChest uses 0.65 for the head.
    """
    if not 0 <= tail <= head <= 1:
        raise EvaluationError(
            f"tail={tail} and head={head} are not quantiles with 0 <= tail <= head <= 1; swap or fix them."
        )
    truth, _ = labels_and_scores(labels, np.zeros(np.shape(labels)))
    positives = truth.sum(axis=0)
    upper, lower = np.quantile(positives, [head, tail])
    return _groups(positives > upper, positives <= lower)
