"""Bad input of every kind: one sentence that names the file, the row or key and the remedy; nothing is lost or half done.

``CASES`` is the list. A case prepares a good project and data tree, breaks one thing, and uses it as a user would:
through the command line (exit status and stderr) or through the reader a notebook calls.
"""

import gzip
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import toy_project as toy

from lib.data import ct_rate, scored_set
from lib.workflow import closure, notebooks, paths
from lib.workflow.__main__ import main
from papers.brgsa import rad_chestct

NAMES = ["valid_1_a_1.nii.gz", "valid_1_a_2.nii.gz", "valid_2_a_1.nii.gz"]
GRID = {"target_spacing": (2.0, 2.0, 2.0), "shape": (8, 8, 8)}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A toy project whose ``data`` folder is a small CT-RATE tree with scores, prompts and a training JSON."""
    toy.make(tmp_path, monkeypatch)
    data = tmp_path / "data"
    stored = np.random.default_rng(0).integers(0, 1200, (8, 8, 8)).astype(np.int16)
    rows = [
        ct_rate.write_volume(data, name, stored, spacing=(2.0, 2.0, 2.0), slope=1, intercept=-1024) for name in NAMES
    ]
    labels = pd.DataFrame(np.eye(3, 18, dtype=int), columns=list(ct_rate.CT_RATE_LABELS))
    labels.insert(0, "VolumeName", NAMES)
    ct_rate.write_split(data, "valid", metadata=rows, labels=labels)
    ct_rate.write_prompts(data / "prompts.json", ["Nodule", "Effusion"])
    ct_rate.write_training_json(
        data / "train.json", {"train": {"A nodule.": {"images": [NAMES[0]], "processed_report": ["There is Nodule."]}}}
    )
    rad_chestct.write_volume(data / "rad", "trn00001", stored)
    (data / "scores.csv").write_text("0,1\n0.1,0.2\n0.3,0.4\n0.5,0.6\n")
    return tmp_path


def _edit(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def _json(path: Path, change) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def _cli(*words: str):
    return lambda root: list(words)


# ---------------------------------------------------------------------- breaking one thing, using it
def _nan_spacing(root):
    _edit(ct_rate.metadata_path(root / "data", "valid"), '"[2.0, 2.0]"', '"[nan, 2.0]"')
    return lambda: ct_rate.read_metadata(ct_rate.metadata_path(root / "data", "valid"))


def _nan_voxels(root):
    import nibabel

    volume = np.zeros((8, 8, 8), np.float32)
    volume[1, 2, 3] = np.nan
    content = gzip.compress(nibabel.Nifti1Image(volume, np.eye(4)).to_bytes())
    ct_rate.volume_path(root / "data", NAMES[1]).write_bytes(content)
    return lambda: _load(root, NAMES[1])


def _load(root, name):
    rows = ct_rate.read_metadata(ct_rate.metadata_path(root / "data", "valid"))
    return ct_rate.load_volume(root / "data", name, rows[name], **GRID)


def _cut_gzip(root):
    path = ct_rate.volume_path(root / "data", NAMES[0])
    path.write_bytes(path.read_bytes()[:-40])
    return lambda: _load(root, NAMES[0])


def _not_nifti(root):
    ct_rate.volume_path(root / "data", NAMES[0]).write_bytes(gzip.compress(b"<html>404</html>" * 100))
    return lambda: _load(root, NAMES[0])


def _cut_npz(root):
    path = root / "data/rad/trn00001.npz"
    path.write_bytes(path.read_bytes()[:-40])
    return lambda: rad_chestct.load_volume(root / "data/rad", "trn00001", **GRID)


def _labels(root, old, new):
    path = _edit(ct_rate.labels_path(root / "data", "valid"), old, new)
    return lambda: ct_rate.read_labels(path)


def _missing_column(root):
    path = _edit(ct_rate.metadata_path(root / "data", "valid"), "ZSpacing", "SpacingZ")
    return lambda: ct_rate.read_metadata(path)


def _wrong_training_key(root):
    path = _json(root / "data/train.json", lambda c: c["train"]["A nodule."].update(pictures=[]))
    return lambda: ct_rate.read_training_json(path)


def _prompts(root, change):
    path = _json(root / "data/prompts.json", change)
    return lambda: ct_rate.read_prompts(path)


def _cut_json(root):
    path = root / "data/prompts.json"
    path.write_text(path.read_text()[:-8])
    return lambda: ct_rate.read_prompts(path)


def _scores(root, old, new):
    path = _edit(root / "data/scores.csv", old, new)
    return lambda: scored_set.read_scores(path, classes=2, images=3)


def _checkpoint_of_another_shape(root):
    import torch

    from lib.machine import Machine
    from lib.training.loop import train

    path = root / "checkpoint" / "state.pt"

    def run(width):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, width)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        return train(
            model,
            lambda m, step: m(torch.ones(2, 4)).pow(2).mean(),
            steps=4,
            optimiser=optimiser,
            clip=1.0,
            checkpoint=path,
            machine=Machine(checkpoint_every=2),
        )

    run(3)
    return lambda: run(5)


def _loss_not_finite(root):
    import torch

    from lib.training.loop import train

    model = torch.nn.Linear(2, 1)
    return lambda: train(
        model,
        lambda m, step: m(torch.ones(1, 2)).sum() * (float("nan") if step == 2 else 1.0),
        steps=4,
        optimiser=torch.optim.SGD(model.parameters(), lr=0.1),
        clip=1.0,
    )


def _paper(root, keys, value):
    facts = toy.paper_facts()
    toy.put(facts, keys, value)
    toy.write_yaml(root / "papers/toy/paper.yml", facts)
    return ["lint"]


def _experiments(root, keys, value, *words):
    facts = toy.experiment_facts()
    toy.put(facts, keys, value)
    toy.write_yaml(root / "papers/toy/experiments.yml", facts)
    return list(words)


def _damaged_result(root):
    path = toy.write_result(toy.result())
    path.write_text(path.read_text()[:-30])
    return ["tables"]


def _no_markers(root):
    (root / "README.md").write_text("# Toy\n")
    return ["tables"]


def _not_a_notebook(root):
    (root / "notebooks/toy/tab_a.ipynb").write_text('{"cells": [')
    return ["execute", "toy/tab_a"]


def _syntax_error_in_lib(root):
    (root / "lib").mkdir()
    (root / "lib/arms.py").write_text("RATE = (1\n")
    cells = [("code", "from lib.arms import RATE"), *toy.CELLS]
    toy.write_notebook(root / "notebooks/toy/tab_a.ipynb", cells)
    return ["run"]


def _unwritable_runs(root):
    paths.RUNS.write_text("a file where a folder is needed")
    return ["run"]


def _unlisted_notebook(root):
    toy.write_notebook(root / "notebooks/toy/tab_b.ipynb")
    return ["run"]


EXECUTE = ("execute", "toy/tab_a")
# what is bad -> how it is made and used; what the sentence must say: file, row or key, remedy
CASES = {
    "metadata CSV with NaN spacing": (
        _nan_spacing,
        r"valid.*_metadata\.csv|validation_metadata\.csv",
        NAMES[0],
        "write them like",
    ),
    "NIfTI with NaN voxels": (_nan_voxels, r"valid_1_a_2\.nii\.gz", r"\(1, 2, 3\)", "fetch it again"),
    "NIfTI cut off": (_cut_gzip, r"valid_1_a_1\.nii\.gz", "not a readable NIfTI", "fetch or generate"),
    "NIfTI that is a web page": (_not_nifti, r"valid_1_a_1\.nii\.gz", "not a readable NIfTI", "fetch or generate"),
    "npz cut off": (_cut_npz, r"trn00001\.npz", "not a readable npz", "fetch or generate"),
    "label not 0 or 1": (
        lambda root: _labels(root, ",1,", ",2,"),
        r"valid_predicted_labels\.csv",
        f"{NAMES[0]}.*'2', not 0 or 1",
        "correct it or take the row out",
    ),
    "volume named twice": (
        lambda root: _labels(root, NAMES[1], NAMES[0]),
        r"valid_predicted_labels\.csv",
        f"{NAMES[0]}' on line 2 and again on line 3",
        "delete one of the rows",
    ),
    "CSV without a column": (_missing_column, r"metadata\.csv", "lacks column 'ZSpacing'", "add or rename"),
    "training JSON with a wrong key": (_wrong_training_key, r"train\.json", "'A nodule.'.*pictures", "rename"),
    "prompt JSON with a wrong key": (
        lambda root: _prompts(root, lambda c: c.update(two=["There is X"])),
        r"prompts\.json",
        "two",
        "number the classes again",
    ),
    "prompt that is no text": (
        lambda root: _prompts(root, lambda c: c.update({"1": 3})),
        r"prompts\.json",
        'key "1"',
        "must be a list of one prompt",
    ),
    "JSON cut off": (_cut_json, r"prompts\.json", "not JSON", "fetch or generate it again"),
    "scores with a row too few": (
        lambda root: _scores(root, "0.3,0.4\n", ""),
        r"scores\.csv",
        "2 rows for 3 images",
        "use the list the scores were made from",
    ),
    "scores with a cut line": (lambda root: _scores(root, "0.3,0.4", "0.3"), r"scores\.csv", "line 3", "fetch|cut"),
    "scores with text": (lambda root: _scores(root, "0.4", "high"), r"scores\.csv", "line 3.*'high'", "again"),
    "scores of other prompts": (lambda root: _scores(root, "0,1", "0,2"), r"scores\.csv", "2", "use the score file"),
    "checkpoint of another shape": (_checkpoint_of_another_shape, r"state\.pt", "not a checkpoint", "delete it"),
    "training that meets NaN": (_loss_not_finite, "nan", "step 2 of 4", "lower the learning rate"),
    "paper.yml with a wrong key": (
        lambda root: _paper(root, "claims.0.wins", True),
        r"papers/toy/paper\.yml",
        r"claims\.0\.wins",
        "not permitted",
    ),
    "published number without source": (
        lambda root: _paper(root, "published.t1.source", ...),
        r"papers/toy/paper\.yml",
        r"published\.t1\.source",
        "required",
    ),
    "experiments.yml with a wrong type": (
        lambda root: _experiments(root, "experiments.tab_a.minutes.mini", "soon", "run"),
        r"papers/toy/experiments\.yml",
        r"experiments\.tab_a\.minutes\.mini",
        "valid number",
    ),
    "1e-4 in YAML, which is text": (
        lambda root: _experiments(
            root, "experiments.tab_a.parameters.smoke", {"rate": "1e-4"}, *EXECUTE, "--profile=smoke"
        ),
        r"tab_a\.ipynb",
        "'rate'",
        r"write 1\.0e-4",
    ),
    "unknown parameter": (_cli(*EXECUTE, "-pseed=3"), r"tab_a\.ipynb", "'seed'", r"did you mean 'seeds'\?"),
    "parameter of a wrong type": (_cli(*EXECUTE, "-pseeds=many"), r"tab_a\.ipynb", "'seeds'", "must be int like 2"),
    "unknown profile": (_cli("run", "--profile=minni"), "profile", "'minni'", r"did you mean 'mini'\?"),
    "unknown paper": (_cli("run", "--paper=toi"), "paper", "'toi'", r"did you mean 'toy'\?"),
    "unknown notebook": (_cli("run", "--notebook=tab_q"), "notebook", "'tab_q'", r"did you mean 'tab_a'\?"),
    "notebook that is not there": (_cli("execute", "toy/tab_q"), r"notebooks/toy/tab_q\.ipynb", "does not", "exist"),
    "notebook cut off": (_not_a_notebook, r"notebooks/toy/tab_a\.ipynb", "not a valid notebook", ""),
    "notebook nobody listed": (_unlisted_notebook, r"notebooks/toy/tab_b\.ipynb", "not listed", "add it"),
    "lib file with a syntax error": (_syntax_error_in_lib, r"lib/arms\.py", "line 1", "correct it"),
    "result file cut off": (_damaged_result, r"results/tab_a\.mini\.json", "damaged", "delete it and run"),
    "README without its markers": (_no_markers, r"README\.md", "claims:begin", "needs the markers"),
    "runs folder that cannot be written": (_unwritable_runs, "runs", "exists", "put that right"),
}


def _snapshot(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence_and_nothing_is_lost(root, case, capsys):
    use, file, where, remedy = CASES[case]
    action = use(root)
    before = _snapshot(root)
    if isinstance(action, list):
        assert main(action) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ") and message.endswith("\n")
        message = message.removeprefix("error: ").rstrip("\n")
    else:
        with pytest.raises((ValueError, RuntimeError)) as caught:
            action()
        assert type(caught.value).__module__.partition(".")[0] in closure.PACKAGES, (
            "a library's own error reached the user"
        )
        message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message and len(message) < 500, message
    for part in (file, where, remedy):
        assert re.search(part, message), f"{part!r} is not in: {message}"
    assert _snapshot(root) == before


def test_the_list_is_long_enough():
    assert len(CASES) >= 12


def test_writers_write_all_or_nothing(root, monkeypatch):
    """A disk that fills while a volume, a table or a JSON is written leaves the old file."""
    data = root / "data"
    before = _snapshot(root)
    stored = np.full((8, 8, 8), 7, dtype=np.int16)
    table = pd.read_csv(ct_rate.labels_path(data, "valid"))
    writes = [
        lambda: ct_rate.write_volume(data, NAMES[0], stored, spacing=(1, 1, 1), slope=1, intercept=0),
        lambda: ct_rate.write_split(data, "valid", metadata=[], labels=table),
        lambda: ct_rate.write_prompts(data / "prompts.json", ["Other"]),
        lambda: rad_chestct.write_volume(data / "rad", "trn00001", stored),
    ]

    def half_then_full(self, content):
        with self.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", half_then_full)
    for write in writes:
        with pytest.raises(OSError, match="No space left"):
            write()
        assert _snapshot(root) == before


@pytest.mark.notebooks
def test_a_reader_s_sentence_reaches_the_command_line(root, monkeypatch, capsys):
    """A bad label inside a notebook: exit status 2, the reader's sentence, the traceback in the failed copy."""
    path = ct_rate.labels_path(root / "data", "valid")
    _edit(path, ",1,", ",2,")
    source = f"from lib.data import ct_rate\nlabels = ct_rate.read_labels({str(path)!r})"
    notebook = toy.write_notebook(root / "elsewhere/a.ipynb", [("code", source), ("code", "labels")], executed=False)
    monkeypatch.setattr(paths, "ROOT", Path(notebooks.__file__).parents[2])  # the kernel uses the checkout's lib
    assert main(["execute", str(notebook), "--output", str(root / "out/a.ipynb")]) == 2
    message = capsys.readouterr().err
    assert re.fullmatch(r"error: elsewhere/a failed in cell 1: DataError: .*not 0 or 1; correct it.*\n", message)
    assert [f.name for f in (root / "out").iterdir()] == ["a.failed.ipynb"]
    nbformat.read(root / "out/a.failed.ipynb", as_version=4)
