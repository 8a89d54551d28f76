"""JSON lists and JSON lines of records, read so that nothing wrong passes: the floor under the instruction formats.

Python's reader keeps the last of two equal keys, accepts half a surrogate pair, which no file can hold, and knows no
row numbers. Used by :mod:`lib.data.instructions`.

>>> check_keys({"conversation": []}, "rows.jsonl, line 3", required=("conversation",))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.data.errors import DataError
from lib.data.files import one_line, write_atomic


class _Repeated(dict):
    """A JSON object in which a key occurs twice; told when the row that holds it is known."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) == len(pairs):
        return content
    repeated = _Repeated(content)
    keys = [key for key, _ in pairs]
    repeated.key = max(keys, key=keys.count)
    return repeated


def _text_of(path: Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; download or generate the dataset.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a text file in UTF-8 ({one_line(error)}); fetch it again.") from error


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{place} is not JSON ({one_line(error)}); it was cut off or edited, fetch it again.") from None


def read_json_list(path: Path) -> list[Any]:
    """The entries of a file that holds one JSON list; row 1 is the first. At least one, or :class:`DataError`."""
    content = _parse(_text_of(path), str(path))
    if not isinstance(content, list):
        raise DataError(
            f"{path} holds a {type(content).__name__}, not a list of rows; JSON lines go to the ShareGPT or messages "
            f"reader."
        )
    if not content:
        raise DataError(f"{path} holds no row; it was probably cut off, fetch or generate it again.")
    return content


def read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """``(place, record)`` of each line, `place` naming file and line; at least one line, no blank ones between."""
    lines = _text_of(path).rstrip().split("\n")  # not splitlines: U+2028 is a letter inside a text
    if lines == [""]:
        raise DataError(f"{path} holds no row; it was probably cut off, fetch or generate it again.")
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            raise DataError(f"{place} is blank; every line must be one row: delete it or fetch the file again.")
        yield place, _parse(line, place)


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def check_keys(record: Any, place: str, *, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Raises :class:`DataError` unless `record` is an object with all `required` keys and no others but `optional`."""
    if not isinstance(record, dict):
        raise DataError(f"{place} is a {type(record).__name__}, not an object with {', '.join(required)}; correct it.")
    if isinstance(record, _Repeated):
        raise DataError(f"{place} has the key {record.key!r} more than once; keep one of them.")
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
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise DataError(f"{place}: {key!r} holds half of a surrogate pair, which is no character; remove it.")
