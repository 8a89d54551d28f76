"""A trained model as a folder: what is saved is loaded, and a folder that does not fit is told by file, weight and key."""

import json

import numpy as np
import pytest
import torch
from own_scans import GRID, WORDS, write_checkpoint
from safetensors.torch import load_file, save_file

from lib.data.files import DataError
from lib.models import ModelError
from papers.brgsa import checkpoint
from papers.brgsa.training import embed_texts, embed_volumes


@pytest.fixture
def made(tmp_path):
    return tmp_path / "own", write_checkpoint(tmp_path / "own")


def test_what_is_saved_gives_the_same_vectors_when_it_is_loaded(made):
    folder, net = made
    found, grid = checkpoint.load(folder)
    volumes = np.random.default_rng(0).normal(size=(3, 12, 12, 6)).astype(np.float16)
    torch.testing.assert_close(embed_volumes(found, volumes), embed_volumes(net, volumes), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embed_texts(found, WORDS), embed_texts(net, WORDS), atol=1e-5, rtol=1e-5)
    assert grid == GRID and not found.training and not found.frozen_blocks


def test_a_model_with_frozen_blocks_is_saved_whole(made, tmp_path):
    _, net = made
    net.frozen_blocks = 1
    how = {
        "width": 12,
        "last_layers": 2,
        "vit": json.loads((tmp_path / "own/settings.json").read_text())["model"]["vit"],
    }
    checkpoint.save(tmp_path / "frozen", net, model={**how, "frozen_blocks": 1}, linear=False, grid=GRID)
    volumes = np.random.default_rng(0).normal(size=(2, 12, 12, 6)).astype(np.float16)
    found, _ = checkpoint.load(tmp_path / "frozen")
    torch.testing.assert_close(embed_volumes(found, volumes), embed_volumes(net, volumes), atol=1e-5, rtol=1e-5)


def _weights(change):
    def apply(folder):
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return apply


def _settings(change):
    def apply(folder):
        told = json.loads((folder / "settings.json").read_text())
        change(told)
        (folder / "settings.json").write_text(json.dumps(told))

    return apply


def _vocabulary(folder):
    told = json.loads((folder / "text" / "config.json").read_text())
    (folder / "text" / "config.json").write_text(json.dumps({**told, "vocab_size": 9}))


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (_weights(lambda s: s.pop("bank.bank")), r"model\.safetensors lacks the weight 'bank\.bank' \(1 in all\)"),
        (_weights(lambda s: s.update(own=torch.ones(1))), r"model\.safetensors has the weight 'own' \(1 in all\)"),
        (_weights(lambda s: s.update({"bank.bank": torch.ones(20, 13)})), r"'bank\.bank' has shape \(20, 13\) where \(20, 12\)"),
        (_weights(lambda s: s["bank.bank"].fill_(float("nan"))), r"'bank\.bank' holds a number that is not finite"),
        (lambda f: (f / "model.safetensors").unlink(), r"has no model\.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK\3\4 a pickle"), r"model\.safetensors is no safetensors file"),
        (lambda f: (f / "settings.json").unlink(), r"settings\.json does not exist"),
        (lambda f: (f / "settings.json").write_text("{"), r"settings\.json is not JSON"),
        (lambda f: (f / "text" / "config.json").unlink(), r"text has no config\.json"),
        (lambda f: (f / "text" / "config.json").write_text('{"model_type": "none"}'), "holds no text encoder"),
        (lambda f: (f / "text" / "tokenizer.json").unlink(), r"text has no tokenizer\.json or vocab\.txt"),
        (lambda f: (f / "text" / "tokenizer.json").write_text("{}"), "holds no text encoder"),
        (_vocabulary, "the tokenizer has 44 pieces and the encoder 9;"),
        (_settings(lambda t: t.pop("grid")), r"settings\.json lacks 'grid'"),
        (_settings(lambda t: t["model"].pop("vit")), r"settings\.json, 'model' lacks 'vit'"),
        (_settings(lambda t: t["model"]["vit"].update(patches=1)), r"settings\.json, 'vit' has the key 'patches'"),
        (_settings(lambda t: t["model"]["vit"].update(heads=0)), r"'vit\.heads' is 0; give a whole number"),
        (_settings(lambda t: t["model"]["vit"].update(heads=3)), "is not a multiple of 'vit.heads'"),
        (_settings(lambda t: t["model"].update(width="12")), "'width' is '12'; give a whole number"),
        (_settings(lambda t: t["grid"].update(shape=[12, 12])), "'shape' is .*three whole numbers"),
        (_settings(lambda t: t["grid"].update(shape=[13, 12, 6])), "is not a whole number of patches"),
        (_settings(lambda t: t["grid"].update(target_spacing=["a", 1, 1])), "'target_spacing' is"),
        (_settings(lambda t: t["bank"].update(linear=None)), "'linear' is None"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_told(made, spoil, sentence):
    folder, _ = made
    spoil(folder)
    with pytest.raises((DataError, ModelError), match=sentence) as caught:
        checkpoint.load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
