"""What Aurora's profiles with a card need there, without one: steps of training as shapes, at the sizes of experiments.yml."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from handed import handed
from shape_only import CARD, GIB, Need, adapted, step_memory, stray, tensors
from transformers import AutoConfig, AutoModelForCausalLM, MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralExperts

from lib.machine import Machine
from lib.models import causal_lm
from lib.training import sft
from lib.training.chat_encoding import Encoded
from lib.training.dpo import prefer
from lib.training.loop import recompute
from lib.workflow import experiments, papers, session
from papers.aurora import letters, measures, pretraining
from papers.aurora import study as aurora
from papers.aurora import world_files as files
from papers.aurora.world import make_world

PLAN = experiments.load("aurora")
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight: four bits, and a scale of eight bits a block of 64, itself scaled


def settings(profile):
    return copy.deepcopy(PLAN.profiles[profile])


def machine(profile):
    return Machine(**PLAN.profiles[profile]["machine"])


@pytest.fixture(autouse=True)
def even_experts(monkeypatch):
    """Tokens spread evenly over the experts: which expert a token takes is a value, and shapes have none."""

    def forward(self, hidden, index, weights):
        chosen = hidden.repeat_interleave(index.shape[-1], dim=0)  # (tokens x top k, width)
        parts = []
        for expert, part in enumerate(chosen.chunk(self.num_experts)):
            gate, up = F.linear(part, self.gate_up_proj[expert]).chunk(2, dim=-1)
            parts.append(F.linear(self.act_fn(gate) * up, self.down_proj[expert]))
        weighed = torch.cat(parts) * weights.reshape(-1, 1)
        return weighed.reshape(*index.shape, -1).sum(dim=1).to(hidden.dtype)

    monkeypatch.setattr(MixtralExperts, "forward", forward)


def mixtral(told, *, dtype=torch.float16):
    """Mixtral-8x7B (the defaults of its configuration) with the profile's LoRA, trained weights in fp32."""
    model = AutoModelForCausalLM.from_config(MixtralConfig(), dtype=dtype, attn_implementation="sdpa")
    return adapted(model, told["lora"])


def quantised(model):
    """(bytes of the weights as they are held: experts and linear layers in NF4, the rest as it is; bytes of the largest
    decoder layer when it is unpacked for its multiplications, as one is at a time)."""
    inner = model.get_base_model().model
    packed = lambda name, p: not p.requires_grad and (p.ndim == 3 or "_proj" in name)  # noqa: E731
    held = sum(p.numel() * (NF4 if packed(n, p) else p.element_size()) for n, p in model.named_parameters())
    unpacked = max(sum(p.numel() * 2 for n, p in one.named_parameters() if packed(n, p)) for one in inner.layers)
    return int(held), unpacked


def ids(rows, length, vocabulary=32_000):
    return torch.zeros((rows, length), dtype=torch.long) + vocabulary - 1


def ready(model, told):
    model.train()
    model.enable_input_require_grads()
    if told.recompute:
        recompute(model)
    return model


@pytest.mark.slow
def test_the_papers_tuning_of_mixtral_fits_one_card():
    told, where = settings("full"), machine("full")
    with tensors():
        model = ready(mixtral(told), where)
        tokens = ids(where.at_a_time(told["fit"]["batch"]), told["fit"]["max_length"])
        held, unpacked = quantised(model)
        plain = step_memory(model, lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss)
    need = Need(held, plain.optimiser, plain.passes + unpacked)
    assert 46e9 < plain.weights / 2 < 48e9 and 22 < held / GIB < 26  # the README's inference: about 25 GiB
    assert plain.optimiser == 2 * 4 * 3_407_872  # the sheet's count of trained weights
    assert need.gib < 48  # the README trains in about 43 GiB and advises 48
    print(f"tuning, full: {need.gib:.1f} GiB")


@pytest.mark.slow
def test_dpo_of_mixtral_beside_a_second_base_fits_one_card():
    """Chosen and rejected rows go through the model together; the base is loaded once more as the reference."""
    told, where = settings("full"), machine("full")
    with tensors():
        model = ready(mixtral(told), where)
        tokens = ids(2 * where.at_a_time(told["preference"]["batch"]), told["preference"]["max_length"])
        held, unpacked = quantised(model)

        def loss():
            logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
            with torch.no_grad():
                other = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
                other = other.log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0].sum(1)
            said = logits.log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0].sum(1) - other
            return -F.logsigmoid(told["preference"]["beta"] * (said[::2] - said[1::2])).mean()

        plain = step_memory(model, loss)
    need = Need(2 * held, plain.optimiser, plain.passes + unpacked)
    assert need.gib < CARD
    print(f"DPO, full: {need.gib:.1f} GiB")


def small(told, attention="sdpa"):
    """The mixture of the profile `gpu`, with as many words as its world has."""
    sizes = dict(told["architecture"])
    texts = [*files.vocabulary(make_world(seed=0, **told["world"])), *letters.words()]
    words = len({piece for text in texts for piece in causal_lm.pieces(text)}) + 6
    width, heads = sizes.pop("width"), sizes.pop("heads")
    config = AutoConfig.for_model(
        "mixtral", hidden_size=width, num_hidden_layers=sizes.pop("depth"), num_attention_heads=heads,
        num_key_value_heads=sizes.pop("key_value_heads"), head_dim=width // heads, vocab_size=words,
        max_position_embeddings=4096, tie_word_embeddings=True, **sizes,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention), words


@pytest.mark.slow
def test_pretraining_at_gpu_fits_one_card():
    told = settings("gpu")
    with tensors():
        model, words = small(told)
        batches = [
            ids(rows, told["pretraining"]["max_length"], words) for rows in told["pretraining"]["batches"].values()
        ]
        need = step_memory(
            model.train(), lambda: [model(input_ids=one, labels=one, use_cache=False).loss for one in batches]
        )
    assert need.gib < CARD
    print(f"pretraining, gpu: {need.gib:.1f} GiB")


def test_tuning_at_gpu_fits_one_card():
    told, where = settings("gpu"), machine("gpu")
    with tensors():
        model, words = small(told)
        model = ready(adapted(model, told["lora"]), where)
        tokens = ids(where.at_a_time(told["fit"]["batch"]), told["fit"]["max_length"], words)
        need = step_memory(model, lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss)
    assert need.gib < CARD
    print(f"tuning, gpu: {need.gib:.2f} GiB")


@pytest.mark.parametrize("profile", ["gpu", "full"])
def test_a_step_leaves_no_tensor_on_another_device(profile):
    told = settings(profile)
    with torch.device("meta"):  # eager, because the other attention looks at the values of the mask
        if profile == "gpu":
            model, _ = small(told, attention="eager")
        else:
            model = AutoModelForCausalLM.from_config(MixtralConfig(), dtype=torch.float16, attn_implementation="eager")
    rows = Encoded([[1, 2, 3], [4, 5]], [[-100, 2, 3], [-100, 5]])

    def step(device):
        batch = pretraining._batch(rows, np.array([0, 1]), 0, device)
        return model(**batch, use_cache=False).loss

    assert stray(model, step) is None


@pytest.mark.parametrize("profile", ["gpu", "full"])
def test_what_a_profile_says_of_its_machine_reaches_what_computes(profile, tmp_path, monkeypatch):
    asked = handed(monkeypatch, tmp_path)
    for name in ("measured", "history", "exams", "answers"):
        (tmp_path / f"{name}.json").write_text("[[0, 0]]" if name == "answers" else "{}")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    run = session.Run(
        paper=papers.load_paper("aurora"),
        exhibit="tab_dpo_reference",
        profile=profile,
        seeds=[0],
        settings=settings(profile),
        claims=[],
    )
    rows = tmp_path / "rows.jsonl"
    material = SimpleNamespace(
        rows=lambda arm, seed: rows, pairs=lambda seed: rows, prompts=lambda: rows, exams=tmp_path
    )
    study = aurora.Study(run, run.settings, {0: aurora.Base(tmp_path, material)})
    study.prefer("base")
    study.sit({aurora.CHINESE: {}})
    study.starts({})
    if profile == "gpu":
        aurora._pretrained(run, {0: SimpleNamespace(told={}, folder=tmp_path)})
    known = {one for function, told in asked if "machine" in told for one in [function]}
    assert known >= {sft.finetune, prefer, measures.measure_model, measures.answer_exams, measures.weigh_answers}
    assert (pretraining.pretrain in known) == (profile == "gpu")
    assert all(told["machine"] == machine(profile) for _, told in asked if "machine" in told)
    assert machine(profile).device == "cuda" and ("dtype" in asked[0][1]) == (profile == "full")
