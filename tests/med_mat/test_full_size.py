"""What the profiles with a card need there, without one: steps of training as shapes, at the sizes of experiments.yml."""

import copy

import numpy as np
import pytest
import torch
from shape_only import CARD, step_memory, stray, tensors
from tiny_llava import write_tiny_llava
from transformers import LlavaConfig, LlavaForConditionalGeneration, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.llava import modeling_llava

from lib.machine import Machine
from lib.models import product
from lib.models.multimodal_lm import MultimodalLM
from lib.training import sft, stacked
from lib.training.loop import recompute
from lib.workflow import experiments, paths
from papers.med_mat import adapters
from papers.med_mat.checkpoints import ReleasedCheckpoint, TinyCheckpoint, load
from papers.med_mat.fits import arms as med_mat_fits
from papers.med_mat.fits import pretraining, tuning
from papers.med_mat.released import PIXELS, WEIGHTS
from papers.med_mat.world import world as mat_world
from papers.med_mat.world.general import write_general

PLAN = experiments.load("med_mat")
TOKENS = {"picture": 576, "text": 120}  # of a row at full: LLaVA-1.5's 24 x 24 patches; the longest released questions
# config.json of Qwen/Qwen2-VL-7B-Instruct on the hub; its card says 8.3 billion weights
QWEN_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152_064,
}  # fmt: skip


def settings(profile):
    return copy.deepcopy(PLAN.profiles[profile])


def machine(profile):
    return Machine(**PLAN.profiles[profile]["machine"])


# ---------------------------------------------------------------------- gpu: the stacked fits and what they start from
class Caught(Exception):
    """The models, batches and loss of a stacked pass, in the place of its steps."""


def caught(module, name, call, monkeypatch):
    """What ``call()`` would give to the function ``name`` of ``module`` first: models, batches, loss."""

    def instead(*given, **how):
        raise Caught(given)

    monkeypatch.setattr(module, name, instead)
    with pytest.raises(Caught) as error:
        call()
    return error.value.args[0]


def emptied(model):
    """``model`` with weights that have shapes only; called inside ``tensors()``."""
    for part in model.modules():
        for name, one in part.named_parameters(recurse=False):
            setattr(part, name, torch.nn.Parameter(torch.empty_like(one), requires_grad=one.requires_grad))
        for name, one in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty_like(one))
    return model.train()


def stacked_need(models, batch_of_step, loss):
    """Memory of one step of a stacked pass: ``fit_stacked`` itself, told that its losses are finite."""
    batch, found = batch_of_step(0), []

    def train(stack, loss_of_step, **how):
        found.append(step_memory(stack, lambda: loss_of_step(stack, 0)))

    with pytest.MonkeyPatch.context() as patch, tensors():
        shapes = {name: torch.zeros_like(one) for name, one in batch.items()}
        patch.setattr(stacked, "train", train)
        patch.setattr(product, "_ours", lambda *_: False)  # as on a card
        patch.setattr(torch.Tensor, "__bool__", lambda self: True)
        patch.setattr(torch.Tensor, "numpy", lambda self: np.zeros(self.shape))
        stacked.fit_stacked(list(map(emptied, models)), lambda step: shapes, loss, steps=1, learning_rate=0.1)
    return found[0]


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    """Few pictures of the general stage, enough for a batch of boxes."""
    folder = tmp_path_factory.mktemp("general")
    write_general(folder, count=6 * settings("gpu")["language"]["batch"], seed=0)
    return folder


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A small world and an untrained base of the profile's width and depth."""
    root, language = tmp_path_factory.mktemp("ground"), settings("gpu")["language"]
    world, base, rows = (root / name for name in ("world", "base", "rows"))
    for folder in (world, base, rows):
        folder.mkdir()
    mat_world.write_world(world, table=(paths.paper("med_mat") / "datasets.csv").read_text(), images=40, seed=0)
    words, _ = pretraining.vocabulary()
    told = {"encoder": "convolution", "vocabulary": len(words), "width": language["width"], "depth": language["depth"]}
    TinyCheckpoint(MultimodalLM(**told), words, told).save(base)
    med_mat_fits.prepare_rows(rows, world=world, tests_of=world, base=base, train=16, test=4, pool=2)
    return rows, base


def language_models(general, folder, monkeypatch, *, where):
    from safetensors.torch import save_file

    told = settings("gpu")
    (folder / "weights").mkdir()
    encoder = pretraining.ENCODERS["convolution"]()
    save_file(
        {name: one.contiguous() for name, one in encoder.state_dict().items()}, folder / "weights/encoder.safetensors"
    )
    many = {"general": [general] * told["bases"], "weights": [folder / "weights"] * told["bases"]}
    many |= {"encoder": "convolution", "seeds": list(range(told["bases"])), **told["language"], "machine": where}
    return caught(pretraining, "fit_stacked", lambda: pretraining.pretrain_languages(folder, **many), monkeypatch)


def tuned_members(ground, folder, monkeypatch, *, where):
    """The most members that one pass may have."""
    rows, base = ground
    told, jobs = settings("gpu")["tuning"], tuning.TOGETHER
    jobs = [{"amounts": {"02": 40}, "permuted": [], "tests": ["04"], "seed": seed} for seed in range(jobs)]
    given = {"rows": [rows], "models": [base], "grounds": [0] * len(jobs), "jobs": jobs, "machine": where}
    given |= {"steps": 1, "batch": told["batch"], "learning_rate": told["learning_rate"]}
    return caught(tuning, "fit_stacked", lambda: med_mat_fits.fit_group(folder, **given), monkeypatch)


@pytest.mark.parametrize("encoder", pretraining.ENCODERS)
def test_pretraining_an_image_encoder_at_gpu_fits_one_card(general, encoder, tmp_path, monkeypatch):
    told = {"encoder": encoder, "seed": 0, **settings("gpu")["encoders"][encoder]}
    start = lambda: pretraining.pretrain_encoder(tmp_path, general=general, **told)  # noqa: E731
    model, loss_of_step = caught(pretraining, "train", start, monkeypatch)
    with tensors():
        model = emptied(model)
        need = step_memory(model, lambda: loss_of_step(model, 0))
    print(f"{encoder}, gpu: {need.gib:.2f} GiB")
    assert need.gib < CARD


@pytest.mark.slow
def test_pretraining_the_language_models_at_gpu_fits_one_card(general, tmp_path, monkeypatch):
    models, batch_of_step, loss = language_models(general, tmp_path, monkeypatch, where=Machine())
    need = stacked_need(models, batch_of_step, loss)
    print(f"language models, gpu: {need.gib:.2f} GiB")
    assert len(models) == settings("gpu")["bases"] and need.gib < CARD


@pytest.mark.slow
def test_a_stacked_pass_of_tuning_at_gpu_fits_one_card(ground, tmp_path, monkeypatch):
    models, batch_of_step, loss = tuned_members(ground, tmp_path, monkeypatch, where=Machine())
    need = stacked_need(models, batch_of_step, loss)
    print(f"stacked tuning, gpu: {need.gib:.2f} GiB")
    assert len(models) == tuning.TOGETHER and need.gib < CARD


@pytest.mark.parametrize("stage", [language_models, tuned_members])
def test_a_stacked_pass_leaves_no_tensor_on_another_device(stage, general, ground, tmp_path, monkeypatch):
    on = general if stage is language_models else ground
    models, batch_of_step, loss = stage(on, tmp_path, monkeypatch, where=Machine(device="meta"))
    first = {name: one[0] for name, one in batch_of_step(0).items()}
    assert stray(models[0], lambda device: loss(models[0], first)) is None
    away = first | {"mask": torch.ones(first["mask"].shape)}
    assert "cpu" in stray(models[0], lambda device: loss(models[0], away))


# ---------------------------------------------------------------------- full: the released models
def adapted(model, *, dials):
    """``model`` with the adapters of the profile in float32; peft would move each to its layer's device, which shapes have
    not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
        model = adapters.with_adapters(ReleasedCheckpoint(model, None), rank=dials["released"]["rank"], seed=0).model
    sft.full_precision(model)
    return model.train()


def made(kind, config, where):
    """An untrained model of a class of transformers, frozen, in the precision of the machine."""
    config._attn_implementation = "sdpa"
    return kind._from_config(config, dtype=getattr(torch, WEIGHTS[where.precision])).requires_grad_(False)


def tuning_need(model, batch, where):
    """Memory of a micro-batch of tuning: the loss of ``model(**batch())`` under the machine's autocast."""
    if where.recompute:
        model.enable_input_require_grads()
        recompute(model)

    def loss():
        with torch.autocast("cpu", getattr(torch, WEIGHTS[where.precision])):
            return model(**batch(), use_cache=False).loss

    return step_memory(model, loss)


def llava_need(where, monkeypatch):
    """LLaVA-1.5-7B: the defaults of its configuration, CLIP ViT-L/14 at 336 pixels and a Llama of 7 billion weights."""
    monkeypatch.setattr(modeling_llava, "torch_compilable_check", lambda *_: None)  # looks at values
    dials, config = settings("full"), LlavaConfig()
    config.text_config.vocab_size = 32_064  # of the release: Llama's words, the image's token, padding
    vision, text = config.vision_config, config.text_config
    assert (vision.image_size // vision.patch_size) ** 2 == TOKENS["picture"] == config.image_seq_length
    assert (vision.hidden_size, vision.num_hidden_layers) == (1024, 24)
    assert (text.hidden_size, text.num_hidden_layers, text.intermediate_size) == (4096, 32, 11_008)
    rows = where.at_a_time(dials["tuning"]["batch"])

    def batch():
        ids = torch.full((rows, sum(TOKENS.values())), 5)
        ids[:, : TOKENS["picture"]] = config.image_token_id
        pictures = torch.zeros(rows, 3, vision.image_size, vision.image_size)
        return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pictures}

    with tensors():
        model = made(LlavaForConditionalGeneration, config, where)
        count = sum(p.numel() for p in model.parameters())
        return count, tuning_need(adapted(model, dials=dials), batch, where)


def qwen_need(where, *, tokens):
    """Qwen2-VL-7B from the embedded row on: its frozen image tower keeps nothing for the backward pass."""
    dials, config = settings("full"), Qwen2VLConfig(text_config=QWEN_7B)
    rows = where.at_a_time(dials["tuning"]["batch"])

    def batch():
        ids = torch.full((rows, tokens), 5)
        seen = torch.zeros(rows, tokens, config.text_config.hidden_size, dtype=getattr(torch, WEIGHTS[where.precision]))
        places = torch.zeros(3, rows, tokens, dtype=torch.long)
        mask = torch.ones_like(ids)
        return {"inputs_embeds": seen.requires_grad_(), "labels": ids, "attention_mask": mask, "position_ids": places}

    with tensors():
        model = made(Qwen2VLForConditionalGeneration, config, where)
        count = sum(p.numel() for p in model.parameters())
        return count, tuning_need(adapted(model, dials=dials), batch, where)


def whole(where):
    """The same machine without its micro-batch and without recomputing."""
    return Machine(device=where.device, precision=where.precision)


@pytest.mark.slow
def test_tuning_llava_at_full_fits_one_card_and_would_not_without_the_machines_help(monkeypatch):
    where = machine("full")
    count, need = llava_need(where, monkeypatch)
    _, plain = llava_need(whole(where), monkeypatch)
    print(f"LLaVA-1.5-7B, full: {need.gib:.1f} GiB; a whole batch at a time, nothing recomputed: {plain.gib:.0f} GiB")
    assert 7.05e9 < count < 7.08e9 and need.optimiser < need.weights / 20  # bfloat16; the adapters alone are trained
    assert need.gib < CARD and plain.gib > 80


@pytest.mark.slow
def test_tuning_qwen2_vl_at_full_fits_one_card_and_would_not_with_its_own_bound_on_pictures():
    where = machine("full")
    side = 28  # pixels of a visual token
    count, need = qwen_need(where, tokens=PIXELS // side**2 + TOKENS["text"])
    _, plain = qwen_need(where, tokens=12_845_056 // side**2 + TOKENS["text"])  # max_pixels of its release
    print(f"Qwen2-VL-7B, full: {need.gib:.1f} GiB; with pictures of any size: {plain.gib:.0f} GiB")
    assert 8.2e9 < count < 8.4e9 and need.gib < CARD and plain.gib > 80


def test_a_step_of_a_released_model_leaves_no_tensor_on_another_device(tmp_path, monkeypatch):
    write_tiny_llava(tmp_path, texts=["dark bright"])
    checkpoint = load(tmp_path)
    images, asked, said = [np.zeros((8, 8), np.uint8)] * 2, ["dark", "bright dark"], ["A", "B"]
    monkeypatch.setattr(modeling_llava, "torch_compilable_check", lambda *_: None)
    checkpoint.model.set_attn_implementation("eager")  # the other attention looks at the values of the mask
    model = adapters.with_adapters(checkpoint, rank=2, seed=0).model

    def step(device):
        return model(**adapters.answer_batch(checkpoint, images, asked, said)).loss

    assert stray(model, step) is None
