"""The table of Med-MAT: its source datasets and subsets, as data; a generated world writes the same table.

One CSV, ``papers/med_mat/datasets.csv`` for the paper: ``dataset`` rows (number, name, source URL, subsets it is in) and
``subset`` rows (triplet, task family, members, role, released file). ``notes`` flag every slip of the sources.

>>> read_registry(Path(__file__).parents[1] / "datasets.csv").subsets["03"].area
'Lung'
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.data.files import DataError, read_csv
from papers.med_mat.data.selection import Subset

COLUMNS = (
    *("record_type", "no", "name", "modality_code", "area", "task", "subset_no", "member_dataset_nos", "role"),
    *("family", "table_names", "same_images_as", "source_url", "notes"),
)
ROLES = ("ID", "OOD", "det/seg")


@dataclass(frozen=True)
class Source:
    """One source dataset: where its images must be fetched from, and the subsets that hold it (none for three).

    ``same_images_as``: numbers under which the same images are used for another task.
    """

    no: str
    name: str
    url: str
    subset_nos: tuple[str, ...]
    same_images_as: tuple[str, ...] = ()
    notes: str = ""


@dataclass(frozen=True)
class Registry:
    """Subsets by two-digit number, sources by number, and the source numbers of each subset."""

    subsets: dict[str, Subset]
    sources: dict[str, Source]
    members: dict[str, tuple[str, ...]]
    notes: dict[str, str]  # what is wrong or unclear with a subset's row

    def role(self, *roles: str) -> list[Subset]:
        """Subsets of these roles, by number."""
        return [subset for subset in self.subsets.values() if subset.role in roles]

    def images_in_common(self, one: Subset, other: Subset) -> set[str]:
        """Numbers of the sources of ``one`` whose images ``other`` holds too, under the same or another number."""
        held = set(self.members[other.no])
        return {no for no in self.members[one.no] if no in held or held & set(self.sources[no].same_images_as)}

    @property
    def classification(self) -> list[Subset]:
        """The ID and OOD subsets, by number."""
        return self.role("ID", "OOD")


def _split(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


def _filled(path: Path, line: int, row: pd.Series, columns: Iterable[str]) -> None:
    for column in columns:
        if not row[column].strip():
            raise DataError(f"{path}, line {line}: column '{column}' is empty; fill it in or take the row out.")


def read_registry(path: Path) -> Registry:
    """Read the table of datasets and subsets.

    Raises :class:`DataError` naming file and line for an unknown record type or role, an empty element, a number that
    occurs twice, and a member that is no dataset of the table.
    """
    path = Path(path)
    table = read_csv(path, columns=COLUMNS)
    subsets: dict[str, Subset] = {}
    sources: dict[str, Source] = {}
    members: dict[str, tuple[str, ...]] = {}
    lines: dict[tuple[str, str], int] = {}
    for line, row in table.iterrows():
        kind, no = row["record_type"], row["no"].strip()
        if kind not in ("dataset", "subset"):
            raise DataError(f"{path}, line {line}: record_type is '{kind}'; write 'dataset' or 'subset'.")
        _filled(path, line, row, ("no", "name"))
        if (kind, no) in lines:
            raise DataError(f"{path}: {kind} {no} is on line {lines[kind, no]} and again on line {line}; keep one.")
        lines[kind, no] = line
        if kind == "dataset":
            twins = _split(row["same_images_as"])
            sources[no] = Source(no, row["name"], row["source_url"], _split(row["subset_no"]), twins, row["notes"])
            continue
        _filled(path, line, row, ("modality_code", "area", "task", "family", "role", "member_dataset_nos"))
        if row["role"] not in ROLES:
            raise DataError(f"{path}, line {line}: role is '{row['role']}'; write one of {', '.join(ROLES)}.")
        names = _split(row["table_names"])
        subsets[no] = Subset(no, row["modality_code"], row["area"], row["task"], row["family"], names, row["role"])
        members[no] = _split(row["member_dataset_nos"])
    for no, listed in members.items():
        for member in listed:
            if member not in sources:
                raise DataError(
                    f"{path}, line {lines['subset', no]}: member {member} of subset {no} is no dataset of this table; "
                    f"add its row or correct the number."
                )
    notes = {row["no"]: row["notes"] for _, row in table.iterrows() if row["record_type"] == "subset" and row["notes"]}
    return Registry(dict(sorted(subsets.items())), sources, members, notes)
