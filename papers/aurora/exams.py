"""Table 3 of Aurora beside the real exam files: which row counts its percentages fit, and what scores without a model.

In use:

    exams = read_exams(run.source("exams") / "evaluation"); fractions(exams, printed)
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.exams import CATEGORIES, FOLDERS, GRADED, LETTERS, Exam, Question, layout_of, read_exam, read_members
from lib.evaluation.statistics import binomial_interval
from papers.aurora.forensics import counts_behind, trivial_baselines


@dataclass(frozen=True)
class Exams:
    """The three exams as they are, and MMLU as the released loader reads it."""

    read: dict[str, Exam]
    faulty: Exam

    def questions(self, name: str, category: str | None = None, *, faulty: bool = False) -> int:
        """Graded questions of an exam, or of one category of it."""
        exam = self.faulty if faulty else self.read[name]
        chosen = [key for key, subject in exam.subjects.items() if category in (None, subject.category)]
        return len(exam.select(GRADED[name], subjects=chosen))


def read_mmlu_as_released(folder: Path) -> Exam:
    """MMLU as the release's loader sees it: one row fewer a file, numbered from 0 again, missing options as "nan".

    LLaMA-Factory's dataset script of December 2023 calls ``pandas.read_csv`` on files that have no header row and then
    renames the columns. One question a file is lost (so "5-shot" is 4-shot), and an option reading ``None`` becomes a
    missing value. An exhibit for the forensics of Table 3; :func:`lib.data.exams.read_exam` reads the files correctly.

    >>> read_mmlu_as_released(run.source("exams") / "evaluation" / "mmlu").counts()      # doctest: +SKIP
    {'dev': 228, 'val': 1474, 'test': 13985}
    """
    layout, exam = layout_of("MMLU"), read_exam("MMLU", folder)  # the files are checked first
    members = read_members(Path(folder) / layout.archive)
    questions = {}
    for split in layout.header:
        questions[split] = {}
        for subject in exam.subjects:
            table = pd.read_csv(io.BytesIO(members[layout.member.format(split=split, subject=subject)]))
            table.columns = ["question", *LETTERS, "answer"]
            questions[split][subject] = [
                Question(subject, number, str(row.question), tuple(str(getattr(row, x)) for x in LETTERS), row.answer)
                for number, row in enumerate(table.itertuples(index=False))
            ]
    return Exam("MMLU", exam.subjects, questions)


def read_exams(folder: Path) -> Exams:
    """The exams below `folder`, which has ``ceval``, ``mmlu`` and ``cmmlu``."""
    read = {name: read_exam(name, Path(folder) / place) for name, place in FOLDERS.items()}
    return Exams(read, read_mmlu_as_released(Path(folder) / "mmlu"))


def fractions(exams: Exams, printed: Mapping[str, Sequence[float | None]]) -> pd.DataFrame:
    """For each category score printed (%), the whole numbers of right answers it can be, with and without lost rows.

    `printed`: exam -> scores in the order STEM, Social Sciences, Humanities, Other. Columns: printed, questions,
    right (list), and for MMLU the same with one row lost a file. An empty list: no number of answers prints like that.
    """
    rows = {}
    for name, scores in printed.items():
        for category, score in zip(CATEGORIES, scores, strict=True):
            whole = exams.questions(name, category)
            row = {"printed": score, "questions": whole, "right": counts_behind(score, whole)}
            if name == "MMLU":
                short = exams.questions(name, category, faulty=True)
                row |= {"questions, a row lost a file": short, "right, a row lost a file": counts_behind(score, short)}
            rows[f"{name} {category}"] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def baselines(exams: Exams) -> pd.DataFrame:
    """Accuracy (%) of the rules that read no question, exam by exam."""
    return pd.DataFrame({name: trivial_baselines(exams.read[name].select(GRADED[name])) for name in FOLDERS}).T


def against_median(right: int, questions: int, others: Sequence[float]) -> tuple[float, float, float]:
    """(difference, low, high) in points of an accuracy from the median of other models' printed accuracies.

    The interval is that of `right` of `questions` (Wilson, 95 %); the others are printed without a number of questions.
    """
    median = float(np.median(others))
    low, high = binomial_interval(right, questions)
    return 100 * right / questions - median, 100 * low - median, 100 * high - median


def compared(
    exams: Exams,
    models: pd.DataFrame,
    *,
    right: Mapping[str, int],
    questions: Mapping[str, int],
    base: Mapping[str, float],
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Exam -> label -> distance (points, low, high) from the median of the other models of Table 3.

    `models`: printed accuracies with a row Aurora; `right` of `questions`: what Aurora's are fractions of; `base`: the
    untuned base elsewhere, printed without a number of questions. The null is the best rule that reads no question.
    """
    best, found = baselines(exams).max(axis=1), {}
    for name in FOLDERS:
        others, whole = models[name].drop("Aurora"), exams.questions(name)
        found[name] = {
            "Aurora": against_median(right[name], questions[name], others),
            "best trivial rule (null)": against_median(round(best[name] * whole / 100), whole, others),
            "untuned base": (base[name] - float(others.median()), np.nan, np.nan),
        }
    return found
