"""The paper's related combinations laid onto the table of subsets: who is meant by "Lung COVID + Brain Cancer".

``papers/med_mat/combinations.csv`` has one line a printed row of Tables 3, 10, 13 and 14. A printed name may fit several
subsets, so members are candidates (``25;35``). The target is *inferred* (the name and the printed baseline). Accuracies
stay in ``paper.yml``; ``row`` is the key there. Used by the audit and by the structure of the generated world.

    rows = read_combinations(folder / "combinations.csv", registry); sum(row.valid for row in rows)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from lib.data.files import DataError, read_csv
from papers.med_mat.data.registry import Registry
from papers.med_mat.data.selection import DIRECTION_TYPES, Subset, direction_types, tied_pairs

KINDS = (*DIRECTION_TYPES, "triple")
COLUMNS = ("table", "row", "direction_type", "first", "second", "third", "target", "mark", "repeated_as", "note")


@dataclass(frozen=True)
class PublishedRow:
    """One printed row. ``members``: candidates for each place; ``mark``: whether the paper ticks it.

    ``repeated_as`` is the key of the same combination in the tables that repeat it (4, 9, 11, 12, 15), or empty.
    """

    table: str
    row: str
    direction_type: str
    members: tuple[tuple[Subset, ...], ...]
    target: Subset
    mark: bool
    repeated_as: str
    note: str
    tied: bool  # the target's modality and area count as one element

    @property
    def fits(self) -> list[tuple[Subset, ...]]:
        """Every choice of members that is of the printed direction type under some reading of the tasks."""
        return [members for members in product(*self.members) if self._is(members)]

    def _is(self, members: tuple[Subset, ...]) -> bool:
        if self.target in members or len(set(members)) < len(members):
            return False
        if self.direction_type == "triple":
            return is_triple(members, self.target)
        first, second = members
        return self.direction_type in direction_types(first, second, self.target, tied=self.tied)

    @property
    def valid(self) -> bool:
        """Whether the row is what it is called: some choice of its members jointly holds the target's elements."""
        return bool(self.fits)


def is_triple(members: tuple[Subset, Subset, Subset], target: Subset) -> bool:
    """Whether the three donate modality, area and task in this order and nothing else, under some reading."""
    m, a, t = members
    places = (
        m.modality == target.modality and m.area != target.area,
        a.area == target.area and a.modality != target.modality,
        t.modality != target.modality and t.area != target.area,
    )
    readings = product(m.readings, a.readings, t.readings, target.readings)
    return all(places) and any(tt == x and mt != x and at != x for mt, at, tt, x in readings)


def _subsets(path: Path, line: int, column: str, cell: str, registry: Registry) -> tuple[Subset, ...]:
    found = []
    for no in cell.split(";"):
        if no.strip() not in registry.subsets:
            raise DataError(
                f"{path}, line {line}: '{no.strip()}' under '{column}' is no subset; write its number (03)."
            )
        found.append(registry.subsets[no.strip()])
    return tuple(found)


def read_combinations(path: Path, registry: Registry) -> list[PublishedRow]:
    """Read the printed rows, in file order; :class:`DataError` names file and line of a wrong one.

    The tied modality-area pairs are those of the classification subsets.
    """
    path = Path(path)
    table = read_csv(path, columns=COLUMNS)
    tied = tied_pairs(registry.classification)
    rows = []
    for line, row in table.iterrows():
        kind = row["direction_type"]
        if kind not in KINDS:
            raise DataError(f"{path}, line {line}: direction_type is '{kind}'; write one of {', '.join(KINDS)}.")
        if row["mark"] not in ("yes", "no"):
            raise DataError(f"{path}, line {line}: mark is '{row['mark']}'; write 'yes' or 'no'.")
        places = ("first", "second", "third") if kind == "triple" else ("first", "second")
        members = tuple(_subsets(path, line, place, row[place], registry) for place in places)
        target = _subsets(path, line, "target", row["target"], registry)[0]
        pair = (target.modality, target.area) in tied
        rows.append(
            PublishedRow(
                row["table"],
                row["row"],
                kind,
                members,
                target,
                row["mark"] == "yes",
                row["repeated_as"],
                row["note"],
                pair,
            )
        )
    return rows
