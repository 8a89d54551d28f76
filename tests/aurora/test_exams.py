"""Table 3's forensics: exact fractions behind printed percentages, and rules that read no question."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from released_files import released

from lib.evaluation import EvaluationError
from lib.workflow.papers import load_paper
from papers.aurora import exams as aurora_exams
from papers.aurora.forensics import counts_behind, trivial_baselines


@dataclass
class Item:
    options: tuple
    answer: str
    text: str = "q"


@pytest.fixture(scope="module")
def exams():
    return aurora_exams.read_exams(released("aurora", "exams") / "evaluation")


def test_the_printed_scores_are_exact_fractions_of_the_questions_left(exams):
    printed = load_paper("aurora").published["aurora_by_category"].rows
    table = aurora_exams.fractions(exams, {name: printed[name] for name in ("MMLU", "CMMLU")})
    assert table["questions, a row lost a file"][:4].tolist() == [3000, 3065, 4692, 3228]
    assert table["right, a row lost a file"][:4].tolist() == [[1726], [2373], [2972], [2402]]
    assert table["questions"].tolist() == [3018, 3077, 4705, 3242, 2531, 3652, 2489, 2910]
    assert [bool(found) for found in table["right"][:4]] == [False, False, True, False]
    assert table["right"][4:].tolist() == [[1131], [1900], [1223], [1501]]
    assert (1726 + 2373 + 2972 + 2402, exams.questions("MMLU", faulty=True)) == (9473, 13985)
    assert 9473 in counts_behind(67.74, 13985)
    assert (1131 + 1900 + 1223 + 1501, exams.questions("CMMLU")) == (5755, 11582)
    assert counts_behind(49.69, 11582) == [5755]
    assert counts_behind(51.9, exams.questions("C-Eval"), decimals=1) == [698, 699]


def test_the_earlier_run_fits_the_same_short_files(exams):
    earlier = load_paper("aurora").published["mmlu_earlier_run"].rows["checkpoint-3000, earlier"][1:]
    table = aurora_exams.fractions(exams, {"MMLU": earlier})
    assert table["right, a row lost a file"].tolist() == [[1729], [2365], [2944], [2378]]


SHEET = {  # fact sheet, section 3.3
    "MMLU": [22.95, 24.65, 25.51, 26.89, 27.89, 21.88],
    "C-Eval": [23.03, 25.11, 25.56, 26.30, 29.79, 21.69],
    "CMMLU": [25.26, 24.89, 24.84, 25.00, 29.42, 23.26],
}


def test_trivial_baselines_are_those_of_the_sheet(exams):
    found = aurora_exams.baselines(exams)
    for name, wanted in SHEET.items():
        assert found.loc[name].round(2).tolist() == wanted


def test_trivial_baselines_take_the_first_of_equal_lengths():
    found = trivial_baselines([Item(("aa", "bb", "c", "d"), "A"), Item(("a", "bb", "bb", "c"), "D")])
    assert found.to_dict() == {
        "always A": 50, "always B": 0, "always C": 0, "always D": 50, "longest option": 50, "shortest option": 0,
    }  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 20000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_the_true_count_is_always_among_those_behind_its_percentage(case):
    questions, right = case
    found = counts_behind(round(100 * right / questions, 2), questions)
    assert right in found and all(abs(100 * k / questions - 100 * right / questions) <= 0.0101 for k in found)


def test_impossible_percentages_have_no_count_behind_them():
    assert counts_behind(50.01, 2) == [] and counts_behind(33.33, 3) == [1] and counts_behind(100, 7) == [7]
    for percent, questions in [(101, 3), (-1, 3), (50, 0)]:
        with pytest.raises(EvaluationError, match="give 0 to 100 %"):
            counts_behind(percent, questions)


def test_the_distance_from_the_median_keeps_the_interval_of_the_count():
    difference, low, high = aurora_exams.against_median(50, 100, [30.0, 40.0, 60.0])
    assert difference == pytest.approx(10.0) and low < difference < high
    assert (high + low) / 2 == pytest.approx(10.0)  # Wilson's interval of one half is symmetric
    assert high - low == pytest.approx(
        100 * 2 * 1.959964 * (0.25 / 100 + 1.959964**2 / 4 / 100**2) ** 0.5 / (1 + 1.959964**2 / 100), abs=1e-4
    )
