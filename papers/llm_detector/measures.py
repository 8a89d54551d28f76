"""From scores to numbers: area under the curve, hits at one false alarm in a hundred, balanced accuracy, recall, macro-F1; and
intervals that resample sources, because all versions of one human text come and go together.

    drawn = resample(sources, resamples=1000, seed=0)                       # (B, N): how often each text was drawn
    area(scores, machine, drawn)                                            # (B,)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.evaluation import EvaluationError
from lib.evaluation.statistics import CONFIDENCE
from lib.streams import stream

FALSE_ALARMS = 0.01
Triple = tuple[float, float, float]  # estimate, low, high


def resample(sources: Sequence[str], *, resamples: int, seed: int) -> np.ndarray:
    """(1 + resamples, N): how often each text is in a resample of whole sources; the first row is the texts as they are."""
    names, member = np.unique(np.asarray(sources), return_inverse=True)
    if len(names) < 2:
        raise EvaluationError(f"{len(names)} source; resampling needs two or more.")
    drawn = stream(seed, "sources").integers(len(names), size=(resamples, len(names)))
    counts = (
        np.stack([np.bincount(one, minlength=len(names)) for one in drawn]) if resamples else np.zeros((0, len(names)))
    )
    return np.concatenate([np.ones((1, len(member))), counts[:, member]])


def area(scores: np.ndarray, machine: np.ndarray, weights: np.ndarray, strata: np.ndarray | None = None) -> np.ndarray:
    """(B,) area under the ROC curve of ``scores`` (N,) with ``weights`` (B, N): of a machine and a human text, how often the
    machine's has the higher score, ties half. ``strata`` (N,): only texts of one stratum are compared. nan without both.
    """
    groups = [np.ones(len(scores), dtype=bool)] if strata is None else [strata == one for one in np.unique(strata)]
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for inside in groups:
        yes, no = np.flatnonzero(inside & machine), np.flatnonzero(inside & ~machine)
        if not len(yes) or not len(no):
            continue
        beats = (scores[yes][:, None] > scores[no]) + 0.5 * (scores[yes][:, None] == scores[no])
        won += ((weights[:, yes] @ beats) * weights[:, no]).sum(axis=1)
        pairs += weights[:, yes].sum(axis=1) * weights[:, no].sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def hits_at_false_alarms(
    scores: np.ndarray, machine: np.ndarray, weights: np.ndarray, *, rate: float = FALSE_ALARMS
) -> np.ndarray:
    """(B,) share of machine texts above the lowest threshold at which at most ``rate`` of the human texts are."""
    order = np.lexsort((machine, -scores))  # among equal scores the human ones first: a tie is no hit
    human, own = weights[:, order] * ~machine[order], weights[:, order] * machine[order]
    alarms = np.cumsum(human, axis=1) / np.maximum(human.sum(axis=1, keepdims=True), 1e-12)
    allowed = alarms <= rate + 1e-12
    total = own.sum(axis=1)
    return np.divide((own * allowed).sum(axis=1), total, out=np.full(len(weights), np.nan), where=total > 0)


def balanced_accuracy(scores: np.ndarray, machine: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) mean of the share of machine texts with a score above 0 and of human texts with one of 0 or below."""
    found = []
    for side, right in ((machine, scores > 0), (~machine, scores <= 0)):
        total = weights[:, side].sum(axis=1)
        inside = (weights[:, side] * right[side]).sum(axis=1)
        found.append(np.divide(inside, total, out=np.full(len(weights), np.nan), where=total > 0))
    return np.mean(found, axis=0)


def macro_f1(scores: np.ndarray, machine: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) mean F1 of the two classes, 0 being the threshold; a class that is neither there nor given counts 0."""
    found = []
    for truth, given in ((machine, scores > 0), (~machine, scores <= 0)):
        both = (weights * (truth & given)).sum(axis=1)
        sums = (weights * truth).sum(axis=1) + (weights * given).sum(axis=1)
        found.append(np.divide(2 * both, sums, out=np.zeros(len(weights)), where=sums > 0))
    return np.mean(found, axis=0)


def roc(scores: np.ndarray, machine: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Share of machine texts found at each share ``at`` (K,) of false alarms; steps, not interpolated."""
    return np.array([hits_at_false_alarms(scores, machine, np.ones((1, len(scores))), rate=rate)[0] for rate in at])


def exact_documents(scores: Sequence[np.ndarray], truth: Sequence[Sequence[int]]) -> float:
    """Share of documents of which every sentence is labelled right."""
    return float(np.mean([bool(((one > 0) == np.array(own)).all()) for one, own in zip(scores, truth, strict=True)]))


def segment_f1(scores: Sequence[np.ndarray], truth: Sequence[Sequence[int]]) -> float:
    """F1 of boundaries: places between two sentences where the label changes, found against there."""
    found = there = both = 0
    for one, own in zip(scores, truth, strict=True):
        given, right = np.diff((one > 0).astype(int)) != 0, np.diff(np.array(own)) != 0
        found, there, both = found + given.sum(), there + right.sum(), both + (given & right).sum()
    return float(2 * both / max(1, found + there))


def interval(samples: np.ndarray) -> Triple:
    """(estimate, low, high) of samples (1 + B,), whose first is the estimate: 95 % percentiles of the others that are defined."""
    drawn = samples[1:][np.isfinite(samples[1:])]
    if not len(drawn):
        return (float(samples[0]), float("nan"), float("nan"))
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return (float(samples[0]), float(low), float(high))


def over_holdouts(samples: np.ndarray, *, seed: int) -> np.ndarray:
    """Mean over hold-outs (H, 1 + B) -> (1 + B,): each resample draws hold-outs as well, because each has a fit, and a control
    its shuffle, of its own."""
    held, count = samples.shape
    drawn = (
        stream(seed, "hold-outs").integers(held, size=(held, count - 1)) if held > 1 else np.zeros((1, count - 1), int)
    )
    again = np.take_along_axis(samples[:, 1:], drawn, axis=0)
    return np.concatenate([[np.nanmean(samples[:, 0])], np.nanmean(again, axis=0)])
