"""Splits, rows and replies of the real tasks, and how their items are scored and judged."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pairs import at, run_cells
from released_files import released

from lib.data.files import DataError
from lib.models import causal_lm
from lib.training.chat_encoding import read_rows
from lib.workflow import experiments, papers
from lib.workflow.session import Run
from papers.anytasktune import linear, real_tasks, study
from papers.anytasktune.lawbench import read_task
from papers.anytasktune.lawbench_tasks import ANSWERED, TASKS
from papers.anytasktune.splits import overlap, triples

PLAN = experiments.load("anytasktune")


def test_near_duplicates_are_on_one_side_and_sizes_are_kept():
    member = [k // 2 for k in range(100)]
    parts = real_tasks.draw(member, range(0, 98), train=50, test=40, seed=0)
    assert len(parts["test"]) == 40 and len(parts["train"]) == 50
    sides = [{member[i] for i in parts[part]} for part in ("train", "test")]
    assert not sides[0] & sides[1] and max(parts["train"] + parts["test"]) < 98
    assert real_tasks.draw(member, range(98), train=50, test=40, seed=1) != parts
    with pytest.raises(DataError, match="cannot give 98"):
        real_tasks.draw(member, range(98), train=50, test=98, seed=0)


@pytest.fixture(scope="module")
def data():
    return released("anytasktune", "lawbench")


def test_sentences_of_one_case_are_on_one_side_in_the_task_whose_file_keeps_its_order(tmp_path, data):
    """Neighbours of 2-6 repeat names and things, those of the other tasks are no more alike than strangers."""
    for task in ANSWERED:
        said = [triples(item.question) for item in read_task(data, task).items]
        alike = [np.mean([overlap(said[i], said[(i + lag) % 500]) for i in range(500)]) for lag in (1, 113)]
        assert (alike[0] > 2 * alike[1] and alike[0] > 0.1) == TASKS[task].in_order, task
    real_tasks.write_groups(tmp_path, data=data, task="2-6")
    member = json.loads((tmp_path / "groups.json").read_text())
    assert len(set(member)) == 44 and member[1:13] == [1] * 12  # the five thefts of one case
    parts = real_tasks.draw(member, range(500), train=300, test=200, seed=0)
    assert not {member[i] for i in parts["train"]} & {member[i] for i in parts["test"]}


@pytest.fixture
def split(tmp_path):
    (tmp_path / "split").mkdir()
    parts = {"train": list(range(40)), "test": list(range(40, 60))}
    (tmp_path / "split" / "split.json").write_text(json.dumps(parts))
    return tmp_path / "split"


@pytest.mark.parametrize("task", ["2-6", "3-3", "3-4"])
def test_rows_are_prompt_and_gold_answer_and_shuffled_ones_hold_the_same_answers(tmp_path, data, split, task):
    told = {"data": data, "task": task, "split": split, "longest": 30, "seed": 0}
    for name, shuffled in {"plain": False, "dealt": True}.items():
        (tmp_path / name).mkdir()
        real_tasks.write_rows(tmp_path / name, shuffled=shuffled, **told)
    plain, dealt = (read_rows(tmp_path / name / "rows.jsonl") for name in ("plain", "dealt"))
    items = read_task(data, task)
    first = items.items[0]
    assert plain[0]["messages"][0]["content"] == f"{first.instruction}\n{first.question[:30]}"
    said = [[row["messages"][1]["content"] for row in rows] for rows in (plain, dealt)]
    assert sorted(said[0]) == sorted(said[1]) and said[0] != said[1]
    golds = [item.gold for item in items.items[:40] if items.task.text(item.gold)]
    scores = [items.score(text, gold).score for text, gold in zip(said[0], golds, strict=True)]
    assert np.mean(scores) > 0.9  # what a model is taught is what the metric rewards


def test_answers_are_scored_by_item_as_the_mean_over_the_splits_that_ask_it(tmp_path, data):
    items = read_task(data, "2-4")
    right, wrong = items.items[3].answer, "海事海商"
    for name, texts in {"a": [right, wrong], "b": [wrong, items.items[4].answer]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "answers.json").write_text(json.dumps({"items": [3, 4], "texts": texts}))
    scores, valid = study.Study._scored(items, [tmp_path / "a", tmp_path / "b"])
    assert scores[3] == scores[4] == 0.5 and np.isnan(scores[5]) and valid == 1.0


# ---------------------------------------------------------------------------------------------------------- outcomes
def _judged(scores, claim="N4d", task="2-4"):
    run = Run(
        paper=papers.load_paper("anytasktune"), exhibit="tab_real_task_tuning", profile="real", seeds=[0],
        settings=copy.deepcopy(PLAN.profiles["real"]), claims=[], evidence="real",
    )  # fmt: skip
    made = study.Study(run, run.settings["real_tasks"], None, None)
    measured = study.Measured(
        SimpleNamespace(task=SimpleNamespace(id=task)), pd.DataFrame(scores), None, np.arange(200)
    )
    made.judge(task, measured)
    return run.judged[claim]["outcome"]


def _shares(**means):
    """Right (1) or wrong (0) of 200 items in each arm, so often as told, in an order of its own."""
    generator = np.random.default_rng(0)
    return {arm: generator.permutation(np.arange(200) < 200 * mean).astype(float) for arm, mean in means.items()}


@pytest.mark.parametrize(
    ("means", "outcome"),
    [
        ({"linear": 0.8, "shuffled": 0.1, "constant": 0.2, "GPT4": 0.5}, "holds"),
        ({"linear": 0.5, "shuffled": 0.1, "constant": 0.2, "GPT4": 0.8}, "contradicted"),
        ({"linear": 0.5, "shuffled": 0.1, "constant": 0.2, "GPT4": 0.51}, "undecided"),
        ({"linear": 0.8, "shuffled": 0.1, "constant": 0.8, "GPT4": 0.5}, "invalid (control)"),
        ({"linear": 0.8, "shuffled": 0.8, "constant": 0.1, "GPT4": 0.5}, "invalid (control)"),
    ],
)
def test_labels_must_be_what_beats_the_stronger_model(means, outcome):
    assert _judged(_shares(**means)) == outcome


def test_every_task_with_answers_has_its_claim_about_it():
    paper = papers.load_paper("anytasktune")
    assert list(study.CLAIMS) == list(ANSWERED)
    for task, claim_id in study.CLAIMS.items():
        claim = paper.claim(claim_id)
        assert claim.quantity.endswith(f"LawBench {task}") and claim.arms.treatment in linear.WAYS


# ------------------------------------------------------------------------------------------- the chat model's arms
@pytest.mark.slow
@at("full", ["tab_real_task_tuning"])
def test_the_notebook_runs_at_full_with_a_toy_chat_model(exhibit, tmp_path, data):
    """One task, two splits, a tiny checkpoint: every arm answers, and the paper's claims are judged over the items."""
    items = read_task(data, "2-4")
    words = [real_tasks.shortened(items, i, 20) for i in range(len(items.items))] + list(items.labels)
    causal_lm.write_checkpoint(
        tmp_path / "qwen", texts=words, chat_template="chatml", architecture="llama", width=16, depth=1, heads=2,
    )  # fmt: skip
    told = copy.deepcopy(PLAN.profiles["full"])
    told["machine"] = {"device": "cpu", "micro_batch": 2}
    real = told["real_tasks"]
    real["tasks"] = ["2-4"]
    real["chat"] |= {"tasks": ["2-4"], "loading": {}, "asked": 6, "reply": 2, "longest": 20}
    real["chat"]["lora"] |= {"rank": 2}
    real["chat"]["fit"] = {"steps": 2, "batch": 4, "learning_rate": 1e-3, "max_length": 400}
    places = {name: released("anytasktune", name) for name in ("lawbench", "lawbench_answers")}
    said = run_cells(
        "anytasktune", exhibit, "full", settings=told, root=tmp_path, seeds=2,
        sources={**places, "qwen": tmp_path / "qwen"},
    )  # fmt: skip
    saved = json.loads((tmp_path / "out/papers/anytasktune/results/tab_real_task_tuning.full.json").read_text())
    assert set(saved["claims"]) == {"N4d", "R1", "R2"} and set(saved["declined"]) == {"R3a", "R3b"}
    asked = {one["arm"]: len(one["values"]) for one in saved["numbers"] if "is tuned" in one["quantity"]}
    assert 6 <= asked["task_tuned"] == asked["untuned_base"] <= 12 and "tuned in: 2-4" in said
    assert len(list((tmp_path / "cache" / "finetune").iterdir())) >= 4  # two splits, true and shuffled answers


@pytest.mark.slow
@at("real", ["tab_real_task_tuning"])
def test_the_notebook_runs_at_real_on_one_task(exhibit, tmp_path, data):
    """At real nothing is tuned but linear models, beside the released answers."""
    told = copy.deepcopy(PLAN.profiles["real"])
    told["real_tasks"]["tasks"] = ["2-4"]
    places = {name: released("anytasktune", name) for name in ("lawbench", "lawbench_answers")}
    run_cells("anytasktune", exhibit, "real", settings=told, root=tmp_path, sources=places, seeds=2)
    saved = json.loads((tmp_path / f"out/papers/anytasktune/results/{exhibit}.real.json").read_text())
    assert saved["evidence"] == "real" and "N4d" in saved["claims"] and saved["numbers"]
