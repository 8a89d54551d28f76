"""What CARZero's profiles with a card need there, without one: a step of its own fit as shapes, at the sizes of experiments.yml."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from shape_only import CARD, Caught, need_of_fit, settings_of, stray, tensors

from lib.models.text_encoder import VOCABULARY, write_tiny_checkpoint
from lib.models.word_features import WordEncoder
from lib.workflow import experiments
from papers.carzero import pretraining, training
from papers.carzero.study import SIMR

PLAN = experiments.load("carzero")
PROFILES = ["gpu", pytest.param("full", marks=pytest.mark.slow)]
STUDIES = 300


class Longest:
    """Sentences as long as the encoder reads, instead of those of a file."""

    def __init__(self, net, studies):
        self.length = net.text_encoder.positions

    def draw(self, rows, rng):
        ids = torch.ones(len(rows), self.length, dtype=torch.long)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "word": torch.arange(self.length).expand_as(ids),
        }


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Squares of no pixels, sentences, a tokenizer; nothing is trained, nothing is read."""
    np.save(tmp_path / "images.npy", np.zeros((STUDIES, 1, 1), np.uint8))
    words = [
        "there is severe pleural effusion on the left and more than before in the middle of the right lung",
        "no mass",
    ]
    (tmp_path / "texts.json").write_text(json.dumps({"files": [], "sentences": [words] * STUDIES}))
    write_tiny_checkpoint(tmp_path / "text", words, width=4, depth=1, heads=1)

    def catch(model, loss_of_step, **rest):
        raise Caught(model, loss_of_step)

    def crop(squares, *, crop, rng, how=None):
        return torch.zeros(len(squares), 3, crop, crop)

    monkeypatch.setattr(training, "train", catch)
    monkeypatch.setattr(training, "_Words", Longest)
    monkeypatch.setattr(training, "batch", crop)
    monkeypatch.setattr(training, "load_image_encoder", lambda net, encoder: None)
    monkeypatch.setattr(pretraining, "train", catch)
    monkeypatch.setattr(pretraining, "crop_batch", crop)
    monkeypatch.setattr(pretraining, "centre_tokens", lambda vit, pictures, *, spread: None)
    return tmp_path


def words_as(monkeypatch, told):
    """The text encoder of a profile: as its world's are made, or as the released one, which has the sizes of BERT base."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    config = BertConfig()
    if "width" in told:
        config = BertConfig(
            hidden_size=told["width"], num_hidden_layers=told["depth"], num_attention_heads=told["heads"],
            intermediate_size=2 * told["width"], vocab_size=VOCABULARY,
        )  # fmt: skip

    def built(checkpoint, *, positions, last_layers):
        bert = BertModel(config, add_pooling_layer=False)
        return WordEncoder(
            bert, AutoTokenizer.from_pretrained(checkpoint), positions=positions, last_layers=last_layers
        )

    monkeypatch.setattr(WordEncoder, "from_pretrained", built)


def arm(told, machine, files):
    """Module and loss of a step of the paper's alignment, as the fit builds them, at the largest batch it grows to."""
    largest = told["arm"]["batches"][-1]
    fit = {
        "seed": 0, "steps": 1, "batches": [[0, largest[1]]], "learning_rate": 1e-4, "crop": told["model"]["image"]["size"],
        "augment": {}, "share": 1.0,
    }  # fmt: skip
    with pytest.raises(Caught) as caught:
        training.train_arm(
            files, pictures=files, texts=files, text=files / "text", model=told["model"], fit=fit, encoder=files,
            machine=machine, **SIMR,
        )  # fmt: skip
    return caught.value.args


@pytest.mark.parametrize("profile", PROFILES)
def test_an_arm_fits_one_card(files, monkeypatch, profile):
    told, machine = settings_of(PLAN, profile)
    words_as(monkeypatch, told["text"])
    with tensors():
        found = need_of_fit(*arm(told, machine, files), machine)
    print(f"arm, {profile}: {found.gib:.1f} GiB")
    assert found.gib < CARD


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_is_left_on_another_device(files, monkeypatch, profile):
    told, machine = settings_of(PLAN, profile)
    told["model"]["image"]["depth"] = 2  # the others are alike
    words_as(monkeypatch, told["text"])
    # which looks whether a mask is all ones
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_, **__: False)
    net, loss_of_step = arm(told, replace(machine, device="meta"), files)
    assert stray(net, lambda device: loss_of_step(net, 0)) is None
