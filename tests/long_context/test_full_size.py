"""What the profiles with a card need there, without one: steps of training as shapes, at the sizes of experiments.yml."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from handed import handed
from shape_only import CARD, GIB, Need, adapted, step_memory, stray, tensors
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

from lib.machine import Machine
from lib.models import causal_lm
from lib.training import sft, stacked
from lib.training.loop import recompute
from lib.workflow import experiments, papers, session
from papers.long_context import asking, look_up, open_book, reading
from papers.long_context import study as long_context
from papers.long_context import world as herb_world
from papers.long_context.study import Arm

PLAN = experiments.load("long_context")
# config.json of Qwen/Qwen1.5-14B on the hub; its card says 14.2 billion weights
QWEN_14B = Qwen2Config(
    vocab_size=152_064, hidden_size=5120, intermediate_size=13_696, num_hidden_layers=40, num_attention_heads=40,
    num_key_value_heads=40, max_position_embeddings=32_768, tie_word_embeddings=False,
)  # fmt: skip


def settings(profile):
    return copy.deepcopy(PLAN.profiles[profile])


def machine(profile):
    return Machine(**PLAN.profiles[profile]["machine"])


def ids(rows, length, vocabulary):
    return torch.zeros((rows, length), dtype=torch.long) + vocabulary - 1


@pytest.mark.slow
def test_tuning_the_largest_checkpoint_at_full_fits_one_card():
    told, where = settings("full"), machine("full")
    tuning = told["tuning"]
    with tensors():
        model = AutoModelForCausalLM.from_config(
            QWEN_14B, dtype=getattr(torch, tuning["dtype"]), attn_implementation="sdpa"
        )
        weights = sum(p.numel() for p in model.parameters())
        model = adapted(model, tuning["lora"])
        model.train()
        model.enable_input_require_grads()
        if where.recompute:
            recompute(model)
        tokens = ids(where.at_a_time(tuning["batch"]), tuning["max_length"], QWEN_14B.vocab_size)
        need = step_memory(model, lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss)
    print(f"tuning, full: {need.gib:.1f} GiB")
    assert 14.1e9 < weights < 14.3e9
    assert need.gib < CARD and where.accumulated(tuning["batch"]) * where.micro_batch == tuning["batch"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """How many words the tokenizer of the profile `gpu` has."""
    folder = tmp_path_factory.mktemp("world")
    herb_world.write_world(folder, **settings("gpu")["world"], seed=0)
    texts = herb_world.vocabulary(herb_world.read_world(folder))
    return len({piece for text in texts for piece in causal_lm.pieces(text)}) + 4


def reader(told, words, *, attention="eager"):
    """The widest base of the profile `gpu`, as `pretrain_reader` makes it."""
    width, base = max(told["widths"]), told["base"]
    config = AutoConfig.for_model(
        "ministral", hidden_size=width, num_hidden_layers=base["depth"], num_attention_heads=base["heads"],
        num_key_value_heads=base["heads"], head_dim=width // base["heads"], intermediate_size=width, vocab_size=words,
        tie_word_embeddings=True, sliding_window=2, max_position_embeddings=7 * base["curriculum"]["longest"],
        layer_types=["sliding_attention", *["full_attention"] * (base["depth"] - 1)],
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


@pytest.mark.slow
def test_pretraining_a_base_at_gpu_fits_one_card(words):
    """On the longest documents, seven tokens a fact; logits where an answer is due, a third of the positions."""
    told = settings("gpu")
    length = 7 * told["base"]["curriculum"]["longest"]
    with tensors():
        model = reader(told, words, attention="sdpa").train()
        tokens = ids(max(2, told["base"]["curriculum"]["tokens"] // length), length, words)

        def loss():
            hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, ::3]
            return F.cross_entropy(model.lm_head(hidden).flatten(0, 1), tokens[:, ::3].flatten())

        need = step_memory(model, loss)
    print(f"pretraining, gpu: {need.gib:.1f} GiB")
    assert need.gib < CARD


@pytest.mark.slow
def test_a_stack_of_fits_at_gpu_fits_one_card(words):
    """As many members as a stack may have, each as one alone needs."""
    told = settings("gpu")
    with tensors():
        model = reader(told, words).train()
        tokens = ids(told["tuning"]["batch"], told["tuning"]["max_length"], words)
        one = step_memory(
            model, lambda: stacked.language_loss(model, {"input_ids": tokens, "labels": tokens}, window=2)
        )
    need = Need(*(long_context.STACK * part for part in (one.weights, one.optimiser, one.passes)))
    print(f"stack, gpu: {need.gib:.1f} GiB")
    assert need.gib < CARD and one.weights < GIB


def test_a_step_leaves_no_tensor_on_another_device(words):
    rows = [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}, {"input_ids": [4, 5], "labels": [-100, 5]}]
    batch = sft.collate(rows, pad=0)
    with torch.device("meta"):
        small = reader(settings("gpu"), words)
        large = AutoModelForCausalLM.from_config(QWEN_14B, dtype=torch.bfloat16, attn_implementation="eager")
    apart = stacked.language_batches
    encoded = SimpleNamespace(input_ids=[[1, 2, 3], [4, 5]], labels=[[-100, 2, 3], [-100, 5]])

    def step(device):
        made = apart([encoded], batch=2, seeds=[0], pad=0, device="cpu")(0)
        return stacked.language_loss(small, {name: one[0].to(device) for name, one in made.items()}, window=2)

    assert stray(small, step) is None
    assert (
        stray(
            large, lambda device: large(**{name: one.to(device) for name, one in batch.items()}, use_cache=False).loss
        )
        is None
    )


@pytest.mark.parametrize("profile", ["gpu", "full"])
def test_what_a_profile_says_of_its_machine_reaches_what_computes(profile, tmp_path, monkeypatch):
    place = tmp_path / "made"
    place.mkdir()
    asked = handed(monkeypatch, place)
    for name, content in {
        "scores.json": "{}",
        "asked.json": "{}",
        "replies.json": "{}",
        "questions.json": "[]",
    }.items():
        (place / name).write_text(content)
    monkeypatch.setattr(session.sources, "fetch", lambda slug, name: place)
    monkeypatch.setattr(herb_world, "read_world", lambda folder: None)
    monkeypatch.setattr(herb_world, "vocabulary", lambda world: [])
    run = session.Run(
        paper=papers.load_paper("long_context"),
        exhibit="fig_open_book",
        profile=profile,
        seeds=[0],
        settings=settings(profile),
        claims=[],
    )
    monkeypatch.setattr(asking.questions, "read_questions", lambda path: [])
    plan = asking.prepare(run)
    plan.ask()
    base = plan.study.widths[-1]
    plan.study.scores(plan.study.tune({"1:1": Arm(base, (1, 1), "gentle")}), conditions={"open": {}})
    known = {function for function, told in asked if "machine" in told}
    tuned = stacked.finetune_stacked if profile == "gpu" else sft.finetune
    assert known == {tuned, open_book.score, reading.ask, *([look_up.pretrain_reader] if profile == "gpu" else [])}
    assert all(told["machine"] == machine(profile) for _, told in asked if "machine" in told)
    assert machine(profile).device == "cuda"
    assert plan.model == place
