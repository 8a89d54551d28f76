"""Questions that are asked with and without their context: one form for real abstracts and for a generated exam.

What is measured (:mod:`papers.long_context.reading`) knows nothing of where they come from. A context is a list of
sentences, so that one of them can be left out.

    write_questions(folder / "questions.json", found); asked = read_questions(folder / "questions.json")
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.data.files import DataError, check_keys, check_text, read_json, write_json
from papers.long_context import cmb

_WORD = re.compile(r"\w{4,}")  # shorter ones are mostly articles and prepositions


@dataclass(frozen=True)
class Question:
    """``sentences``: its context, two or more. ``options``: the answers to choose from, in the order in which they are
    listed; ``right``: the place of the right one. ``conclusion``: the answer in the words of who wrote the question."""

    id: str
    question: str
    sentences: tuple[str, ...]
    options: tuple[str, ...]
    right: int
    conclusion: str


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    write_json(path, [asdict(one) for one in questions])


def read_questions(path: Path) -> list[Question]:
    """Two questions or more. Raises :class:`DataError` naming file, row and key of what cannot be asked."""
    found, keys = [], ("id", "question", "sentences", "options", "right", "conclusion")
    for number, row in enumerate(read_json(path, holds=list), start=1):
        place = f"{path}, row {number}"
        check_keys(row, place, required=keys)
        for key in ("id", "question", "conclusion"):
            check_text(row[key], place, key)
        for key in ("sentences", "options"):
            if not isinstance(row[key], list) or len(row[key]) < 2:
                raise DataError(f"{place}: '{key}' is no list of two texts or more; complete it or take the row out.")
            for text in row[key]:
                check_text(text, place, key)
        if type(row["right"]) is not int or not 0 <= row["right"] < len(row["options"]):
            raise DataError(f"{place}: 'right' is {row['right']!r}, the place of none of its options; correct it.")
        found.append(Question(**{**row, "sentences": tuple(row["sentences"]), "options": tuple(row["options"])}))
    if len(found) < 2:
        raise DataError(f"{path} holds one question, and each is also asked with another's context; give two or more.")
    return found


def of_exam(folder: Path, *, exam: Path, size: int) -> None:
    """``questions.json``: the single-answer questions of an open-book exam (a CMB-Exam folder with its knowledge).

    ``size`` passages are the sentences, the one that answers in the place its number gives; the conclusion is the text
    of the right option. Raises :class:`DataError` where a question has fewer passages.
    """
    knowledge, found = cmb.read_knowledge(Path(exam) / "knowledge.json"), []
    for number, item in enumerate(one for one in cmb.read_test(Path(exam)) if len(one.answer) == 1):
        supplied = knowledge[item.id]
        others = list(supplied.distractors[: size - 1])
        if len(others) < size - 1 or size < 2:
            raise DataError(
                f"question {item.id} of {exam} has {len(supplied.distractors)} distractors; ask for 2 to "
                f"{len(supplied.distractors) + 1} passages, not {size}."
            )
        place = number % size
        listed = (*others[:place], supplied.passage, *others[place:])
        right, options = item.options[item.answer], tuple(item.options.values())
        found.append(Question(item.id, item.question, listed, options, options.index(right), right))
    write_questions(folder / "questions.json", found)


# ---------------------------------------------------------------------- the sentence that decides
def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def decisive(question: Question) -> int:
    """The place of the sentence that shares most different words (of four letters or more) with the conclusion; of
    several the one that shares most with the question, of these the first.

    >>> decisive(Question("1", "Is it safe?", ("It was studied.", "No patient died."), ("Yes", "No"), 0, "No patient dies."))
    1
    """
    concluded, asked = _words(question.conclusion), _words(question.question)
    shared = [(len(_words(one) & concluded), len(_words(one) & asked)) for one in question.sentences]
    return shared.index(max(shared))


def counterpart(question: Question) -> int:
    """The place of the other sentence whose length in words is nearest to the decisive one's, of several the first:
    leaving it out takes as much text away."""
    place, lengths = decisive(question), [len(one.split()) for one in question.sentences]
    others = [number for number in range(len(lengths)) if number != place]
    return min(others, key=lambda number: abs(lengths[number] - lengths[place]))
