"""Pretraining of the image encoder on words and voxels: which words count, centred tokens, seeds, a killed run."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib.machine import Machine
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.training.loop import TrainingError
from papers.brgsa import pretraining
from papers.brgsa.pretraining import centre_tokens, pretrain_image_encoder, report_words

VIT = {"patch": (2, 3, 4), "base_grid": (4, 3, 2), "width": 24, "depth": 2, "heads": 4}
SIDES = (8, 9, 8)


def test_the_words_are_those_neither_rare_nor_everywhere():
    reports = (
        ["Effusion is seen."] * 30 + ["The heart, effusion; EFFUSION is large."] * 20 + ["No nodule is seen."] * 50
    )
    reports[0] += " Unique."
    vocabulary, table = report_words(reports, least=0.02, most=0.6)
    assert vocabulary == ["effusion", "heart", "large", "no", "nodule", "the"]  # not unique, is (all), seen (80 %)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table.sum(axis=0), [50, 20, 20, 50, 50, 20])  # a word said twice counts once
    np.testing.assert_array_equal(table[0], [1, 0, 0, 0, 0, 0])
    vocabulary, _ = report_words(reports, least=0.2, most=0.5)
    assert vocabulary == ["effusion", "heart", "large", "no", "nodule", "the"]  # both bounds are inside


def test_centred_tokens_have_mean_0_beside_their_position_and_the_wanted_spread():
    torch.manual_seed(0)
    vit = VisionTransformer3D(**VIT)
    volumes = 3 + 0.5 * torch.randn(40, 1, *SIDES, generator=torch.Generator().manual_seed(1))
    before = vit.positions.clone()
    centre_tokens(vit, volumes, spread=5.0)
    tokens = vit.embed(volumes)
    torch.testing.assert_close(tokens.mean(dim=0), before.flatten(0, 2), rtol=0, atol=1e-4)
    assert tokens.std(dim=0).mean().item() == pytest.approx(5.0, rel=1e-4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    np.save(root / "volumes.npy", rng.normal(size=(16, 10, 9, 8)).astype(np.float16))
    words = ("effusion", "nodule", "cyst", "opacity")
    pairs = [{"rows": [2 * n, 2 * n + 1], "statements": [f"{words[n % 4]} is seen", "heart"]} for n in range(8)]
    (root / "pairs.json").write_text(json.dumps(pairs))
    return root


def pretrain(folder, data, **changes):
    folder.mkdir(exist_ok=True)
    options = {
        "vit": VIT, "decoder": {"decoder_width": 16, "decoder_depth": 1}, "crop": list(SIDES), "spread": 5.0, "voxel_weight": 0.1,
        "voxel_batch": 2, "steps": 6, "batch": 4, "learning_rate": 1e-3, "warmup": 2,
    }  # fmt: skip
    given = {**options, **changes}
    machine = Machine(
        **{name: given.pop(name) for name in ("checkpoint_every", "micro_batch", "recompute") if name in given}
    )
    pretrain_image_encoder(folder, prepared=data, pairs=data, machine=machine, **given)
    return (folder / "vit.safetensors").read_bytes(), json.loads((folder / "losses.json").read_text())


def test_parts_of_a_batch_take_the_same_steps_and_recomputing_changes_nothing(data, tmp_path):
    whole, parts = pretrain(tmp_path / "whole", data), pretrain(tmp_path / "parts", data, micro_batch=1)
    assert parts[1] == pytest.approx(whole[1], rel=1e-5)
    assert pretrain(tmp_path / "again", data, recompute=True) == whole


def test_pretraining_is_a_function_of_its_seed(data, tmp_path):
    first = pretrain(tmp_path / "a", data)
    torch.rand(3)
    assert pretrain(tmp_path / "b", data) == first
    other = pretrain(tmp_path / "c", data, seed=1)
    assert other[0] != first[0] and other[1] != first[1] and len(first[1]) == 6
    assert set(load_file(tmp_path / "a" / "vit.safetensors")) == set(VisionTransformer3D(**VIT).state_dict())


def test_the_voxel_weight_counts(data, tmp_path):
    words_only = pretrain(tmp_path / "a", data, voxel_weight=0.0)
    both = pretrain(tmp_path / "b", data)
    far_more = pretrain(tmp_path / "c", data, voxel_weight=0.2)
    # the first loss is before any step: words + weight x voxels
    assert both[1][0] - words_only[1][0] > 0.01
    assert far_more[1][0] - words_only[1][0] == pytest.approx(2 * (both[1][0] - words_only[1][0]), rel=1e-4)
    # words start at their base rate: 4 words in 2 of 8 reports each ("is" and "heart" stand in all)
    entropy = 4 * -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert words_only[1][0] == pytest.approx(entropy, rel=0.2)


def test_a_killed_pretraining_goes_on_where_it_was(data, tmp_path, monkeypatch):
    whole = pretrain(tmp_path / "whole", data, checkpoint_every=2)
    crop_batch, calls = pretraining.crop_batch, []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 6:  # the first call centres the tokens, so this is step 4
            raise KeyboardInterrupt
        return crop_batch(*args, **kwargs)

    monkeypatch.setattr(pretraining, "crop_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "killed", data, checkpoint_every=2)
    assert not (tmp_path / "killed" / "vit.safetensors").exists()
    monkeypatch.undo()
    assert pretrain(tmp_path / "killed", data, checkpoint_every=2) == whole
    (tmp_path / "other").mkdir()
    (tmp_path / "killed" / "checkpoint").rename(tmp_path / "other" / "checkpoint")
    with pytest.raises(TrainingError, match="is not a checkpoint of this model"):
        pretrain(tmp_path / "other", data, checkpoint_every=2, decoder={"decoder_width": 32, "decoder_depth": 1})
