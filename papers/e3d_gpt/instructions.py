"""The two JSON formats of instruction sets (sheet 3): reports as conversations, questions as M3D's list of objects.

Reports: ``{"train": [{"image": ..., "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": report}]}]}``.
Questions: ``[{"Image Path", "Question", "Answer", "Answer Choice", "Question Type", ("Choice A" ... "Choice D")}]``. Written by
the generated world, and what the real sets are read as.

    read_reports(path, "train"); read_questions(path)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, read_json, write_json

CHOICES = ("Choice A", "Choice B", "Choice C", "Choice D")
LETTERS = "ABCD"
KEYS = ("Image Path", "Question", "Answer", "Answer Choice", "Question Type")
CANDIDATES = {"yes_no": ("yes", "no"), "side": ("right", "left"), "level": ("upper", "lower"), "choice": tuple(LETTERS)}


@dataclass(frozen=True)
class Item:
    """One instruction: a volume's name, what is asked, what should be answered. ``kind``: report, or a key of CANDIDATES."""

    image: str
    question: str
    answer: str
    kind: str

    @property
    def candidates(self) -> tuple[str, ...]:
        """The answers among which a closed question is decided."""
        return CANDIDATES[self.kind]


def write_reports(path: Path, splits: dict[str, Sequence[Item]]) -> None:
    """The report JSON of a set."""
    content = {}
    for split, items in splits.items():
        turns = [[("human", one.question), ("gpt", one.answer)] for one in items]
        content[split] = [
            {"image": one.image, "conversations": [{"from": who, "value": said} for who, said in pair]}
            for one, pair in zip(items, turns, strict=True)
        ]
    write_json(path, content)


def read_reports(path: Path, split: str) -> list[Item]:
    """Reports of a split, in file order. :class:`DataError` for a split or key that is not there, a report of zero words and a
    volume that is listed twice."""
    content = read_json(path)
    if split not in content:
        raise DataError(f"{path} has no split '{split}' (it has {', '.join(content)}); name one of these.")
    items, seen = [], set()
    for number, row in enumerate(content[split], start=1):
        where = f"{path}, {split}, row {number}"
        check_keys(row, where, required=("image", "conversations"), optional=("id",))
        turns = row["conversations"]
        if not isinstance(turns, list) or len(turns) != 2 or not all("value" in one for one in turns):
            raise DataError(
                f"{where}: 'conversations' must be a question and a report, each with a 'value'; correct it."
            )
        question, report = (str(one["value"]).replace("<image>", "").strip() for one in turns)
        if not any(character.isalnum() for character in report):
            raise DataError(f"{where}: the report of {row['image']} has no word; write it or take the row out.")
        name = Path(row["image"]).name
        if name in seen:
            raise DataError(f"{where}: {name} is listed before; keep one of its reports.")
        seen.add(name)
        items.append(Item(name, question, report, "report"))
    return items


def write_questions(path: Path, items: Iterable[Item], options: Iterable[Sequence[str]]) -> None:
    """The question JSON of a set; ``options``: the four choices of an item, or none."""
    rows = []
    for item, told in zip(items, options, strict=True):
        answer = told[LETTERS.index(item.answer)] if told else item.answer
        row = dict(zip(KEYS, (item.image, item.question, answer, item.answer, item.kind), strict=True))
        rows.append(row | dict(zip(CHOICES, told, strict=False)))
    write_json(path, rows)


def with_choices(row: dict[str, Any]) -> str:
    """A question as the model reads it: its choices after it, if it has some (M3D)."""
    told = [f"{letter}. {row[name]}" for letter, name in zip(LETTERS, CHOICES, strict=True) if row.get(name)]
    return " ".join([row["Question"].strip(), *told])


def read_questions(path: Path) -> list[Item]:
    """Questions in file order; :class:`DataError` for a missing key, an unknown kind and an answer that is no candidate."""
    items = []
    for number, row in enumerate(read_json(path, holds=list), start=1):
        where = f"{path}, row {number}"
        check_keys(row, where, required=KEYS, optional=CHOICES)
        kind, answer = row["Question Type"], str(row["Answer Choice"]).strip()
        if kind not in CANDIDATES:
            raise DataError(f"{where}: 'Question Type' is {kind!r}; write one of {', '.join(CANDIDATES)}.")
        if answer not in CANDIDATES[kind]:
            raise DataError(f"{where}: the answer {answer!r} is none of {', '.join(CANDIDATES[kind])}; correct it.")
        items.append(Item(Path(row["Image Path"]).name, with_choices(row), answer, kind))
    return items


def rows_of(items: Sequence[Item], names: Sequence[str], path: Path) -> list[int]:
    """Row of each item's volume among ``names``; :class:`DataError` for a name that occurs twice, and for one that is missing."""
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the prepared volumes hold {twice} twice; rename one of the two files.")
    place = {name: row for row, name in enumerate(names)}
    for item in items:
        if item.image not in place:
            raise DataError(
                f"{path}: {item.image} is not among the {len(names)} prepared volumes; fetch it, or drop the row."
            )
    return [place[item.image] for item in items]
