"""The MMLU loader of Aurora's release, kept as an exhibit: it takes the first question of every file for a header.

LLaMA-Factory's dataset script of December 2023 calls ``pandas.read_csv`` on files that have no header row and then
renames the columns. One question a file is lost (so "5-shot" is 4-shot), and an option reading ``None`` becomes a
missing value. Used only by the forensics of Table 3; :func:`lib.data.exams.read_exam` reads the files correctly.

>>> read_mmlu_as_released(fetch_folder("aurora") / "evaluation" / "mmlu").counts()
{'dev': 228, 'val': 1474, 'test': 13985}
"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from lib.data.exams import LETTERS, Exam, Question, layout_of, read_exam, read_members


def read_mmlu_as_released(folder: Path) -> Exam:
    """MMLU as the release's loader sees it: one row fewer a file, numbered from 0 again, missing options as "nan"."""
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
