"""Cumulative intersection over union (cIoU) of boxes and masks: one score of detection and of segmentation.

cIoU is the sum of all intersections over the sum of all unions, so large objects weigh more than in a mean of IoUs. An
answer that cannot be read (``None``) intersects nothing.

>>> cumulative_iou([(0, 0, 4, 4), None], [(2, 0, 6, 4), (0, 0, 1, 1)])      # 8 / (24 + 1)
0.32
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation.inputs import EvaluationError

Box = tuple[float, float, float, float]  # left, top, right, bottom


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _true_area(box: Box, case: int) -> float:
    if not (np.isfinite(box).all() and _area(box) > 0):
        raise EvaluationError(
            f"case {case}: the true box {tuple(box)} has no area; give left < right and top < bottom."
        )
    return _area(box)


def _ratio(intersections: list[float], unions: list[float]) -> float:
    if not unions:
        raise EvaluationError("no case is given; cIoU needs at least one.")
    return float(sum(intersections) / sum(unions))


def cumulative_iou(predicted: Sequence[Box | None], truth: Sequence[Box]) -> float:
    """cIoU of one box an image, in [0, 1]; raises ``EvaluationError`` for unequal lengths or a true box without area."""
    if len(predicted) != len(truth):
        raise EvaluationError(f"{len(predicted)} predicted and {len(truth)} true boxes; give one prediction a case.")
    intersections, unions = [], []
    for case, (guess, box) in enumerate(zip(predicted, truth, strict=True)):
        size = _true_area(box, case)
        overlap = 0.0
        if guess is not None:
            low, high = np.maximum(guess[:2], box[:2]), np.minimum(guess[2:], box[2:])
            overlap = _area((*low, *high))
            size += _area(guess) - overlap
        intersections.append(overlap)
        unions.append(size)
    return _ratio(intersections, unions)


def cumulative_mask_iou(predicted: Sequence[ArrayLike | None], truth: Sequence[ArrayLike]) -> float:
    """cIoU of one mask an image, in [0, 1]; masks of a case have one shape. Raises ``EvaluationError`` naming the case."""
    if len(predicted) != len(truth):
        raise EvaluationError(f"{len(predicted)} predicted and {len(truth)} true masks; give one prediction a case.")
    intersections, unions = [], []
    for case, (guess, mask) in enumerate(zip(predicted, truth, strict=True)):
        real = np.asarray(mask).astype(bool)
        if not real.any():
            raise EvaluationError(f"case {case}: the true mask is empty; drop cases without the finding.")
        found = np.zeros_like(real) if guess is None else np.asarray(guess).astype(bool)
        if found.shape != real.shape:
            raise EvaluationError(
                f"case {case}: masks of shape {found.shape} and {real.shape}; bring them to one grid."
            )
        intersections.append(float((found & real).sum()))
        unions.append(float((found | real).sum()))
    return _ratio(intersections, unions)
