"""The long-context study at smoke size: bases, arms, engines, marks, and what is shared between notebooks."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from open_book_items import ITEM, WORDING

from lib.data.files import DataError
from lib.data.instructions import dialogue, write_alpaca
from lib.models import causal_lm
from lib.workflow import paths, sources
from lib.workflow.session import SessionError, start
from papers.long_context import cmb, open_book
from papers.long_context import study as long_context
from papers.long_context.mixing import mix_rows
from papers.long_context.study import Arm


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of its own; the process is left as it was found."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CACHE", tmp_path_factory.mktemp("cache"))
        yield paths.CACHE
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


def begin(**settings):
    run = start("long_context", "tab4_ratio", profile="smoke", seeds=2)
    run.settings = {**copy.deepcopy(run.settings), "widths": [16], "engine": "stacked", **settings}
    return run


@pytest.fixture(scope="module")
def study(cache):
    return long_context.prepare(begin())


# ---------------------------------------------------------------------- the plan
def test_every_ratio_takes_the_same_number_of_rows_and_steps(study):
    arms = {f"{g}:{m}": Arm(16, (g, m), "gentle") for g, m in long_context.RATIOS}
    assert {name: arm.on(16) for name, arm in long_context.mixes("gentle").items()} == arms
    recipe = study._recipe(arms["1:1"])
    lines = [path.read_text().count("\n") for path in study._rows([(arm, 0) for arm in arms.values()])]
    assert lines == [recipe["steps"] * recipe["batch"]] * 7
    tuned = study.tune(arms)
    assert [len(models) for models in tuned.values()] == [2] * 7
    losses = [json.loads((models[0].parent / "losses.json").read_text()) for models in tuned.values()]
    assert {len(one) for one in losses} == {recipe["steps"]}


def test_the_seven_ratios_are_one_stack_that_other_notebooks_find_again(study, cache):
    arms = {f"{g}:{m}": Arm(16, (g, m), "gentle") for g, m in long_context.RATIOS}
    tuned = study.tune(arms)
    assert len({model.parent for models in tuned.values() for model in models}) == 1
    assert len({model for models in tuned.values() for model in models}) == 14
    before = sorted(cache.glob("finetune_stacked/*/artefact.json"))
    assert study.tune({"9:1": arms["9:1"]})["9:1"] == tuned["9:1"], "one ratio asked for finds the stack of all"
    assert study.tune(arms) == tuned and sorted(cache.glob("finetune_stacked/*/artefact.json")) == before


def test_each_seed_stands_on_its_own_base_and_world_where_they_are_not_bound(study, cache):
    bases = study.bases[16]
    assert bases[0] != bases[1] and study.files[0]["general"] != study.files[1]["general"]
    weights = [causal_lm.load(bases[seed])[0].state_dict() for seed in (0, 1)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    bound = long_context.prepare(begin(bases=1))
    assert bound.bases[16] == {0: bases[0], 1: bases[0]} and bound.files[1] == study.files[0]
    assert bound.exams[1] != study.exams[1] and bound.exams[0] == study.exams[0], "an exam is of its base's world"


def test_arms_that_tell_domain_and_context_apart_differ_from_the_general_mix_in_their_rows_alone(study):
    """Shares, steps and the medical rows' file are the same; 0:1 is one arm, whatever the first file would have been."""
    kinds = (long_context.GENERAL, long_context.WITH_CONTEXT, long_context.WITHOUT_CONTEXT)
    mixed = [long_context.mixes("heavy", of=of) for of in kinds]
    assert len({arms["0:1"] for arms in mixed}) == 1 and len({arms["9:1"] for arms in mixed}) == 3
    arms = [replace(one["1:1"].on(16), steps=20) for one in mixed]
    assert [replace(arm, of=kinds[0]) for arm in arms] == [arms[0]] * 3
    rows = [{*path.read_text().splitlines()} for path in study._rows([(arm, 0) for arm in arms])]
    medical = study._rows([(replace(arms[0], shares=(0, 1), steps=400), 0)])[0].read_text().splitlines()
    taught = set(json.loads((study.files[0]["general"].parent / "world.json").read_text())["taught"])
    assert all(any(row in medical for row in one) for one in rows)
    assert all(any(name in row for name in taught) for row in rows[1]), "no general row in the control"
    turns = [[turn["content"] for turn in json.loads(row)["messages"]] for row in rows[2]]
    assert not any("\n" in asked and "\n" not in answer for asked, answer in turns), "a look-up without contexts"
    assert any("\n" in asked for asked, _ in turns), "letters stay"


def test_a_grid_holds_every_arm_on_every_base(study):
    grid = study.grid({"untuned": None, **long_context.mixes("gentle", ratios=["9:1", "1:9"])})
    assert set(grid) == {"open", *study.open_conditions}
    assert {name: values.shape for name, values in grid["open"].items()} == dict.fromkeys(
        ["untuned", "9:1", "1:9"], (1, 2)
    )
    mean = np.mean([grid[f"open_{n}"]["9:1"] for n in study.settings["sizes"]], axis=0)
    assert np.array_equal(grid["open"]["9:1"], mean)


def test_seeds_and_draws_take_other_rows(study):
    jobs = [(Arm(16, (1, 1), "heavy"), 0), (Arm(16, (1, 1), "heavy"), 1), (Arm(16, (1, 1), "heavy", draw=1), 0)]
    texts = {path.read_text() for path in study._rows(jobs)}
    assert len(texts) == 3


def test_a_second_stage_starts_from_the_models_of_the_first(study):
    medical = Arm(16, (0, 1), "heavy")
    arms = {"first": medical, "second": Arm(16, (1, 0), "heavy", steps=1, after=medical)}
    tuned = study.tune(arms)
    assert study.tune({"second": arms["second"]})["second"] == tuned["second"], "the first stage need not be asked for"
    recipe = json.loads((tuned["second"][0].parent / "artefact.json").read_text())["arguments"]["checkpoint"]
    wanted = [str(path.relative_to(paths.CACHE)) for path in tuned["first"]]
    assert [one["artefact"] for one in recipe] == wanted
    weights = [causal_lm.load(tuned[name][0])[0].state_dict() for name in ("first", "second")]
    moved = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    assert 0 < moved < 0.02, "one step away"


def test_both_engines_are_asked_for_the_same_fit(study, cache):
    arm = {"1:1": Arm(16, (1, 1), "gentle")}
    study.settings = {**study.settings, "engine": "trl"}
    model = study.tune(arm)["1:1"][0]
    study.settings = {**study.settings, "engine": "stacked"}
    other = study.tune(arm)["1:1"][0]
    trl, stacked = (json.loads((path / "artefact.json").read_text())["arguments"] for path in (model, other.parent))
    place = int(other.name.removeprefix("member_"))
    assert trl["rows"] == stacked["rows"][place] and trl["checkpoint"] == stacked["checkpoint"][place]
    assert {key: trl[key] for key in ("steps", "batch", "learning_rate")} == {
        key: stacked[key] for key in ("steps", "batch", "learning_rate")
    }


def test_marks_are_the_models_own_answers(study):
    """Accuracy of one model and condition, counted again by asking question after question."""
    tuned = {"base": study.untuned(16)}
    found = study.scores(tuned, conditions={"open": {"size": 4}, "letters": {"size": 4, "options": True, "longest": 5,
                                                     "scoring": ["text", "strict", "likelihood"]}})  # fmt: skip
    assert set(found["base"]) == {"open", "letters/text", "letters/strict", "letters/likelihood"}
    model, tokenizer = causal_lm.load(study.bases[16][0])
    items, texts = open_book._texts(study.exams[0]["held_out"], {**open_book.OPEN, "size": 4}, WORDING, seed=0)
    hits = []
    for item, text in zip(items, texts, strict=True):
        ids = torch.tensor([tokenizer(f"<s>{text}", add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            reply = tokenizer.decode([int(model(input_ids=ids).logits[0, -1].argmax())])
        hits.append((item.exam_type, reply == item.options[item.answer]))
    macro = np.mean([np.mean([hit for kind, hit in hits if kind == one]) for one in cmb.EXAM_TYPES])
    assert found["base"]["open"][0] == pytest.approx(macro)


def test_only_reading_answers_the_counterfactual_exam(study):
    """A model that recites what is taught is wrong on every question of the contradicting exam, one that reads is right."""
    world = json.loads((study.files[0]["general"].parent / "world.json").read_text())
    items, knowledge = open_book._read(study.exams[0]["contradicted"], open_book.OPEN)
    reads = [dict([knowledge[item.id].passage.split()])[item.question] for item in items]
    recites = [world["facts"][item.question] for item in items]
    assert open_book._mark(items, reads, "text") == [True] * len(items)
    assert open_book._mark(items, recites, "text") == [False] * len(items)
    false = open_book._read(study.exams[0]["held_out"], {**open_book.OPEN, "knowledge": "shuffled"})
    assert not any(open_book._mark([item], [false[1][item.id].passage.split()[1]], "text")[0] for item in false[0]), (
        "reading the shuffled context is always wrong"
    )


# ---------------------------------------------------------------------- real files
def test_real_files_and_checkpoints_take_the_place_of_the_world(study, cache, tmp_path, monkeypatch):
    """The settings of the profile `full`, on small files in the same formats: letters are generated and parsed."""
    diseases = _known(study)[:6]
    names = {"exam_type": "护理考试", "exam_class": "x", "exam_subject": "y", "question_type": cmb.SINGLE}
    records = [
        {**names, "question": disease, "option": ITEM.options, "answer": "B", "explanation": f"{disease} Mint。故选B。"}
        for disease in diseases
    ]
    questions = tmp_path / "CMB-val-merge.json"
    questions.write_text(json.dumps(records, ensure_ascii=False))
    texts = [" ".join([*diseases, "Basil Mint A B 。 知 识 问 题"]), "\n"]
    causal_lm.write_checkpoint(
        tmp_path / "qwen", texts=texts, chat_template="chatml", architecture="qwen3", width=16, depth=1, heads=2
    )
    rows = [{"instruction": diseases[0], "input": "", "output": "Mint"}] * 8
    for name in ("general", "medical"):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    files = {name: f"{name}.json" for name in ("general", "medical")}
    folders = {"rows": tmp_path, "qwen": tmp_path / "qwen"}
    monkeypatch.setattr(sources, "fetch", lambda slug, name: folders[name])
    run = begin(
        engine="trl", sizes=[1, 2], middle=2, files={"source": "rows", **files, "questions": questions.name},
        checkpoints={"tiny": {"source": "qwen"}},
        exam={"distractors": 1}, long_exam={"distractors": 3}, asked={"options": True, "scoring": ["released", "strict"]},
        wording={**WORDING, "open": "知识 {knowledge}\n问题 {question}"}, replies={"longest": 3, "batch": 4},
        tuning={"batch": 2, "max_length": 64, "lora": {"rank": 2, "targets": ["q_proj", "v_proj"]}},
    )  # fmt: skip
    real = long_context.prepare(run)
    items, texts = open_book._texts(
        real.exams[0]["held_out"], {**open_book.OPEN, "size": 2, "options": True}, run.settings["wording"], seed=0
    )
    assert len(items) == 6 and all(
        "故选" not in text and f"{item.question} Mint。" in text for item, text in zip(items, texts, strict=True)
    )
    false = open_book._read(real.exams[0]["held_out"], {**open_book.OPEN, "knowledge": "shuffled"})[1]
    assert not any(item.question in false[item.id].passage for item in items)
    tuned = real.tune({"1:1": Arm("tiny", (1, 1), "gentle")})
    assert (Path(tuned["1:1"][0]) / "adapter_config.json").is_file()
    found = real.scores({"untuned": real.untuned("tiny"), **tuned}, conditions=real.open_conditions)
    assert {name.split("/")[0] for name in found["1:1"]} == {"open_1", "open_2", "shuffled", "absent"}
    assert set(found) == {"untuned", "1:1"} and len(found["1:1"]["open_1/strict"]) == 2
    with pytest.raises(SessionError, match="name no 'medical_with_context' rows; give their path"):
        real.tune({"9:1": Arm("tiny", (9, 1), "gentle", of=long_context.WITH_CONTEXT)})
    questions.write_text(json.dumps([{k: v for k, v in one.items() if k != "explanation"} for one in records]))
    with pytest.raises(DataError, match="gives 0 questions with 1 distractors; it needs explanations"):
        long_context.prepare(run)


def _known(study):
    return json.loads((study.files[0]["general"].parent / "world.json").read_text())["held_out"]


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"budget": "hevy"}, "'budget' is 'hevy'; did you mean 'heavy'? choose from gentle, heavy"),
        ({"base": 65}, "'base' is 65; choose from 16, 24"),
        ({"lengths": [4, 33]}, "'lengths' is 33; choose from 1 to 32"),
        ({"places": [0.0, 1.5]}, "'places' holds 1.5"),
        ({"ratios": [[1, 0], [0, 0]]}, "'ratios' holds [0, 0]"),
        ({"ends": ["9:1"]}, "'ends' is ['9:1']; give 2 or more"),
        ({"trend": ["9:1", "9-1"]}, "'trend' is '9-1'; did you mean '9:1'"),
        ({"volumes": [8, 1], "epochs": 2}, "'volumes' is 1; choose from 2 to"),  # not one step of 4 rows
    ],
)
def test_what_a_notebook_names_is_checked_against_the_settings(given, sentence):
    run = start("long_context", "tab4_ratio", profile="smoke")
    with pytest.raises(SessionError) as caught:
        long_context.check(run, **given)
    assert str(caught.value).startswith(f"parameter {sentence}")


def test_a_pool_larger_than_the_medical_rows_is_refused(tmp_path):
    for name in ("general", "medical"):
        write_alpaca(tmp_path / f"{name}.json", [dialogue([(f"{name} {i}", "x")]) for i in range(6)])
    files = {"first": tmp_path / "general.json", "second": tmp_path / "medical.json"}
    with pytest.raises(DataError, match=r"medical\.json has 6 rows and a pool of 7 is wanted"):
        mix_rows(tmp_path, **files, shares=(0, 1), total=4, seed=0, pool=7)
    mix_rows(tmp_path, **files, shares=(0, 1), total=4, seed=0, pool=6)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 4
