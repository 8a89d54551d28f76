"""The generated trees through the readers of the real formats: same bytes, same labels, same patients' reports."""

import hashlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lib.data import ct_rate
from lib.data.chest_ct.findings import FINDINGS, LEXICON
from lib.data.chest_ct.world import (
    LT_COLUMNS,
    lt_labels_path,
    plan_scans,
    read_masks,
    write_internal,
)
from lib.data.files import DataError
from lib.data.volumes import Geometry
from papers.brgsa.summaries import RuleSummariser

GRID = {"shape": (24, 24, 12), "spacing": (15.0, 15.0, 30.0)}
PREPROCESS = {"target_spacing": (15.0, 15.0, 30.0), "shape": (24, 24, 12)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("ct_rate")
    write_internal(root, split="train", scans=50, seed=3, **GRID)
    write_internal(root, split="valid", scans=60, seed=3, **GRID)
    return root


def digest(root):
    return {p.relative_to(root): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


def all_labels(root, split):
    frequent = ct_rate.read_labels(ct_rate.labels_path(root, split), ct_rate.CT_RATE_LABELS)
    return frequent.join(ct_rate.read_labels(lt_labels_path(root, split), ct_rate.CT_RATE_LT_LABELS))


# ---- the plan ----
@pytest.mark.parametrize("split", ["train", "valid", "external"])
def test_frequencies_are_those_of_the_table(split):
    scans = 400
    count = Counter(name for scan in plan_scans(split, scans=scans, seed=1) for name in scan.findings)
    for name, finding in FINDINGS.items():
        assert abs(count[name] - finding.prevalence * scans) <= 1, name


def test_findings_come_independently_and_some_chests_are_normal():
    plan = plan_scans("train", scans=2000, seed=0)
    shown = np.array([[name in scan.findings for name in FINDINGS] for scan in plan])
    assert 0.02 < (~shown.any(axis=1)).mean() < 0.15
    together = np.corrcoef(shown[:, :18].T)[np.triu_indices(18, 1)]
    assert np.abs(together).max() < 0.12  # 5 standard errors of independence


def test_a_longer_plan_starts_with_the_shorter_one():
    assert plan_scans("valid", scans=90, seed=4)[:37] == plan_scans("valid", scans=37, seed=4)
    assert plan_scans("valid", scans=90, seed=4) != plan_scans("valid", scans=90, seed=5)
    shows = [[scan.findings for scan in plan_scans(split, scans=50, seed=4)] for split in ("train", "valid")]
    assert shows[0] != shows[1]


def test_patients_are_scanned_once_or_twice_in_running_order():
    plan = plan_scans("train", scans=500, seed=0)
    scans = Counter(scan.patient for scan in plan)
    assert set(scans.values()) == {1, 2} and 0.08 < np.mean([n == 2 for n in scans.values()]) < 0.22
    assert sorted(scans) == list(range(1, len(scans) + 1))
    assert all(scan.letter == "a" or plan[scan.index - 1].patient == scan.patient for scan in plan)
    assert all(plan[scan.first_index].patient == scan.patient for scan in plan)


# ---- the CT-RATE tree ----
@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_fewer_scans_a_part_of_them(tree, tmp_path):
    write_internal(tmp_path / "again", split="valid", scans=60, seed=3, **GRID)
    write_internal(tmp_path / "again", split="train", scans=50, seed=3, **GRID)
    write_internal(tmp_path / "fewer", split="valid", scans=9, seed=3, **GRID)
    write_internal(tmp_path / "other", split="valid", scans=9, seed=4, **GRID)
    whole = {path: h for path, h in digest(tree).items() if "unique_report" not in path.name}
    assert digest(tmp_path / "again") == whole
    volumes = {path: h for path, h in digest(tmp_path / "fewer").items() if path.suffix in (".gz", ".npz")}
    assert len(volumes) == 27 and volumes.items() <= whole.items()
    others = {path: h for path, h in digest(tmp_path / "other").items() if path.suffix == ".gz"}
    assert not others.items() & whole.items()


def test_no_patient_is_in_two_splits_and_both_files_of_a_scan_share_the_report(tree):
    patients = {}
    for split in ("train", "valid"):
        reports = ct_rate.read_reports(ct_rate.reports_path(tree, split))
        names = [ct_rate.parse_volume_name(n) for n in reports.index]
        patients[split] = {n.patient_id for n in names}
        by_scan = reports.groupby([n.scan_id for n in names], sort=False)
        assert (by_scan.size() == 2).all() and (by_scan["Findings_EN"].nunique() == 1).all()
        labels = all_labels(tree, split)
        assert list(labels.index) == list(reports.index)
        assert (labels.groupby([n.scan_id for n in names]).nunique() == 1).all(axis=None)
    assert patients["train"].isdisjoint(patients["valid"])
    first = [ct_rate.read_stored(tree, f"{s}_1_a_1.nii.gz", Geometry((1, 1, 1))) for s in ("train", "valid")]
    assert not np.array_equal(*first)  # patient 1 of each split is another person


def test_labels_are_what_the_reports_say_and_what_was_planned(tree):
    summariser = RuleSummariser(LEXICON)
    for split, scans in (("train", 50), ("valid", 60)):
        labels, reports = all_labels(tree, split), ct_rate.read_reports(ct_rate.reports_path(tree, split))
        planned = [set(scan.findings) for scan in plan_scans(split, scans=scans, seed=3) for _ in range(2)]
        for name, truth in zip(labels.index, planned, strict=True):
            assert {c for c in labels.columns if labels.at[name, c]} == truth
            assert set(summariser.findings(reports.at[name, "Findings_EN"])) == truth


def test_column_orders_are_those_of_the_published_files(tree):
    header = pd.read_csv(lt_labels_path(tree, "valid"), nrows=0).columns
    assert list(header) == ["VolumeName", *LT_COLUMNS]
    assert LT_COLUMNS[:6] == (
        "Pneumonia",
        "Atherosclerosis",
        "Spondylosis",
        "Pneumothorax",
        "Bronchial thickening",
        "Osteophyte",
    )
    assert LT_COLUMNS[6:] == (
        *("Empyema", "Lung cyst", "Lung mass", "Pericardial calcification", "Pneumomediastinum"),
        *("Pulmonary fibrosis", "Tuberculosis", "Pleural calcification", "Rib fracture"),
    )
    assert lt_labels_path(tree, "valid").name == "CT-RATE-LT-label.csv"
    assert (
        ct_rate.read_prompts(tree / "CT-RATE-LT-text.json")[1] == "There is Pneumothorax"
    )  # prompt order, not columns
    assert ct_rate.read_prompts(tree / "CT-RATE_valid_text.json") == [f"There is {n}" for n in ct_rate.CT_RATE_LABELS]


def test_volumes_read_as_one_chest_in_two_reconstructions(tree):
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))
    assert {geometry.intercept for geometry in metadata.values()} == {
        -1024.0,
        -8192.0,
    }  # two ways of storing, one chest
    volumes = np.stack([ct_rate.load_volume(tree, name, row, **PREPROCESS) for name, row in metadata.items()])
    soft, sharp = volumes[0::2], volumes[1::2]
    thickness = np.array([geometry.spacing[2] for geometry in metadata.values()])
    assert (thickness[1::2] < thickness[0::2]).all()
    for a, b in zip(soft, sharp, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98
    stored_high = np.array([geometry.intercept == -8192 for geometry in metadata.values()])
    for stored in (stored_high, ~stored_high):  # air is air however it was stored; one noisy volume says little
        assert abs(np.median(volumes[stored][:, :2, :2]) + 1000) < 20
    assert stored_high.any() and np.abs(volumes[stored_high].mean() - volumes[~stored_high].mean()) < 60


def test_masks_are_of_the_labels_and_lie_where_the_finding_is_bright(tree):
    metadata, labels = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid")), all_labels(tree, "valid")
    contrast = []
    for name in labels.index[0::2]:
        masks = read_masks(tree, name)
        assert set(masks) == {c for c in labels.columns if labels.at[name, c]}
        volume = ct_rate.load_volume(tree, name, metadata[name], **PREPROCESS)
        assert all(m.shape == volume.shape and m.dtype == bool for m in masks.values())
        if "Medical material" in masks:
            contrast.append(volume[masks["Medical material"]].mean() - volume.mean())
    assert contrast and min(contrast) > 600
    with pytest.raises(DataError, match="masks are written"):
        read_masks(tree, "train_1_a_1.nii.gz")


# ---- refusals ----
def test_a_split_is_not_written_over(tree):
    with pytest.raises(DataError, match="exists already"):
        write_internal(tree, split="valid", scans=1, seed=0)
    with pytest.raises(DataError, match="'train' or 'valid'"):
        write_internal(tree, split="test", scans=1, seed=0)


def test_a_tree_of_one_reconstruction_is_the_first_half_of_that_of_two(tree, tmp_path):
    write_internal(tmp_path, split="train", scans=9, seed=3, reconstructions=1, compression=0, **GRID)
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tmp_path, "train"))
    both = ct_rate.read_metadata(ct_rate.metadata_path(tree, "train"))
    assert list(metadata) == [name for name in both if name.endswith("_1.nii.gz")][:9]
    for name, geometry in metadata.items():
        stored, plain = (ct_rate.read_stored(root, name, geometry) for root in (tree, tmp_path))
        assert np.array_equal(stored, plain) and geometry == both[name]
    with pytest.raises(DataError, match="1 or 2 reconstructions"):
        write_internal(tmp_path / "none", split="train", scans=1, seed=0, reconstructions=0)
