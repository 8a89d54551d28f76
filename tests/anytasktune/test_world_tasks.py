"""The generated sub-tasks: right answers by hand, forms that refuse what is not one, and no answer that is copied text."""

import numpy as np
import pytest

from lib.data.files import DataError
from papers.anytasktune.cases import DOMAINS, Case
from papers.anytasktune.subtasks import SUBTASKS
from papers.anytasktune.world_tasks import (
    NOISE,
    POOL,
    POOLED,
    TASKS,
    answer,
    draw_pair,
    find,
    is_valid,
    points,
    words,
)

FULL = Case("law", {"problem": "fraud", "thing": "deed", "time": "years", "level": "severe"})
BARE = Case("law", {"problem": "theft"})


def test_twelve_tasks_of_six_domains_and_their_names():
    assert len(TASKS) == 12 and {task.domain for task in TASKS.values()} == set(DOMAINS)
    assert {name for name, task in TASKS.items() if not task.ours} == set(TASKS) & set(SUBTASKS)
    assert {task.skill for task in POOL.values()} == set(POOLED)
    assert not {task.domain for task in POOL.values()} & set(DOMAINS)
    assert find("extract_travel").domain == "travel"
    with pytest.raises(DataError, match="no generated sub-task 'legal_extract'; there are clinical"):
        find("legal_extract")


@pytest.mark.parametrize(
    ("name", "full", "bare"),
    [
        ("legal_extract_information", "problem fraud ; thing deed ; time years ; level severe", "problem theft"),
        ("clinical_question_enhancement", "complete", "ask thing ; ask time ; ask level"),
        ("standard_finance_question", "fraud severe for years with deed", "theft"),
        ("hospital_service_feedback_analysis", "angry", "unclear"),
        ("legal_sentence_prediction", "prison", "fine"),
        ("finance_risk_assessor", "high", "low"),
        ("psychology_risk_assessor", "high", "low"),
        ("llm_resume_scoring", "five", "one"),
    ],
)
def test_answers_by_hand(name, full, bare):
    assert (answer(TASKS[name], [FULL]), answer(TASKS[name], [BARE])) == (full, bare)


def test_rules_count_grade_and_long_times():
    def of(level, time):
        told = {"level": level, "time": time}
        return Case("mind", {"problem": "grief"} | {slot: value for slot, value in told.items() if value})

    told = {(None, None): 0, ("mild", "days"): 0, ("moderate", None): 1, ("mild", "months"): 1, ("severe", "years"): 3}
    assert {one: points(of(*one)) for one in told} == told
    risk = TASKS["psychology_risk_assessor"]
    rated = {("moderate", "days"): "middle", ("severe", "weeks"): "middle", ("severe", "months"): "high"}
    assert {one: answer(risk, [of(*one)]) for one in rated} == rated
    assert (
        answer(risk, [of("mild", "days")], noise=-1) == "low"
        and answer(risk, [of("mild", "days")], noise=1) == "middle"
    )


def test_two_clients_are_parted_in_their_order():
    task = TASKS["legal_split_cases"]
    assert answer(task, [FULL, BARE]) == "fraud deed years | theft"
    pair = draw_pair(task, np.random.default_rng(0), held=False, world=0)
    assert "anna :" in pair.input and "ben :" in pair.input and is_valid(task, pair.output)


@pytest.mark.parametrize("name", [*TASKS, *POOL])
@pytest.mark.parametrize("held", [True, False])
def test_every_answer_has_its_form_and_known_words_and_few_are_copied(name, held):
    task, draw, known = find(name), np.random.default_rng(1), set(words())
    pairs = [draw_pair(task, draw, held=held, world=2) for _ in range(60)]
    assert all(is_valid(task, pair.output) for pair in pairs)
    assert {word for pair in pairs for text in (task.prompt, pair.input, pair.output) for word in text.split()} <= known
    assert np.mean([f" {pair.output} " in f" {pair.input} " for pair in pairs]) < 0.25  # a lone canonical problem
    assert len({pair.output for pair in pairs}) > 1


def test_about_one_rate_in_ten_is_a_step_off():
    task, draw = TASKS["llm_resume_scoring"], np.random.default_rng(3)
    off = []
    for _ in range(1500):
        noise = int(draw.choice([-1, 1])) if draw.random() < NOISE else 0
        off.append(answer(task, [Case("staffing", {"problem": "coding", "level": "moderate"})], noise=noise) != "two")
    assert abs(np.mean(off) - NOISE) < 0.03


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("legal_extract_information", "fraud ; deed"),
        ("legal_extract_information", ""),
        ("clinical_question_enhancement", "ask when"),
        ("clinical_question_enhancement", "time ; level"),
        ("standard_med_question", "problem cough ; time days"),
        ("standard_med_question", ""),
        ("legal_split_cases", "fraud deed"),
        ("legal_split_cases", "fraud | theft | debt"),
        ("legal_split_cases", "fraud | "),
        ("hospital_service_feedback_analysis", "very angry"),
        ("llm_resume_scoring", "six"),
        ("legal_sentence_prediction", "high"),
    ],
)
def test_a_wrong_form_is_seen(name, wrong):
    assert not is_valid(TASKS[name], wrong)
