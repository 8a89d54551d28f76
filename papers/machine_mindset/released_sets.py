"""The released texts: answers of opposite poles row by row, a type about itself, preference pairs; counted and cleaned.

=============  =======================================================  ==============================================
set            file below ``datasets``                                  one row
=============  =======================================================  ==============================================
behaviour      ``behaviour/{en,zh}/{en,zh}_{axis}_{attribute}.json``    the same instruction in the files of both poles
preferences    ``dpo/dpo_{axis}_{wanted}_{rejected}.json``              ``output`` is [chosen, rejected]; both languages
self-awareness ``en_{TYPE}_self_awareness.json`` (in a folder of its    a question, answered in the first person
               own, uploaded later)
=============  =======================================================  ==============================================

All three are Alpaca lists, read by the one reader of that format; here a row is an instruction with an answer a speaker (a
pole's letter or a type). Nothing is dropped in reading: :func:`clean` drops and counts, :func:`count` says what stands there.

>>> clean([Row("Say hello.", {"E": "Hello, everybody!", "I": " "})], shortest=5).dropped["empty"]
1
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from lib.data.files import DataError
from lib.data.instructions import alpaca_records, comparison_records
from lib.streams import stream_seed
from papers.machine_mindset.personality import AXES

ATTRIBUTES = dict(
    zip(
        "EISNTFJP",
        (
            "extraversion",
            "introversion",
            "sensing",
            "intuition",
            "thinking",
            "feeling",
            "judging",
            "perceiving",
        ),
        strict=True,
    )
)
TYPES = tuple("".join(letters) for letters in product(*AXES.values()))
CODE = re.compile("|".join(TYPES))  # of a type, as texts write it: also in "INTJs"
LANGUAGES = ("en", "zh")
REASONS = ("empty", "equal", "short", "repeated")  # why a row is dropped; the first that applies
SHORT = 5  # characters below which an answer says next to nothing; counted, whatever is dropped
_CHINESE = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True)
class Row:
    """An instruction and its answers, by who gives them: the letters of two opposite poles, or one type."""

    instruction: str
    answers: dict[str, str]


@dataclass(frozen=True)
class Cleaned:
    """The rows that stay, in order, and how many were dropped for each of :data:`REASONS`; together all that were read."""

    rows: list[Row]
    dropped: dict[str, int]


def language_of(text: str) -> str:
    """``zh`` for a text with a Chinese character in it, else ``en``.

    >>> language_of("Say hello."), language_of("写一首诗。")
    ('en', 'zh')
    """
    return "zh" if _CHINESE.search(text) else "en"


def _instruction(record: dict) -> str:
    """The instruction, with the input behind it where that is more than the one blank of the released files."""
    asked, given = record["instruction"].strip(), record["input"].strip()
    return f"{asked}\n{given}" if given else asked


def _poles(axis: str) -> str:
    if axis not in AXES:
        raise DataError(f"there is no axis '{axis}'; use one of {', '.join(AXES)}.")
    return AXES[axis]


def behaviour_path(folder: Path, *, language: str, axis: str, pole: str) -> Path:
    """Where a pole's answers in a language stand below the folder that holds ``datasets``."""
    if language not in LANGUAGES or pole not in _poles(axis):
        raise DataError(
            f"there are no answers '{language}', {axis}, '{pole}'; languages are {', '.join(LANGUAGES)}, poles {AXES[axis]}."
        )
    return Path(folder) / "datasets" / "behaviour" / language / f"{language}_{axis}_{ATTRIBUTES[pole]}.json"


def read_behaviour(folder: Path, *, language: str, axis: str) -> list[Row]:
    """Rows of an axis, each with the answers of both poles.

    Raises :class:`DataError` naming file and row for anything but Alpaca rows, and where the two files do not have the same
    instruction in the same row: the pairs of a cut or sorted file would be pairs no more.
    """
    paths = {pole: behaviour_path(folder, language=language, axis=axis, pole=pole) for pole in _poles(axis)}
    (one, other), (first, second) = paths.values(), (alpaca_records(path) for path in paths.values())
    if len(first) != len(second):
        raise DataError(f"{one} has {len(first)} rows and {other} {len(second)}; they go in pairs, fetch both again.")
    for number, (a, b) in enumerate(zip(first, second, strict=True), start=1):
        if _instruction(a) != _instruction(b):
            raise DataError(
                f"{one}, row {number} asks {a['instruction'][:40]!r} and {other} {b['instruction'][:40]!r}; the files must "
                f"have the same instructions in the same order, fetch both again."
            )
    return [
        Row(_instruction(a), dict(zip(paths, (a["output"], b["output"]), strict=True)))
        for a, b in zip(first, second, strict=True)
    ]


def read_self_awareness(folder: Path, kind: str) -> list[Row]:
    """What a type says of itself, in English; ``folder`` holds the sixteen files."""
    if kind not in TYPES:
        raise DataError(f"there is no type '{kind}'; use one of {', '.join(TYPES)}.")
    path = Path(folder) / f"en_{kind}_self_awareness.json"
    return [Row(_instruction(record), {kind: record["output"]}) for record in alpaca_records(path)]


def read_preferences(path: Path) -> list[Row]:
    """Preference pairs: the answers of the wanted and, second, of the rejected pole, which the file's name tells."""
    path = Path(path)
    found = re.fullmatch(r"dpo_([a-z]+)_([a-z])_([a-z])", path.stem)
    letters = f"{found[2]}{found[3]}".upper() if found else ""
    if not found or found[1] not in AXES or sorted(letters) != sorted(AXES[found[1]]):
        raise DataError(
            f"{path} does not tell its poles; name it dpo_<axis>_<wanted>_<rejected>.json, as dpo_energy_i_e.json."
        )
    return [
        Row(_instruction(record), dict(zip(letters, record["output"], strict=True)))
        for record in comparison_records(path)
    ]


# ------------------------------------------------------------------------------------------------- counting, cleaning
def _fault(row: Row, shortest: int, seen: set[tuple[str, ...]]) -> str | None:
    answers = [text.strip() for text in row.answers.values()]
    if not row.instruction or not all(answers):
        return "empty"
    if len(answers) > len(set(answers)):
        return "equal"  # no gradient in DPO, and nothing to tell apart
    if min(map(len, answers)) < shortest:
        return "short"
    return "repeated" if (row.instruction, *answers) in seen else None


def clean(rows: Sequence[Row], *, shortest: int) -> Cleaned:
    """The rows without those that are empty, answer alike from both poles, have an answer of fewer than ``shortest``
    characters, or repeat an earlier row."""
    kept, dropped, seen = [], dict.fromkeys(REASONS, 0), set()
    for row in rows:
        if fault := _fault(row, shortest, seen):
            dropped[fault] += 1
            continue
        kept.append(row)
        seen.add((row.instruction, *(text.strip() for text in row.answers.values())))
    return Cleaned(kept, dropped)


def count(rows: Sequence[Row]) -> dict[str, float]:
    """What stands in rows of the same speakers, as the fact sheet counts it: to the character, before any cleaning."""
    speakers = list(rows[0].answers)
    answers = {one: [row.answers[one] for row in rows] for one in speakers}
    first, last = answers[speakers[0]], answers[speakers[-1]]
    return {
        "rows": len(rows),
        "instructions": len({row.instruction for row in rows}),
        "mean characters, first": float(np.mean(list(map(len, first)))),
        "mean characters, second": float(np.mean(list(map(len, last)))),
        "alike in both": sum(a == b for a, b in zip(first, last, strict=True)) if len(speakers) > 1 else 0,
        f"first under {SHORT} characters": sum(len(text) < SHORT for text in first),
        "repeated, first": len(rows) - len({(row.instruction, text) for row, text in zip(rows, first, strict=True)}),
    }


def count_named(rows: Sequence[Row], kind: str) -> dict[str, int]:
    """In how many answers of a type's rows its own code stands, and in how many another one."""
    found = [set(CODE.findall(row.answers[kind])) for row in rows]
    return {"own": sum(kind in codes for codes in found), "other": sum(bool(codes - {kind}) for codes in found)}


# ---------------------------------------------------------------------------------------------------------- splitting
def is_held(instruction: str, *, seed: int, share: float) -> bool:
    """Whether an instruction is held out: by its text and the seed alone, so that every file holds out the same ones.

    Rows are split by instruction because instructions repeat; a split by row would ask what it trained on.
    """
    return stream_seed(seed, "held", instruction.strip()) / 2**63 < share


def split(rows: Sequence[Row], *, seed: int, share: float) -> tuple[list[Row], list[Row]]:
    """(rows to train on, rows held out), every instruction in one of the two."""
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[is_held(row.instruction, seed=seed, share=share)].append(row)
    return sides
