"""Detection and segmentation subsets of Med-MAT: boxes and masks as text, and the files that hold them.

A box is the outermost coordinates of a mask (section 2.1), written in the token style of MiniGPT-v2: four whole numbers
of 0 .. ``bins``, ``{<left><top><right><bottom>}``. A mask is its top and bottom, then the left and right end of each of
four bands between them, ``{<top><bottom> <left><right> ...}``. Used by the writer of generated data and by the detection
study.

>>> box_text((8, 10, 16, 18), width=32, height=32, bins=32)
'{<8><10><16><18>}'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lib.data.files import DataError
from papers.med_mat.data.files import check_row, read_rows, source_number, write_rows
from papers.med_mat.data.selection import Subset

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels; right and bottom are past the last pixel
BINS = 100  # MiniGPT-v2
KEYS = ("id", "caption", "image", "Question", "Answer", "data-no")
BANDS = 4  # of a mask
_BOX = re.compile(r"\{<(\d+)><(\d+)><(\d+)><(\d+)>\}")
_MASK = re.compile(rf"\{{(<\d+><\d+>(?: <\d+><\d+>){{{BANDS}}})\}}")
_STEP = re.compile(r"<(\d+)>")


def _mask(mask: ArrayLike) -> np.ndarray:
    values = np.asarray(mask).astype(bool)
    if values.ndim != 2 or not values.any():
        raise DataError(
            f"A mask of shape {values.shape} with {values.sum()} pixels has no outline; give (H, W) with one."
        )
    return values


def box_of_mask(mask: ArrayLike) -> Box:
    """Outermost coordinates of a mask (H, W): left, top, right, bottom, so that one pixel is one wide."""
    rows, columns = np.nonzero(_mask(mask))
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def box_text(box: Box, *, width: int, height: int, bins: int = BINS) -> str:
    """A box in pixels as text, rounded to ``bins`` steps a side; never less than one step wide or high."""
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise DataError(f"The box {box} does not lie in {width} x {height} pixels; give left < right and top < bottom.")
    (x0, x1), (y0, y1) = _steps(left, right, width, bins), _steps(top, bottom, height, bins)
    return f"{{<{x0}><{y0}><{x1}><{y1}>}}"


def _steps(low: float, high: float, size: int, bins: int) -> tuple[int, int]:
    """Both ends of a stretch rounded to steps; a stretch thinner than a step is the step its near end lies in."""
    first, last = round(low * bins / size), round(high * bins / size)
    if first == last:
        first = int(low * bins / size)
        last = first + 1
    return first, last


def read_box(text: str, *, width: int, height: int, bins: int = BINS) -> Box | None:
    """The first box in a text, in pixels; ``None`` when there is none or it is not left < right, top < bottom, inside.

    A model may write anything, so this is no error: a missing box scores an overlap of 0.
    """
    found = _BOX.search(text)
    if not found:
        return None
    x0, y0, x1, y1 = map(int, found.groups())
    if not (x0 < x1 <= bins and y0 < y1 <= bins):
        return None
    return (x0 * width / bins, y0 * height / bins, x1 * width / bins, y1 * height / bins)


def mask_text(mask: ArrayLike, *, bins: int = BINS) -> str:
    """A mask (H, W) as text: top and bottom, then left and right end of each of four equal bands between them.

    The ends of a band are the means over its rows. Gaps inside a row are filled and a band without pixels repeats the one
    above, as a contour would.
    """
    values = _mask(mask)
    height, width = values.shape
    _, top, _, bottom = box_of_mask(values)
    pairs = [_steps(top, bottom, height, bins)]
    edges, middles = np.linspace(top, bottom, BANDS + 1), np.arange(height) + 0.5
    for low, high in pairwise(edges):
        rows = (middles >= low) & (middles < high)
        rows[int((low + high) / 2)] |= not rows.any()  # a band thinner than a row
        ends = [(x[0], x[-1] + 1) for x in map(np.flatnonzero, values[rows]) if x.size]
        pairs.append(_steps(*np.mean(ends, axis=0), width, bins) if ends else pairs[-1])
    return "{" + " ".join(f"<{low}><{high}>" for low, high in pairs) + "}"


def read_mask(text: str, *, width: int, height: int, bins: int = BINS) -> np.ndarray | None:
    """The first mask in a text as (height, width) bool; ``None`` when there is none or an end is out of order."""
    found = _MASK.search(text)
    pairs = np.array(_STEP.findall(found[1]), int).reshape(-1, 2) if found else np.zeros((1, 2), int)
    if (pairs[:, 0] >= pairs[:, 1]).any() or pairs.max() > bins:
        return None
    y, x = (np.arange(height) + 0.5) * bins / height, (np.arange(width) + 0.5) * bins / width
    (top, bottom), bands = pairs[0], pairs[1:]
    inside = (y >= top) & (y < bottom)
    ends = bands[np.clip(((y - top) / (bottom - top) * BANDS).astype(int), 0, BANDS - 1)]  # (height, 2)
    return inside[:, None] & (x >= ends[:, :1]) & (x < ends[:, 1:])


def text_of_steps(steps: str, *, mask: bool) -> str:
    """The text of a box or mask that a model wrote step by step (``<3> <4> <8> <9>``).

    What cannot be put together is returned as it is and then read as ``None``.
    """
    found = [f"<{step}>" for step in _STEP.findall(steps)]
    length = 2 * (BANDS + 1) if mask else 4
    if len(found) < length:
        return steps
    pairs = ["".join(found[i : i + 2]) for i in range(0, length, 2)]
    return "{" + (" " if mask else "").join(pairs) + "}"


# ---------------------------------------------------------------------- files
@dataclass(frozen=True)
class Located:
    """One row of a detection file: the question where something (``caption``) is, and the box or mask as text.

    Paper: detection JSON follows each baseline's own format and was not released. Here: the release's row without the
    two multiple-choice keys. Because: one reader then serves both kinds.
    """

    id: int
    caption: str
    image: str
    question: str
    answer: str
    data_no: str

    @property
    def is_mask(self) -> bool:
        return not _BOX.fullmatch(self.answer)


def ask_where(what: str, subset: Subset, *, mask: bool = False) -> str:
    """The question of a detection row, or with ``mask`` of a segmentation row."""
    start = "Outline the" if mask else "Where is the"
    return f"{start} {what} in this {subset.modality} image of the {subset.area.lower()}?"


def _located(row: dict) -> Located:
    check_row(row, KEYS)
    if not (_BOX.fullmatch(row["Answer"]) or _MASK.fullmatch(row["Answer"])):
        raise DataError(f"answers '{row['Answer']:.40}', no box or mask; write {{<left><top><right><bottom>}}")
    return Located(row["id"], row["caption"], row["image"], row["Question"], row["Answer"], source_number(row))


def read_located(path: Path) -> list[Located]:
    """Every row of a detection file; faults as in :func:`papers.med_mat.data.files.read_rows`."""
    return read_rows(path, _located)


def write_located(path: Path, rows: Sequence[Located]) -> None:
    """Write a detection file, whole or not at all."""
    write_rows(path, [dict(zip(KEYS, astuple(one), strict=True)) for one in rows], _located)
