"""What Machine Mindset's profiles with a card need there, without one: steps of training as shapes, at the sizes of
experiments.yml."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from handed import handed
from shape_only import CARD, adapted, step_memory, stray, tensors
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from lib.machine import Machine
from lib.training import sft
from lib.training.dpo import prefer
from lib.training.loop import recompute
from lib.training.stacked import finetune_stacked
from lib.workflow import experiments, papers, session
from papers.machine_mindset import bases, measures
from papers.machine_mindset import study as mindset
from papers.machine_mindset.arms import pole_arms
from papers.machine_mindset.stacked_dpo import prefer_stacked, preference_loss

PLAN = experiments.load("machine_mindset")


def settings(profile):
    return copy.deepcopy(PLAN.profiles[profile])


def machine(profile):
    return Machine(**PLAN.profiles[profile]["machine"])


def llama(told):
    """Llama-2-7b (the defaults of its configuration) in bfloat16 with the profile's LoRA, trained weights in fp32."""
    model = AutoModelForCausalLM.from_config(LlamaConfig(), dtype=torch.bfloat16, attn_implementation="sdpa")
    return adapted(model, told["lora"])


def ready(model, where):
    model.train()
    model.enable_input_require_grads()
    if where.recompute:
        recompute(model)
    return model


def ids(rows, length, vocabulary=32_000):
    return torch.zeros((rows, length), dtype=torch.long) + vocabulary - 1


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["behaviour", "self_awareness"])
def test_a_phase_of_tuning_llama_2_fits_one_card(phase):
    told, where = settings("full"), machine("full")
    recipe = told["phases"][phase]
    with tensors():
        model = ready(llama(told), where)
        tokens = ids(where.at_a_time(recipe["batch"]), recipe["max_length"])
        need = step_memory(model, lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss)
    assert 13e9 < need.weights < 14e9 and need.optimiser == 2 * 4 * 4_194_304  # q and v of 32 layers at rank 8
    assert need.gib < CARD
    print(f"{phase}, full: {need.gib:.1f} GiB")


@pytest.mark.slow
def test_dpo_of_llama_2_against_a_copy_of_its_adapter_fits_one_card():
    """Chosen and rejected rows go through the model together; the reference is a second adapter on the same base."""
    told, where = settings("full"), machine("full")
    recipe = told["phases"]["preference"]
    assert recipe["reference"] == "start"
    with tensors():
        model = ready(llama(told), where)
        tokens = ids(2 * where.at_a_time(recipe["batch"]), recipe["max_length"])

        def said(logits):
            return logits[:, :-1].float().log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0].sum(1)

        def loss():
            with torch.no_grad():
                other = said(model(input_ids=tokens, use_cache=False).logits)
            ratio = said(model(input_ids=tokens, use_cache=False).logits) - other
            chosen, rejected = ratio.chunk(2)
            return -F.logsigmoid(recipe["beta"] * (chosen - rejected)).mean()

        need = step_memory(model, loss)
    assert need.gib < CARD
    print(f"DPO, full: {need.gib:.1f} GiB")


def small(told):
    """The decoder of the profile `gpu`, with as many words as its vocabulary may have."""
    sizes = dict(told["architecture"])
    width, heads = sizes["width"], sizes["heads"]
    config = AutoConfig.for_model(
        sizes["architecture"], hidden_size=width, num_hidden_layers=sizes["depth"], num_attention_heads=heads,
        num_key_value_heads=heads, head_dim=width // heads, intermediate_size=2 * width, vocab_size=told["vocabulary"] + 1000,
        max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def test_the_stacks_of_gpu_fit_one_card():
    """Five members side by side, as five models whose gradients live at once."""
    told = settings("gpu")
    with tensors():
        models = torch.nn.ModuleList([small(told) for _ in range(5)]).train()
        words = told["vocabulary"] + 1000
        recipe = told["phases"]["behaviour"]
        tokens = ids(recipe["batch"], recipe["max_length"], words)
        tuning = step_memory(
            models, lambda: sum(m(input_ids=tokens, labels=tokens, use_cache=False).loss for m in models)
        )
        recipe = told["phases"]["preference"]
        both = ids(2 * recipe["batch"], recipe["max_length"], words)
        batch = {"input_ids": both, "labels": both, "reference": torch.zeros(len(both))}
        dpo = step_memory(models, lambda: sum(preference_loss(m, batch, beta=recipe["beta"]) for m in models))
    assert max(tuning.gib, dpo.gib) < CARD
    print(f"tuning, gpu: {tuning.gib:.1f} GiB; DPO, gpu: {dpo.gib:.1f} GiB")


@pytest.mark.parametrize("profile", ["gpu", "full"])
def test_a_step_of_dpo_leaves_no_tensor_on_another_device(profile):
    told = settings(profile)
    with torch.device("meta"):
        if profile == "gpu":
            model = small(told)
        else:
            model = AutoModelForCausalLM.from_config(LlamaConfig(), dtype=torch.bfloat16, attn_implementation="eager")

    def step(device):
        rows = torch.zeros((2, 5), dtype=torch.long, device=device)
        return preference_loss(model, {"input_ids": rows, "labels": rows, "reference": rows[:, 0].float()}, beta=0.1)

    assert stray(model, step) is None


@pytest.mark.parametrize("profile", ["gpu", "full"])
def test_what_a_profile_says_of_its_machine_reaches_what_computes(profile, tmp_path, monkeypatch):
    asked = handed(monkeypatch, tmp_path)
    for name, content in {
        "weighed": "[]",
        "held": "[]",
        "named": "[]",
        "answers": "[]",
        "sat": "{}",
        "questions": "[]",
    }.items():
        (tmp_path / f"{name}.json").write_text(content)
    run = session.Run(
        paper=papers.load_paper("machine_mindset"), exhibit="tab_pole_preference", profile=profile, seeds=[0],
        settings=settings(profile), claims=[],
    )  # fmt: skip
    data = {0: {"folder": tmp_path, "language": "en", "self_awareness": tmp_path, "exam": tmp_path}}
    study = mindset.Study(run, run.settings, "en", data, {0: tmp_path}, None)
    arms = pole_arms("energy", "I")
    study.weigh(arms, axis="energy")
    study.name({"base": ()})
    study.answer({"base": ()})
    study.sit({"base": ()})
    if profile == "gpu":
        monkeypatch.setattr(session.Run, "source", lambda self, name: tmp_path)
        bases.pretrained(run, "en", data)
    known = {function for function, told in asked if "machine" in told}
    measured = {measures.weigh_pairs, measures.name_type, measures.answer_items, measures.sit_exam}
    trained = {finetune_stacked, prefer_stacked} if profile == "gpu" else {sft.finetune, prefer}
    assert known == measured | trained
    assert all(told["machine"] == machine(profile) for _, told in asked if "machine" in told)
    assert machine(profile).device == "cuda" and SimpleNamespace(**study.settings).held == 0.2
