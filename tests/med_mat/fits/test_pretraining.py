"""The general stage: what a batch holds, what is trained and what is not, and the test on new pictures."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.models.multimodal_lm import ENCODERS, MultimodalLM
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.fits import general as med_mat_general
from papers.med_mat.fits import pretraining as mat_pretraining
from papers.med_mat.fits.pretraining import Drill, lettered, pretrain_encoder, pretrain_language
from papers.med_mat.world.general import draw_general, write_general

SIZES = {"width": 24, "depth": 2, "text_steps": 6, "steps": 21, "batch": 20, "learning_rate": 2e-3, "seed": 0}


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    folder = tmp_path_factory.mktemp("general")
    write_general(folder, count=400, seed=0)
    return folder


@pytest.fixture(scope="module")
def weights(general, tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ENCODERS}
    for name, folder in folders.items():
        pretrain_encoder(folder, general=general, encoder=name, steps=3, batch=16, learning_rate=1e-2, seed=0)
    return folders


def _checkpoint(words) -> TinyCheckpoint:
    settings = {"encoder": "convolution", "vocabulary": len(words), "width": 24, "depth": 1}
    return TinyCheckpoint(MultimodalLM(**settings), words, settings)


def test_a_batch_holds_as_many_questions_of_each_kind_as_asked_with_their_own_pictures():
    words = ["<pad>", "red", "blue", "yes", "no"]
    drill = Drill(
        _checkpoint(words),
        first=(["red"] * 6, ["yes"] * 6, range(6)),
        second=(["blue"] * 4, ["no"] * 4, range(10, 14)),
    )
    seen = {}

    def model(features, ids, mask, answers):
        seen.update(pictures=features[:, 0, 0].int().tolist(), words=ids[:, -1].tolist(), answers=answers)
        return torch.zeros(len(ids), answers, len(words))

    features = torch.arange(20.0)[:, None, None]
    loss = drill.loss(model, features, {"first": 3, "second": 2}, seed=0, step=0)
    assert seen["words"] == [1, 1, 1, 2, 2] and seen["answers"] == 1
    assert all(0 <= p < 6 for p in seen["pictures"][:3]) and all(10 <= p < 14 for p in seen["pictures"][3:])
    assert loss == pytest.approx(np.log(len(words)), abs=1e-6)  # the mean over rows of a model that knows nothing
    drawn = []
    for step in range(2):  # an epoch of the second kind
        drill.loss(model, features, {"second": 2}, seed=0, step=step)
        drawn += seen["pictures"]
    assert sorted(drawn) == [10, 11, 12, 13]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_encoder_is_trained_first_and_then_frozen(general, weights, tmp_path, encoder):
    from safetensors.torch import load_file

    pretrain_language(tmp_path, general=general, encoder=encoder, weights=weights[encoder], **SIZES)
    trained, kept = TinyCheckpoint.read(tmp_path).model, load_file(weights[encoder] / "encoder.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in trained.encoder.state_dict().items())
    torch.manual_seed(0)
    fresh = ENCODERS[encoder]()
    assert any(not torch.equal(value, kept[name]) for name, value in fresh.state_dict().items() if "weight" in name)


def test_a_second_encoder_is_joined_to_the_first_ones_language_model(general, weights, tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    pretrain_language(folders[0], general=general, encoder="convolution", weights=weights["convolution"], **SIZES)
    steps = []
    monkeypatch.setattr(mat_pretraining, "train", lambda *_, **how: steps.append(how["steps"]))
    second = {"encoder": "transformer", "weights": weights["transformer"], "start": folders[0]}
    pretrain_language(folders[1], general=general, **second, **SIZES)
    assert steps == [0, SIZES["steps"]]  # no second stage on text
    first, joined = (TinyCheckpoint.read(folder).model.state_dict() for folder in folders)
    assert all(torch.equal(value, first[name]) for name, value in joined.items() if not name.startswith("encoder"))


@pytest.mark.slow
def test_quoting_a_letter_can_be_learnt(general, weights, tmp_path):
    """The stage without pictures does what it is for: after it the letter of a named option is found."""
    sizes = SIZES | {"width": 48, "text_steps": 450, "steps": 1, "batch": 64}
    pretrain_language(tmp_path, general=general, encoder="convolution", weights=weights["convolution"], **sizes)
    checkpoint, (_, names) = TinyCheckpoint.read(tmp_path), mat_pretraining._vocabulary(_asked(general))
    rng = np.random.default_rng(1)
    shown = [[names[i] for i in rng.permutation(len(names))[:4]] for _ in range(100)]
    truth = rng.integers(0, 4, 100)
    texts = [lettered(f"quote {options[k]}", options) for options, k in zip(shown, truth, strict=True)]
    scores = checkpoint.letter_scores(np.zeros((100, 32, 32), np.uint8), texts, letters="ABCD")
    assert (scores.argmax(1) == truth).mean() > 0.4  # chance 0.25, standard error 0.04


def _asked(general) -> list[dict]:
    return json.loads((general / "questions.json").read_text())


def test_the_test_on_new_pictures_counts_right_letters(general, tmp_path, monkeypatch):
    """A model that knows every answer has 1.0, one that always says A has about chance."""
    base = tmp_path / "base"
    base.mkdir()
    words, _ = mat_pretraining._vocabulary(_asked(general))
    _checkpoint(words).save(base)
    pictures, _, asked = draw_general(count=300, seed=med_mat_general.TEST_SEED)
    answers = {
        (picture.tobytes(), lettered(one["question"], one["options"])): one["options"].index(one["answer"])
        for picture, one in zip(pictures, asked, strict=True)
        if "options" in one
    }

    def run():
        made = []

        def build_all(function, many):
            for arguments in many:
                folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
                folder.mkdir()
                function(folder, **arguments)
                made.append(folder)
            return made

        return SimpleNamespace(build_all=build_all)

    def knows(self, images, questions, *, letters):
        seen = zip(images, questions, strict=True)
        return np.eye(len(letters))[[answers[picture.tobytes(), question] for picture, question in seen]]

    monkeypatch.setattr(TinyCheckpoint, "letter_scores", knows)
    known = med_mat_general.general_table(run(), {"first": base}, count=300)
    assert (known.loc["first"] == 1.0).all() and list(known.loc["chance", ["exists", "which"]]) == [0.5, 0.25]
    monkeypatch.setattr(
        TinyCheckpoint, "letter_scores", lambda s, i, q, *, letters: -np.arange(len(letters)) + np.zeros((len(q), 1))
    )
    constant = med_mat_general.general_table(run(), {"first": base}, count=300)
    assert (constant.loc["first"] - constant.loc["chance"]).abs().max() < 0.2
