"""What E3D-GPT's profiles with a card need there, without one: steps of its own fits as shapes, at the sizes of experiments.yml."""

import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from shape_only import CARD, Caught, need_of_fit, settings_of, stray, tensors

from lib.models import causal_lm
from lib.models.text_encoder import TextEncoder, write_tiny_checkpoint
from lib.workflow import experiments
from papers.e3d_gpt import encoders, tuning, world
from papers.e3d_gpt.findings import SHOWN

PLAN = experiments.load("e3d_gpt")
PROFILES = ["gpu", pytest.param("full", marks=pytest.mark.slow)]
VOLUMES = 300


class Shapes:
    """Volumes of a crop's shape in the place of those of a file."""

    def __init__(self, prepared, *, crop):
        self.crop = crop

    def __len__(self):
        return VOLUMES

    def draw(self, rows, rng=None):
        return torch.zeros(len(rows), 1, *self.crop)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Texts, labels, tokenizers; nothing is trained, nothing is read."""
    rng = np.random.default_rng(0)
    shown = [dict.fromkeys(SHOWN, "left upper lung") for _ in range(VOLUMES)]
    reports = [(row, *vars(world.report_item(str(row), one, rng)).values()) for row, one in enumerate(shown)]
    questions = [
        (row, *vars(item).values()) for row, one in enumerate(shown) for item in world.ask(str(row), one, rng)[0]
    ]
    (tmp_path / "instructions.json").write_text(json.dumps({"reports": reports, "questions": questions}))
    (tmp_path / "reports.json").write_text(json.dumps(["lung opacity in the left upper lobe " * 20] * VOLUMES))
    np.save(tmp_path / "labels.npy", np.zeros((VOLUMES, len(SHOWN))))
    words = [one[2] + " " + one[3] for one in (*reports, *questions)]
    causal_lm.write_checkpoint(
        tmp_path / "language", texts=words, chat_template="plain", architecture="llama", width=16, depth=1, heads=2
    )
    write_tiny_checkpoint(tmp_path / "text", words, width=4, depth=1, heads=1)

    def catch(model, loss_of_step, **rest):
        raise Caught(model, loss_of_step)

    for module in (encoders, tuning):
        monkeypatch.setattr(module, "train", catch)
        monkeypatch.setattr(module, "Crops", Shapes)
    monkeypatch.setattr(encoders, "centre_tokens", lambda net, volumes, *, spread: None)
    monkeypatch.setattr(encoders, "load_weights", lambda net, path: net)
    monkeypatch.setattr(tuning, "_measure", lambda net, views, device: None)
    return tmp_path


def masked(told, machine, files):
    shared = {"prepared": [files], "vit": told["vit"], "crop": told["crop"], "seed": 0, "machine": machine}
    with pytest.raises(Caught) as caught:
        encoders.pretrain_masked(files, how=told["masked"], **shared)
    return caught.value.args


def labelled(told, machine, files):
    shared = {"prepared": [files], "vit": told["vit"], "crop": told["crop"], "seed": 0, "machine": machine}
    with pytest.raises(Caught) as caught:
        encoders.fine_tune(files, how=told["labels"], labels=files, test=[files], encoder=files, **shared)
    return caught.value.args


def contrastive(told, machine, files, monkeypatch):
    from transformers import AutoTokenizer, BertConfig, BertModel

    width, depth, heads = (
        told["text"].get(name, default) for name, default in (("width", 768), ("depth", 12), ("heads", 12))
    )
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        vocab_size=30522,
    )

    def built(checkpoint, *, width):
        bert = BertModel(config, add_pooling_layer=False)
        return TextEncoder(bert, AutoTokenizer.from_pretrained(checkpoint), width=width)

    monkeypatch.setattr(TextEncoder, "from_pretrained", built)
    # which looks whether a mask is all ones
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_, **__: False)
    shared = {"prepared": [files], "vit": told["vit"], "crop": told["crop"], "seed": 0, "machine": machine}
    with pytest.raises(Caught) as caught:
        encoders.pretrain_contrastive(files, how=told["contrastive"], reports=files, text=files / "text", **shared)
    return caught.value.args


def language_of(told, tokenizer):
    """The profile's language model as shapes: its own sizes, or those of Phi-3-mini."""
    from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

    if "source" in told["language"]:
        config = Phi3Config(pad_token_id=0, eos_token_id=1, bos_token_id=1)
        torch.set_default_dtype(torch.bfloat16)
        try:
            return Phi3ForCausalLM(config)
        finally:
            torch.set_default_dtype(torch.float32)
    own = told["language"]["architecture"]
    config = LlamaConfig(
        hidden_size=own["width"], num_hidden_layers=own["depth"], num_attention_heads=own["heads"],
        intermediate_size=2 * own["width"], vocab_size=len(tokenizer),
    )  # fmt: skip
    return LlamaForCausalLM(config)


def spliced(self, seen, input_ids):
    """``VisualCausalLM.embed`` without a look at values: as many tokens, the visual ones first."""
    words = self.language.get_input_embeddings()(input_ids)
    visual = self.projector(self.vision(seen)[:, 1:]).to(words.dtype)
    return torch.cat([visual, words[:, visual.shape[1] :]], dim=1)


def adapters(model, lora, real=tuning._with_lora):
    """peft would move each adapter to its layer's device and dtype, which shapes cannot follow."""
    with mock.patch.object(torch.nn.Module, "to", lambda self, *_, **__: self):
        return real(model, lora)


def tuned(told, machine, files, monkeypatch):
    """The second stage, after a first that was not trained; every row is as long as the profile allows."""
    _, tokenizer = causal_lm.load(files / "language")
    monkeypatch.setattr(tuning.causal_lm, "load", lambda *_, **__: (language_of(told, tokenizer), tokenizer))
    monkeypatch.setattr(tuning, "_with_lora", adapters)
    monkeypatch.setattr(tuning.VisualCausalLM, "embed", spliced)
    passed = []

    def first_passes(model, loss_of_step, **rest):
        if passed:
            raise Caught(model, loss_of_step)
        passed.append(model)
        return []

    monkeypatch.setattr(tuning, "train", first_passes)
    vision = {"vit": told["vit"], "crop": told["crop"], "encoder": files, "standardise": told["standardise"]}
    with pytest.raises(Caught) as caught:
        tuning.tune(
            files, texts=files, vision=vision, language=files / "language", projector="convolution", how=told["stages"],
            seed=0, prepared=[files], machine=machine,
        )  # fmt: skip
    return caught.value.args


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("fit", [masked, labelled])
def test_an_encoder_fits_one_card(files, profile, fit):
    told, machine = settings_of(PLAN, profile)
    with tensors():
        found = need_of_fit(*fit(told, machine, files), machine)
    print(f"{fit.__name__}, {profile}: {found.gib:.1f} GiB")
    assert found.gib < CARD


@pytest.mark.parametrize("profile", PROFILES)
def test_a_tuned_model_fits_one_card(files, monkeypatch, profile):
    told, machine = settings_of(PLAN, profile)
    with tensors():
        found = need_of_fit(*tuned(told, machine, files, monkeypatch), machine)
    print(f"tuned, {profile}: {found.gib:.1f} GiB")
    assert found.gib < CARD


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("fit", [masked, labelled])
def test_nothing_is_left_on_another_device(files, profile, fit):
    told, machine = settings_of(PLAN, profile)
    told["vit"]["depth"] = 2  # the others are alike
    net, loss_of_step = fit(told, replace(machine, device="meta"), files)
    assert stray(net, lambda device: next(iter(loss_of_step(net, 0)))) is None
