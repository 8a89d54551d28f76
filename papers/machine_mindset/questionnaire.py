"""Our own questionnaire: 24 forced choices, six an axis, each pole as often the first option as the other one.

Paper: an existing multiple-choice questionnaire with changed wording, its items not found. Here: our own items
(``questionnaire.csv``). Because: a commercial instrument must not be copied.

>>> items = read_items(Path(__file__).parent)
>>> len(items), items[0].axis, items[0].poles
(24, 'energy', 'EI')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lib.data.files import DataError, read_csv, write_json
from papers.machine_mindset.personality import AXES

COLUMNS = ("axis", "first", "question", "one", "other")


@dataclass(frozen=True)
class Item:
    """A question and two options; ``first``: the pole that option ``one`` stands for."""

    axis: str
    first: str
    question: str
    one: str
    other: str

    @property
    def poles(self) -> str:
        """The poles of the two options, in their order."""
        return self.first + AXES[self.axis].replace(self.first, "")


def option_texts(item: Item) -> list[str]:
    return [item.one, item.other]


def read_items(folder: Path) -> list[Item]:
    """The items of ``questionnaire.csv``; :class:`DataError` names the line of a blank text, an unknown axis or pole, and the
    axis whose poles do not stand first equally often."""
    path = Path(folder) / "questionnaire.csv"
    table = read_csv(path, columns=COLUMNS)
    items = []
    for line, row in table.iterrows():
        item = Item(**{column: row[column].strip() for column in COLUMNS})
        if item.axis not in AXES or item.first not in AXES[item.axis] or not all(asdict(item).values()):
            raise DataError(f"{path}, line {line} has a blank text, or no axis and pole such as energy, E; correct it.")
        items.append(item)
    for axis, poles in AXES.items():
        first = [item.first for item in items if item.axis == axis]
        if not first or first.count(poles[0]) != first.count(poles[1]):
            raise DataError(
                f"{path}: the items of {axis} begin with {''.join(first) or 'nothing'}; balance their poles."
            )
    return items


def write_items(folder: Path, *, items: Sequence[dict[str, str]]) -> None:
    """``items.json``: the items as :func:`asdict` gives them."""
    write_json(folder / "items.json", list(items))


def texts(items: Sequence[Item]) -> list[str]:
    """Every text of the items, for a vocabulary."""
    return [text for item in items for text in (item.question, item.one, item.other)]


def chosen(items: Sequence[Item], answers: Sequence) -> list[str]:
    """The pole that each item's answers (2 orders, 2 options) choose: the likelier option, mean over both orders.

    >>> chosen([Item("energy", "I", "?", "alone", "together")], [[[-1.0, -2.0], [-1.5, -1.0]]])
    ['I']
    """
    lead = np.asarray(answers, dtype=np.float64).mean(axis=1) @ [1.0, -1.0]  # (items,)
    return [item.poles[0 if value > 0 else 1] for item, value in zip(items, lead, strict=True)]


def flips(answers: Sequence) -> float:
    """Share of items whose answer changes when the options change places."""
    first, second = (np.asarray(answers, dtype=np.float64) @ [1.0, -1.0]).T  # (items,) each
    return float(np.mean((first > 0) != (second > 0)))


def profile(items: Sequence[Item], poles: Sequence[str]) -> dict[str, float]:
    """Pole -> share of its axis's items that chose it, opposite poles together 1."""
    return {
        pole: float(np.mean([got == pole for item, got in zip(items, poles, strict=True) if item.axis == axis]))
        for axis, both in AXES.items()
        for pole in both
    }


def radar(shares: dict[str, float]) -> np.ndarray:
    """(9, 2): a closed outline of eight spokes, E to the right and then S, T, J, I, N, F, P anticlockwise, by their shares."""
    order = [both[0] for both in AXES.values()] + [both[1] for both in AXES.values()]
    angle = 2 * np.pi * np.arange(8) / 8
    points = np.array([shares[pole] for pole in order])[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([points, points[:1]])
