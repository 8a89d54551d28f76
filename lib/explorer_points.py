"""What the embedding explorer shows: thumbnails of volumes, and a table of points checked column by column.

Used by :mod:`lib.explorer`, which makes the page.

>>> slices(np.zeros((3, 40, 40, 20)), [0, 2]).shape
(2, 48, 96)
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

MAX_GROUPS = 8  # colours that can be told apart: those of lib.drawing
MAX_THUMBNAILS = 2000  # about 2.5 kB each
MAX_POINTS = 1_000_000  # a tenth of a second a frame; 100,000 take a thirtieth


class ExplorerError(ValueError):
    """Points that cannot be shown as they are; the message names the column or row and the remedy."""


# ---------------------------------------------------------------------- thumbnails
def slices(volumes: np.ndarray, rows: Sequence[int], *, size: int = 48) -> np.ndarray:
    """Middle axial and middle coronal slice of ``volumes[rows]``, side by side: uint8 (len(rows), size, 2 * size).

    ``volumes`` (N, X, Y, Z), x towards the patient's left, y to the back, z to the head (LPS); read row by row, so a
    memory map stays on disk. Grey runs from the 1st to the 99th percentile of the rows' own slices. Both slices are
    drawn square, as the field of view of BrgSA's grid is a cube.
    """
    from PIL import Image

    if volumes.ndim != 4 or 0 in volumes.shape[1:]:
        raise ExplorerError(f"volumes has shape {volumes.shape}; give (N, X, Y, Z).")
    pairs = []
    for row in rows:
        volume = np.asarray(volumes[row], dtype=np.float32)
        pairs.append((volume[:, :, volume.shape[2] // 2].T, volume[:, volume.shape[1] // 2, ::-1].T))
    if not pairs:
        return np.zeros((0, size, 2 * size), dtype=np.uint8)
    low, high = np.percentile(np.concatenate([part.ravel() for pair in pairs for part in pair]), [1, 99])

    def square(part: np.ndarray) -> np.ndarray:
        grey = np.clip((part - low) / max(high - low, 1e-6), 0, 1)
        image = Image.fromarray((255 * grey).round().astype(np.uint8))
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))

    return np.stack([np.hstack([square(axial), square(coronal)]) for axial, coronal in pairs])


def data_uri(image: np.ndarray) -> str:
    """PNG of an image (H, W) or (H, W, 3), uint8, as a ``data:`` address."""
    from PIL import Image

    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.shape[2:] not in ((), (3,)):
        raise ExplorerError(
            f"a thumbnail is {pixels.dtype} {pixels.shape}; give uint8 (height, width) or (height, width, 3)."
        )
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def png(image: np.ndarray) -> bytes:
    """An image as :func:`data_uri` takes it, as the bytes of a PNG: what the column "thumbnail" of embeddings holds."""
    return base64.b64decode(data_uri(image).partition(",")[2])


def own_thumbnails(points: pd.DataFrame, given: Sequence | None) -> tuple[pd.DataFrame, Sequence | None]:
    """The points without their column "thumbnail", and its PNGs as images where no others are given."""
    from PIL import Image

    if "thumbnail" not in points.columns:
        return points, given
    column, rest = points["thumbnail"], points.drop(columns="thumbnail")
    if given is not None or column.isna().any():
        return rest, given
    images = {}
    for row, held in enumerate(column):
        try:
            if held not in images:
                with Image.open(io.BytesIO(held), formats=["PNG"]) as opened:
                    images[held] = np.asarray(opened.convert("L" if opened.mode in ("L", "1", "I") else "RGB"))
        except (OSError, TypeError, ValueError, Image.DecompressionBombError):
            raise ExplorerError(
                f"row {row} of column 'thumbnail' is no PNG; repair it or leave the column out."
            ) from None
    return rest, [images[held] for held in column]


# ---------------------------------------------------------------------- points
def checked(
    points: pd.DataFrame, columns: Sequence[str], places: Sequence[str], thumbnails: Sequence | None
) -> pd.DataFrame:
    named = points.index.name is not None and points.index.name not in points.columns
    check_text(**{f"entry {row} of the index": text for row, text in enumerate(points.index if named else ())})
    frame = points.reset_index(drop=not named)
    if not frame.columns.is_unique:
        raise ExplorerError(f"column '{frame.columns[frame.columns.duplicated()][0]}' is there twice; rename one.")
    check_text(**{f"the name of column {number}": name for number, name in enumerate(frame.columns)})
    for column in (*places, *columns):
        if column not in frame.columns:
            raise ExplorerError(f"there is no column '{column}'; the points have {', '.join(map(str, frame.columns))}.")
    if not len(frame):
        raise ExplorerError("there are no points; give at least one row.")
    for column in places:
        values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            raise ExplorerError(
                f"row {wrong[0]} of column '{column}' is {frame[column].iloc[wrong[0]]}; drop that row."
            )
        frame[column] = values
    if thumbnails is not None and len(thumbnails) != len(frame):
        raise ExplorerError(f"{len(thumbnails)} thumbnails for {len(frame)} points; give one a point, in their order.")
    limit = MAX_POINTS if thumbnails is None else MAX_THUMBNAILS
    if len(frame) > limit:
        what = "points" if thumbnails is None else "points with thumbnails"
        raise ExplorerError(f"{len(frame)} {what} are too many for one page; draw a sample of {limit}.")
    return frame


def is_measure(column: pd.Series) -> bool:
    """Whether a column is coloured by a scale: numbers other than a few whole ones."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    values = column.dropna().to_numpy(dtype=np.float64)
    return len(np.unique(values)) > MAX_GROUPS or not (values == values.round()).all()


def groups(column: pd.Series, *, most: int) -> pd.Series:
    """A column as texts, whole numbers without their ".0", "missing" where there is none."""
    missing = column.isna()
    if pd.api.types.is_float_dtype(column):
        column = column.map(lambda value: f"{value:g}")
    groups = column.astype(object).where(~missing, "missing").map(str)
    if groups.nunique() > most:
        raise ExplorerError(
            f"column '{column.name}' has {groups.nunique()} values and only {most} can be told apart; group them first."
        )
    return groups


def coded(column: pd.Series, *, most: int) -> dict[str, Any]:
    """A column of few values as :func:`groups` names them, and one small number a row."""
    texts = groups(column, most=most)
    check_text(**{f"row {row} of column '{column.name}'": text for row, text in enumerate(texts)})
    names, codes = np.unique(texts.to_numpy(dtype=object), return_inverse=True)
    return {"names": names.tolist(), "codes": packed(codes.astype(np.uint8))}


def packed(numbers: np.ndarray) -> dict[str, str]:
    """An array as the page unpacks it: its kind (u1, i4, f4, f8) and its bytes, little-endian."""
    flat = np.ascontiguousarray(numbers, dtype=numbers.dtype.newbyteorder("<")).ravel()
    return {"kind": f"{flat.dtype.kind}{flat.dtype.itemsize}", "data": base64.b64encode(flat.tobytes()).decode()}


def unpacked(held: dict[str, str]) -> np.ndarray:
    """What :func:`packed` was given, flat."""
    return np.frombuffer(base64.b64decode(held["data"]), dtype=f"<{held['kind']}")


def values(column: pd.Series) -> dict[str, Any]:
    """A column as the page holds it: numbers (NaN where missing), or its different texts and which each row has (-1: none)."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        exact = column.dtype != np.float32
        return {"values": packed(numbers if exact else numbers.astype(np.float32))}
    texts = [None if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]
    check_text(**{f"row {row} of column '{column.name}'": text for row, text in enumerate(texts) if text})
    codes, levels = pd.factorize(np.array(texts, dtype=object))
    return {"values": packed(codes.astype(np.int32)), "levels": list(levels)}


def uris(thumbnails: Sequence[np.ndarray] | np.ndarray) -> dict[str, Any]:
    """The different images as ``data:`` addresses, and which each point has."""
    made: dict[bytes, int] = {}
    images, codes = [], []
    for image in thumbnails:
        key = np.asarray(image).tobytes() + str(np.shape(image)).encode()
        if key not in made:
            made[key] = len(images)
            images.append(data_uri(image))
        codes.append(made[key])
    return {"images": images, "codes": packed(np.array(codes, dtype=np.int32))}


def scale() -> list[str]:
    """Colours from low to high: cividis, which people with any colour vision read alike."""
    from matplotlib import colormaps

    colours = colormaps["cividis"](np.linspace(0, 1, 128), bytes=True)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in colours.tolist()]


def check_text(**texts: Any) -> None:
    """Raise :class:`ExplorerError` at the first text, by its name, that holds half a surrogate pair: no page can."""
    for name, text in texts.items():
        if any("\ud800" <= letter <= "\udfff" for letter in str(text)):
            raise ExplorerError(f"{name} holds half a surrogate pair: {str(text)[:60]!a}; repair that text.")
