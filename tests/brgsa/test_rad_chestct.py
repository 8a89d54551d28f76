"""RAD-ChestCT: round trips, the union of source columns, and the scores of 18 prompts on 16 labels."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from lib.data.ct_rate import CT_RATE_LABELS
from lib.data.files import DataError, write_csv
from lib.data.volumes import Geometry, preprocess_volume
from papers.brgsa import rad_chestct

GRID = {"target_spacing": (1.5, 1.5, 3.0), "shape": (10, 12, 8)}


def write_labels(path, labels):
    """0/1 labels as the merged table: a positive one is True in its first source column."""
    columns = {
        source: labels[label].astype(bool) & (number == 0)
        for label, sources in rad_chestct.RAD_SOURCES.items()
        for number, source in enumerate(sources)
    }
    write_csv(path, pd.DataFrame(columns, index=labels.index), key="NoteAcc_DEID")


def hu_volume(seed=0, shape=(13, 11, 19)):
    return np.random.default_rng(seed).integers(-1000, 900, shape).astype(np.int16)


def test_npz_holds_z_y_x_reversed_in_z_and_reads_back(tmp_path):
    hu = hu_volume()
    row = rad_chestct.write_volume(tmp_path, "trn00001", hu)
    assert row == {"VolumeAcc_DEID": "trn00001.npz", "orig_orientation": "1,0,0,0,1,0"}
    path = tmp_path / "trn00001.npz"
    array = np.load(path)["ct"]
    assert array.dtype == np.int16 and array.shape == (19, 11, 13)
    np.testing.assert_array_equal(array[::-1].transpose(2, 1, 0), hu)
    assert array[0, 2, 5] == hu[5, 2, 18]
    same_grid = {"target_spacing": (0.8, 0.8, 0.8), "shape": hu.shape}
    for name in ("trn00001", "trn00001.npz"):
        np.testing.assert_array_equal(rad_chestct.load_volume(tmp_path, name, **same_grid), hu)
    first = path.read_bytes()
    rad_chestct.write_volume(tmp_path, "trn00001.npz", hu)
    assert path.read_bytes() == first and list(tmp_path.iterdir()) == [path]


def test_preprocessing_assumes_0_8_mm_unless_told(tmp_path):
    for seed in (0, 1):
        rad_chestct.write_volume(tmp_path, f"trn0000{seed}", hu_volume(seed))
    for seed in (0, 1):
        volume = rad_chestct.load_volume(tmp_path, f"trn0000{seed}", **GRID)
        assert volume.shape == (10, 12, 8) and volume.dtype == np.float32
        expected = preprocess_volume(hu_volume(seed), Geometry((0.8, 0.8, 0.8)), **GRID)
        np.testing.assert_array_equal(volume, expected)
    other = rad_chestct.load_volume(tmp_path, "trn00000", spacing=(0.7, 0.8, 2.0), **GRID)
    expected = preprocess_volume(hu_volume(0), Geometry((0.7, 0.8, 2.0)), **GRID)
    np.testing.assert_array_equal(other, expected)


def test_the_shipped_pipeline_on_the_file_gives_the_same(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    hu = hu_volume(3)
    rad_chestct.write_volume(tmp_path, "tst00003", hu)
    image = sitk.GetImageFromArray(np.flip(np.load(tmp_path / "tst00003.npz")["ct"], axis=0).astype(np.float32))
    image.SetSpacing((0.8, 0.8, 0.8))
    image.SetDirection((0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))  # of both grids, so it plays no part
    size = [round(n * 0.8 / t) for n, t in zip(hu.shape, (1.5, 1.5, 3.0), strict=True)]
    geometry = (image.GetOrigin(), (1.5, 1.5, 3.0), image.GetDirection())
    expected = sitk.GetArrayFromImage(sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, *geometry))
    ours = rad_chestct.load_volume(tmp_path, "tst00003", target_spacing=(1.5, 1.5, 3.0), shape=tuple(size))
    np.testing.assert_allclose(ours, expected.transpose(2, 1, 0), rtol=0, atol=1e-3)


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"trn00001\.npz does not exist; download it or take trn00001 out"),
        (b"", r"trn00001\.npz is not a readable npz volume"),
        (b"<html>", r"trn00001\.npz is not a readable npz volume"),
        (npz(ct=np.zeros((9, 9, 9), np.int16))[:-60], r"trn00001\.npz is not a readable npz volume"),
        (npz(ct=np.array([None])), r"trn00001\.npz is not a readable npz volume"),
        (npz(volume=np.zeros((2, 2, 2))), r"trn00001\.npz has no array 'ct'"),
        (npz(ct=np.zeros((4, 4))), r"trn00001\.npz: shape \(4, 4\) is not a volume"),
        (npz(ct=np.full((4, 4, 4), np.nan)), r"trn00001\.npz: 64 voxels are NaN"),
        (np.zeros(3).tobytes(), r"trn00001\.npz is not a readable npz volume"),
    ],
)
def test_bad_volumes_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "trn00001.npz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        rad_chestct.load_volume(tmp_path, "trn00001", **GRID)


def test_a_bare_array_under_the_name_of_an_npz_is_named(tmp_path):
    with (tmp_path / "trn00001.npz").open("wb") as file:
        np.save(file, np.zeros((3, 3, 3), np.int16))
    with pytest.raises(DataError, match=r"trn00001\.npz is not a readable npz volume"):
        rad_chestct.load_volume(tmp_path, "trn00001", **GRID)


def test_a_corrupted_member_is_named(tmp_path):
    rad_chestct.write_volume(tmp_path, "trn00001", hu_volume())
    path = tmp_path / "trn00001.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert zipfile.is_zipfile(path)
    with pytest.raises(DataError, match=r"trn00001\.npz is not a readable npz volume"):
        rad_chestct.load_volume(tmp_path, "trn00001", **GRID)


def test_writer_refuses_other_types_and_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="float64 array"):
        rad_chestct.write_volume(tmp_path, "trn00001", np.zeros((2, 2, 2)))
    assert not list(tmp_path.iterdir())


# ---- labels ----
def merged_table(ids, **true):
    columns = [source for sources in rad_chestct.RAD_SOURCES.values() for source in sources] + ["bandlike_or_linear"]
    table = pd.DataFrame(False, index=pd.Index(ids, name="NoteAcc_DEID"), columns=columns[::-1])
    for column, rows in true.items():
        table.loc[rows, column] = True
    return table


def test_sixteen_labels_in_the_papers_order():
    assert len(rad_chestct.RAD_LABELS) == 16
    expected = [label for label in CT_RATE_LABELS if label != "Mosaic attenuation pattern"]
    expected.remove("Coronary artery wall calcification")
    expected[expected.index("Arterial wall calcification")] = "Calcification"
    assert list(rad_chestct.RAD_LABELS) == expected


def test_labels_are_the_union_of_their_sources(tmp_path):
    ids = ["trn1", "trn2", "val3", "tst4"]
    table = merged_table(
        ids,
        suture=["trn1"],
        catheter_or_port=["trn1", "trn2"],
        nodulegr1cm=["trn2"],
        septal_thickening=["val3"],
        scarring=["tst4"],
        hernia=["val3", "tst4"],
        bandlike_or_linear=ids,
    )
    table.to_csv(tmp_path / "merged.csv")
    labels = rad_chestct.read_labels(tmp_path / "merged.csv")
    assert list(labels.columns) == list(rad_chestct.RAD_LABELS) and list(labels.index) == ids
    positive = {label: list(labels.index[labels[label] == 1]) for label in labels if labels[label].any()}
    assert positive == {
        "Medical material": ["trn1", "trn2"],
        "Lung nodule": ["trn2"],
        "Interlobular septal thickening": ["val3"],
        "Pulmonary fibrotic sequela": ["tst4"],
        "Hiatal hernia": ["val3", "tst4"],
    }
    older = rad_chestct.RAD_SOURCES | {"Medical material": ("catheter_or_port",), "Lung nodule": ("nodule",)}
    assert not rad_chestct.read_labels(tmp_path / "merged.csv", sources=older)["Lung nodule"].any()


@pytest.mark.parametrize("column", [s for sources in rad_chestct.RAD_SOURCES.values() for s in sources])
def test_each_source_column_alone_sets_its_label_alone(tmp_path, column):
    merged_table(["trn1", "trn2"], **{column: ["trn2"]}).to_csv(tmp_path / "merged.csv")
    labels = rad_chestct.read_labels(tmp_path / "merged.csv")
    assert labels.to_numpy().sum() == 1
    label = labels.columns[labels.loc["trn2"] == 1][0]
    assert column in rad_chestct.RAD_SOURCES[label]


def test_labels_round_trip_and_either_id_column_will_do(tmp_path):
    values = np.random.default_rng(0).integers(0, 2, (30, 16)).astype(np.int8)
    labels = pd.DataFrame(values, index=[f"trn{i:05d}" for i in range(30)], columns=list(rad_chestct.RAD_LABELS))
    path = tmp_path / "merged.csv"
    write_labels(path, labels)
    text = path.read_text()
    assert text.startswith("NoteAcc_DEID,catheter_or_port,") and ",True" in text and ",1" not in text
    pd.testing.assert_frame_equal(rad_chestct.read_labels(path), labels, check_names=False)
    path.write_text(text.replace("NoteAcc_DEID", "VolumeAcc_DEID").replace("trn00007,", "trn00007.npz,"))
    pd.testing.assert_frame_equal(rad_chestct.read_labels(path), labels, check_names=False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NoteAcc_DEID", "id", r"merged\.csv lacks column 'NoteAcc_DEID'"),
        (",gi_tube", ",tube", r"merged\.csv lacks column 'gi_tube'"),
        ("trn1,False", "trn1,maybe", r"merged\.csv, trn1: catheter_or_port is 'maybe', not True or False"),
        ("trn1,False", "trn1,", r"merged\.csv, trn1: catheter_or_port is '', not True or False"),
        ("trn2,", "trn1,", r"has 'trn1' on line 2 and again on line 3"),
        ("trn2,", "trn1.npz,", r"id trn1 occurs more than once"),
    ],
)
def test_bad_label_tables_are_named(tmp_path, old, new, message):
    path = tmp_path / "merged.csv"
    labels = pd.DataFrame(0, index=["trn1", "trn2"], columns=list(rad_chestct.RAD_LABELS))
    write_labels(path, labels)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        rad_chestct.read_labels(path)
    path.unlink()
    with pytest.raises(DataError, match=r"merged\.csv does not exist"):
        rad_chestct.read_labels(path)


def test_metadata_rows_are_written_as_the_dataset_names_them(tmp_path):
    rows = [rad_chestct.write_volume(tmp_path, f"trn{i}", hu_volume(i)) for i in range(2)]
    rad_chestct.write_metadata(tmp_path / "CT_Scan_Metadata.csv", rows)
    table = pd.read_csv(tmp_path / "CT_Scan_Metadata.csv")
    assert list(table["VolumeAcc_DEID"]) == ["trn0.npz", "trn1.npz"]
    assert set(table["orig_orientation"]) == {"1,0,0,0,1,0"}


# ---- scores ----
def test_scores_follow_the_labels():
    scores = np.random.default_rng(0).normal(size=(50, 18))
    merged = pd.DataFrame(rad_chestct.merge_ct_rate_scores(scores), columns=list(rad_chestct.RAD_LABELS))
    by_name = pd.DataFrame(scores, columns=list(CT_RATE_LABELS))
    calcification = by_name[["Arterial wall calcification", "Coronary artery wall calcification"]].max(axis=1)
    np.testing.assert_array_equal(merged["Calcification"], calcification)
    for label in set(rad_chestct.RAD_LABELS) - {"Calcification"}:
        np.testing.assert_array_equal(merged[label], by_name[label])


def test_merging_scores_leaves_its_input_alone_and_refuses_other_widths():
    scores = np.arange(36.0).reshape(2, 18)
    before = scores.copy()
    rad_chestct.merge_ct_rate_scores(scores)
    np.testing.assert_array_equal(scores, before)
    with pytest.raises(DataError, match=r"scores of shape \(2, 15\) are not \(N, 18\)"):
        rad_chestct.merge_ct_rate_scores(scores[:, :15])
