"""The plan of the generated sub-tasks: equal updates whatever the granularity, arms that hold what they say, a guard."""

import copy
import json
from collections import Counter
from itertools import count

import numpy as np
import pytest

from lib.training.stacked import finetune_stacked
from lib.workflow import experiments, papers
from lib.workflow.session import Run, SessionError
from papers.anytasktune import data_curve, small_models, transfer, world
from papers.anytasktune.subtasks import Pair
from papers.anytasktune.without_model import WAYS
from papers.anytasktune.world_arms import PROMPTED, SHUFFLED, TUNED, Tuning, random_actions
from papers.anytasktune.world_study import BASE, FEW_SHOT, LARGER, SHOTS, ZERO_SHOT, Study
from papers.anytasktune.world_tasks import TASKS

PLAN = experiments.load("anytasktune")
SEEDS = [0, 1, 2, 3, 4]
PROMPTS = ("step_model_without_prompt", "step_model_with_random_prompts", "mixed_model_without_prompt")
GRANULARITIES = ("step_model", "action_model", "mixed_model", "random_step_model", "random_action_model")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    for seed in range(3):
        (folder / str(seed)).mkdir()
        world.write_world(folder / str(seed), train=12, held=3, pool=5, suite=1, seed=seed)
    return {seed: folder / str(seed) for seed in range(3)}


@pytest.fixture
def plan(tmp_path, monkeypatch, worlds):
    """A study of `mini` that builds nothing; every model is a folder, and answers each item rightly but where told otherwise."""
    asked, numbers = [], count()

    def build_all(self, function, many):
        folders = []
        for told in many:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            asked.append((function, told))
            if ("tasks" in told and "each" not in told) or "way" in told:
                part = told.get("part", "held")
                golds = {
                    name: [pair.output for pair in world.read_pairs(told["world"], part, name)]
                    for name in told["tasks"]
                }
                (folder / "answers.json").write_text(json.dumps(golds), encoding="utf-8")
            folders.append(folder)
        return folders

    monkeypatch.setattr(Run, "build_all", build_all)
    run = Run(
        paper=papers.load_paper("anytasktune"), exhibit="tab_task_tuning", profile="mini", seeds=SEEDS,
        settings=copy.deepcopy(PLAN.profiles["mini"]), claims=[],
    )  # fmt: skip
    return Study(run, run.settings, worlds), asked


def _fits(asked):
    return [told for function, told in asked if function is finetune_stacked]


def test_every_granularity_takes_the_same_updates_on_the_base_of_its_seed(plan):
    study, asked = plan
    one = study.settings["tune"]["steps"] * len(study.tasks)
    for arm in (*GRANULARITIES, *PROMPTS, "task_tuned at 3"):
        study.small  # noqa: B018  (trained before what is counted)
        asked.clear()
        assert set(study.scores(arm)) == set(study.tasks)
        updates = Counter()
        for fit in _fits(asked):
            for seed, base in zip(fit["seeds"], fit["checkpoint"], strict=True):
                updates[seed] += fit["steps"]
                assert base == study.small[study.run.base_of(seed)]
        assert updates == dict.fromkeys(SEEDS, one), arm


@pytest.mark.parametrize(
    ("arm", "models"), [("step_model", 12), ("mixed_model", 1), ("action_model", 6), ("random_action_model", 6)]
)
def test_each_model_answers_what_it_was_tuned_on(plan, arm, models):
    study, asked = plan
    study.scores(arm)
    rows = [told for function, told in asked if function is small_models.write_rows]
    said = [told for function, told in asked if function is small_models.answer_tasks]
    assert len(rows) == len(said) == models * len(SEEDS)
    assert [told["tasks"] for told in rows] == [told["tasks"] for told in said]
    for seed in SEEDS:
        own = [told for told in rows if told["seed"] == seed]
        assert sorted(name for told in own for name in told["tasks"]) == sorted(study.tasks)


def test_random_groups_have_the_sizes_of_the_actions_and_other_tasks(plan):
    study, _ = plan
    sizes = sorted(map(len, study.actions().values()))
    groups = [random_actions(study.tasks, seed=seed) for seed in SEEDS]
    assert all(sorted(map(len, one)) == sizes for one in groups) and len(set(map(tuple, groups))) == len(SEEDS)
    assert all(len({TASKS[name].domain for name in steps}) == 1 for steps in study.actions().values())
    assert any(len({TASKS[name].domain for name in steps}) > 1 for one in groups for steps in one)


def test_arms_without_tuning_train_nothing(plan):
    study, asked = plan
    study.small, study.large  # noqa: B018
    asked.clear()
    for arm in (BASE, ZERO_SHOT, FEW_SHOT, *WAYS):
        assert study.mean(arm) == pytest.approx(
            [1.0] * 5, abs=0.35
        )  # Spearman and macro-F1 of three items may be below one
    assert not _fits(asked)
    shots = {told.get("shots", 0): told["base"] for function, told in asked if function is small_models.answer_tasks}
    assert set(shots) == {0, SHOTS} and shots[SHOTS] in study.large.values()
    study.scores(BASE)
    assert len(asked) == 6 * len(SEEDS)  # measured once
    with pytest.raises(SessionError, match="no arm 'untuned'"):
        study.scores("untuned")


def test_shuffled_outputs_are_all_that_their_arm_differs_in(plan):
    study, asked = plan
    kept = {}
    for arm in (TUNED, SHUFFLED):
        asked.clear()
        study.scores(arm)
        kept[arm] = [told for function, told in asked if function is small_models.write_rows]
    for plain, changed in zip(kept[TUNED], kept[SHUFFLED], strict=True):
        assert {name for name in plain if plain[name] != changed[name]} == {"shuffled"}


def test_the_larger_model_counts_by_its_better_way(plan):
    study, _ = plan
    names = study.tasks
    study._measured[ZERO_SHOT] = ({name: [0.2, 0.4] if name == names[0] else [0.0, 0.0] for name in names}, {})
    study._measured[FEW_SHOT] = ({name: [0.1, 0.3] for name in names}, {})
    assert study.scores(LARGER)[names[0]] == [0.2, 0.4] and study.scores(LARGER)[names[1]] == [0.1, 0.3]


@pytest.mark.parametrize(("larger", "fine"), [([0.41, 0.5, 0.6], True), ([0.41, 0.5, 0.39], False)])
def test_a_larger_model_that_is_not_more_capable_is_no_opponent(plan, monkeypatch, larger, fine):
    study, _ = plan
    monkeypatch.setattr(Study, "suite", lambda self, size: larger if size == "large" else [0.3, 0.3, 0.3])
    for arm, score in {TUNED: 0.6, ZERO_SHOT: 0.4, FEW_SHOT: 0.5, SHUFFLED: 0.2}.items():
        study._measured[arm] = ({name: [score, score + 0.01, score, score, score] for name in study.tasks}, {})
    assert study.lead() == pytest.approx([score - 0.3 for score in larger])
    study.judge_against_larger("C2")
    if fine:
        assert study.run.judged["C2"]["outcome"] == "direction seen" and not study.run.declined
    else:
        assert "0.090 on its worst base and 0.1 is asked" in study.run.declined["C2"] and not study.run.judged
    study.settings["verdicts"] = False  # a profile without verdicts has none, and goes on
    study.run.declined.clear()
    study.judge_against_larger("C2")
    assert not study.run.declined


@pytest.mark.parametrize("arm", PROMPTED)
def test_an_arm_is_tuned_and_asked_with_the_prompt_that_it_says(plan, arm):
    study, asked = plan
    asked.clear()
    study.scores(arm)
    _, tuned, used = PROMPTED[arm]
    assert {told["prompt"] for function, told in asked if function is small_models.write_rows} == {tuned}
    said = [told for function, told in asked if function is small_models.answer_tasks]
    assert {told["prompt"] for told in said} == {used}


def test_the_data_curve_changes_the_pairs_alone_and_finds_its_crossing(plan):
    study, asked = plan
    kept = {}
    for many in (3, 5):
        asked.clear()
        points = data_curve.curve(study, TUNED, [many])
        kept[many] = [told for function, told in asked if function is small_models.write_rows]
        assert len(points) == 1 and len(points[0]) == len(SEEDS)
        assert {told["each"] for told in kept[many]} == {many}
    assert [{**told, "each": 0} for told in kept[3]] == [{**told, "each": 0} for told in kept[5]]
    for many, score in ((3, 0.2), (5, 0.6)):
        study._measured[f"{TUNED} at {many}"] = ({name: [score] * 5 for name in study.tasks}, {})
        study._measured[f"{SHUFFLED} at {many}"] = ({name: [0.1] * 5 for name in study.tasks}, {})
    study._measured["rival"] = ({name: [0.7 * (k == 0)] * 5 for k, name in enumerate(study.tasks)}, {})
    found = data_curve.crossings(study, [3, 5], "rival")
    assert found[study.tasks[0]] is None and found[study.tasks[1]] == 3
    judged = data_curve.arms(study, [3, 5])
    assert judged["most_pairs"] == pytest.approx([0.6] * 5) and judged["fewest_pairs"] == pytest.approx([0.2] * 5)
    assert judged["most_pairs_shuffled"] == judged["fewest_pairs_shuffled"]


def test_an_arm_may_be_asked_the_test_part_of_its_own_files(plan, monkeypatch):
    study, asked = plan
    monkeypatch.setattr(world, "read_pairs", lambda folder, part, name: [Pair(part, "one"), Pair(part, "two")])
    for arm in (TUNED, BASE, WAYS[0]):
        asked.clear()
        study.scores(f"{arm} on test")
        assert {told["part"] for _, told in asked if "part" in told} == {"test"}


def test_a_crossing_lies_on_a_line_over_the_logarithm_of_the_pairs():
    assert data_curve.crossing([25, 100], [0.2, 0.4], 0.3) == pytest.approx(50)
    assert data_curve.crossing([25, 50, 100], [0.3, 0.1, 0.4], 0.35) == pytest.approx(50 * 2 ** (25 / 30))


def test_the_worst_domain_is_where_the_gain_is_least(plan):
    study, _ = plan
    worst = "staffing"
    study._measured["one"] = ({name: [0.5 - 0.1 * (TASKS[name].domain == worst)] * 5 for name in study.tasks}, {})
    study._measured["other"] = ({name: [0.4] * 5 for name in study.tasks}, {})
    assert study.worst_domain("one", "other") == worst
    mean, low, high = study.gap("one", "other")["llm_resume_scoring"]
    assert mean == pytest.approx(0) and low <= mean <= high


def test_a_tuning_says_which_rows_it_is_dealt(plan):
    study, asked = plan
    study.tuned([(0, Tuning(("llm_resume_scoring", "finance_risk_assessor"), dealt=(1, 2)))])
    (told,) = [told for function, told in asked if function is small_models.write_rows]
    assert told["dealt"] == [1, 2] and _fits(asked)[-1]["steps"] == study.settings["tune"]["steps"]


def test_transfer_is_told_from_forgetting_and_from_chance(plan):
    study, asked = plan
    study._measured[BASE] = ({name: [0.1 * k] * 5 for k, name in enumerate(study.tasks)}, {})
    gains = transfer.transfer(study)
    said = [told for function, told in asked if function is small_models.answer_tasks]
    assert len(said) == 12 * 5 and all(told["tasks"] == study.tasks for told in said)
    right = [
        study.worth(0, {name: [p.output for p in world.read_pairs(study.world(0), "held", name)]})
        for name in study.tasks
    ]
    own = np.array(
        [worth[name][0] for worth, name in zip(right, study.tasks, strict=True)]
    )  # every model answers rightly here
    assert gains.shape == (12, 12, 5) and np.allclose(gains[:, :, 0], own - 0.1 * np.arange(12))

    skill = np.array(transfer.skills(study))
    made = np.where(np.equal.outer(skill, skill), 0.5, -0.2)[..., None] * np.ones(5)
    made[np.arange(12), np.arange(12)] = 9.0  # a task's own gain is neither
    arms = transfer.arms(study, made)
    assert arms["same_skill_elsewhere"] == pytest.approx([0.5] * 5) and arms["other_skill"] == pytest.approx([-0.2] * 5)
    assert np.mean(arms["same_random_group"]) < 0.2
    for seed in SEEDS:
        assert Counter(transfer.dealt_groups(list(skill), seed=seed)) == Counter(skill)
