"""The general stage: what a batch holds, what is trained and what is not, and the test on new pictures."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.models.multimodal_lm import ENCODERS, MultimodalLM
from papers.med_mat.checkpoints import TinyCheckpoint, pieces
from papers.med_mat.fits import general as med_mat_general
from papers.med_mat.fits import pretraining as mat_pretraining
from papers.med_mat.fits.pretraining import Drill, base, lettered, pretrain_encoder, pretrain_languages, vocabulary
from papers.med_mat.world.general import draw_general, write_general

SIZES = {"width": 24, "depth": 2, "text_steps": 6, "steps": 21, "batch": 20, "learning_rate": 2e-3}


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
    features = torch.arange(20.0)[:, None, None]
    batch = drill.batch(features, {"first": 3, "second": 2}, seed=0, step=0)
    pictures = batch["features"][:, 0, 0].int().tolist()
    assert batch["ids"][:, -1].tolist() == [1, 1, 1, 2, 2] and batch["wanted"].tolist() == [[3]] * 3 + [[4]] * 2
    assert all(0 <= p < 6 for p in pictures[:3]) and all(10 <= p < 14 for p in pictures[3:])
    epoch = [drill.batch(features, {"second": 2}, seed=0, step=step)["features"] for step in range(2)]
    assert sorted(torch.cat(epoch)[:, 0, 0].int().tolist()) == [10, 11, 12, 13]


def test_the_words_of_the_general_stage_are_those_its_questions_say(general):
    known, names = vocabulary()
    said = {one.get(key, "") for one in _asked(general) for key in ("question", "outline", "answer", "mask")}
    said |= {option for one in _asked(general) for option in one.get("options", [])}
    assert {piece for text in said for piece in pieces(text)} <= set(known) and set(names) < set(known)


def test_bases_taught_side_by_side_are_what_each_would_be_alone(general, weights, tmp_path):
    """Two bases with other pictures, first weights and order in one stacked pass, and one by one."""
    other = tmp_path / "general"
    other.mkdir()
    write_general(other, count=400, seed=1)
    data, told = [general, other], {"encoder": "convolution", **SIZES}
    folders = [tmp_path / name for name in ("both", "first", "second")]
    for folder, which in zip(folders, ([0, 1], [0], [1]), strict=True):
        folder.mkdir()
        given = {"general": [data[i] for i in which], "weights": [weights["convolution"]] * len(which), "seeds": which}
        pretrain_languages(folder, **given, **told)
    together = [TinyCheckpoint.read(base(folders[0], number)).model.state_dict() for number in (0, 1)]
    for mine, folder in zip(together, folders[1:], strict=True):
        alone = TinyCheckpoint.read(base(folder, 0)).model.state_dict()
        for name, weight in mine.items():
            torch.testing.assert_close(weight, alone[name], rtol=1e-3, atol=5e-5, msg=name)
    assert any((together[0][name] - together[1][name]).abs().max() > 0.01 for name in together[0])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_encoder_is_trained_first_and_then_frozen(general, weights, tmp_path, encoder):
    from safetensors.torch import load_file

    given = {"general": [general], "weights": [weights[encoder]], "seeds": [0]}
    pretrain_languages(tmp_path, encoder=encoder, **given, **SIZES)
    trained, kept = TinyCheckpoint.read(base(tmp_path, 0)).model, load_file(weights[encoder] / "encoder.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in trained.encoder.state_dict().items())
    torch.manual_seed(0)
    fresh = ENCODERS[encoder]()
    assert any(not torch.equal(value, kept[name]) for name, value in fresh.state_dict().items() if "weight" in name)


def test_a_second_encoder_is_joined_to_the_first_ones_language_model(general, weights, tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    given = {"general": [general], "seeds": [0], **SIZES}
    pretrain_languages(folders[0], encoder="convolution", weights=[weights["convolution"]], **given)
    steps = []
    monkeypatch.setattr(mat_pretraining, "fit_stacked", lambda *_, **how: steps.append(how["steps"]))
    second = {"encoder": "transformer", "weights": [weights["transformer"]], "start": [base(folders[0], 0)]}
    pretrain_languages(folders[1], **second, **given)
    assert steps == [SIZES["steps"]]  # no second stage on text
    first, joined = (TinyCheckpoint.read(base(folder, 0)).model.state_dict() for folder in folders)
    assert all(torch.equal(value, first[name]) for name, value in joined.items() if not name.startswith("encoder"))


@pytest.mark.slow
def test_quoting_a_letter_can_be_learnt(weights, tmp_path):
    """The stage without pictures does what it is for: after it the letter of a named option is found."""
    sizes = SIZES | {"width": 48, "text_steps": 450, "steps": 1, "batch": 64}
    write_general(tmp_path, count=2000, seed=0)  # of a few hundred quotes the letters are learnt by heart
    given = {"general": [tmp_path], "weights": [weights["convolution"]], "seeds": [0]}
    pretrain_languages(tmp_path, encoder="convolution", **given, **sizes)
    checkpoint, (_, names) = TinyCheckpoint.read(base(tmp_path, 0)), vocabulary()
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
    model = tmp_path / "model"
    model.mkdir()
    words, _ = vocabulary()
    _checkpoint(words).save(model)
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
    known = med_mat_general.general_table(run(), {"first": model}, count=300)
    assert (known.loc["first"] == 1.0).all() and list(known.loc["chance", ["exists", "which"]]) == [0.5, 0.25]
    monkeypatch.setattr(
        TinyCheckpoint, "letter_scores", lambda s, i, q, *, letters: -np.arange(len(letters)) + np.zeros((len(q), 1))
    )
    constant = med_mat_general.general_table(run(), {"first": model}, count=300)
    assert (constant.loc["first"] - constant.loc["chance"]).abs().max() < 0.2
