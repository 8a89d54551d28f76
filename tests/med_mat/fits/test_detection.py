"""Fits on located and lettered rows: members do not touch each other, absent parts count nothing, the null differs."""

import json

import numpy as np
import pytest
import torch
from shape_only import stray

from lib.machine import CPU, Machine
from lib.models.multimodal_lm import MultimodalLM
from lib.workflow import paths
from papers.med_mat.checkpoints import PAD, TinyCheckpoint
from papers.med_mat.data.registry import read_registry
from papers.med_mat.detection import write_detection
from papers.med_mat.fits import detection as med_mat_detection_fits
from papers.med_mat.fits.arms import Rows, prepare_rows
from papers.med_mat.fits.detection import LocatedRows, _parts, _tune, fit_located, prepare_located, with_all_words
from papers.med_mat.world import world as mat_world
from papers.med_mat.world.general import BINS

TABLE = paths.paper("med_mat") / "datasets.csv"


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A random base model, two detection subsets and a world of six images a subset, prepared for fits."""
    root = tmp_path_factory.mktemp("detection")
    folders = {name: root / name for name in ("base", "detection", "world", "located", "rows")}
    for folder in folders.values():
        folder.mkdir()
    torch.manual_seed(0)
    words = [PAD, *"ABCD", *(f"<{i}>" for i in range(BINS + 1))]
    settings = {"encoder": "convolution", "vocabulary": len(words), "width": 16, "depth": 1}
    TinyCheckpoint(MultimodalLM(**settings), words, settings).save(folders["base"])
    write_detection(
        folders["detection"], table=TABLE.read_text(encoding="utf-8"), numbers=["38", "39"], count=40, seed=0
    )
    mat_world.write_world(folders["world"], table=TABLE.read_text(encoding="utf-8"), images=48, seed=0)
    told = {"base": folders["base"], "train": 20, "test": 10}
    prepare_located(folders["located"], root=folders["detection"], numbers=["38", "39"], **told)
    prepare_rows(folders["rows"], world=folders["world"], pool=4, tests_of=folders["world"], **told)
    return folders


def _job(target, *, rows=0, located=None, classified=None, permuted=(), seed=0):
    return {
        "target": target,
        "target_rows": rows,
        "located": located or {},
        "classified": classified or {},
        "permuted": list(permuted),
        "seed": seed,
    }


def _fit(ready, tmp_path, jobs, *, kind="box", steps=30):
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    given = {
        "located": [ready["located"]],
        "rows": [ready["rows"]],
        "models": [ready["base"]],
        "grounds": [0] * len(jobs),
    }
    fit_located(folder, kind=kind, jobs=jobs, steps=steps, batch=8, learning_rate=3e-3, **given)
    overlap = {int(job): value for job, value in json.loads((folder / "overlap.json").read_text()).items()}
    return overlap, np.load(folder / "scores.npz")


PAIR = {"located": {"38": 20}, "classified": {"13": 20}}


def _tuned(ready, jobs, kind):
    """The models of ``jobs`` after 30 steps side by side, and the prepared rows."""
    located, rows = LocatedRows(ready["located"]), Rows(ready["rows"])
    models = [with_all_words(ready["base"], seed=job["seed"]).model for job in jobs]
    parts = _parts([located] * len(jobs), [rows] * len(jobs), jobs, kind)
    _tune(models, parts, [job["seed"] for job in jobs], steps=30, batch=8, learning_rate=2e-2, machine=CPU)
    return models, located


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_a_member_ends_as_it_would_alone_and_absent_parts_count_nothing(ready, kind):
    jobs = [_job("39", rows=20), _job("39", rows=20, **PAIR), _job("38", located={"39": 20}, seed=1)]
    together, located = _tuned(ready, jobs, kind)
    questions = located.questions[kind]
    pictures, asked = torch.from_numpy(located.draw({"39": 20}, kind, permuted=[], seed=0)).T
    for job, model in zip(jobs, together, strict=True):
        (alone,), _ = _tuned(ready, [job], kind)
        for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
            assert torch.allclose(ours, theirs, atol=2e-4)
        wanted = questions.wanted[asked]
        logits = model(located.features[pictures], questions.ids[asked], questions.mask[asked], wanted.shape[1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        assert loss < 0.9 * np.log(BINS + 1)  # better than any step being as likely


def test_a_step_leaves_no_tensor_on_another_device(ready, monkeypatch):
    seen, jobs = [], [_job("39", rows=20, **PAIR)]
    monkeypatch.setattr(med_mat_detection_fits, "fit_stacked", lambda *given, **how: seen.append(given))
    models = [with_all_words(ready["base"], seed=0).model]
    parts = _parts([LocatedRows(ready["located"])], [Rows(ready["rows"])], jobs, "box")
    _tune(models, parts, [0], steps=1, batch=8, learning_rate=1e-3, machine=Machine(device="meta"))
    ((model,), batch_of_step, loss) = seen[0]
    first = {name: one[0] for name, one in batch_of_step(0).items()}
    assert {name.partition("_")[0] for name in first} == {"target", "place", "letter"}
    assert stray(model, lambda device: loss(model, first)) is None


def test_the_null_of_the_partners_changes_the_fit_and_not_the_target_only_arm(ready, tmp_path):
    jobs = [
        _job("03", **PAIR),
        _job("03", **PAIR, permuted=["38", "13"]),
        _job("03", **PAIR, permuted=["38"]),
        _job("39", rows=20, permuted=["38"]),
        _job("39", rows=20),
        _job("03"),
    ]
    overlap, scores = _fit(ready, tmp_path, jobs)
    letters = [scores[f"{i}/03/test"] for i in (0, 1, 2, 5)]
    assert overlap[3] == overlap[4] and set(overlap) == {3, 4}
    for i in range(4):
        for k in range(i):
            assert np.abs(letters[i] - letters[k]).max() > 1e-3


def test_the_rows_drawn_are_the_amounts_and_the_null_only_exchanges_images(ready):
    rows = LocatedRows(ready["located"])
    plain, null = (rows.draw({"38": 12, "39": 5}, "box", permuted=p, seed=1) for p in ([], ["38"]))
    assert plain.shape == (17, 2) and (plain[12:] == null[12:]).all() and (plain[:, 1] == null[:, 1]).all()
    assert sorted(plain[:12, 0]) == sorted(null[:12, 0]) and (plain[:12, 0] != null[:12, 0]).any()
    tested = {picture for no in ("38", "39") for picture, _ in rows.subsets[no]["box"]["test"]}
    assert not tested & set(plain[:, 0]) and len(tested) == 20
    assert read_registry(TABLE).subsets["38"].role == "det/seg"
