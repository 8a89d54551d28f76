"""CSV, JSON and JSON lines: one strict reader and one writer of each, and the one error of this room.

The libraries' own readers let wrong files pass: pandas fills a short line with NaN and turns one field too many into an
index, Python's JSON reader keeps the last of two equal keys and accepts half a surrogate pair, which no file can hold. A
released file that was cut or edited would give wrong numbers without a word. Writers leave a whole file or none.

    table = read_csv(root / "custom.csv", columns=["file_name"])      # all text; index = line number in the file
    rows = read_csv(root / "metadata.csv", key="VolumeName")          # index = the key, each once
    for place, record in read_json_lines(path): check_keys(record, place, required=("conversation",))
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_SURROGATE = re.compile("[\ud800-\udfff]")
ABSENT = "does not exist; download or generate it first."


class DataError(ValueError):
    """A file or record that cannot be used as it is; one sentence that names file, row or column, and the remedy."""


def one_line(error: Exception) -> str:
    """The message of a library's error without its line breaks, to go inside a `DataError`."""
    return " ".join(str(error).split()) or type(error).__name__


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes `content` beside `path`, then renames: a killed writer leaves the old file or none, never half a one."""
    path = Path(path)
    try:
        content = content.encode() if isinstance(content, str) else content
    except UnicodeEncodeError:
        raise DataError(f"{path} cannot hold half of a surrogate pair, which is no character; remove it.") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------------- CSV
def read_csv(path: Path, *, columns: Iterable[str] = (), key: str | None = None) -> pd.DataFrame:
    """A CSV file as a frame of ``str`` ("" where empty), indexed by its column `key`, else by line number (header: 1).

    Raises :class:`DataError` for a missing, empty, undecodable or header-only file, a repeated or absent column, a line
    with another number of fields than the header, and a key that is empty or occurs twice.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, fields) for fields in reader if fields]
            if any("\0" in field for _, fields in lines for field in fields):
                raise csv.Error("it holds NUL, as a disk leaves where nothing was written")
    except FileNotFoundError:
        raise DataError(f"{path} {ABSENT}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV table in UTF-8 ({one_line(error)}); fetch it again.") from error
    if len(lines) < 2:
        raise DataError(f"{path} has no row under its header; it was probably cut off, fetch it again.")
    header = lines[0][1]
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{path} has the column '{column}' {header.count(column)} times; keep one of them.")
    for column in (*([key] if key else []), *columns):
        if column not in header:
            raise DataError(f"{path} lacks column '{column}' (it has {', '.join(header[:6])}); add or rename it.")
    for number, fields in lines[1:]:
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {number} has {len(fields)} fields where the header has {len(header)}; the file was "
                f"cut or edited, fetch it again."
            )
    index = pd.Index([number for number, _ in lines[1:]], name="line")
    table = pd.DataFrame([fields for _, fields in lines[1:]], columns=header, index=index, dtype=object)
    if key is None:
        return table
    for line, value in table[key].items():
        if not value.strip():
            raise DataError(f"{path}, line {line}: {key} is empty; name the row or take it out.")
    positions(table, table[key], path)
    return table.set_index(key)


def write_csv(path: Path, table: pd.DataFrame, *, key: str | None = None) -> None:
    """`table` as :func:`read_csv` reads it; `key` names its index, which is otherwise left out."""
    if key is not None and key not in table.columns:
        table = table.rename_axis(index=key).reset_index()
    write_atomic(path, table.to_csv(index=False, lineterminator="\n"))


def positions(table: pd.DataFrame, keys: Iterable[str], path: Path) -> dict[str, int]:
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


def to_number(text: str) -> float:
    """A decimal number; ValueError for "1_5" and the digits of other scripts too, which `float` alone takes for 15."""
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text!r} is no decimal number")
    return float(text)


def to_numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    """All cells of :func:`read_csv` as float64 (N, K).

    :class:`DataError` names line and column of a cell that is not a finite number.
    """
    values = np.empty(table.shape)
    for k, column in enumerate(table.columns):
        for i, text in enumerate(table[column]):
            try:
                values[i, k] = to_number(text)
            except ValueError:
                values[i, k] = math.nan
            if not math.isfinite(values[i, k]):
                raise DataError(
                    f"{path}, line {table.index[i]}, column '{column}' holds '{text}', which is no finite number; "
                    f"score that image again or fetch the file again."
                )
    return values


# ------------------------------------------------------------------------------------------- JSON and JSON lines
class _Repeated(dict):
    """The key that a JSON object holds more than once; told when the place of the object is known."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content, keys = dict(pairs), [key for key, _ in pairs]
    return content if len(content) == len(keys) else _Repeated({max(keys, key=keys.count): None})


def _check_content(content: Any, place: str) -> None:
    """Refuses, at any depth, an object with two equal keys and a text or key with half of a surrogate pair."""
    waiting = [("", content)]
    while waiting:  # not recursive: the parser may go deeper than a Python function
        key, one = waiting.pop()
        if isinstance(one, _Repeated):
            raise DataError(f"{place} has the key {next(iter(one))[:60]!r} more than once; keep one of them.")
        if isinstance(one, dict):
            waiting += [pair for name, value in one.items() for pair in ((name, name), (name, value))]
        elif isinstance(one, list):
            waiting += [(key, value) for value in one]
        elif isinstance(one, str):
            check_text(one, place, key)


def _text_of(path: Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} {ABSENT}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a text file in UTF-8 ({one_line(error)}); fetch it again.") from error


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        why = "a number has thousands of digits" if "integer string" in str(error) else one_line(error)
        raise DataError(f"{place} is not JSON ({why}); it was cut off or edited, fetch or generate it again.") from None


def read_json(path: Path, *, holds: type[dict] | type[list] = dict) -> Any:
    """The object, or with ``holds=list`` the list of at least one row, that a JSON file holds.

    Raises :class:`DataError` for anything else and, at any depth, for two equal keys of an object and half of a
    surrogate pair, naming the row (from 1) it is in.
    """
    content = _parse(_text_of(path), str(path))
    if not isinstance(content, holds):
        wanted = "an object" if holds is dict else "a list of rows; JSON lines go to the ShareGPT or messages reader"
        raise DataError(f"{path} holds a {type(content).__name__}, not {wanted}: fetch or generate it again.")
    if holds is dict:
        _check_content(content, str(path))
    elif not content:
        raise DataError(f"{path} holds no row; it was probably cut off, fetch or generate it again.")
    else:
        for number, row in enumerate(content, start=1):
            _check_content(row, f"{path}, row {number}")
    return content


def write_json(path: Path, content: object) -> None:
    write_atomic(path, json.dumps(content, ensure_ascii=False, indent=1))


def read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """``(place, record)`` of each line, `place` naming file and line; at least one line, no blank ones between.

    UTF-8 with or without byte order mark; every record is checked as in :func:`read_json`, its keys and types are not.
    """
    lines = _text_of(path).rstrip().split("\n")  # not splitlines: U+2028 is a letter inside a text
    if lines == [""]:
        raise DataError(f"{path} holds no row; it was probably cut off, fetch or generate it again.")
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            raise DataError(f"{place} is blank; every line must be one row: delete it or fetch the file again.")
        record = _parse(line, place)
        _check_content(record, place)
        yield place, record


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    write_atomic(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def check_keys(record: Any, place: str, *, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Raises :class:`DataError` unless `record` is an object with all `required` keys and no others but `optional`."""
    if not isinstance(record, dict):
        raise DataError(f"{place} is a {type(record).__name__}, not an object with {', '.join(required)}; correct it.")
    for key in required:
        if key not in record:
            raise DataError(f"{place} lacks {key!r} (it has {', '.join(map(repr, record))[:80]}); add or rename it.")
    for key in record:
        if key not in (*required, *optional):
            raise DataError(
                f"{place} has the key {key[:40]!r}, which this format does not know (it has "
                f"{', '.join((*required, *optional))}); rename or remove it."
            )


def check_text(value: Any, place: str, key: str) -> None:
    """Raises :class:`DataError` unless `value` is text that a file can hold (no half of a surrogate pair)."""
    if not isinstance(value, str):
        raise DataError(f'{place}: {key!r} is a {type(value).__name__}, not text; give a string, "" for none.')
    if not value.isascii() and _SURROGATE.search(value):
        raise DataError(f"{place}: {key!r} holds half of a surrogate pair, which is no character; remove it.")
