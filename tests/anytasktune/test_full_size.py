"""What AnyTaskTune's profiles `gpu` and `full` need, without a card: steps of training as shapes, and prompts in positions."""

import copy
import json

import numpy as np
import pytest
import torch
from handed import handed
from pairs import exhibits, run_cells
from shape_only import CARD, adapted, step_memory, tensors
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

from lib.machine import Machine
from lib.training.loop import recompute
from lib.training.stacked import finetune_stacked
from lib.workflow import experiments, papers, session
from papers.anytasktune import small_models, world_study
from papers.anytasktune.world_tasks import TASKS, draw_pair, words

PLAN = experiments.load("anytasktune")
PROFILE, GPU = PLAN.profiles["full"], PLAN.profiles["gpu"]
CHAT, CHARACTER = (PROFILE["real_tasks"][model] for model in ("chat", "character"))
# Qwen1.5-7B-Chat: its configuration as published
QWEN = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "vocab_size": 151936, "max_position_embeddings": 32768}  # fmt: skip


@pytest.mark.slow
def test_a_step_of_tuning_qwen_fits_one_card():
    where = Machine(**PROFILE["machine"])
    with tensors():
        told = Qwen2Config(**QWEN)
        model = adapted(
            AutoModelForCausalLM.from_config(told, dtype=torch.bfloat16, attn_implementation="sdpa"), CHAT["lora"]
        )
        model.train()
        model.enable_input_require_grads()
        recompute(model)
        rows = where.at_a_time(CHAT["fit"]["batch"])
        ids = torch.zeros((rows, CHAT["fit"]["max_length"]), dtype=torch.long) + 1
        need = step_memory(model, lambda: model(input_ids=ids, labels=ids, use_cache=False).loss)
    assert 15e9 < need.weights < 16.5e9 and need.optimiser == 2 * 4 * 4_194_304  # q and v of 32 layers at rank 8
    print(f"tuning, full: {need.gib:.1f} GiB")
    assert need.gib < CARD
    assert where.accumulated(CHAT["fit"]["batch"]) == 4


def test_the_longest_prompt_and_its_reply_have_positions():
    instruction, a_character = 300, 2  # tokens at most of an instruction and of a character
    longest = CHAT["wording"]["longest"]
    assert instruction + a_character * longest + CHAT["answer"]["reply"] < QWEN["max_position_embeddings"]


@pytest.mark.parametrize("profile", ["smoke", "real", "full"])
def test_the_character_model_has_positions_for_what_it_reads_is_tuned_on_and_writes(profile):
    told, longest_answer = PLAN.profiles[profile]["real_tasks"]["character"], 300  # of 2-6, in lines
    room = told["initial"]["architecture"]["max_position_embeddings"]
    longest = told["wording"]["longest"]
    assert longest == told["answer"]["longest"] and longest + 2 + told["answer"]["reply"] <= room
    assert told["reading"]["longest"] < told["read"]["max_length"] <= room and told["fit"]["max_length"] <= room
    if profile != "smoke":  # which has one task, of short answers
        assert longest + longest_answer < told["fit"]["max_length"]


@pytest.mark.slow
def test_the_characters_stack_of_full_fits_one_card():
    told = CHARACTER["initial"]["architecture"]
    with tensors():
        config = AutoConfig.for_model(
            told["architecture"], hidden_size=told["width"], num_hidden_layers=told["depth"], num_attention_heads=told["heads"],
            num_key_value_heads=told["heads"], intermediate_size=2 * told["width"], tie_word_embeddings=True,
            vocab_size=CHARACTER["initial"]["characters"] + 1000, max_position_embeddings=told["max_position_embeddings"],
        )  # fmt: skip
        one = AutoModelForCausalLM.from_config(config, attn_implementation="eager").train()
        fit = CHARACTER["fit"]
        ids = torch.zeros((fit["batch"], CHARACTER["wording"]["longest"] + 300), dtype=torch.long) + 1
        need = step_memory(one, lambda: one(input_ids=ids, labels=ids, use_cache=False).loss)
    splits = 3
    assert 2 * splits * need.gib < CARD, f"{need.gib:.1f} GiB"


def small(told):
    """A base of the profile `gpu`, with the words of the world."""
    width, heads = told["width"], told["heads"]
    config = AutoConfig.for_model(
        told["architecture"], hidden_size=width, num_hidden_layers=told["depth"], num_attention_heads=heads,
        num_key_value_heads=heads, head_dim=width // heads, intermediate_size=2 * width, vocab_size=len(words()) + 4,
        max_position_embeddings=told["max_position_embeddings"], tie_word_embeddings=told["tie_word_embeddings"],
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def stack(told, recipe, members):
    """Memory of a step of so many members side by side."""
    with tensors():
        models = torch.nn.ModuleList([small(told) for _ in range(members)]).train()
        ids = torch.zeros((recipe["batch"], recipe["max_length"]), dtype=torch.long) + 1
        return step_memory(models, lambda: sum(m(input_ids=ids, labels=ids, use_cache=False).loss for m in models))


@pytest.mark.slow
def test_the_stacks_of_gpu_fit_one_card_and_the_larger_model_is_larger():
    bases = {size: GPU["models"][size] for size in ("small", "large")}
    need = {
        f"{size}, phase {number}": stack(told["architecture"], phase, GPU["bases"])
        for size, told in bases.items()
        for number, phase in enumerate(told["phases"])
    }
    tuning = stack(bases["small"]["architecture"], GPU["tune"], 3)
    print("; ".join(f"{name.replace(',', '')}, gpu: {one.gib:.1f} GiB" for name, one in need.items()))
    assert 5 * len(TASKS) / 3 * tuning.gib < CARD  # the step models of five seeds
    assert max(one.gib for one in need.values()) < CARD, {name: one.gib for name, one in need.items()}
    assert need["large, phase 0"].weights > 10 * need["small, phase 0"].weights


def test_what_gpu_says_of_its_machine_reaches_what_computes(tmp_path, monkeypatch):
    asked = handed(monkeypatch, tmp_path)
    (tmp_path / "answers.json").write_text(json.dumps({}), encoding="utf-8")
    run = session.Run(
        paper=papers.load_paper("anytasktune"), exhibit="tab_granularity", profile="gpu", seeds=[0, 1],
        settings=copy.deepcopy(GPU), claims=[],
    )  # fmt: skip
    study = world_study.prepare(run)
    study._replies_of("action_model")
    study._replies_of(world_study.FEW_SHOT)
    told = {function: one["machine"] for function, one in asked if "machine" in one}
    assert set(told) == {finetune_stacked, small_models.answer_tasks}
    assert all(one == Machine(**GPU["machine"]) and one.device == "cuda" for one in told.values())


def test_three_examples_and_a_reply_have_positions_at_every_profile():
    draw, longest = np.random.default_rng(0), 48  # words of a prompt, an input and an answer, with the template's own
    for task in TASKS.values():
        pairs = [draw_pair(task, draw, held=False, world=0) for _ in range(100)]
        assert all(len(f"{task.prompt} {one.input} {one.output}".split()) + 2 <= longest for one in pairs)
    for profile in ("smoke", "mini", "gpu"):
        one = PLAN.profiles[profile]
        for size in ("small", "large"):
            room = one["models"][size]["architecture"]["max_position_embeddings"]
            assert (world_study.SHOTS + 1) * longest + one["asked"]["longest"] < room
        assert (
            one["tune"]["pairs"] <= 0.85 * one["world"]["train"]
        )  # of which the split keeps nine tenths, more or less


GENERATED = [name for name in exhibits("anytasktune", "gpu") if PLAN.evidence(name, "gpu") == "miniature"]


@pytest.mark.slow
@pytest.mark.parametrize("exhibit", GENERATED)
def test_a_notebook_runs_at_gpu_with_small_sizes(exhibit, tmp_path_factory):
    """Its own cells, on a CPU, two tasks of one domain and smoke's sizes: claims are judged, or left with a reason."""
    told = copy.deepcopy(PLAN.profiles["gpu"]) | {
        "machine": {"device": "cpu"},
        "tasks": ["legal_extract_information", "legal_sentence_prediction"],
    }
    told |= {name: copy.deepcopy(PLAN.profiles["smoke"][name]) for name in ("world", "models", "tune", "asked")}
    given = {"pairs": [5, 20]} if exhibit == "fig_data_curve" else {}
    root = tmp_path_factory.getbasetemp() / "at_gpu"  # artefacts are shared, as they are in a run
    run_cells("anytasktune", exhibit, "gpu", settings=told, root=root, seeds=3, **given)
    saved = json.loads((root / f"out/papers/anytasktune/results/{exhibit}.gpu.json").read_text())
    assert {*saved["claims"], *saved["declined"]} == set(PLAN.experiments[exhibit].claims)
    assert set(saved["declined"]) <= {"C2"}


@pytest.mark.parametrize("profile", ["mini", "gpu"])
def test_the_larger_model_is_wider_and_reads_more_of_the_pool_with_examples(profile):
    small_one, large = (PLAN.profiles[profile]["models"][size] for size in ("small", "large"))
    seen = [
        sum(one["steps"] * one["batch"] * one["reading"]["turns"] for one in told["phases"])
        for told in (small_one, large)
    ]
    assert seen[1] > seen[0] and large["architecture"]["width"] > small_one["architecture"]["width"]
    assert large["phases"][-1]["reading"]["turns"] == world_study.SHOTS + 1
