"""Damage to a good file, drawn by hypothesis: cut, other encodings, wrong columns, keys and types, NaN, huge fields.

``damaged(name, content)`` gives a strategy of contents; the end of the name decides what is known of its form.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from typing import Any

from hypothesis import strategies as st

HUGE = "x" * 200_000
CELLS = [
    "",
    " ",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "1_0",
    "\u0663",
    "None",
    "True",
    '"',
    "a,b",
    "line\nbreak",
    "'",
    HUGE,
]
CELLS += ["\u202e", "\x1b[31m"]
VALUES: list[Any] = [None, True, 0, -1, 3.5, 10**400, float("nan"), float("inf"), "", " ", "x", HUGE, "\ud800"]
VALUES += [[], {}, [[]], [None], {"a": 1}, ["x", 3]]
ENCODINGS = ["utf-16", "utf-32", "cp500"]


@st.composite
def of_bytes(draw, content: bytes) -> bytes:
    """Any file: cut off, empty, bytes changed, put in or taken out, half of the changes near the beginning."""
    how = draw(st.sampled_from(["cut", "change", "change", "insert", "drop", "nothing", "twice", "zeros"]))
    if how == "nothing" or not content:
        return b""
    reach = draw(st.sampled_from([min(64, len(content)), len(content)]))
    place = draw(st.integers(0, reach - 1))
    if how == "cut":
        return content[:place]
    if how == "twice":
        return content + content
    if how == "zeros":
        return content[:place] + bytes(len(content) - place)
    if how == "drop":
        return content[:place] + content[place + draw(st.integers(1, 40)) :]
    given = draw(st.binary(min_size=1, max_size=4))
    return content[:place] + given + content[place + (len(given) if how == "change" else 0) :]


@st.composite
def of_csv(draw, content: bytes) -> bytes:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    row = draw(st.integers(0, len(rows) - 1))
    column = draw(st.integers(0, max(0, len(rows[row]) - 1)))
    cells = ["cell", "header", "drop cell", "more", "twice", "drop row", "drop column", "swap", "blank", "only header"]
    how = draw(st.sampled_from(cells))
    if how in ("cell", "header"):
        rows[0 if how == "header" else row][column : column + 1] = [draw(st.sampled_from(CELLS))]
    elif how == "drop cell":
        del rows[row][column : column + 1]
    elif how == "more":
        rows[row].append(draw(st.sampled_from(CELLS)))
    elif how == "twice":
        rows.insert(row, list(rows[row]))
    elif how == "drop row":
        del rows[row]
    elif how == "drop column":
        rows = [line[:column] + line[column + 1 :] for line in rows]
    elif how == "swap":
        rows = [line[::-1] for line in rows]
    elif how == "blank":
        rows.insert(row, [])
    else:
        rows = rows[:1]
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode("utf-8", "surrogatepass")


def _nodes(content: Any, way: tuple = ()) -> list[tuple]:
    """The places in some JSON, the deeper ones of long lists left out."""
    found = [way]
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for number, (key, value) in enumerate(pairs):
        if number < 30:
            found += _nodes(value, (*way, key))
    return found


def _written(content: Any) -> str:
    try:
        return json.dumps(content, ensure_ascii=True)
    except ValueError:  # a number of thousands of digits
        return "[" + "9" * 5000 + "]"


@st.composite
def of_value(draw, content: Any) -> str:
    """JSON with one place changed: another value, a key that is gone, renamed, added or there twice, too deep."""
    content = json.loads(json.dumps(content))
    way = draw(st.sampled_from(_nodes(content)))
    how = draw(st.sampled_from(["value", "value", "value", "drop", "rename", "add", "again", "deep"]))
    if how == "deep":
        return "[" * 5000 + "]" * 5000
    if not way:
        return _written(draw(st.sampled_from(VALUES)))
    parent = content
    for key in way[:-1]:
        parent = parent[key]
    key, value = way[-1], draw(st.sampled_from(VALUES))
    if how == "drop":
        del parent[key]
    elif how == "value" or isinstance(parent, list):
        if how == "again":
            parent.append(parent[key])
        else:
            parent[key] = value
    elif how == "rename":
        parent["other"] = parent.pop(key)
    elif how == "add":
        parent["other"] = value
    else:
        text = _written(content)
        mark = json.dumps(key) + ": "
        return text.replace(mark, f"{mark}1, {mark}", 1)
    return _written(content)


@st.composite
def of_json(draw, content: bytes) -> bytes:
    return draw(of_value(json.loads(content.decode("utf-8-sig")))).encode("utf-8", "surrogatepass")


@st.composite
def of_lines(draw, content: bytes) -> bytes:
    lines = content.decode("utf-8-sig").rstrip("\n").split("\n")
    place = draw(st.integers(0, len(lines) - 1))
    how = draw(st.sampled_from(["value", "value", "value", "drop", "twice", "blank", "half"]))
    if how == "value":
        lines[place] = draw(of_value(json.loads(lines[place])))
    elif how == "drop":
        del lines[place]
    elif how == "half":
        lines[place] = lines[place][: len(lines[place]) // 2]
    else:
        lines.insert(place, "" if how == "blank" else lines[place])
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@st.composite
def of_other_encoding(draw, content: bytes) -> bytes:
    return content.decode("utf-8-sig").encode(draw(st.sampled_from(ENCODINGS)), "replace")


@st.composite
def of_gzip(draw, content: bytes) -> bytes:
    """A sound gzip whose content is damaged."""
    return gzip.compress(draw(of_bytes(gzip.decompress(content))), compresslevel=1)


@st.composite
def of_zip(draw, content: bytes) -> bytes:
    """A sound archive of which one member is damaged, gone, renamed, or leads outside."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        members = {info.filename: opened.read(info) for info in opened.infolist()}
    name = draw(st.sampled_from(sorted(members)))
    how = draw(st.sampled_from(["damage", "damage", "damage", "drop", "rename", "outside", "add"]))
    if how == "damage":
        members[name] = draw(damaged(name, members[name]))
    elif how == "add":
        members["other.csv"] = b"a,b\n"
    else:
        held = members.pop(name)
        members |= {"drop": {}, "rename": {f"{name}x": held}, "outside": {f"../{name}": held}}[how]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for one, held in members.items():
            written.writestr(one, held)
    return stream.getvalue()


def damaged(name: str, content: bytes) -> st.SearchStrategy[bytes]:
    """Contents that a damaged file ``name`` may have whose good one is ``content``."""
    ends = {".csv": of_csv, ".json": of_json, ".jsonl": of_lines, ".gz": of_gzip, ".npz": of_zip, ".zip": of_zip}
    known = next((make(content) for end, make in ends.items() if name.endswith(end)), None)
    if known is None:
        return of_bytes(content)
    text = name.endswith((".csv", ".json", ".jsonl"))
    return st.one_of(known, known, of_bytes(content), *([of_other_encoding(content)] if text else []))
