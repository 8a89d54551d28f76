"""MMLU as the authors' loader reads it, against the reader that reads it right."""

from released_files import released

from lib.data.exams import read_exam
from papers.aurora.exams import read_mmlu_as_released


def test_the_released_loader_loses_the_first_question_of_each_file():
    folder = released("aurora", "exams") / "evaluation" / "mmlu"
    correct, faulty = read_exam("MMLU", folder), read_mmlu_as_released(folder)
    assert faulty.counts() == {"dev": 228, "val": 1474, "test": 13985}
    for split, subjects in correct.questions.items():
        for subject, questions in subjects.items():
            lost = faulty.questions[split][subject]
            assert [q.answer for q in lost] == [q.answer for q in questions[1:]]
            assert [q.text for q in lost] == [q.text for q in questions[1:]]
    assert sum(option == "nan" for q in faulty.select("test") for option in q.options) == 10
