"""Instruction rows: the four file formats of chat tuning, read into and written from one canonical form.

A row is Hugging Face's conversational form, ``{"messages": [{"role": "user", "content": "..."}, ...]}``: an optional
system message, then user and assistant by turns, the assistant last. A dialogue without a turn is a row with no
messages: it is read, counted (:func:`count_empty`) and never lost on the way; a tuner must drop it and say so.

=========  ==================================================================================================
file       one row in it
=========  ==================================================================================================
Alpaca     JSON list of ``{"instruction", "input", "output"}``, optionally ``"history": [[user, assistant], ...]``
           and ``"system"``; the user's text is the instruction, plus a line break and the input if there is one
ShareGPT   JSON lines of ``{"conversation": [{"human", "assistant"}, ...]}`` (shareAI's common_zh_70k.jsonl)
comparison JSON list of Alpaca records whose ``"output"`` is ``[chosen, rejected]`` (LLaMA-Factory, Machine Mindset)
messages   JSON lines of rows as they are; read by :mod:`lib.training.chat_encoding`
=========  ==================================================================================================

Used by every paper that tunes a language model. Readers check every row first and raise :class:`DataError` naming the
file, the row and the remedy; writers refuse what a format cannot hold and leave a whole file or none.

    rows = read_sharegpt(folder / "common_zh_70k.jsonl")
    write_alpaca(folder / "sharegpt-70k.json", [row for row in rows if row["messages"]])       # read_data.py's rule
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, check_text, read_json, read_json_lines, write_json, write_json_lines

Row = dict[str, list[dict[str, str]]]

_ALPACA = ("instruction", "input", "output")
_ABOUT = ("conversation_id", "category", "dataset")  # what shareAI's files say beside the dialogue; not kept


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def dialogue(turns: Iterable[Sequence[str]], *, system: str = "") -> Row:
    """A row from ``[user, assistant]`` pairs; an empty `system` adds no message."""
    start = [{"role": "system", "content": system}] if system else []
    return {"messages": start + [message for one, other in turns for message in (user(one), assistant(other))]}


def turns_of(row: Row) -> tuple[str, list[tuple[str, str]]]:
    """The system text ("" when there is none) and the ``(user, assistant)`` pairs of a checked row."""
    messages = row["messages"]
    system = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    texts = [message["content"] for message in messages[bool(system) :]]
    return system, list(zip(texts[::2], texts[1::2], strict=True))


def count_empty(rows: Iterable[Row]) -> int:
    """How many rows hold no turn at all."""
    return sum(not row["messages"] for row in rows)


def check_row(row: Any, place: str) -> None:
    """Raises :class:`DataError`, beginning with `place`, unless `row` has the canonical form (or no message)."""
    check_keys(row, place, required=("messages",))
    messages = row["messages"]
    if not isinstance(messages, list):
        raise DataError(f"{place}: 'messages' is a {type(messages).__name__}; give a list of role and content.")
    expected = "user"
    for k, message in enumerate(messages, start=1):
        check_keys(message, f"{place}, message {k}", required=("role", "content"))
        check_text(message["content"], f"{place}, message {k}", "content")
        if k == 1 and message["role"] == "system" and message["content"]:
            continue
        if message["role"] != expected:
            raise DataError(
                f"{place}, message {k} is from {message['role']!r} where {expected!r} must speak; after an optional "
                f"system text, user and assistant speak by turns."
            )
        expected = "user" if expected == "assistant" else "assistant"
    if messages and messages[-1]["role"] != "assistant":
        raise DataError(f"{place} ends without an assistant's answer; complete the last turn or take it out.")


def _checked(path: Path, rows: Iterable[Row], *, empty: bool) -> list[tuple[str, list[tuple[str, str]]]]:
    """``turns_of`` each row for a writer of `path`; `empty` allows rows without a turn."""
    listed = list(rows)
    if not listed:
        raise DataError(f"there is no row to write to {path}; an empty file would look like a damaged one.")
    for number, row in enumerate(listed, start=1):
        check_row(row, f"row {number} for {path}")
        if not row["messages"] and not empty:
            raise DataError(f"row {number} for {path} has no turn, which this format cannot hold; drop it and say so.")
    return [turns_of(row) for row in listed]


# ---------------------------------------------------------------------------------------------------------- Alpaca
def _records(path: Path, *, pair: bool) -> list[dict[str, Any]]:
    records = read_json(path, holds=list)
    for number, record in enumerate(records, start=1):
        place = f"{path}, row {number}"
        check_keys(record, place, required=_ALPACA, optional=("history", "system"))
        for key in ("instruction", "input", *(["system"] if "system" in record else [])):
            check_text(record[key], place, key)
        _check_history(record.get("history", []), place)
        output = record["output"]
        if pair and (not isinstance(output, list) or len(output) != 2):
            raise DataError(f"{place}: 'output' is no [chosen, rejected] pair; give two answers, the better one first.")
        for text in output if pair else [output]:
            check_text(text, place, "output")
    return records


def alpaca_records(path: Path) -> list[dict[str, Any]]:
    """The records of an Alpaca file exactly as they stand in it, each checked."""
    return _records(path, pair=False)


def _check_history(history: Any, place: str) -> None:
    if not isinstance(history, list):
        raise DataError(f"{place}: 'history' is a {type(history).__name__}; give a list of [user, assistant] pairs.")
    for k, pair in enumerate(history, start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"{place}: entry {k} of 'history' is no [user, assistant] pair; complete or remove it.")
        for text in pair:
            check_text(text, place, f"history, entry {k}")


def alpaca_row(record: dict[str, Any]) -> Row:
    """The canonical row of one Alpaca record (LLaMA-Factory's rule: history first, then instruction and input)."""
    query = f"{record['instruction']}\n{record['input']}" if record["input"] else record["instruction"]
    return dialogue([*record.get("history", []), [query, record["output"]]], system=record.get("system", ""))


def read_alpaca(path: Path) -> list[Row]:
    """Rows of an Alpaca list, with or without ``history``."""
    return [alpaca_row(record) for record in alpaca_records(path)]


def write_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """A JSON list as it is, e.g. of :func:`alpaca_records`: equal records are read back."""
    if not records:
        raise DataError(f"there is no row to write to {path}; an empty file would look like a damaged one.")
    write_json(path, list(records))


def write_alpaca(path: Path, rows: Iterable[Row], *, history: bool = True) -> None:
    """Rows as an Alpaca list, ``input`` empty: the last turn is the instruction, earlier ones go to ``history``.

    ``history=False`` writes the three plain fields and refuses a row with several turns. A system text is written
    only where there is one. Rows without a turn are refused.
    """
    records = []
    for number, (system, turns) in enumerate(_checked(path, rows, empty=False), start=1):
        if len(turns) > 1 and not history:
            raise DataError(f"row {number} for {path} has {len(turns)} turns; write it with history=True.")
        record: dict[str, Any] = {"instruction": turns[-1][0], "input": "", "output": turns[-1][1]}
        if history:
            record["history"] = [list(pair) for pair in turns[:-1]]
        records.append(record | ({"system": system} if system else {}))
    write_records(path, records)


# -------------------------------------------------------------------------------------------------------- ShareGPT
def read_sharegpt(path: Path) -> list[Row]:
    """Rows of a ShareGPT JSON-lines file; a dialogue with no turn stays, as a row without messages."""
    rows = []
    for place, record in read_json_lines(path):
        check_keys(record, place, required=("conversation",), optional=_ABOUT)
        turns = record["conversation"]
        if not isinstance(turns, list):
            raise DataError(f"{place}: 'conversation' is a {type(turns).__name__}; give a list of turns.")
        for k, turn in enumerate(turns, start=1):
            check_keys(turn, f"{place}, turn {k}", required=("human", "assistant"))
            for key in ("human", "assistant"):
                check_text(turn[key], f"{place}, turn {k}", key)
        rows.append(dialogue([[turn["human"], turn["assistant"]] for turn in turns]))
    return rows


def write_sharegpt(path: Path, rows: Iterable[Row]) -> None:
    """Rows as ShareGPT JSON lines; the format has no place for a system text, which is refused."""
    records = []
    for number, (system, turns) in enumerate(_checked(path, rows, empty=True), start=1):
        if system:
            raise DataError(f"row {number} for {path} has a system text, which this format cannot hold; use Alpaca.")
        records.append({"conversation": [{"human": one, "assistant": other} for one, other in turns]})
    write_json_lines(path, records)


# ------------------------------------------------------------------------------------------------------ comparison
def comparison_records(path: Path) -> list[dict[str, Any]]:
    """The records of a comparison file exactly as they stand in it, each checked."""
    return _records(path, pair=True)


def read_comparisons(path: Path) -> list[Row]:
    """Preference rows ``{"prompt": [messages], "chosen": [message], "rejected": [message]}``, as TRL takes them."""
    rows = []
    for record in comparison_records(path):
        messages = alpaca_row({**record, "output": ""})["messages"]
        chosen, rejected = ([assistant(text)] for text in record["output"])
        rows.append({"prompt": messages[:-1], "chosen": chosen, "rejected": rejected})
    return rows


def write_comparisons(path: Path, rows: Sequence[Row]) -> None:
    """Preference rows as a comparison list, ``input`` empty; ``history`` and ``system`` only where there is one."""
    records = []
    for number, row in enumerate(rows, start=1):
        place = f"row {number} for {path}"
        check_keys(row, place, required=("prompt", "chosen", "rejected"))
        for key in ("chosen", "rejected"):
            if not isinstance(row[key], list) or len(row[key]) != 1:
                raise DataError(f"{place}: {key!r} must be a list of one assistant message; cut the prompt from it.")
            check_row({"messages": [*row["prompt"], *row[key]]}, place)
        system, turns = turns_of({"messages": [*row["prompt"], *row["chosen"]]})
        pair = [turns[-1][1], row["rejected"][0]["content"]]
        record: dict[str, Any] = {"instruction": turns[-1][0], "input": "", "output": pair}
        if turns[:-1]:
            record["history"] = [list(one) for one in turns[:-1]]
        records.append(record | ({"system": system} if system else {}))
    write_records(path, records)


# -------------------------------------------------------------------------------------------------------- messages
def write_messages(path: Path, rows: Iterable[Row]) -> None:
    """Rows as JSON lines in the canonical form."""
    listed = list(rows)
    _checked(path, listed, empty=True)
    write_json_lines(path, listed)
