"""What BrgSA's profiles with a card need there, without one: the fits' own steps as shapes, at the sizes of experiments.yml."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from shape_only import CARD, Caught, need_of_fit, settings_of, stray, tensors

from lib.models.text_encoder import POSITIONS, VOCABULARY, TextEncoder, write_tiny_checkpoint
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.workflow import experiments
from papers.brgsa import pretraining, training
from papers.brgsa.study import FULL, WHOLE

PLAN = experiments.load("brgsa")
PROFILES = ["gpu", "full"]


@pytest.fixture
def files(tmp_path):
    """A prepared folder without voxels, and reports each longer than the encoder reads."""
    np.save(tmp_path / "volumes.npy", np.zeros((256, 1, 1, 1), np.float16))
    words = ["".join(letters) for letters in product("abcdefgh", repeat=3)]  # as many as stand in real reports
    said = [[" ".join(words[(row + 30 * i + k) % 512] for k in range(25)) for i in range(5)] for row in range(256)]
    (tmp_path / "pairs.json").write_text(json.dumps([{"rows": [row], "statements": s} for row, s in enumerate(said)]))
    write_tiny_checkpoint(tmp_path / "text", [" ".join(words)], width=4, depth=1, heads=1)
    return tmp_path


@pytest.fixture(autouse=True)
def shapes(monkeypatch):
    """Crops without a volume, an image encoder without a file, a text encoder of its configuration; nothing is trained."""

    def catch(model, loss_of_step, **rest):
        raise Caught(model, loss_of_step)

    def crop(volumes, rows, *, crop, rng):
        return torch.zeros(len(rows), 1, *crop)

    for module in (pretraining, training):
        monkeypatch.setattr(module, "train", catch)
        monkeypatch.setattr(module, "crop_batch", crop)
    monkeypatch.setattr(pretraining, "centre_tokens", lambda vit, volumes, *, spread: None)
    monkeypatch.setattr(training, "load_image_encoder", lambda encoder, vit: VisionTransformer3D(**vit))


def words_as(monkeypatch, told):
    """The text encoder of a profile: as its world's are made, or as CXR-BERT, which has the sizes of BERT base."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    config = BertConfig()
    if "width" in told:
        config = BertConfig(
            hidden_size=told["width"], num_hidden_layers=told["depth"], num_attention_heads=told["heads"],
            intermediate_size=2 * told["width"], vocab_size=VOCABULARY, max_position_embeddings=POSITIONS,
        )  # fmt: skip

    def built(checkpoint, *, width, last_layers):
        bert = BertModel(config, add_pooling_layer=False)
        return TextEncoder(bert, AutoTokenizer.from_pretrained(checkpoint), width=width, last_layers=last_layers)

    monkeypatch.setattr(TextEncoder, "from_pretrained", built)


def pretrained(told, machine, files):
    """Module and loss of a step of pretraining, as the fit builds them."""
    with pytest.raises(Caught) as caught:
        pretraining.pretrain_image_encoder(
            files, prepared=files, pairs=files, vit=told["model"]["vit"], crop=told["crop"], machine=machine,
            **told["pretraining"],
        )  # fmt: skip
    return caught.value.args


def arm(told, machine, files):
    """Module and loss of a step of an arm with the full loss, as the fit builds them."""
    with pytest.raises(Caught) as caught:
        training.train_arm(
            files, prepared=files, tokens=None, pairs=files, encoder=files, text=files / "text", model=told["model"],
            bank=told["bank"], loss=FULL, machine=machine, crop=told["crop"], shuffle=False, seed=0,
            **{**told["arm"], "merge": WHOLE},
        )  # fmt: skip
    return caught.value.args


@pytest.mark.parametrize("profile", [PROFILES[0], pytest.param(PROFILES[1], marks=pytest.mark.slow)])
def test_pretraining_fits_one_card(files, profile):
    told, machine = settings_of(PLAN, profile)
    with tensors():
        found = need_of_fit(*pretrained(told, machine, files), machine)
    print(f"pretraining, {profile}: {found.gib:.1f} GiB")
    assert found.gib < CARD


@pytest.mark.parametrize("profile", PROFILES)
def test_an_arm_fits_one_card(files, monkeypatch, profile):
    """On raw reports: five statements are no longer."""
    told, machine = settings_of(PLAN, profile)
    words_as(monkeypatch, told["text"])
    with tensors():
        found = need_of_fit(*arm(told, machine, files), machine)
    print(f"arm, {profile}: {found.gib:.1f} GiB")
    assert found.gib < CARD


def test_what_the_machine_of_full_is_for(files):
    """The batch of pretraining at once, every activation kept, is more than a card of 80 GiB holds."""
    told, machine = settings_of(PLAN, "full")
    with tensors():
        plain = replace(machine, micro_batch=None, recompute=False)
        assert need_of_fit(*pretrained(told, plain, files), plain).gib > 80


@pytest.mark.parametrize("profile", [PROFILES[0], pytest.param(PROFILES[1], marks=pytest.mark.slow)])
def test_nothing_is_left_on_another_device(files, monkeypatch, profile):
    told, machine = settings_of(PLAN, profile)
    elsewhere = replace(machine, device="meta")
    told["model"]["vit"]["depth"] = 2  # the others are alike
    words_as(monkeypatch, told["text"])
    # which looks whether a mask is all ones
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_, **__: False)
    model, loss_of_step = pretrained(told, elsewhere, files)
    assert stray(model, lambda device: list(loss_of_step(model, 0))) is None
    net, loss_of_step = arm(told, elsewhere, files)
    assert stray(net, lambda device: loss_of_step(net, 0)) is None
