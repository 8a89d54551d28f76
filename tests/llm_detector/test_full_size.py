"""What LLM-Detector's profiles with a card need there, without one: steps as shapes, at the sizes of experiments.yml."""

import copy

import pytest
import torch
from shape_only import CARD, adapted, step_memory, stray, tensors
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

from lib.machine import Machine
from lib.models import causal_lm
from lib.training.loop import recompute
from lib.workflow import experiments
from papers.llm_detector import encoder, scoring
from papers.llm_detector.world_files import words_of

PLAN = experiments.load("llm_detector")
# Qwen1.5-7B as its hub says: https://huggingface.co/Qwen/Qwen1.5-7B-Chat, config.json
QWEN = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "intermediate_size": 11008, "vocab_size": 151936, "max_position_embeddings": 32768,
        "tie_word_embeddings": False}  # fmt: skip


def settings(profile):
    return copy.deepcopy(PLAN.profiles[profile])


def network(told):
    """The network of a generated world, with as many words as it has."""
    words = len({p for w in words_of(told["world"]["size"], ["A", "B"]) for p in causal_lm.pieces(w)}) + 6
    sizes = told["network"]
    config = AutoConfig.for_model(
        "llama", hidden_size=sizes["width"], num_hidden_layers=sizes["depth"], num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["heads"], head_dim=sizes["width"] // sizes["heads"], vocab_size=words,
        intermediate_size=2 * sizes["width"], max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager"), words


@pytest.mark.slow
def test_tuning_at_full_fits_one_card():
    told = settings("full")
    machine, fit = Machine(**told["machine"]), told["detector"]["fit"]
    with tensors():
        model = AutoModelForCausalLM.from_config(Qwen2Config(**QWEN), dtype=torch.bfloat16, attn_implementation="sdpa")
        model = adapted(model, told["detector"]["lora"])
        model.get_input_embeddings().register_forward_hook(lambda module, args, out: out.requires_grad_())
        recompute(model)
        # a text of the corpus: at most `most` words, two tokens each at worst, and the template
        length = min(fit["max_length"], 2 * told["corpus"]["most"] + 40)
        ids = torch.zeros(machine.at_a_time(fit["batch"]), length, dtype=torch.long)
        need = step_memory(model.train(), lambda: model(input_ids=ids, labels=ids, use_cache=False).loss)
    assert 14 < need.weights / 2**30 < 15 and need.gib < CARD
    print(f"tuning, full: {need.gib:.1f} GiB")


@pytest.mark.slow
def test_stacked_fits_at_gpu_fit_one_card():
    told = settings("gpu")
    with tensors():
        model, words = network(told)
        members = 3 * told["bases"]  # two machines and a scorer a world, in one pass
        ids = torch.zeros(told["pretraining"]["batch"], told["pretraining"]["max_length"], dtype=torch.long)
        need = step_memory(model.train(), lambda: model(input_ids=ids, labels=ids, use_cache=False).loss)
    gib = members * need.gib
    assert gib < CARD
    print(f"pretraining of {members} members, gpu: {gib:.1f} GiB, {words} words")


@pytest.mark.slow
def test_a_scoring_pass_at_full_holds_few_distributions_at_a_time():
    told = settings("full")["scoring"]
    assert scoring._SCORED_AT_ONCE * QWEN["vocab_size"] * 4 * 4 < 2**30  # four copies in float32
    states = 33 * told["batch"] * told["longest"] * QWEN["hidden_size"] * 2
    assert states / 2**30 + 14.4 < CARD


@pytest.mark.parametrize("profile", ["gpu", "full"])
def test_a_pass_leaves_no_tensor_on_another_device(profile):
    told = settings(profile)
    with torch.device("meta"):
        if profile == "gpu":
            model, _ = network(told)
        else:
            small = {**QWEN, "num_hidden_layers": 2}
            model = AutoModelForCausalLM.from_config(
                Qwen2Config(**small), dtype=torch.bfloat16, attn_implementation="eager"
            )

    def step(device):
        ids = torch.tensor([[1, 2, 3]], device=device)
        if profile == "gpu":
            return encoder.both_ways(model, ids, torch.ones_like(ids))
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)

    assert stray(model, step) is None
