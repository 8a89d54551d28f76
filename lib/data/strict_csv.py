"""CSV files without a key column, read without guessing: cells stay text, every line must be complete.

pandas fills a short line with NaN and turns one field too many into an index; a released file that was cut or edited
would give wrong numbers without a word. Used by the readers of released scores, image lists and result summaries.

    table = read_strict(root / "custom.csv", required=["file_name"])      # index = line number in the file
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.errors import DataError


def read_strict(path: Path, *, required: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file as a frame of ``str``, indexed by line number (the header is line 1).

    Raises :class:`DataError` for a missing, empty, undecodable or header-only file, a repeated or absent column and a
    line with another number of fields than the header.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, fields) for fields in reader if fields]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; download or generate it first.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV table in UTF-8 ({error}); fetch it again.") from error
    if len(lines) < 2:
        raise DataError(f"{path} has no row under its header; it was probably cut off, fetch it again.")
    header = lines[0][1]
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{path} has the column '{column}' {header.count(column)} times; keep one of them.")
    for column in required:
        if column not in header:
            raise DataError(f"{path} lacks column '{column}' (it has {', '.join(header[:6])}); add or rename it.")
    for number, fields in lines[1:]:
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {number} has {len(fields)} fields where the header has {len(header)}; the file was "
                f"cut or edited, fetch it again."
            )
    index = pd.Index([number for number, _ in lines[1:]], name="line")
    return pd.DataFrame([fields for _, fields in lines[1:]], columns=header, index=index, dtype=object)


def to_numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    """All cells of :func:`read_strict` as float64 (N, K).

    :class:`DataError` names line and column of a cell that is not a finite number.
    """
    values = np.empty(table.shape)
    for k, column in enumerate(table.columns):
        for i, text in enumerate(table[column]):
            try:
                values[i, k] = float(text)
            except ValueError:
                values[i, k] = math.nan
            if not math.isfinite(values[i, k]):
                raise DataError(
                    f"{path}, line {table.index[i]}, column '{column}' holds '{text}', which is no finite number; "
                    f"score that image again or fetch the file again."
                )
    return values


def positions(table: pd.DataFrame, keys: Sequence[str], path: Path) -> dict[str, int]:
    """Row position of each key (one key a row); :class:`DataError` names both lines of a key that occurs twice."""
    position: dict[str, int] = {}
    for i, key in enumerate(keys):
        if key in position:
            first = table.index[position[key]]
            raise DataError(
                f"{path} has '{key}' on line {first} and again on line {table.index[i]}; delete one of the rows."
            )
        position[key] = i
    return position
