"""Model-ready volumes and pairs: against MONAI's transforms, what is refused, and crops against plain slices."""

import json
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.data import ct_rate
from lib.data.files import DataError, write_csv
from lib.data.volumes import normalise
from papers.brgsa import prepare as prepared
from papers.brgsa import rad_chestct
from papers.brgsa.prepare import (
    prepare_ct_rate,
    prepare_rad_chestct,
    read_volumes,
    sentences,
    summarise_by_rule,
    write_pairs,
    write_summaries,
)
from papers.brgsa.pretraining import crop_batch

SPACING, SHAPE = (2.0, 3.0, 4.0), (9, 8, 7)
NAMES = ["train_2_a_1.nii.gz", "train_1_a_2.nii.gz", "train_1_a_1.nii.gz"]  # not sorted: the metadata's order counts
REPORTS = {NAMES[0]: ("Heart is large. Effusion.", "Cardiomegaly is seen."), NAMES[1]: ("No nodule is seen.", "")}
REPORTS[NAMES[2]] = REPORTS[NAMES[1]]  # two reconstructions of one scan


def _reports(root, rows):
    path = ct_rate.reports_path(root, "train")
    path.parent.mkdir(parents=True)
    path.write_text("VolumeName,Findings_EN,Impressions_EN\n" + "".join(f"{name},{text},\n" for name, text in rows))
    return path


def test_blank_reports_are_left_out_of_the_training_json(tmp_path):
    """Three patients without a report do not become one normal report with three volumes."""
    _reports(tmp_path, [(NAMES[0], "Emphysema in both upper lobes."), (NAMES[1], ""), (NAMES[2], "  ")])
    with pytest.warns(UserWarning, match=r"left out: 2 volumes: train_1_a_2\.nii\.gz, train_1_a_1\.nii\.gz"):
        summarise_by_rule(tmp_path, tree=tmp_path, split="train")
    listed = ct_rate.read_training_json(tmp_path / "training.json")["train"]
    assert [entry["images"] for entry in listed.values()] == [[NAMES[0]]]


def test_a_split_without_any_report_is_refused(tmp_path):
    path = _reports(tmp_path, [(NAMES[0], ""), (NAMES[1], " ")])
    with pytest.warns(UserWarning, match="2 volumes"), pytest.raises(DataError, match="every report is blank") as error:
        summarise_by_rule(tmp_path, tree=tmp_path, split="train")
    assert str(path) in str(error.value) and not (tmp_path / "training.json").exists()


def test_a_raw_report_without_a_sentence_is_no_supervision(tmp_path):
    entries = {
        text: {"images": [name], "processed_report": ["There is X"]}
        for text, name in zip(["Normal.", "Both lungs are clear."], NAMES, strict=False)
    }
    ct_rate.write_training_json(tmp_path / "t.json", {"train": entries})
    (tmp_path / prepared.NAMES).write_text(json.dumps(NAMES))
    pairs = {"training_json": tmp_path / "t.json", "prepared": tmp_path, "raw": True}
    with pytest.warns(
        UserWarning, match=r"1 of 2 reports have no sentence of two words and are left out, such as 'Normal\.'"
    ):
        write_pairs(tmp_path, split="train", **pairs)
    assert json.loads((tmp_path / prepared.PAIRS).read_text()) == [
        {"rows": [1], "statements": ["Both lungs are clear"]}
    ]


def hounsfield(seed, shape=SHAPE):
    """A chest whose values go beyond the window on both sides."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.5, rng.integers(-1024, -400, shape), rng.integers(-100, 1500, shape))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root, rows = tmp_path_factory.mktemp("tree"), []
    for seed, name in enumerate(NAMES):
        slope, intercept = ((1.0, -1024.0), (0.5, -8192.0), (1.0, 0.0))[seed]  # three ways to store the same numbers
        stored = np.rint((hounsfield(seed) - intercept) / slope).astype(np.int16)
        rows.append(ct_rate.write_volume(root, name, stored, spacing=SPACING, slope=slope, intercept=intercept))
    labels = pd.DataFrame(0, index=NAMES, columns=list(ct_rate.CT_RATE_LABELS))
    reports = pd.DataFrame(
        [(name, *REPORTS[name]) for name in sorted(NAMES)], columns=["VolumeName", "Findings_EN", "Impressions_EN"]
    )
    ct_rate.write_split(root, "train", metadata=rows, labels=labels, reports=reports)
    return root


@pytest.fixture(scope="module")
def folder(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepare_ct_rate(folder, tree=tree, split="train", target_spacing=SPACING, shape=SHAPE)
    return folder


def monai_transform(hu):
    """The model transform of the release: scale [-1000, 1000] to [-1, 1] with clip, minus 0.4978, over 0.2449."""
    from monai.transforms import Compose, NormalizeIntensity, ScaleIntensityRange

    scale = ScaleIntensityRange(a_min=-1000, a_max=1000, b_min=-1, b_max=1, clip=True)
    transform = Compose([scale, NormalizeIntensity(subtrahend=0.4978, divisor=0.2449)])
    return np.asarray(transform(torch.from_numpy(hu.astype(np.float32))[None]))[0]


# ---------------------------------------------------------------------- volumes
def test_a_prepared_volume_is_monai_s_transform_of_its_hu(folder):
    volumes, names = read_volumes(folder)
    assert names == NAMES and volumes.shape == (3, *SHAPE) and volumes.dtype == np.float16
    for seed in range(3):
        expected = monai_transform(hounsfield(seed))
        # float16 keeps 11 bits: an error of 2^-11 of the value, 0.002 at the air's -6.1
        np.testing.assert_allclose(volumes[seed], expected, rtol=2**-11, atol=1e-4)
        np.testing.assert_allclose(normalise(hounsfield(seed)), expected, atol=1e-5)
        assert expected.min() == pytest.approx(-1.4978 / 0.2449) and expected.max() == pytest.approx(0.5022 / 0.2449)


def test_what_was_added_around_a_volume_is_air(tree, tmp_path):
    prepare_ct_rate(tmp_path, tree=tree, split="train", target_spacing=SPACING, shape=(11, 8, 7))
    volumes, _ = read_volumes(tmp_path)
    np.testing.assert_allclose(volumes[:, [0, -1]], -1.4978 / 0.2449, rtol=2**-11)
    np.testing.assert_allclose(volumes[0, 1:-1], monai_transform(hounsfield(0)), rtol=2**-11, atol=1e-4)


def test_the_external_set_goes_the_same_way_in_the_order_of_its_labels(tmp_path):
    ids = ["trn00007", "trn00002"]
    for seed, name in enumerate(ids):
        rad_chestct.write_volume(tmp_path, name, hounsfield(seed).astype(np.int16))
    sources = [source for listed in rad_chestct.RAD_SOURCES.values() for source in listed]
    write_csv(tmp_path / "labels.csv", pd.DataFrame(False, index=ids, columns=sources), key="NoteAcc_DEID")
    out = tmp_path / "out"
    out.mkdir()
    grid = {"spacing": SPACING, "target_spacing": SPACING, "shape": SHAPE}
    prepare_rad_chestct(out, tree=tmp_path, labels=tmp_path / "labels.csv", **grid)
    volumes, names = read_volumes(out)
    assert names == ids
    for seed in range(2):
        np.testing.assert_allclose(volumes[seed], monai_transform(hounsfield(seed)), rtol=2**-11, atol=1e-4)


def test_a_missing_volume_is_told_and_leaves_no_finished_folder(tree, tmp_path):
    root = shutil.copytree(tree, tmp_path / "tree")
    ct_rate.volume_path(root, NAMES[1]).unlink()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError, match=r"train_1_a_2\.nii\.gz does not exist"):
        prepare_ct_rate(out, tree=root, split="train", target_spacing=SPACING, shape=SHAPE)
    assert not (out / "names.json").exists()


def test_names_and_volumes_that_do_not_fit_are_told(folder, tmp_path):
    (tmp_path / "volumes.npy").write_bytes((folder / "volumes.npy").read_bytes())
    (tmp_path / "names.json").write_text(json.dumps(NAMES[:2]))
    with pytest.raises(DataError, match=r"holds 3 volumes and 2 names; prepare it again\.$"):
        read_volumes(tmp_path)


# ---------------------------------------------------------------------- sentences
@pytest.mark.parametrize(
    "report, expected",
    [
        ("Heart is large. No effusion.", ["Heart is large", "No effusion"]),
        ("Effusion. Normal. Heart is large.", ["Heart is large"]),  # one word says nothing: dropped, as in the release
        ("A nodule of 3.5 mm. Is it old? Probably yes!", ["A nodule of 3.5 mm", "Is it old?", "Probably yes!"]),
        ("  Heart is large.\n\nNo  effusion  ", ["Heart is large", "No  effusion"]),
        ("Heart is large...  No effusion.", ["Heart is large", "No effusion"]),
        ("", []),
        (" . . ", []),
    ],
)
def test_sentences(report, expected):
    assert sentences(report) == expected


@given(st.lists(st.lists(st.text("abcdefg", min_size=1), min_size=1, max_size=5), max_size=6))
def test_sentences_come_back_from_a_joined_report(words):
    report = " ".join(" ".join(sentence) + "." for sentence in words)
    assert sentences(report) == [" ".join(sentence) for sentence in words if len(sentence) > 1]


# ---------------------------------------------------------------------- pairs
def training_json(path, tree, statements=("There is cardiomegaly",)):
    path.mkdir()
    write_summaries(path, tree=tree, split="train", summariser=lambda report: list(statements))
    return path / "training.json"


def read_pairs(folder):
    return json.loads((folder / "pairs.json").read_text())


def test_pairs_have_one_entry_a_report_with_the_rows_of_its_volumes(tree, folder, tmp_path):
    listed = training_json(tmp_path / "summary", tree)
    write_pairs(tmp_path, training_json=listed, split="train", prepared=folder)
    # reports in the order of their CSV; rows in the prepared volumes, where NAMES is the order
    assert read_pairs(tmp_path) == [
        {"rows": [2, 1], "statements": ["There is cardiomegaly"]},
        {"rows": [0], "statements": ["There is cardiomegaly"]},
    ]
    write_pairs(tmp_path, training_json=listed, split="train", prepared=folder, raw=True)
    assert [pair["statements"] for pair in read_pairs(tmp_path)] == [
        ["No nodule is seen"],
        ["Heart is large", "Cardiomegaly is seen"],
    ]


def test_rule_summaries_are_of_the_report_with_its_impression(tree, tmp_path):
    summarise_by_rule(tmp_path, tree=tree, split="train")
    content = ct_rate.read_training_json(tmp_path / "training.json")["train"]
    report = "Heart is large. Effusion. Cardiomegaly is seen."
    assert content[report]["images"] == [NAMES[0]]
    assert content[report]["processed_report"] == ["There is Cardiomegaly"]
    assert content["No nodule is seen."]["images"] == [NAMES[2], NAMES[1]]


def test_the_valid_split_is_called_val_as_in_the_release(tree, tmp_path):
    root = tmp_path / "tree"
    (root / "radiology_text_reports").mkdir(parents=True)
    shutil.copy(ct_rate.reports_path(tree, "train"), ct_rate.reports_path(root, "valid"))
    write_summaries(tmp_path, tree=root, split="valid", summariser=lambda report: ["There is x"])
    assert list(json.loads((tmp_path / "training.json").read_text())) == ["val"]


def test_a_volume_that_was_not_prepared_is_told_and_nothing_is_written(tree, folder, tmp_path):
    listed = training_json(tmp_path / "summary", tree)
    short = tmp_path / "short"
    short.mkdir()
    (short / "names.json").write_text(json.dumps(NAMES[:2]))
    with pytest.raises(DataError, match=r"training\.json: train_1_a_1\.nii\.gz is not among the prepared volumes; pre"):
        write_pairs(tmp_path, training_json=listed, split="train", prepared=short)
    assert not (tmp_path / "pairs.json").exists()


def test_a_report_without_a_statement_is_told(tree, folder, tmp_path):
    listed = training_json(tmp_path / "summary", tree, statements=())
    with pytest.raises(DataError, match=r"training\.json, train, report .*'processed_report' is empty"):
        write_pairs(tmp_path, training_json=listed, split="train", prepared=folder)
    with pytest.raises(DataError, match=r"absent\.json does not exist"):
        write_pairs(tmp_path, training_json=tmp_path / "absent.json", split="train", prepared=folder)


def test_a_split_that_is_not_in_the_file_is_told(tree, folder, tmp_path):
    listed = training_json(tmp_path / "summary", tree)
    with pytest.raises(DataError, match=r"training\.json.*'val'"):
        write_pairs(tmp_path, training_json=listed, split="val", prepared=folder)


def test_a_raw_report_of_single_words_is_told(folder, tmp_path):
    path = tmp_path / "training.json"
    entry = {"images": [NAMES[0]], "processed_report": ["There is no abnormality"]}
    ct_rate.write_training_json(path, {"train": {"Normal.": entry}})
    with pytest.raises(DataError, match="Normal"):
        write_pairs(tmp_path, training_json=path, split="train", prepared=folder, raw=True)


def test_the_file_names_of_a_prepared_folder_are_those_training_reads(folder):
    """The training modules spell them out and do not import the module that prepares."""
    assert (prepared.VOLUMES, prepared.NAMES, prepared.PAIRS) == ("volumes.npy", "names.json", "pairs.json")
    assert {file.name for file in folder.iterdir()} == {prepared.VOLUMES, prepared.NAMES}


# ---------------------------------------------------------------------- crops
def test_crops_are_monai_s_spatial_crops_and_reach_every_place():
    from monai.transforms import SpatialCrop

    volumes = np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype(np.float16)
    crop, rows = (3, 4, 5), [2, 0, 2, 1] * 40
    found = crop_batch(volumes, rows, crop=crop, rng=np.random.default_rng(1))
    assert found.shape == (160, 1, *crop) and found.dtype == torch.float32
    seen = set()
    for row, cut in zip(rows, found, strict=True):
        for start in product(range(3), range(1), range(2)):
            whole = torch.from_numpy(volumes[row].astype(np.float32))[None]
            if torch.equal(torch.as_tensor(SpatialCrop(roi_start=start, roi_end=np.add(start, crop))(whole)), cut):
                x, y, z = start
                np.testing.assert_array_equal(cut[0], volumes[row, x : x + 3, y : y + 4, z : z + 5])
                seen.add((row, start))
                break
        else:
            pytest.fail("a crop that is no part of its own volume")
    assert len(seen) == 3 * 3 * 1 * 2  # the first and the last place of every axis, of every volume


def test_a_crop_of_the_whole_volume_is_the_volume(folder):
    volumes, _ = read_volumes(folder)
    found = crop_batch(volumes, [1, 0], crop=SHAPE, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found[:, 0], volumes[[1, 0]].astype(np.float32))
    assert torch.from_numpy(np.asarray(volumes)).dtype == torch.float16  # and the file is as it was


def test_the_generator_decides_the_crops():
    volumes = np.random.default_rng(0).normal(size=(2, 9, 9, 9)).astype(np.float16)

    def crops(seed):
        return crop_batch(volumes, [0, 1, 0], crop=(4, 4, 4), rng=np.random.default_rng(seed))

    assert torch.equal(crops(0), crops(0)) and not torch.equal(crops(0), crops(1))
    assert not torch.equal(crops(0)[0], crops(0)[2])  # each volume of a batch is cropped on its own
