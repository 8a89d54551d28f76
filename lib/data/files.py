"""CSV and JSON files read with one-sentence errors and written whole or not at all.

Used by the readers and writers of this room.

    table = read_table(path, columns=["XYSpacing"], key="VolumeName")
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.errors import DataError


def write_atomic(path: Path, content: bytes) -> None:
    """Writes `content` beside `path`, then renames: a killed writer leaves the old file or none, never half a one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def one_line(error: Exception) -> str:
    """The message of a library's error without its line breaks, to go inside a `DataError`."""
    return " ".join(str(error).split()) or type(error).__name__


def read_table(path: Path, *, columns: Iterable[str], key: str = "VolumeName") -> pd.DataFrame:
    """A CSV indexed by its `key` column, as text; `DataError` if it is missing, lacks columns, or repeats a key."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; download or generate the dataset.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV table ({one_line(error)}); fetch it again.") from error
    missing = [column for column in (key, *columns) if column not in table.columns]
    if missing:
        raise DataError(f"{path} lacks column {missing[0]!r} (it has {', '.join(table.columns)}); add or rename it.")
    if table[key].isna().any():
        row = int(np.flatnonzero(table[key].isna())[0]) + 1
        raise DataError(f"{path}, row {row}: {key} is empty; name the volume or take the row out.")
    if table[key].duplicated().any():
        repeated = table[key][table[key].duplicated()].iloc[0]
        raise DataError(f"{path}: {key} {repeated} occurs more than once; keep one row of it.")
    return table.set_index(key)


def table_bytes(rows: pd.DataFrame, *, key: str = "VolumeName") -> bytes:
    """CSV bytes of `rows`, whose key may be a column or the index."""
    rows = rows if key in rows.columns else rows.rename_axis(index=key).reset_index()
    return rows.to_csv(index=False, lineterminator="\n").encode()


def write_json(path: Path, content: object) -> None:
    write_atomic(path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def read_json(path: Path) -> dict:
    def refuse_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        if len(content) < len(pairs):
            keys = [key for key, _ in pairs]
            raise DataError(f"{path}: key {max(keys, key=keys.count)[:60]!r} occurs more than once; merge its entries.")
        return content

    try:
        content = json.loads(Path(path).read_bytes(), object_pairs_hook=refuse_repeats)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; download or generate the dataset.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({one_line(error)}); fetch or generate it again.") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__}, not a JSON object; see the format in lib/data/ct_rate.py."
        )
    return content
