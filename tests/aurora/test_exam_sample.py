"""The sample of real exams: short, fixed by the text, in the exams' own layouts."""

import pytest

from lib.data.exams import FOLDERS, GRADED, LAYOUTS, MEDICAL, Exam, Question, Subject, read_exam, write_exam
from lib.data.files import DataError
from papers.aurora.exam_sample import drawn, sample_exams

LONGEST = {"MMLU": 60, "C-Eval": 60, "CMMLU": 60}


def questions(split: str, name: str, subject: str, count: int) -> list[Question]:
    answer = None if (name, split) == ("C-Eval", "test") else "B"
    explanation = "so" if (name, split) == ("C-Eval", "dev") else None
    options = tuple(f"option {letter}" for letter in "ABCD")
    texts = [f"{subject[:3]} {split} {n}" + " and so on" * (10 * (n % 5 == 0)) for n in range(count)]
    return [Question(subject, n, text, options, answer, explanation) for n, text in enumerate(texts)]


@pytest.fixture
def exams(tmp_path):
    """The three exams with every medical subject and one other, eleven questions a split, every fifth of them too long."""
    for name, folder in FOLDERS.items():
        subjects = {key: Subject(key.replace("_", " "), "Other") for key in (*MEDICAL[name], "astronomy")}
        rows = {split: {key: questions(split, name, key, 11) for key in subjects} for split in LAYOUTS[name].header}
        write_exam(tmp_path / "exams" / folder, Exam(name, subjects, rows))
    return tmp_path / "exams"


def test_so_many_short_graded_questions_of_each_medical_subject(exams, tmp_path):
    sample_exams(tmp_path, exams=exams, each=3, longest=LONGEST)
    for name, folder in FOLDERS.items():
        whole, sample = read_exam(name, exams / folder), read_exam(name, tmp_path / folder)
        assert set(sample.subjects) == set(MEDICAL[name])
        graded = sample.select(GRADED[name])
        assert len(graded) == 3 * len(MEDICAL[name]) and not any("so on" in question.text for question in graded)
        assert {q.text for q in graded} <= {q.text for q in whole.select(GRADED[name])}
        assert len(sample.select("dev")) == 11 * len(MEDICAL[name])  # exemplars stay


def test_the_drawing_knows_the_text_alone():
    rows = questions("test", "MMLU", "anatomy", 11)
    first = drawn(rows, each=4, longest=60)
    assert [q.number for q in first] == [0, 1, 2, 3] and first != rows[1:5]
    assert [q.text for q in drawn(rows[::-1], each=4, longest=60)] == [q.text for q in first]
    assert [q.text for q in drawn(rows, each=2, longest=60)] == [q.text for q in first[:2]]  # more adds, nothing moves


def test_too_few_short_questions_are_told():
    with pytest.raises(DataError, match="anatomy has 8 questions of at most 60 characters, 9 are asked for"):
        drawn(questions("test", "MMLU", "anatomy", 11), each=9, longest=60)
