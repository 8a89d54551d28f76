"""PubMedQA: yes/no/maybe questions that are titles of abstracts, answered by experts who saw the abstract.

===========================  ==========================================================================================
file                         content
===========================  ==========================================================================================
``ori_pqal.json``            an object: PubMed id -> ``QUESTION``, ``CONTEXTS`` (the abstract without its conclusion, in
                             paragraphs), ``LABELS`` (their headings), ``LONG_ANSWER`` (the abstract's conclusion),
                             ``final_decision`` (yes, no, maybe), ``YEAR``, ``MESHES``, two further decisions
``test_ground_truth.json``   an object: PubMed id -> decision, of the 500 questions of the test split
===========================  ==========================================================================================

Jin et al. 2019, arXiv:1909.06146; github.com/pubmedqa/pubmedqa.

    run.build(draw_questions, source=run.source("pubmedqa"), count=30, seed=0)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, check_text, read_json
from lib.streams import stream
from papers.long_context.questions import Question, write_questions

ROWS, TEST = "ori_pqal.json", "test_ground_truth.json"
DECISIONS = ("yes", "no", "maybe")
_READ = ("QUESTION", "CONTEXTS", "LONG_ANSWER", "final_decision")
_LEFT = ("LABELS", "MESHES", "YEAR", "reasoning_required_pred", "reasoning_free_pred")
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


@dataclass(frozen=True)
class Abstract:
    """One row: ``paragraphs`` of the abstract, and the ``conclusion`` that was cut from it."""

    id: str
    question: str
    paragraphs: tuple[str, ...]
    conclusion: str
    decision: str


def sentences(abstract: Abstract) -> list[str]:
    """Of all paragraphs, cut where a capital follows a full stop, a question or an exclamation mark.

    >>> sentences(Abstract("1", "?", ("We saw 3.5 vs. 2. It rose.", "Did it? Yes."), "It rose.", "yes"))
    ['We saw 3.5 vs. 2.', 'It rose.', 'Did it?', 'Yes.']
    """
    return [part for paragraph in abstract.paragraphs for part in _END.split(paragraph.strip()) if part]


def _decision(value: Any, place: str) -> str:
    if value not in DECISIONS:
        raise DataError(f"{place}: the decision {value!r} is none of {', '.join(DECISIONS)}; fetch the file again.")
    return value


def _abstract(id: str, row: Any, place: str) -> Abstract:
    check_keys(row, place, required=_READ, optional=_LEFT)
    for key in ("QUESTION", "LONG_ANSWER"):
        check_text(row[key], place, key)
        if not row[key].strip():
            raise DataError(f"{place}: {key!r} is blank; fetch the file again.")
    paragraphs = row["CONTEXTS"]
    if not isinstance(paragraphs, list) or not paragraphs:
        raise DataError(f"{place}: 'CONTEXTS' is no list of paragraphs; fetch the file again.")
    for text in paragraphs:
        check_text(text, place, "CONTEXTS")
    decision = _decision(row["final_decision"], place)
    return Abstract(id, row["QUESTION"].strip(), tuple(paragraphs), row["LONG_ANSWER"].strip(), decision)


def read_test(folder: Path) -> list[Abstract]:
    """The questions of the test split in the order of its file.

    Raises :class:`DataError` naming file and PubMed id of a malformed row, of one the other file does not have, and where
    the two files decide differently.
    """
    rows, found = read_json(folder / ROWS), []
    for id, decision in read_json(folder / TEST).items():
        place = f"{folder / TEST}, question {id}"
        if id not in rows:
            raise DataError(f"{place} is not in {ROWS}; fetch both files again, of one revision.")
        one = _abstract(id, rows[id], f"{folder / ROWS}, question {id}")
        if _decision(decision, place) != one.decision:
            raise DataError(f"{place} is decided {decision!r} and {one.decision!r} in {ROWS}; fetch both again.")
        found.append(one)
    return found


def draw_questions(folder: Path, *, source: Path, count: int, seed: int) -> None:
    """``questions.json``: ``count`` questions of the test split, drawn by ``seed`` among those with two sentences or more.

    The three options are listed in an order drawn for each question, so that neither a letter nor a place is right more
    often than another. Raises :class:`DataError` when there are fewer.
    """
    able = [(one, parts) for one in read_test(Path(source)) if len(parts := sentences(one)) > 1]
    if len(able) < count:
        raise DataError(f"{source} has {len(able)} such questions and {count} are asked for; ask for fewer.")
    rng, found = stream(seed, "questions"), []
    for number in rng.permutation(len(able))[:count]:
        one, parts = able[number]
        options = [DECISIONS[place] for place in rng.permutation(len(DECISIONS))]
        listed = tuple(option.capitalize() for option in options)
        found.append(Question(one.id, one.question, tuple(parts), listed, options.index(one.decision), one.conclusion))
    write_questions(folder / "questions.json", found)
