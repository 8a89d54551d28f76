"""The metrics of the generated sub-tasks: values by hand, and what they must not reward."""

import pytest

from lib.evaluation import EvaluationError
from papers.anytasktune.task_metrics import macro_f1, score, spaced, spearman, valid_rate
from papers.anytasktune.world_tasks import TASKS

EXTRACT, ASK = TASKS["legal_extract_information"], TASKS["clinical_question_enhancement"]
STANDARD, SPLIT = TASKS["standard_med_question"], TASKS["legal_split_cases"]
RATE, SCORE = TASKS["psychology_risk_assessor"], TASKS["llm_resume_scoring"]


def test_a_decoded_text_reads_as_it_was_written():
    assert spaced("problem theft; time weeks") == "problem theft ; time weeks"
    assert spaced("fraud deed|theft") == "fraud deed | theft"


def test_facts_and_questions_are_sets():
    assert score(EXTRACT, ["time weeks; problem theft"], ["problem theft ; time weeks"]) == 1
    assert score(EXTRACT, ["problem theft; thing weeks"], ["problem theft ; time weeks"]) == 0.5
    assert score(EXTRACT, ["theft weeks", "problem debt"], ["problem theft", "problem debt"]) == 0.5  # mean over items
    assert score(ASK, ["ask time"], ["ask time ; ask level"]) == pytest.approx(2 / 3)
    assert score(ASK, ["complete"], ["ask time"]) == 0


def test_standard_words_count_in_their_order_and_as_facts():
    assert score(STANDARD, ["cough mild for days"], ["cough mild for days"]) == 1
    # longest common subsequence 3 of 4, all facts kept
    assert score(STANDARD, ["mild cough for days"], ["cough mild for days"]) == pytest.approx((0.75 + 1) / 2)
    assert score(STANDARD, ["fever"], ["cough mild"]) == 0


def test_records_are_compared_in_their_order_and_a_missing_one_is_worth_nothing():
    assert score(SPLIT, ["fraud deed | theft"], ["fraud deed | theft"]) == 1
    assert score(SPLIT, ["theft | fraud deed"], ["fraud deed | theft"]) == 0
    assert score(SPLIT, ["fraud deed"], ["fraud deed | theft"]) == 0.5
    assert score(SPLIT, ["fraud deed theft"], ["fraud deed | theft"]) == pytest.approx(0.8 / 2)


def test_labels_count_alike_whatever_their_number():
    wanted = ["low"] * 8 + ["high"] * 2
    assert macro_f1(["low"] * 10, wanted) == pytest.approx((2 * 8 / 18) / 2)
    assert macro_f1(wanted, wanted) == 1 and macro_f1(["none"] * 10, wanted) == 0
    assert score(RATE, wanted, wanted) == 1


def test_scores_are_ranked():
    words = ["one", "two", "three", "four", "five"]
    assert spearman(words, words) == pytest.approx(1) and spearman(words[::-1], words) == pytest.approx(-1)
    assert spearman(["three"] * 5, words) == 0  # a constant tells nothing
    assert spearman(["one", "two", "?", "four", "five"], words) == pytest.approx(
        1
    )  # what is no score is the middle one
    assert score(SCORE, ["one", "five"], ["one", "two"]) == pytest.approx(1)


def test_forms_are_counted_apart():
    assert valid_rate(EXTRACT, ["problem debt", "debt"]) == 0.5
    assert score(EXTRACT, ["problem debt", "debt"], ["problem theft", "problem theft"]) == 0


@pytest.mark.parametrize("texts", [[], ["problem theft"], ["problem theft"] * 3])
def test_as_many_answers_as_items_or_one_sentence(texts):
    with pytest.raises(
        EvaluationError, match=f"legal_extract_information: {len(texts)} answers for 2 items; give one answer"
    ):
        score(EXTRACT, texts, ["problem theft", "problem debt"])
