"""Detection and segmentation subsets of Med-MAT: boxes and masks as text, and the files that hold them.

A box is the outermost coordinates of a mask (section 2.1), written in the token style of MiniGPT-v2: four whole numbers
of 0 .. ``bins``, ``{<left><top><right><bottom>}``. A mask is written row by row as first and last column of a grid, ``-``
for an empty row. Used by the writer of generated data and by the detection study.

>>> box_text(box_of_mask(mask), width=32, height=32, bins=32)      # "{<8><10><15><17>}"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lib.data.errors import DataError
from lib.data.mat_selection import Subset
from lib.data.med_mat import check_row, read_rows, source_number, write_rows

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels; right and bottom are past the last pixel
BINS = 100  # MiniGPT-v2
KEYS = ("id", "caption", "image", "Question", "Answer", "data-no")
_BOX = re.compile(r"\{<(\d+)><(\d+)><(\d+)><(\d+)>\}")
_MASK = re.compile(r"\{((?:-|<\d+><\d+>)(?: (?:-|<\d+><\d+>))*)\}")
_STEP = re.compile(r"<\d+>|-")


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
    sides = []
    for low, high, size in ((left, right, width), (top, bottom, height)):
        first, last = round(low * bins / size), round(high * bins / size)
        if first == last:  # thinner than a step: the step its near edge lies in
            first = int(low * bins / size)
            last = first + 1
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    return f"{{<{x0}><{y0}><{x1}><{y1}>}}"


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


def mask_text(mask: ArrayLike, *, rows: int, columns: int) -> str:
    """A mask (H, W) as text: for each of ``rows`` bands its first and last of ``columns``, ``-`` where it is empty.

    A cell belongs to the mask when half of it does; a gap inside a row is filled, as a contour would.
    """
    values = _mask(mask).astype(np.float64)
    height, width = values.shape
    if height % rows or width % columns:
        raise DataError(f"A mask of {height} x {width} does not divide into {rows} x {columns} cells; choose divisors.")
    share = values.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3))
    cells = share >= min(0.5, share.max())  # a lesion smaller than half a cell keeps its fullest cell
    spans = [np.flatnonzero(row) for row in cells]
    return "{" + " ".join(f"<{span[0]}><{span[-1]}>" if span.size else "-" for span in spans) + "}"


def read_mask(text: str, *, rows: int, columns: int, height: int, width: int) -> np.ndarray | None:
    """The first mask in a text as (H, W) bool; ``None`` when there is none of ``rows`` spans inside ``columns``."""
    found = _MASK.search(text)
    spans = [re.findall(r"\d+", part) for part in found[1].split()] if found else []
    if len(spans) != rows or any(span and not int(span[0]) <= int(span[1]) < columns for span in spans):
        return None
    cells = np.zeros((rows, columns), bool)
    for row, span in zip(cells, spans, strict=True):
        if span:
            row[int(span[0]) : int(span[1]) + 1] = True
    return cells.repeat(height // rows, axis=0).repeat(width // columns, axis=1)


def text_of_steps(steps: str, *, mask: bool) -> str:
    """The text of a box or mask that a model wrote step by step (``<3> <4> - -``): two steps a mask row, four a box.

    An empty row is two ``-``. What cannot be put together is returned as it is and then read as ``None``.
    """
    found = _STEP.findall(steps)
    if not mask:
        return "{" + "".join(found[:4]) + "}" if len(found) >= 4 else steps
    pairs = [first + second for first, second in zip(found[::2], found[1::2], strict=False)]
    return "{" + " ".join("-" if pair == "--" else pair for pair in pairs) + "}"


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
    """Every row of a detection file; faults as in :func:`lib.data.med_mat.read_rows`."""
    return read_rows(path, _located)


def write_located(path: Path, rows: Sequence[Located]) -> None:
    """Write a detection file, whole or not at all."""
    write_rows(path, [dict(zip(KEYS, astuple(one), strict=True)) for one in rows], _located)
