"""The external set through the reader of RAD-ChestCT: same bytes, labels from their sources, the same chests."""

import numpy as np
import pandas as pd
import pytest

from lib.data import ct_rate
from lib.data.chest_ct.world import plan_scans, write_internal
from lib.data.files import DataError
from papers.brgsa import rad_chestct
from papers.brgsa.external import write_external

PREPROCESS = {"target_spacing": (15.0, 15.0, 30.0), "shape": (24, 24, 12)}
GRID = {"shape": (24, 24, 24), "spacing": (15.0, 15.0, 15.0)}


@pytest.fixture(scope="module")
def external(tmp_path_factory):
    root = tmp_path_factory.mktemp("rad")
    write_external(root, scans=60, seed=3, **GRID)
    return root


def test_the_same_seed_gives_the_same_bytes(external, tmp_path):
    write_external(tmp_path, scans=60, seed=3, **GRID)
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert again == {path.name: path.read_bytes() for path in external.iterdir()}


def test_external_labels_are_the_union_of_their_sources(external):
    labels = rad_chestct.read_labels(external / "merged_abnormality_labels_with_id.csv")
    table = pd.read_csv(external / "merged_abnormality_labels_with_id.csv").set_index("NoteAcc_DEID")
    for scan, name in zip(plan_scans("external", scans=60, seed=3), labels.index, strict=True):
        truth = {"Calcification" if "artery wall" in n or "Arterial wall" in n else n for n in scan.findings}
        assert {c for c in labels.columns if labels.at[name, c]} == truth & set(rad_chestct.RAD_LABELS)
    first_only = labels["Lung nodule"].astype(bool) & table["nodule"]
    assert first_only.sum() < labels["Lung nodule"].sum()  # some are told by nodulegr1cm alone
    assert labels.columns.tolist() == list(rad_chestct.RAD_LABELS) and labels["Calcification"].sum() > 8
    assert ct_rate.read_prompts(external / "RAD-ChestCT-text.json") == [f"There is {n}" for n in rad_chestct.RAD_LABELS]


def test_external_scans_are_the_same_chests_on_another_scale(external, tmp_path):
    names = [f"trn{i + 1:05d}" for i in range(60)]
    spacing = (15.0, 15.0, 15.0)
    outer = np.stack([rad_chestct.load_volume(external, name, spacing=spacing, **PREPROCESS) for name in names])
    tree = tmp_path
    write_internal(tree, split="valid", scans=60, seed=3, shape=(24, 24, 12), spacing=(15.0, 15.0, 30.0))
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))
    inner = np.stack([ct_rate.load_volume(tree, n, row, **PREPROCESS) for n, row in list(metadata.items())[0::2]])
    mean_inner, mean_outer = inner.mean(axis=0), outer.mean(axis=0)
    assert np.corrcoef(mean_inner.ravel(), mean_outer.ravel())[0, 1] > 0.98  # neither flipped nor shifted
    slope, intercept = np.polyfit(mean_inner.ravel(), mean_outer.ravel(), 1)
    assert 1.0 < slope < 1.1 and slope * -850 + intercept > -850  # stretched and raised


def test_a_set_is_not_written_over(external):
    with pytest.raises(DataError, match="empty folder"):
        write_external(external, scans=1, seed=0)
