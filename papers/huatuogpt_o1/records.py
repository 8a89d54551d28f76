"""The JSON files of the release: exam questions, verifiable problems, SFT rows; one reader and writer for all scripts.

=============  ==============================================================================================================
rows           keys
=============  ==============================================================================================================
exam           ``question``, ``options`` {letter: text}, ``answer_idx``, ``answer``
verifiable     ``Open-ended Verifiable Question``, ``Ground-True Answer``
SFT            ``Question``, ``Complex_CoT``, ``Response``
``demo_data``  all nine; so it is valid input of the three scripts
=============  ==============================================================================================================

    rows = read_records(run.source("records") / "data/demo_data.json", EXAM, VERIFIABLE, SFT)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, check_text, read_json, write_json

QUESTION, TRUTH = "Open-ended Verifiable Question", "Ground-True Answer"
EXAM = ("question", "options", "answer_idx", "answer")
VERIFIABLE = (QUESTION, TRUTH)
SFT = ("Question", "Complex_CoT", "Response")
LETTERS = "ABCDEFGHIJKLMN"  # as many options as the released scorer knows

Record = dict[str, Any]


def check_record(row: Any, place: str, keys: Sequence[str]) -> None:
    """Raises :class:`DataError`, beginning with ``place``, unless ``row`` has ``keys``, each a text that is not blank, and
    sound options whose letter ``answer_idx`` names the option ``answer``."""
    others = [key for key in row if key not in keys] if isinstance(row, dict) else []
    check_keys(row, place, required=keys, optional=others)
    for key in keys:
        if key == "options":
            _check_options(row, place)
            continue
        check_text(row[key], place, key)
        if not row[key].strip():
            raise DataError(f"{place}: {key!r} is blank; complete it or take the row out.")
    if "options" in keys:
        right = row["options"].get(row["answer_idx"])
        if right is None:
            raise DataError(
                f"{place}: 'answer_idx' is {row['answer_idx']!r}, no letter of its options; correct the letter."
            )
        if right.strip() != row["answer"].strip():
            raise DataError(f"{place}: option {row['answer_idx']} is not the text under 'answer'; correct one of them.")


def _check_options(row: Record, place: str) -> None:
    options = row["options"]
    if not isinstance(options, dict) or len(options) < 2 or "".join(options) != LETTERS[: len(options)]:
        raise DataError(f"{place}: 'options' must map the letters A, B, C ... to two texts or more; correct it.")
    for letter, text in options.items():
        check_text(text, place, f"options.{letter}")
        if not text.strip():
            raise DataError(f"{place}: option {letter} is blank; complete it or take the row out.")


def read_records(path: Path, *kinds: Sequence[str]) -> list[Record]:
    """The rows of a JSON list that must have the keys of each of ``kinds``; other keys are kept as they are.

    Raises :class:`DataError` naming file, row (from 1) and remedy for what is malformed or of another layout.
    """
    keys = [key for kind in kinds for key in kind]
    rows = read_json(path, holds=list)
    for number, row in enumerate(rows, start=1):
        check_record(row, f"{path}, row {number}", keys)
    return rows


def write_records(path: Path, rows: Iterable[Record], *kinds: Sequence[str]) -> None:
    """The rows as a JSON list with exactly the keys of ``kinds``, in that order; whole or not at all."""
    keys = [key for kind in kinds for key in kind]
    listed = list(rows)
    for number, row in enumerate(listed, start=1):
        check_record(row, f"row {number} for {path}", keys)
    write_json(path, [{key: row[key] for key in keys} for row in listed])


def listed_options(row: Record) -> str:
    """The options as the released prompts list them: ``A. text`` a line."""
    return "\n".join(f"{letter}. {text}" for letter, text in row["options"].items())
