"""The pointing game on ChestX-Det10, by the rules of its two public re-implementations, which disagree; the authors' own script
was never released.

``padded`` (RadZero): the crop and the padding are undone, and the maximum of the map has to lie in any box of the finding.
``stretched`` (VECL): the crop's map is stretched over the whole picture, the first box alone counts, and a point is still in
it ``TOLERANCE`` pixels outside (of pictures of 1,024).

>>> frame = Frame(scale=0.5, left=0, top=16, size=64)          # a picture of 128 x 64, scaled to 64 x 32, 16 rows above
>>> tuple(map(float, place(np.eye(4), frame=frame, crop=56)))  # the first of the largest: its cell's middle, in the picture
(22.0, -10.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lib.evaluation import EvaluationError
from papers.carzero.images import Frame
from papers.carzero.sets import Box

TOLERANCE, OF = 20, 1024
Point = tuple[float, float]


def _top(map_: np.ndarray | None) -> tuple[float, float]:
    """Column and row of the largest cell's middle, as shares of the map (none: its middle); smooth resizing moves no maximum."""
    if map_ is None:
        return 0.5, 0.5
    row, column = np.unravel_index(int(np.argmax(map_)), map_.shape)
    return (column + 0.5) / map_.shape[1], (row + 0.5) / map_.shape[0]


def place(map_: np.ndarray | None, *, frame: Frame, crop: int) -> Point:
    """Where the maximum of a crop's map (side, side) lies in the picture, in its pixels: crop, padding and scale undone."""
    across, down = _top(map_)
    edge = (frame.size - crop) // 2
    return (across * crop + edge - frame.left) / frame.scale, (down * crop + edge - frame.top) / frame.scale


def inside(point: Point, box: Box, *, tolerance: float = 0.0) -> bool:
    x, y = point
    return bool(box[0] - tolerance <= x < box[2] + tolerance and box[1] - tolerance <= y < box[3] + tolerance)


def padded(map_: np.ndarray | None, boxes: Sequence[Box], *, frame: Frame, crop: int, size: tuple[int, int]) -> bool:
    """Hit by the stricter rule: inside any of the finding's boxes, without tolerance."""
    return any(inside(place(map_, frame=frame, crop=crop), box) for box in boxes)


def stretched(map_: np.ndarray | None, boxes: Sequence[Box], *, frame: Frame, crop: int, size: tuple[int, int]) -> bool:
    """Hit by the looser rule; ``size``: width and height of the picture."""
    across, down = _top(map_)
    point = (across * size[0], down * size[1])
    return inside(point, boxes[0], tolerance=TOLERANCE * max(size) / OF)


RULES: dict[str, Callable[..., bool]] = {"padded": padded, "stretched": stretched}


def hits(
    maps: np.ndarray | None,
    boxes: Sequence[dict[int, list[Box]]],
    *,
    sizes: Sequence[tuple[int, int]],
    frames: Sequence[Frame],
    crop: int,
    rule: str,
    classes: int,
) -> np.ndarray:
    """Hit rate of each class (K,), nan for one that no image shows.

    ``maps`` (N, K, side, side): of each prompt in each image; none: always the middle of the crop, the control. One case an
    image and class that it shows. Raises ``EvaluationError`` for maps of another number of images or classes.
    """
    if maps is not None and maps.shape[:2] != (len(boxes), classes):
        raise EvaluationError(
            f"maps of shape {maps.shape} for {len(boxes)} images and {classes} classes; give one map each."
        )
    right, cases = np.zeros(classes), np.zeros(classes)
    for n, shown in enumerate(boxes):
        for k, mine in shown.items():
            cases[k] += 1
            right[k] += RULES[rule](
                None if maps is None else maps[n, k], mine, frame=frames[n], crop=crop, size=sizes[n]
            )
    return np.divide(right, cases, out=np.full(len(cases), np.nan), where=cases > 0)
