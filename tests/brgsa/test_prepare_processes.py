"""Preparation of volumes by several processes: what one would write, raise and warn of."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lib.data import ct_rate
from lib.data.files import DataError
from lib.machine import Machine
from papers.brgsa import prepare as prepared
from papers.brgsa.prepare import prepare_ct_rate

NAMES = ["train_2_a_1.nii.gz", "train_1_a_2.nii.gz", "train_1_a_1.nii.gz"]  # not sorted: the metadata's order counts
GIVEN = {"split": "train", "target_spacing": (2.0, 3.0, 4.0), "shape": (9, 8, 7)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root, rng, rows = tmp_path_factory.mktemp("tree"), np.random.default_rng(0), []
    for name in NAMES:
        hu = np.where(rng.random((9, 8, 7)) < 0.5, -1000, rng.integers(-100, 1500, (9, 8, 7))).astype(np.int16)
        rows.append(ct_rate.write_volume(root, name, hu, spacing=(2.0, 3.0, 4.0), slope=1.0, intercept=0.0))
    labels = pd.DataFrame(0, index=NAMES, columns=list(ct_rate.CT_RATE_LABELS))
    ct_rate.write_split(root, "train", metadata=rows, labels=labels)
    return root


def test_two_processes_write_the_bytes_of_one(tree, tmp_path):
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        prepare_ct_rate(tmp_path / str(processes), tree=tree, machine=Machine(processes=processes), **GIVEN)
    for name in (prepared.VOLUMES, prepared.NAMES):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_bad_volume_is_raised_and_warnings_come_back(tree, tmp_path, processes):
    root = shutil.copytree(tree, tmp_path / "tree")
    path = ct_rate.metadata_path(root, "train")
    table = pd.read_csv(path, dtype=str)
    table.loc[2, ["RescaleSlope", "RescaleIntercept"]] = ["1", "-1024"]
    table.to_csv(path, index=False)
    given = {"tree": root, "machine": Machine(processes=processes), **GIVEN}
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    with pytest.warns(UserWarning, match=rf"{NAMES[2]} is in HU already"):
        prepare_ct_rate(tmp_path / "good", **given)
    for name in NAMES[:2]:
        ct_rate.volume_path(root, name).unlink()
    with pytest.raises(DataError, match=rf"{NAMES[0]} does not exist"):
        prepare_ct_rate(tmp_path / "bad", **given)
