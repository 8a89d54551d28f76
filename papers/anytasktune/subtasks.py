"""The paper's public sub-tasks: twelve files of input and output, read by one reader, and split where no split was published.

``datatager_<task>.json`` is a JSON list of rows. The cards print no column names, so the input may be called ``input``, ``query``
or ``instruction`` and the output ``output`` or ``response``: each file must have exactly one of each, the same in every row, and
nothing else; anything else is refused, because a wrong column would be trained on without a word. Source: dataset cards of the
hub organisation ``pandalla``.

    rows = read_subtask(folder / "datatager_legal_split_cases.json"); parts = split([row.input for row in rows], seed=0)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib.data.files import DataError, check_keys, check_text, read_json, write_json

INPUTS, OUTPUTS = ("input", "query", "instruction"), ("output", "response")


@dataclass(frozen=True)
class Subtask:
    """A public sub-task: its domain and the metric that is fixed here beforehand."""

    domain: str
    metric: str


# Row counts and sizes: `published` in paper.yml. Metrics: none was found in the paper.
SUBTASKS = {
    "clinical_question_enhancement": Subtask("healthcare", "coverage F1 and format of the questions"),
    "extract_med_information": Subtask("healthcare", "set F1"),
    "symptom_recognition_and_advice": Subtask("healthcare", "set F1"),
    "standard_med_question": Subtask("healthcare", "ROUGE-L and fact retention"),
    "legal_question_enhancement": Subtask("law", "coverage F1 and format of the questions"),
    "legal_extract_information": Subtask("law", "set F1"),
    "legal_risk_assessor": Subtask("law", "macro-F1"),
    "legal_split_cases": Subtask("law", "count error and aligned ROUGE-L"),
    "standard_finance_question": Subtask("finance", "ROUGE-L and fact retention"),
    "llm_resume_scoring": Subtask("human resources", "Spearman and mean absolute error"),
    "hospital_service_feedback_analysis": Subtask("consumer service", "macro-F1"),
    "E-Commerce_review_extraction": Subtask("consumer service", "set F1"),
}


@dataclass(frozen=True)
class Pair:
    """What a row asks and what it should be answered."""

    input: str
    output: str


def file_name(name: str) -> str:
    """Name of a sub-task's file in our own worlds, as the hub's repositories are called."""
    if name not in SUBTASKS:
        raise DataError(f"there is no public sub-task '{name}'; there are {', '.join(SUBTASKS)}.")
    return f"datatager_{name}.json"


def _column(row: dict, known: tuple[str, ...], what: str, place: str) -> str:
    there = [key for key in known if key in row]
    if len(there) != 1:
        have = ", ".join(map(repr, row))[:80] or "nothing"
        raise DataError(
            f"{place} has {'no' if not there else 'more than one'} column for the {what} (it has {have}); name one of them "
            f"{', '.join(known)} and take the others out."
        )
    return there[0]


def read_subtask(path: Path) -> list[Pair]:
    """The pairs of a sub-task's file, in its order.

    Raises :class:`DataError` naming file, row and remedy for columns that are not known or not the same in every row, for a
    value that is not text, and for an empty input or output.
    """
    rows = read_json(Path(path), holds=list)
    columns: tuple[str, str] | None = None
    pairs = []
    for number, row in enumerate(rows, start=1):
        place = f"{path}, row {number}"
        if not isinstance(row, dict):
            raise DataError(
                f"{place} is a {type(row).__name__}, not an object with an input and an output; correct it."
            )
        found = (_column(row, INPUTS, "input", place), _column(row, OUTPUTS, "output", place))
        columns = columns or found
        if found != columns:
            raise DataError(
                f"{place} has the columns {' and '.join(found)} where row 1 has {' and '.join(columns)}; use one pair."
            )
        check_keys(row, place, required=columns)
        for key in columns:
            check_text(row[key], place, key)
            if not row[key].strip():
                raise DataError(f"{place}: {key!r} is empty; fill it or take the row out.")
        pairs.append(Pair(row[columns[0]], row[columns[1]]))
    return pairs


def write_subtask(path: Path, pairs: list[Pair]) -> None:
    """The pairs as a file of the same form, with the columns ``input`` and ``output``."""
    if not pairs:
        raise DataError(f"there is no row to write to {path}; an empty file would look like a damaged one.")
    write_json(Path(path), [{"input": pair.input, "output": pair.output} for pair in pairs])
