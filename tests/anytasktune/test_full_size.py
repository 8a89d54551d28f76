"""What AnyTaskTune's profile `full` needs, without a card: a step of tuning as shapes, and the longest prompt in positions."""

import pytest
import torch
from shape_only import CARD, adapted, step_memory, tensors
from transformers import AutoModelForCausalLM, Qwen2Config

from lib.machine import Machine
from lib.training.loop import recompute
from lib.workflow import experiments

PROFILE = experiments.load("anytasktune").profiles["full"]
CHAT = PROFILE["real_tasks"]["chat"]
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
    assert need.gib < CARD, f"{need.gib:.1f} GiB"
    assert where.accumulated(CHAT["fit"]["batch"]) == 4


def test_the_longest_prompt_and_its_reply_have_positions():
    instruction, a_character = 300, 2  # tokens at most of an instruction and of a character
    assert instruction + a_character * CHAT["longest"] + CHAT["reply"] < QWEN["max_position_embeddings"]
