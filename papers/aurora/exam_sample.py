"""A stated sample of the real exams: so many short questions of each medical subject, in the exams' own layouts.

A small model on a processor cannot sit the 37,000 questions. Which are drawn depends on their text alone, so that every
model and every seed sits the same ones.

    run.build(sample_exams, exams=run.source("exams") / "evaluation", each=2, longest={"MMLU": 500, ...})
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lib.data.exams import FOLDERS, GRADED, MEDICAL, Exam, Question, read_exam, write_exam
from lib.data.files import DataError


def _length(question: Question) -> int:
    """Characters of the question and its options."""
    return len(question.text) + sum(map(len, question.options))


def drawn(questions: Sequence[Question], *, each: int, longest: int) -> list[Question]:
    """``each`` questions of at most ``longest`` characters, by a drawing that knows their text alone, numbered anew.

    Raises :class:`DataError` when there are fewer.
    """
    short = [question for question in questions if _length(question) <= longest]
    if len(short) < each:
        raise DataError(
            f"{questions[0].subject} has {len(short)} questions of at most {longest} characters, {each} are asked for; "
            f"ask for fewer or for longer ones."
        )
    order = sorted(short, key=lambda one: hashlib.sha256("\n".join([one.text, *one.options]).encode()).hexdigest())
    return [replace(question, number=place) for place, question in enumerate(order[:each])]


def sample_exams(folder: Path, *, exams: Path, each: int, longest: Mapping[str, int]) -> None:
    """The three exams with ``each`` graded questions of each medical subject; ``longest``: exam -> characters.

    The dev split, from which exemplars come, stays whole; of the splits that nobody grades one question a subject stays,
    because the layout has no empty file.
    """
    for name, place in FOLDERS.items():
        exam = read_exam(name, Path(exams) / place)
        subjects = {key: exam.subjects[key] for key in exam.subjects if key in MEDICAL[name]}
        questions = {
            split: {subject: _kept(split, name, rows[subject], each, longest[name]) for subject in subjects}
            for split, rows in exam.questions.items()
        }
        write_exam(folder / place, Exam(name, subjects, questions))


def _kept(split: str, name: str, rows: Sequence[Question], each: int, longest: int) -> list[Question]:
    if split == GRADED[name]:
        return drawn(rows, each=each, longest=longest)
    return list(rows) if split == "dev" else list(rows[:1])
