"""Multi-label classification: AUROC of each class, its bootstrap over volumes or patients, classes by frequency.

Rows are samples, columns are classes. A resample is held as a vector of counts (how often each row was drawn), never as
copied rows: every class is sorted once, and a resample's AUROC is then a cumulative sum along that order; thousands of
resamples take seconds on one thread. Used by the zero-shot and released-scores notebooks.

    macro_auc([[0, 1], [1, 0], [1, 1]], [[0.1, 0.8], [0.7, 0.3], [0.9, 0.6]])
1.0
    summarise_bootstrap(bootstrap_auc(labels, scores, resamples=1000, clusters=patients), names=classes)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, labels_and_scores, numbers

BLOCK = 64  # resamples worked on at once: 64 x 3,630 counts of 4 bytes stay in the second-level cache
OVERALL_AVERAGED = "overall (mean of columns)"
OVERALL_MACRO = "overall (macro average)"


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


# ---------------------------------------------------------------------- bootstrap
@dataclass(frozen=True)
class _SortedClass:
    """One class, its rows sorted by score once. All (P,) arrays follow ``positive``."""

    positive: np.ndarray  # (P,) row numbers, ascending score
    negative: np.ndarray  # (M,) row numbers, ascending score
    below: np.ndarray  # (P,) negatives with a smaller score
    up_to: np.ndarray  # (P,) negatives with a smaller or equal score
    tied: bool  # whether any positive shares its score with a negative


def _sort_class(truth: np.ndarray, values: np.ndarray) -> _SortedClass:
    order = np.argsort(values, kind="stable")
    positive, negative = order[truth[order]], order[~truth[order]]
    below = np.searchsorted(values[negative], values[positive], side="left")
    up_to = np.searchsorted(values[negative], values[positive], side="right")
    return _SortedClass(positive, negative, below, up_to, tied=bool((below != up_to).any()))


def _running_total(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(B, len(rows) + 1): column k is how many draws fell on the first k of ``rows``."""
    total = np.zeros((len(counts), len(rows) + 1), dtype=counts.dtype)
    np.cumsum(counts.take(rows, axis=1), axis=1, out=total[:, 1:])
    return total


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _block_auc(counts: np.ndarray, prepared: _SortedClass) -> np.ndarray:
    """AUROC of one class in B resamples, ``counts`` (B, N) -> (B,); nan where one label value is missing."""
    negatives = _running_total(counts, prepared.negative)
    drawn = counts.take(prepared.positive, axis=1)  # (B, P)
    # twice the pairs won: a negative below counts 2, an equal one 1. Whole numbers below 2^53, so exact in float64.
    if prepared.tied:
        beaten = negatives.take(prepared.below, axis=1) + negatives.take(prepared.up_to, axis=1)
        twice_won = np.einsum("bp,bp->b", drawn, beaten, dtype=np.float64)
    else:
        twice_won = 2 * np.einsum("bp,bp->b", drawn, negatives.take(prepared.below, axis=1), dtype=np.float64)
    pairs = drawn.sum(axis=1, dtype=np.float64) * negatives[:, -1]
    return _divide(twice_won, 2 * pairs)


def _resample_blocks(rows: int, *, resamples: int, clusters: ArrayLike | None) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield ``(slice of resample numbers, counts (B, rows) int32)``; resample i is seeded by i and nothing else."""
    if resamples < 1:
        raise EvaluationError(f"resamples={resamples}; at least one resample is needed.")
    if clusters is None:
        member, units = None, rows
    else:
        # numbered by first appearance, so that one-row clusters draw exactly what the plain bootstrap draws
        member, names = pd.factorize(np.asarray(clusters))
        units = len(names)
        if len(member) != rows:
            raise EvaluationError(f"clusters has {len(member)} entries for {rows} rows; give one patient id a row.")
        if (member < 0).any():
            raise EvaluationError(f"clusters[{int(np.argmin(member))}] is missing; give every row its patient id.")
    for start in range(0, resamples, BLOCK):
        block = slice(start, min(start + BLOCK, resamples))
        drawn = np.empty((block.stop - block.start, units), dtype=np.int32)
        for k, seed in enumerate(range(block.start, block.stop)):
            # the stream of np.random.seed(i); np.random.choice(range(N), N), without touching the global generator
            choice = np.random.RandomState(seed).choice(units, units, replace=True)
            drawn[k] = np.bincount(choice, minlength=units)
        yield block, drawn if member is None else drawn.take(member, axis=1)


def bootstrap_auc(
    labels: ArrayLike, scores: ArrayLike, *, resamples: int = 5000, clusters: ArrayLike | None = None
) -> np.ndarray:
    """AUROC of each class in each resample, ``(resamples, C)``; nan where a resample holds one label value only.

    ``labels`` (N, C) in {0, 1}, ``scores`` (N, C). Resample i draws N rows with the stream of ``np.random.seed(i)``
    (BrgSA, released evaluation code), so values equal that code's to rounding. ``clusters`` (N,) patient or scan ids:
    whole clusters are drawn instead, because several reconstructions of one scan are not independent; with one row a
    cluster both agree. Raises ``EvaluationError`` for bad labels, scores, clusters, or ``resamples`` < 1.
    """
    truth, values = labels_and_scores(labels, scores)
    classes = [_sort_class(truth[:, c], values[:, c]) for c in range(truth.shape[1])]
    result = np.empty((resamples if resamples > 0 else 0, len(classes)))
    for block, counts in _resample_blocks(len(truth), resamples=resamples, clusters=clusters):
        for c, prepared in enumerate(classes):
            result[block, c] = _block_auc(counts, prepared)
    return result


def _summary(samples: np.ndarray) -> tuple[float, float, float, float, int]:
    defined = samples[~np.isnan(samples)]
    undefined = len(samples) - len(defined)
    if not len(defined):
        return (np.nan, np.nan, np.nan, np.nan, undefined)
    spread = defined.std(ddof=1) if len(defined) > 1 else np.nan
    return (defined.mean(), spread, *np.percentile(defined, [2.5, 97.5]), undefined)


def summarise_bootstrap(samples: ArrayLike, *, names: Sequence[str]) -> pd.DataFrame:
    """Mean, sd, 2.5 / 97.5 percentiles and number of undefined resamples: one row a class, then both overall forms.

    ``samples`` (resamples, C) from ``bootstrap_auc``. Columns ``mean``, ``sd``, ``low``, ``high``, ``undefined``.
    Undefined (nan) resamples are left out of a class's figures and counted.

    ``overall (mean of columns)`` is what the paper's script prints: the average over classes of each column, so its
    ``low`` and ``high`` are averaged class intervals, usually far wider than an interval of the macro average. That one
    is ``overall (macro average)``: the mean over defined classes within each resample, then summarised.
    """
    values = numbers(samples, "samples")
    if values.ndim != 2 or not values.size or len(names) != values.shape[1]:
        raise EvaluationError(
            f"samples of shape {np.shape(samples)} with {len(names)} names; give one name a class column."
        )
    columns = ["mean", "sd", "low", "high", "undefined"]
    table = pd.DataFrame([_summary(values[:, c]) for c in range(values.shape[1])], index=list(names), columns=columns)
    defined = ~np.isnan(values)
    macro = _divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))
    averaged = table.mean()
    table.loc[OVERALL_AVERAGED] = averaged
    table.loc[OVERALL_MACRO] = _summary(macro)
    table.loc[OVERALL_AVERAGED, "undefined"] = table["undefined"].iloc[: len(names)].sum()
    return table.astype({"undefined": int})
