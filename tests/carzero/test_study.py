"""Arms as they are trained: alignments, controls, warm starts, batches that grow; and the numbers that notebooks read of them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib.models import ModelError
from lib.models.cross_attention_scoring import Tokens
from lib.models.text_encoder import write_tiny_checkpoint
from lib.streams import stream
from lib.training.loop import TrainingError
from papers.carzero import pretraining, scoring, study, training
from papers.carzero.model import KINDS, build, make_alignment
from papers.carzero.pictures import flatten, separation

MODEL = {
    "image": {"size": 16, "patch": 4, "width": 16, "depth": 2, "heads": 2, "ratio": 2},
    "fusion": {"layers": 1, "heads": 4, "feedforward": 16, "dropout": 0.0, "head_widths": [32, 16, 8], "initial_sd": 0.3},
    "positions": 12, "last_layers": 1, "frozen_blocks": 1,
}  # fmt: skip
FIT = {"seed": 0, "steps": 150, "batches": [[0, 8]], "learning_rate": 5e-3, "crop": 16, "augment": {}}
SAYINGS = ["there is mass", "there is edema", "there is no mass", "there is cyst"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """96 pictures of four kinds, each said by its own sentence, and an encoder that never saw a word."""
    root = tmp_path_factory.mktemp("files")
    kinds = np.arange(96) % 4
    squares = stream(0, "pictures").integers(0, 60, (96, 16, 16)).astype(np.uint8)
    for n, kind in enumerate(kinds):
        squares[n, 8 * (kind // 2) : 8 * (kind // 2) + 8, 8 * (kind % 2) : 8 * (kind % 2) + 8] += 150
    np.save(root / "images.npy", squares)
    said = {"files": [str(n) for n in range(96)], "sentences": [[SAYINGS[kind]] for kind in kinds]}
    (root / "texts.json").write_text(json.dumps(said))
    write_tiny_checkpoint(root / "text", SAYINGS, width=16, depth=1, heads=2)
    pretraining.pretrain(
        root, squares=root, texts=root, image=MODEL["image"], steps=2, batch=16, learning_rate=1e-3, warmup=1, crop=16,
        spread=1.0, seed=0,
    )  # fmt: skip
    return root


def trained(files, folder, *, alignment, told=MODEL, **given):
    folder.mkdir()
    rest = {name: given.pop(name) for name in ("warm", "encoder") if name in given}
    training.train_arm(
        folder, pictures=files, texts=files, text=files / "text", model=told, alignment=alignment, fit={**FIT, **given},
        **{"encoder": files, **rest},
    )  # fmt: skip
    return folder


def accuracy(files, arm, alignment, folder):
    """Share of pictures whose own sentence scores highest."""
    folder.mkdir()
    scoring.score_arm(
        folder, arm=arm, text=files / "text", model=MODEL, alignment=alignment, pictures={"x": files},
        prompts={"x": {"positive": SAYINGS[:2], "other": SAYINGS[2:]}}, crop=16,
    )  # fmt: skip
    with np.load(folder / "scores.npz") as read:
        scores = np.concatenate([read["x/positive"], read["x/other"]], axis=1)
    return float((scores.argmax(axis=1) == np.arange(96) % 4).mean())


@pytest.mark.parametrize(
    "alignment", [*({"kind": kind} for kind in KINDS), {"kind": "simr", "head": "linear", "memory": "local"}], ids=str
)
def test_every_alignment_learns_pairs_that_can_be_told_apart(files, tmp_path, alignment):
    arm = trained(files, tmp_path / "arm", alignment=alignment)
    losses = json.loads((arm / "losses.json").read_text())
    assert len(losses) == 150 and np.mean(losses[-10:]) < np.mean(losses[:5])
    assert accuracy(files, arm, alignment, tmp_path / "scores") > 0.5


def test_shuffled_pairs_teach_nothing(files, tmp_path):
    arm = trained(files, tmp_path / "arm", alignment={"kind": "cosine"}, shuffle=True)
    assert accuracy(files, arm, {"kind": "cosine"}, tmp_path / "scores") < 0.5


def test_scores_are_the_mean_of_the_matrices_that_are_trained():
    for told in (
        {"kind": "simr"},
        {"kind": "simr", "foreign": "local"},
        {"kind": "simr", "foreign": "global", "head": "linear"},
    ):
        made = make_alignment(16, MODEL["fusion"], told).eval()
        image, text = (
            Tokens(torch.randn(5, 16), torch.randn(5, 9, 16)),
            Tokens(torch.randn(5, 16), torch.randn(5, 12, 16)),
        )
        with torch.no_grad():
            assert torch.allclose(made.score(image, text), sum(made.matrices(image, text)) / 2, atol=1e-5)


def test_foreign_tokens_are_another_samples():
    own, foreign = (make_alignment(16, MODEL["fusion"], {"kind": "simr", "foreign": one}) for one in ("", "local"))
    foreign.load_state_dict(own.state_dict())
    image, text = Tokens(torch.randn(3, 16), torch.randn(3, 4, 16)), Tokens(torch.randn(3, 16), torch.randn(3, 6, 16))
    rolled = Tokens(image.whole, image.parts.roll(1, 0))
    with torch.no_grad():
        assert torch.allclose(foreign.eval().matrices(image, text)[0], own.eval().matrices(rolled, text)[0], atol=1e-6)
    with pytest.raises(ModelError, match="cannot be foreign"):
        make_alignment(16, MODEL["fusion"], {"kind": "simr", "foreign": "words"})


def test_the_mlp_control_has_as_many_weights_as_the_fusion_module():
    full = {"layers": 4, "heads": 4, "feedforward": 1024, "dropout": 0.1}
    with torch.device("meta"):
        control = make_alignment(768, full, {"kind": "cosine_mlp"})
    assert sum(p.numel() for p in control.parameters()) == pytest.approx(17_205_761, rel=0.01)


def test_an_arm_begins_with_the_encoders_of_its_warm_one(files, tmp_path):
    warm = trained(files, tmp_path / "warm", alignment={"kind": "cosine"}, steps=5)
    arm = trained(files, tmp_path / "arm", alignment={"kind": "simr"}, warm=warm, steps=0)
    first, then = (load_file(folder / "model.safetensors") for folder in (warm, arm))
    assert all(torch.equal(value, then[name]) for name, value in first.items())
    other = {**MODEL, "image": {**MODEL["image"], "depth": 3}}
    with pytest.raises(TrainingError, match=r"lacks weight img_encoder\.model\.blocks\.2"):
        trained(files, tmp_path / "deep", alignment={"kind": "simr"}, told=other, warm=warm, encoder=None, steps=0)


def test_another_start_changes_the_alignment_alone(files, tmp_path):
    one, two = (
        load_file(trained(files, tmp_path / str(n), alignment={"kind": "simr"}, steps=0, start=n) / "model.safetensors")
        for n in (0, 1)
    )
    same = {name for name in one if torch.equal(one[name], two[name])}
    changed = {name for name in one if name not in same}
    assert changed and all(name.startswith("alignment.") for name in changed)


def test_a_killed_arm_goes_on_to_the_same_weights(files, tmp_path, monkeypatch):
    from lib.machine import Machine

    whole = trained(files, tmp_path / "whole", alignment={"kind": "cosine"}, steps=6)
    shared = {
        "pictures": files,
        "texts": files,
        "text": files / "text",
        "model": MODEL,
        "alignment": {"kind": "cosine"},
    }
    parts, calls = tmp_path / "parts", []
    parts.mkdir()
    real = training.alignment_loss

    def dies(matrices):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(matrices)

    told = {"fit": {**FIT, "steps": 6}, "encoder": files, "machine": Machine(checkpoint_every=2)}
    monkeypatch.setattr(training, "alignment_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        training.train_arm(parts, **shared, **told)
    training.train_arm(parts, **shared, **told)
    assert len(calls) == 5 + 2
    first, then = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(value, then[name]) for name, value in first.items())


def test_the_batch_grows_as_told():
    fit = training.Fit(**{**FIT, "batches": [[0, 64], [10, 128], [30, 256]]})
    assert [fit.batch_at(step) for step in (0, 9, 10, 29, 30, 999)] == [64, 64, 128, 128, 256, 256]


def test_settings_that_do_not_fit_are_told(files, tmp_path):
    with pytest.raises(ModelError, match="'dot' is no alignment"):
        make_alignment(16, MODEL["fusion"], {"kind": "dot"})
    wide = {**MODEL, "image": {**MODEL["image"], "width": 32}}
    with pytest.raises(ModelError, match="texts of width 16 cannot ask images of width 32"):
        build(text=files / "text", alignment={"kind": "cosine"}, **wide)
    deep = {**MODEL, "image": {**MODEL["image"], "depth": 3}}
    with pytest.raises(TrainingError, match="does not fit the settings 'image'"):
        trained(files, tmp_path / "deep", alignment={"kind": "cosine"}, told=deep)
    (tmp_path / "few").mkdir()
    np.save(tmp_path / "few" / "images.npy", np.zeros((5, 16, 16), np.uint8))
    with pytest.raises(TrainingError, match="holds 5 pictures for 96 studies"):
        training.train_arm(
            tmp_path, pictures=tmp_path / "few", texts=files, text=files / "text", model=MODEL,
            alignment={"kind": "cosine"}, fit=FIT,
        )  # fmt: skip


def test_maps_and_representations_have_a_place_for_each_pair(files, tmp_path):
    alignment = study.SIMR["alignment"]
    arm = trained(files, tmp_path / "arm", alignment=alignment, steps=2)
    told = {"arm": arm, "text": files / "text", "model": MODEL, "alignment": alignment, "pictures": files, "crop": 16}
    scoring.map_arm(tmp_path, prompts=SAYINGS[:3], **told)
    maps = np.load(tmp_path / "maps.npy")
    assert (
        maps.shape == (96, 3, 4, 4) and (maps >= 0).all() and (maps.sum(axis=(2, 3)) < 1).all()
    )  # the class token has a part
    assert np.array_equal(study.other_finding(maps)[:, 1], maps[:, 0])
    scoring.similarity_arm(tmp_path, prompts=SAYINGS[:3], **told)
    assert np.load(tmp_path / "simr.npy").shape == (96, 3, 16)


def test_separation_is_in_units_of_spread():
    points = stream(0, "points").normal(size=(4000, 6))
    labels = np.arange(4000) % 2
    assert separation(points, labels) < 0.2
    points[labels == 1, 0] += 3
    assert separation(points, labels) == pytest.approx(3, abs=0.15)
    assert np.isnan(separation(points, np.zeros(4000)))
    assert flatten(points[:50].reshape(25, 2, 6), "pca").shape == (25, 2, 2)


def test_words_that_are_predicted_are_neither_rare_nor_everywhere():
    said = [["there is mass"], ["there is edema"], ["there is cyst"]] * 9 + [["there is edema"]]
    assert pretraining.words_present(said).shape == (28, 1)  # edema: ten studies; mass and cyst nine, "there" all
