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
from papers.anytasktune import character_model, linear, metrics, real_tasks, study
from papers.anytasktune.lawbench import read_task
from papers.anytasktune.lawbench_tasks import ANSWERED, TASKS
from papers.anytasktune.splits import overlap, triples

PLAN = experiments.load("anytasktune")
TINY = {"architecture": "llama", "width": 16, "depth": 1, "heads": 2}


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


def test_a_profile_may_leave_out_the_instruction(tmp_path, data, split):
    told = {"data": data, "task": "3-4", "split": split, "longest": 30, "seed": 0, "shuffled": True}
    real_tasks.write_rows(tmp_path, instruction=False, **told)
    rows = read_rows(tmp_path / "rows.jsonl")
    items = read_task(data, "3-4").items
    assert [row["messages"][0]["content"] for row in rows] == [one.question[:30] for one in items[:40]]
    assert sorted(row["messages"][1]["content"] for row in rows) == sorted(
        TASKS["3-4"].text(one.gold) for one in items[:40]
    )


# ------------------------------------------------------------------------------------------------ the character model
def test_the_alphabet_can_write_every_label_and_the_base_reads_no_task_that_is_asked(tmp_path, data):
    known = set(character_model.alphabet(data, 60))
    assert len(known) < 1200
    for task in ANSWERED:
        items = read_task(data, task)
        golds = [items.task.text(item.gold) for item in items.items if item.gold] if items.task.kind == "months" else ()
        assert all(set(causal_lm.pieces(text)) <= known for text in (*items.labels, *golds))
    assert set(character_model.READ) == set(TASKS) - set(ANSWERED) and len(character_model.READ) == 10
    model = tmp_path / "model"
    character_model.write_initial(model, data=data, characters=60, architecture=TINY, seed=0)
    character_model.write_readings(tmp_path, data=data, tasks=["1-1"], longest=20, model=model)
    parts = [row["text"] for row in read_rows(tmp_path / "rows.jsonl")]
    assert max(map(len, parts)) == 20
    first = read_task(data, "1-1").items[0].question[:20].strip()
    assert parts[0] == character_model.legible(first, known) and character_model.UNREADABLE in parts[0]
    assert {piece for part in parts for piece in causal_lm.pieces(part)} <= known
    with pytest.raises(DataError, match="task 2-4 is asked"):
        character_model.write_readings(tmp_path, data=data, tasks=["1-1", "2-4"], longest=20, model=model)


def test_a_word_level_answer_is_joined_before_the_metric_reads_it(tmp_path, data, split, monkeypatch):
    """The tokenizer writes a blank before a number, and the benchmark's metric wants the months behind it at once."""
    word = "刑期:12个月"
    character_model.write_initial(tmp_path / "base", data=data, characters=100, architecture=TINY, seed=0)
    _, tokenizer = causal_lm.load(tmp_path / "base")
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(real_tasks, "generate", lambda model, prompts, **how: [ids for _ in prompts])
    said = {}
    for characters in (False, True):
        real_tasks.answer_by_model(
            tmp_path, base=tmp_path / "base", data=data, task="3-4", split=split, longest=10, asked=2, reply=8, batch=2,
            instruction=False, characters=characters,
        )  # fmt: skip
        said[characters] = json.loads((tmp_path / "answers.json").read_text())["texts"][0]
    assert said[True] == word and metrics.months(said[True]) == 12 and metrics.months(said[False]) is None


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


# ---------------------------------------------------------------------------------------- the models' arms, at `full` and `real`
PLACES = ("lawbench", "lawbench_answers")


@pytest.mark.slow
@at(("full", "real"), ["tab_real_chat_model"])
def test_the_chat_models_notebook_runs_with_a_toy_one(exhibit, profile, tmp_path, data):
    """One task, two splits, a tiny checkpoint: every arm answers, and the paper's claims are judged over the items."""
    items = read_task(data, "2-4")
    words = [real_tasks.shortened(items, i, 20) for i in range(len(items.items))] + list(items.labels)
    causal_lm.write_checkpoint(
        tmp_path / "qwen", texts=words, chat_template="chatml", architecture="llama", width=16, depth=1, heads=2,
    )  # fmt: skip
    told = copy.deepcopy(PLAN.profiles[profile])
    told["machine"] = {"device": "cpu", "micro_batch": 2}
    chat = told["real_tasks"]["chat"] = copy.deepcopy(PLAN.profiles["full"]["real_tasks"]["chat"])
    chat |= {"tasks": ["2-4"], "loading": {}, "wording": {"longest": 20}}
    chat["answer"] = {"asked": 6, "reply": 2, "batch": 8, "longest": 20}
    chat["lora"] |= {"rank": 2}
    chat["fit"] = {"steps": 2, "batch": 4, "learning_rate": 1e-3, "max_length": 400}
    places = {name: released("anytasktune", name) for name in PLACES}
    said = run_cells(
        "anytasktune", exhibit, profile, settings=told, root=tmp_path, seeds=2,
        sources={**places, "qwen": tmp_path / "qwen"},
    )  # fmt: skip
    saved = json.loads((tmp_path / f"out/papers/anytasktune/results/{exhibit}.{profile}.json").read_text())
    assert not saved["claims"] and set(saved["declined"]) == {"R1", "R2", "R3a", "R3b"}  # two steps tune nothing
    assert "0% of the tuned model's answers" in saved["declined"]["R1"]
    assert "2-4 topic of consultation: " in said and "tuned - shuffled answers: 2-4 topic of consultation" in said
    assert len(list((tmp_path / "cache" / "finetune").iterdir())) >= 4  # two splits, true and shuffled answers


@pytest.mark.slow
@at(("full", "real"), ["tab_real_task_tuning"])
def test_the_linear_models_notebook_runs_on_one_task(exhibit, profile, tmp_path):
    told = copy.deepcopy(PLAN.profiles[profile])
    told["machine"] = {"device": "cpu"}
    told["real_tasks"]["tasks"] = ["2-4"]
    places = {name: released("anytasktune", name) for name in PLACES}
    run_cells("anytasktune", exhibit, profile, settings=told, root=tmp_path, sources=places, seeds=2)
    saved = json.loads((tmp_path / f"out/papers/anytasktune/results/{exhibit}.{profile}.json").read_text())
    assert saved["evidence"] == "real" and "N4d" in saved["claims"] and saved["numbers"]


@pytest.mark.slow
@at(("full", "real"), ["tab_real_character_model"])
def test_the_character_models_notebook_runs_with_small_sizes(exhibit, profile, tmp_path):
    told = copy.deepcopy(PLAN.profiles[profile])
    told["machine"] = {"device": "cpu"}
    told["real_tasks"] |= {"tasks": ["2-4", "3-4"], "character": PLAN.profiles["smoke"]["real_tasks"]["character"]}
    places = {name: released("anytasktune", name) for name in PLACES}
    said = run_cells("anytasktune", exhibit, profile, settings=told, root=tmp_path, seeds=2, sources=places)
    saved = json.loads((tmp_path / f"out/papers/anytasktune/results/{exhibit}.{profile}.json").read_text())
    assert {*saved["claims"], *saved["declined"]} == {"R4", "R5"} and "3-4 prison term: " in said
    folders = [one for one in (tmp_path / "cache" / "finetune_stacked").iterdir() if one.is_dir()]
    # the base, and for each task two splits with true and with shuffled answers in one pass
    assert sorted(len(list(one.glob("member_*"))) for one in folders) == [1, 4, 4]


@pytest.mark.parametrize(("model", "outcome"), [(study.CHAT, "invalid (control)"), (study.CHARACTER, "holds")])
def test_a_model_is_judged_on_the_items_of_its_tasks_and_by_what_shuffled_answers_gain(model, outcome):
    run = Run(
        paper=papers.load_paper("anytasktune"), exhibit=f"tab_real_{model}_model", profile="real", seeds=[0],
        settings=copy.deepcopy(PLAN.profiles["real"]), claims=[], evidence="real",
    )  # fmt: skip
    by_form = 0.8 if model == study.CHAT else 0.1
    scores = _shares(task_tuned=0.8, task_tuned_shuffled_outputs=by_form, untuned_base=0.0, constant=0.1, GPT4=0.5)
    valid = pd.Series({study.TUNED: 0.9})
    found = {
        task: study.Measured(
            SimpleNamespace(task=SimpleNamespace(id=task)), pd.DataFrame(scores), valid, np.arange(200)
        )
        for task in ("2-4", "2-2")
    }
    study.Study(run, run.settings["real_tasks"], None, None).judge_model(found, model)
    first, second = list(study.MODEL_CLAIMS[model])[:2]
    assert run.judged[first]["outcome"] == outcome and run.judged[first]["effect"]["n"] == 400
    assert run.judged[second]["outcome"] == outcome
    assert set(run.declined) == set(study.MODEL_CLAIMS[model]) - {first, second}
    run.judged.clear()
    valid[study.TUNED] = 0.7  # shared by both tasks
    study.Study(run, run.settings["real_tasks"], None, None).judge_model(found, model)
    assert not run.judged and "70% of the tuned model's answers can be read" in run.declined[first]
