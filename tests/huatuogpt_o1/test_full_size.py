"""What HuatuoGPT-o1's profiles with a card need there, without one: steps as shapes, at the sizes of experiments.yml."""

import copy

import pytest
import torch
from handed import handed
from shape_only import CARD, adapted, settings_of, step_memory, tensors
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from lib.machine import Machine
from lib.training.loop import recompute
from lib.training.sft import finetune
from lib.training.stacked import finetune_stacked
from lib.workflow import experiments, papers, session
from papers.huatuogpt_o1 import ppo, real_study, real_tuning, reasoner_study, reasoners, reinforcing
from papers.huatuogpt_o1.material import vocabulary

PLAN = experiments.load("huatuogpt_o1")


def machine(profile):
    return Machine(**PLAN.profiles[profile]["machine"])


def run_at(profile, exhibit):
    return session.Run(
        paper=papers.load_paper("huatuogpt_o1"), exhibit=exhibit, profile=profile, seeds=[0],
        settings=copy.deepcopy(PLAN.profiles[profile]), claims=[],
    )  # fmt: skip


@pytest.mark.slow
def test_tuning_the_papers_base_fits_one_card():
    """Llama-3.1-8B: the sizes of its published configuration, in bfloat16, with the profile's LoRA in fp32."""
    told, _ = settings_of(PLAN, "full")
    where, recipe = machine("full"), told["tuning"]["fit"]
    config = LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    with tensors():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
        model = adapted(model, told["tuning"]["lora"])
        model.train()
        model.enable_input_require_grads()
        recompute(model)
        tokens = torch.zeros((where.at_a_time(recipe["batch"]), recipe["max_length"]), dtype=torch.long)
        need = step_memory(model, lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss)
    assert 16e9 < need.weights < 18e9 and need.gib < CARD
    print(f"tuning, full: {need.gib:.1f} GiB")


def small(told):
    """The reasoner of the profile `gpu`, with the words of its worlds."""
    sizes, words = told["base"]["architecture"], len(set(" ".join(vocabulary(told["world"], [0, 1, 2])).split())) + 50
    config = AutoConfig.for_model(
        sizes["architecture"], hidden_size=sizes["width"], num_hidden_layers=sizes["depth"], num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["heads"], head_dim=sizes["width"] // sizes["heads"], intermediate_size=2 * sizes["width"],
        vocab_size=words, max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def test_the_stack_of_bases_and_a_step_of_ppo_fit_one_card():
    told = copy.deepcopy(PLAN.profiles["gpu"]["reasoner"])
    fit, how = told["sft"], ppo.PPO(longest=told["longest"], **told["ppo"])
    with tensors():
        models = torch.nn.ModuleList([small(told) for _ in range(5)]).train()
        tokens = torch.zeros((max(fit["batch"], told["base"]["fit"]["batch"]), fit["max_length"]), dtype=torch.long)
        stack = step_memory(
            models, lambda: sum(m(input_ids=tokens, labels=tokens, use_cache=False).loss for m in models)
        )
        policy = small(told)
        body, head = (
            small(told).base_model,
            torch.nn.Linear(policy.config.hidden_size, 1),
        )  # as ppo.Value, which copies weights
        both = torch.nn.ModuleList([policy, body, head])
        ids = torch.zeros((how.batch // how.parts, told["longest"] + 32), dtype=torch.long)
        said = torch.zeros((len(ids), ids.shape[1] - 1))

        def loss():
            logp = ppo.log_probabilities(policy, ids, temperature=1.0)
            policy_part = ppo.losses.policy_loss(logp, said, said, said + 1, clip=how.clip)
            values = head(body(input_ids=ids[:, :-1], use_cache=False).last_hidden_state)[..., 0]
            return policy_part + ppo.losses.value_loss(values, said, said, said + 1, clip=how.value_clip)

        step = step_memory(both, loss)
    assert max(stack.gib, step.gib) < CARD
    print(f"stack, gpu: {stack.gib:.1f} GiB; PPO, gpu: {step.gib:.1f} GiB")


def test_the_worlds_of_gpu_can_be_drawn():
    from papers.huatuogpt_o1.material import problems_of
    from papers.huatuogpt_o1.world import Sizes, draw_world

    told = PLAN.profiles["gpu"]["reasoner"]
    for seed in range(told["bases"]):
        parts = problems_of(draw_world(Sizes(**told["world"]), seed=seed), told["shares"], seed=seed)
        assert len(parts["sft"]) >= 4 * told["sft"]["batch"] and len(parts["test"]) > 100


def test_what_a_profile_says_of_its_machine_reaches_what_computes(tmp_path, monkeypatch):
    asked = handed(monkeypatch, tmp_path)
    for name in ("marks", "history"):
        (tmp_path / f"{name}.json").write_text("{}")
    study = reasoner_study.prepare(run_at("gpu", "tab2_ablation"))
    study.marks("complex")
    study.reinforced("complex")
    known = {function for function, told in asked if "machine" in told}
    assert known == {reasoners.pretrain, reasoners.exam, finetune_stacked, reinforcing.reinforce}
    assert all(told["machine"] == machine("gpu") for _, told in asked if "machine" in told)
    asked.clear()
    (tmp_path / "count.json").write_text('{"rows": 256, "tokens": 9}')
    (tmp_path / "sat.json").write_text("{}")
    monkeypatch.setattr(session.Run, "source", lambda self, name: tmp_path)
    real_study.prepare(run_at("full", "tab_real_tuning")).sat("complex")
    known = {function for function, told in asked if "machine" in told}
    assert known == {finetune, real_tuning.sit}
    assert all(told["machine"] == machine("full") for _, told in asked if "machine" in told)
    assert next(told for function, told in asked if function is finetune)["batch"] == 128
