"""Released questions and a released model's class, offline: a tiny LLaVA is tuned and scored on files of both layouts."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_llava import write_tiny_llava

from lib.data.errors import DataError
from lib.data.mat_questions import ask
from lib.data.mat_registry import Registry, Source, write_registry
from lib.data.mat_selection import Subset
from lib.data.med_mat import SUBSET_FILES, record, write_records
from lib.models.released_multimodal import load
from lib.studies import med_mat_released
from lib.studies.med_mat_released import fit_released
from lib.training.multimodal_lora import IGNORED, answer_batch, tune, with_adapters

SUBSETS = {no: Subset(no, "CT", area, "tone", "State") for no, area in (("01", "Lung"), ("02", "Brain"))}
GIVEN = {
    "missing": "stop", "cap": 40, "tests": 12, "pool": 6, "rank": 8, "epochs": 6, "batch": 8, "learning_rate": 2e-2,
    "device": "cpu", "precision": "no",
}  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release in miniature: two subsets of dark and bright squares, one in each layout, and a tiny LLaVA."""
    root = tmp_path_factory.mktemp("release")
    sources = {no: Source(no, f"set {no}", f"https://example.org/{no}", (no.zfill(2),)) for no in ("1", "2")}
    write_registry(root / "datasets.csv", Registry(SUBSETS, sources, {"01": ("1",), "02": ("2",)}, {}))
    texts = []
    for (no, subset), layout in zip(SUBSETS.items(), SUBSET_FILES, strict=True):
        rows = []
        for i in range(80):
            label, image = ("bright", "dark")[i % 2], f"med-mat/{no}/{i}.png"
            question = ask(label, ["bright", "dark"], subset, image=image, seed=0)
            rows.append(record(question, id=i, caption=label, image=image, data_no=no.lstrip("0")))
            (root / image).parent.mkdir(parents=True, exist_ok=True)
            grey = np.full((20, 24), 230 if label == "bright" else 20, np.uint8)
            Image.fromarray(grey + np.uint8(i % 5)).save(root / image)
        write_records(root / layout.format(no=no), rows)
        texts += [one.question_choice for one in rows]
    write_tiny_llava(root / "llava", texts=texts)
    return root


def _job(amounts, tests, *, permuted=(), seed=0):
    return {"amounts": amounts, "permuted": list(permuted), "tests": tests, "seed": seed}


def _fit(release, folder, jobs, **changed):
    folder.mkdir()
    given = {"source": str(release / "llava"), "root": release, "table": release / "datasets.csv", **GIVEN, **changed}
    fit_released(folder, jobs=jobs, **given)
    return np.load(folder / "scores.npz")


@pytest.fixture
def without_an_image(release):
    path = release / "med-mat" / "02" / "7.png"
    kept = path.read_bytes()
    path.unlink()
    yield path
    path.write_bytes(kept)


@pytest.mark.usefixtures("without_an_image")
def test_a_missing_image_stops_naming_dataset_and_address_or_is_left_out_and_told(release, tmp_path, capsys):
    with pytest.raises(DataError) as error:
        _fit(release, tmp_path / "stop", [_job({}, ["02"])])
    said = str(error.value)
    assert "Subset-02-train.json, row 8: image med-mat/02/7.png of dataset 2 (set 2)" in said
    assert "https://example.org/2" in said and "\n" not in said
    assert not list((tmp_path / "stop").iterdir())
    scores = _fit(release, tmp_path / "skip", [_job({}, ["02"])], missing="skip")
    told = capsys.readouterr().out.strip().splitlines()
    assert len(told) == 1 and "dataset 2 (set 2): 1 of 80 images are missing" in told[0]
    assert scores["0/02/test"].shape == (8, 2, 2)


def test_only_the_answer_counts_in_the_loss(release):
    """The labels are the letter and the end of text, whatever the length of question and padding."""
    checkpoint = load(str(release / "llava"))
    images = [np.zeros((8, 8), np.uint8)] * 2
    made = answer_batch(checkpoint, images, ["What does it show? A: dark", "dark"], ["A", "B"])
    vocabulary = checkpoint.processor.tokenizer.get_vocab()
    for row, letter in enumerate("AB"):
        counted = made["labels"][row][made["labels"][row] != IGNORED]
        assert counted.tolist() == [vocabulary[letter], vocabulary["</s>"]]


def test_training_is_seen_in_the_scores_and_the_untrained_model_is_the_released_one(release, tmp_path):
    scores = _fit(release, tmp_path / "fit", [_job({"01": 40}, ["01", "02"]), _job({}, ["01"])])
    right = scores["0/01/test_right"]
    assert scores["0/01/test"].shape == (8, 2, 2) and scores["0/01/pool"].shape == (6, 2, 2)

    def loss(which):
        return -np.take_along_axis(scores[which], right[..., None], axis=2).mean()

    assert loss("0/01/test") < loss("1/01/test") - 0.3  # before, any word was as likely as the right letter
    again = _fit(release, tmp_path / "again", [_job({}, ["01"])])
    assert np.allclose(again["0/01/test"], scores["1/01/test"])


def test_adapters_leave_the_released_weights_alone(release):
    checkpoint = load(str(release / "llava"))
    before = {name: p.clone() for name, p in checkpoint.model.named_parameters()}
    checkpoint = with_adapters(checkpoint, rank=8, seed=0)
    images = [np.zeros((8, 8), np.uint8), np.full((8, 8), 200, np.uint8)]
    told = {"epochs": 5, "batch": 2, "learning_rate": 1e-2, "seed": 0}
    losses = tune(checkpoint, lambda row: images[row], ["dark", "bright"], ["A", "B"], **told)
    assert losses[-1] < losses[0]
    after = {
        name.replace("base_model.model.", "").replace(".base_layer", ""): p
        for name, p in checkpoint.model.named_parameters()
    }
    assert all(torch.equal(p, after[name]) for name, p in before.items())
    adapters = [name for name in after if "lora" in name]
    assert adapters and all("language_model" in name for name in adapters)


def test_the_null_differs_and_what_is_tested_is_not_trained_on(release, tmp_path, monkeypatch):
    jobs = [_job({"01": 30}, ["02"], permuted=permuted) for permuted in ([], ["01"])]
    scores = _fit(release, tmp_path / "fit", jobs)
    assert np.abs(scores["0/02/test"] - scores["1/02/test"]).max() > 1e-3
    seen = []
    monkeypatch.setattr(med_mat_released, "without_tested", lambda one, test: seen.append(test) or one)
    _fit(release, tmp_path / "again", [_job({"01": 30}, ["02"])])
    assert len(seen) == 1 and len(seen[0]) == 8 and {row.data_no for row in seen[0]} == {"2"}
