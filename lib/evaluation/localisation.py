"""How well a 3D map (attention, similarity, gradient rollout) points at a finding, and boxes and masks overlap it.

Maps and masks are ``(X, Y, Z)`` arrays on the same grid; ``resize_map`` brings a token grid to the mask's. Every number
has a level that needs no map: the centre of the volume for pointing, the mask's share of the volume for pointing and
inside, 0.5 for the AUC. cIoU is the sum of all intersections over the sum of all unions, so large objects weigh more than in a
mean of IoUs; an answer that cannot be read (``None``) intersects nothing. Used by the notebooks on attention maps, detection
and segmentation.

>>> mask = np.arange(64).reshape(4, 4, 4) >= 32
>>> tokens = [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]
>>> measure_localisation([resize_map(tokens, shape=mask.shape)], [mask])["pointing"].item()
1.0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, finite
from lib.evaluation.classification import auc_per_class


def _checked_mask(mask: ArrayLike) -> np.ndarray:
    values = finite(mask, "mask", ndim=3)
    if not np.isin(values, (0, 1)).all():
        raise EvaluationError(
            f"mask holds {values[~np.isin(values, (0, 1))][0]:g}; a mask is 0 or 1: threshold it first."
        )
    if not values.any():
        raise EvaluationError("mask is empty; localisation is defined for cases that have the finding: drop this one.")
    return values == 1


def _checked(map_: ArrayLike, mask: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, inside = finite(map_, "map", ndim=3), _checked_mask(mask)
    if values.shape != inside.shape:
        raise EvaluationError(
            f"map has shape {values.shape} and mask {inside.shape}; bring the map there with resize_map."
        )
    return values, inside


def _mass(values: np.ndarray) -> np.ndarray:
    if values.min() < 0:
        raise EvaluationError(f"map holds {values.min():.4g}; mass needs values >= 0: clip it or take a softmax first.")
    if not values.any():
        raise EvaluationError("map is zero everywhere and has no mass; check the layer it was taken from.")
    return values


def resize_map(map_: ArrayLike, *, shape: tuple[int, int, int]) -> np.ndarray:
    """Trilinear resize of ``map_`` (x, y, z) to ``shape``; voxel centres are aligned, edge values extend outwards.

    A token of a patch grid keeps its place over its own patch. Same as torch's ``interpolate(mode="trilinear",
    align_corners=False)`` when enlarging.
    """
    from scipy.ndimage import map_coordinates

    values = finite(map_, "map", ndim=3)
    if len(shape) != 3 or min(shape) < 1 or min(values.shape) < 1:
        raise EvaluationError(
            f"cannot bring a map of shape {values.shape} to {tuple(shape)}; give three sizes of at least 1."
        )
    axes = [(np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip(values.shape, shape, strict=True)]
    return map_coordinates(values, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")


def pointing_game(map_: ArrayLike, mask: ArrayLike) -> float:
    """1.0 when the map's maximum lies inside the mask, else 0.0; of several equal maxima, the share inside.

    A constant map therefore scores the mask's share of the volume, which is chance.
    """
    values, inside = _checked(map_, mask)
    return float(inside[values == values.max()].mean())


def centre_pointing(mask: ArrayLike) -> float:
    """Pointing game of a map that points at the centre of the volume; an even axis has two centres, shared."""
    inside = _checked_mask(mask)
    middle = tuple(slice((size - 1) // 2, size // 2 + 1) for size in inside.shape)
    return float(inside[middle].mean())


def inside_fraction(map_: ArrayLike, mask: ArrayLike) -> float:
    """Share of the map's mass (values >= 0) that lies inside the mask; chance is the mask's share of the volume."""
    values, inside = _checked(map_, mask)
    return float(_mass(values)[inside].sum() / values.sum())


def soft_dice(map_: ArrayLike, mask: ArrayLike) -> float:
    """2 sum(m y) / (sum(m) + sum(y)), m the map (>= 0) scaled to maximum 1, y the mask; in [0, 1], no threshold."""
    values, inside = _checked(map_, mask)
    scaled = _mass(values) / values.max()
    return float(2 * scaled[inside].sum() / (scaled.sum() + inside.sum()))


def map_auc(map_: ArrayLike, mask: ArrayLike) -> float:
    """AUROC over voxels of "the map is larger inside the mask"; 0.5 is chance; nan when the mask fills the volume."""
    values, inside = _checked(map_, mask)
    return float(auc_per_class(inside.reshape(-1, 1), values.reshape(-1, 1))[0])


def measure_localisation(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> pd.DataFrame:
    """One row a case: ``pointing``, ``inside``, ``soft_dice``, ``auc``; nulls ``pointing_centre``, ``mask_fraction``.

    ``mask_fraction`` (the mask's share of the volume) is the chance level of ``pointing`` and of ``inside``. ``maps``
    and ``masks``: N arrays each, (X, Y, Z) with equal shape a case. Raises ``EvaluationError`` naming the case.
    """
    if len(maps) != len(masks) or not len(maps):
        raise EvaluationError(f"{len(maps)} maps and {len(masks)} masks; give one mask a map, at least one case.")
    rows = []
    for case, (map_, mask) in enumerate(zip(maps, masks, strict=True)):
        try:
            rows.append(
                {
                    "pointing": pointing_game(map_, mask),
                    "pointing_centre": centre_pointing(mask),
                    "inside": inside_fraction(map_, mask),
                    "mask_fraction": float(np.mean(np.asarray(mask) == 1)),
                    "soft_dice": soft_dice(map_, mask),
                    "auc": map_auc(map_, mask),
                }
            )
        except EvaluationError as error:
            raise EvaluationError(f"case {case}: {error}") from None
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------- boxes and masks
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
        real = finite(mask, f"case {case}: the true mask").astype(bool)
        if not real.any():
            raise EvaluationError(f"case {case}: the true mask is empty; drop cases without the finding.")
        found = np.zeros_like(real) if guess is None else finite(guess, f"case {case}: the mask").astype(bool)
        if found.shape != real.shape:
            raise EvaluationError(
                f"case {case}: masks of shape {found.shape} and {real.shape}; bring them to one grid."
            )
        intersections.append(float((found & real).sum()))
        unions.append(float((found | real).sum()))
    return _ratio(intersections, unions)
