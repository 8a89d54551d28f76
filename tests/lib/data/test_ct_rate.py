"""The CT-RATE tree: round trips of every file, one error a fault, and an independent reader for the volumes."""

import gzip
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data import ct_rate
from lib.data.files import DataError
from lib.data.volumes import Geometry, preprocess_volume

NAMES = ["valid_1_a_1.nii.gz", "valid_1_a_2.nii.gz", "valid_12_b_1.nii.gz"]
SPACING = (1.7, 2.1, 4.4)
GRID = {"target_spacing": (1.5, 1.5, 3.0), "shape": (16, 18, 8)}
COS, SIN = np.cos(0.3), np.sin(0.3)
OBLIQUE = np.array([[COS, -SIN, 0], [SIN, COS, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, COS, -SIN], [0, SIN, COS]])


def stored_volume(seed=0, shape=(13, 11, 9)):
    """Stored numbers of intercept -1024: soft tissue (about 1060) around a lung (about 230)."""
    hu = np.random.default_rng(seed).integers(0, 60, shape)
    hu[3:8, 3:8, 3:6] -= 830
    hu[:, :, 0] = -1000
    return (hu + 1024).astype(np.int16)


@pytest.fixture
def tree(tmp_path):
    rows = [
        ct_rate.write_volume(tmp_path, name, stored_volume(seed), spacing=SPACING, slope=1, intercept=-1024)
        for seed, name in enumerate(NAMES)
    ]
    labels = pd.DataFrame(np.eye(3, 18, dtype=int), columns=list(ct_rate.CT_RATE_LABELS))
    labels.insert(0, "VolumeName", NAMES)
    reports = pd.DataFrame(
        {
            "VolumeName": NAMES,
            "Findings_EN": ['Nodule, 4 mm,\nin "the" right lobe.'] * 2 + ["No effusion."],
            "Impressions_EN": ["Nodule."] * 2 + [None],
        }
    )
    ct_rate.write_split(tmp_path, "valid", metadata=rows, labels=labels, reports=reports)
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# ---- names ----
@given(
    split=st.sampled_from(["train", "valid"]),
    patient=st.integers(1, 30_000),
    scan=st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=2),
    reconstruction=st.integers(1, 12),
)
def test_volume_names_round_trip(split, patient, scan, reconstruction):
    name = ct_rate.VolumeName(split, patient, scan, reconstruction)
    assert ct_rate.parse_volume_name(str(name)) == name
    assert str(ct_rate.volume_path("r", str(name))) == f"r/{split}/{name.patient_id}/{name.scan_id}/{name}"
    assert (name.patient_id, name.scan_id) == (f"{split}_{patient}", f"{split}_{patient}_{scan}")


@pytest.mark.parametrize("name", ["valid_1_a_1.nii", "valid_1_1_a.nii.gz", "../valid_1_a_1.nii.gz", "valid_1_a_1", ""])
def test_other_names_are_refused(name):
    with pytest.raises(DataError, match="is no CT-RATE volume name"):
        ct_rate.parse_volume_name(name)


def test_label_lists_are_the_papers():
    assert len(set(ct_rate.CT_RATE_LABELS)) == 18 and len(set(ct_rate.CT_RATE_LT_LABELS)) == 15
    assert (ct_rate.CT_RATE_LABELS[4], ct_rate.CT_RATE_LABELS[13]) == (
        "Coronary artery wall calcification",
        "Mosaic attenuation pattern",
    )
    assert (ct_rate.CT_RATE_LT_LABELS[3], ct_rate.CT_RATE_LT_LABELS[14]) == ("Tuberculosis", "Pneumomediastinum")


# ---- volumes ----
def test_volume_round_trip_is_exact_and_reproducible(tmp_path):
    stored = stored_volume()
    arguments = {"spacing": SPACING, "slope": 1, "intercept": -1024, "origin": (-10, 20.5, 3)}
    row = ct_rate.write_volume(tmp_path, NAMES[0], stored, **arguments)
    path = ct_rate.volume_path(tmp_path, NAMES[0])
    first = path.read_bytes()
    assert first[8] == 4  # gzip's mark of the fastest level
    assert first[4:8] == bytes(4)  # no time of day
    read = ct_rate.read_stored(tmp_path, NAMES[0], Geometry(SPACING, 1, -1024))
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, stored)
    ct_rate.write_volume(tmp_path, NAMES[0], stored, **arguments)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == [NAMES[0]]  # nothing temporary is left
    assert tuple(row) == ct_rate.METADATA_COLUMNS
    assert row["XYSpacing"] == "[1.7, 2.1]" and row["ZSpacing"] == 4.4
    assert json.loads(row["ImageOrientationPatient"]) == [1, 0, 0, 0, 1, 0]


def test_simpleitk_reads_the_same_voxels_and_geometry(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    stored = stored_volume()
    ct_rate.write_volume(tmp_path, NAMES[0], stored, spacing=SPACING, slope=1, intercept=-1024, origin=(-10, 20.5, 3))
    image = sitk.ReadImage(str(ct_rate.volume_path(tmp_path, NAMES[0])))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), stored)  # header: slope 1, 0
    np.testing.assert_allclose(image.GetSpacing(), SPACING, rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), (-10, 20.5, 3), atol=1e-5)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), np.eye(3), atol=1e-6)


def test_loading_takes_spacing_and_rescale_from_the_metadata_not_the_header(tree):
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))
    for seed, name in enumerate(NAMES):
        volume = ct_rate.load_volume(tree, name, metadata[name], **GRID)
        assert volume.shape == (16, 18, 8) and volume.dtype == np.float32
        expected = preprocess_volume(stored_volume(seed), Geometry(SPACING, 1, -1024), **GRID)
        np.testing.assert_array_equal(volume, expected)
    other = Geometry((3.4, 2.1, 2.2), 1, -1024)
    expected = preprocess_volume(stored_volume(0), other, **GRID)
    np.testing.assert_array_equal(ct_rate.load_volume(tree, NAMES[0], other, **GRID), expected)


@pytest.mark.parametrize("kind", ["voxels in HU", "header repeats the rescale", "header packs other numbers"])
def test_three_releases_of_one_volume_load_alike(tree, kind):
    import nibabel

    row = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))[NAMES[0]]
    expected = ct_rate.load_volume(tree, NAMES[0], row, **GRID)
    stored, path = stored_volume(0), ct_rate.volume_path(tree, NAMES[0])
    if kind == "voxels in HU":
        ct_rate.write_volume(tree, NAMES[0], stored - np.int16(1024), spacing=SPACING, slope=1, intercept=-1024)
        with pytest.warns(
            UserWarning, match="valid_1_a_1.nii.gz is in HU already: slope 1, intercept -1024 not applied"
        ):
            loaded = ct_rate.load_volume(tree, NAMES[0], row, **GRID)
    else:
        packed = stored if kind == "header repeats the rescale" else (stored * 2).astype(np.int16)
        image = nibabel.Nifti1Image(packed, np.eye(4))
        image.header.set_slope_inter(*((1, -1024) if kind == "header repeats the rescale" else (0.5, 0)))
        content = bytearray(image.to_bytes())
        header = image.header.copy()
        header.set_slope_inter(*((1, -1024) if kind == "header repeats the rescale" else (0.5, 0)))
        header["vox_offset"] = 352
        header["magic"] = b"n+1"
        content[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(content)))
        proxy = nibabel.load(path).dataobj
        assert (proxy.slope, proxy.inter) != (1, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = ct_rate.load_volume(tree, NAMES[0], row, **GRID)
    np.testing.assert_allclose(loaded, expected, rtol=0, atol=1e-3)


def damaged(content, kind):
    if kind == "cut off":
        return content[: len(content) // 2]
    if kind == "not gzip":
        return b"<html>Access to this dataset is restricted</html>"
    if kind == "not NIfTI":
        return gzip.compress(b"x" * 2000)
    if kind == "few voxels":
        return gzip.compress(gzip.decompress(content)[:-100])
    if kind == "bad checksum":
        return content[:-8] + bytes(8)
    return b""


@pytest.mark.parametrize("kind", ["cut off", "not gzip", "not NIfTI", "few voxels", "bad checksum", "empty"])
def test_a_damaged_volume_is_named(tree, kind):
    path = ct_rate.volume_path(tree, NAMES[0])
    path.write_bytes(damaged(path.read_bytes(), kind))
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))
    with pytest.raises(DataError, match=r"valid_1_a_1\.nii\.gz is not a readable NIfTI volume .*again\."):
        ct_rate.load_volume(tree, NAMES[0], metadata[NAMES[0]], **GRID)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(position=st.integers(0, 351), byte=st.integers(0, 255))
def test_a_flipped_header_byte_gives_a_volume_or_a_data_error(tmp_path_factory, position, byte):
    root = tmp_path_factory.mktemp("tree")
    row = Geometry(SPACING, 1, -1024)
    ct_rate.write_volume(root, NAMES[0], stored_volume(), spacing=SPACING, slope=1, intercept=-1024)
    path = ct_rate.volume_path(root, NAMES[0])
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[position] = byte
    path.write_bytes(gzip.compress(bytes(content), compresslevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert np.isfinite(ct_rate.load_volume(root, NAMES[0], row, **GRID)).all()
        except DataError as error:
            assert NAMES[0] in str(error)


def test_missing_and_four_dimensional_volumes_are_named(tree):
    import nibabel

    row = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))[NAMES[0]]
    with pytest.raises(DataError, match=r"valid_3_a_1\.nii\.gz does not exist; download it"):
        ct_rate.load_volume(tree, "valid_3_a_1.nii.gz", row, **GRID)
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2), np.int16), np.eye(4)), ct_rate.volume_path(tree, NAMES[0]))
    with pytest.raises(DataError, match=r"valid_1_a_1\.nii\.gz: shape \(3, 3, 3, 2\) is not a volume"):
        ct_rate.load_volume(tree, NAMES[0], row, **GRID)


@pytest.mark.parametrize(
    ("stored", "change", "message"),
    [
        (np.zeros((2, 2, 2), np.float32), {}, "float32 array of shape"),
        (np.zeros((2, 2), np.int16), {}, r"shape \(2, 2\); CT-RATE stores"),
        (np.zeros((2, 2, 2), np.int16), {"spacing": (1, 1, 0)}, "three positive finite numbers"),
    ],
)
def test_writer_refuses_what_the_format_cannot_hold(tmp_path, stored, change, message):
    with pytest.raises(DataError, match=message):
        ct_rate.write_volume(tmp_path, NAMES[0], stored, **{"spacing": SPACING, "slope": 1, "intercept": 0} | change)
    assert not list(tmp_path.iterdir())


# ---- tables ----
def test_tables_lie_where_the_dataset_has_them_and_round_trip(tree):
    files = sorted(str(p.relative_to(tree)) for p in tree.rglob("*.csv"))
    assert files == [
        "metadata/validation_metadata.csv",
        "multi_abnormality_labels/valid_predicted_labels.csv",
        "radiology_text_reports/validation_reports.csv",
    ]
    assert ct_rate.metadata_path(tree, "train").name == "train_metadata.csv"
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))
    assert metadata == dict.fromkeys(NAMES, Geometry(SPACING, 1, -1024))
    labels = ct_rate.read_labels(ct_rate.labels_path(tree, "valid"))
    assert list(labels.columns) == list(ct_rate.CT_RATE_LABELS) and labels.index.name == "VolumeName"
    np.testing.assert_array_equal(labels, np.eye(3, 18))


def test_labels_come_in_the_order_asked_for(tree):
    order = ["Cardiomegaly", "Medical material"]
    labels = ct_rate.read_labels(ct_rate.labels_path(tree, "valid"), order)
    assert list(labels.columns) == order
    np.testing.assert_array_equal(labels, [[0, 1], [0, 0], [1, 0]])


def test_reconstructions_of_a_scan_share_the_report(tree):
    reports = ct_rate.read_reports(ct_rate.reports_path(tree, "valid"))
    assert reports.loc[NAMES[2], "Impressions_EN"] == ""
    assert ct_rate.images_by_report(reports) == {
        'Nodule, 4 mm,\nin "the" right lobe. Nodule.': NAMES[:2],
        "No effusion.": NAMES[2:],
    }
    scans = [
        {ct_rate.parse_volume_name(n).scan_id for n in names} for names in ct_rate.images_by_report(reports).values()
    ]
    assert scans == [{"valid_1_a"}, {"valid_12_b"}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "ZSpacing",
            "Zspacing",
            r"validation_metadata\.csv lacks column 'ZSpacing' \(it has VolumeName, XYSpacing, Zsp",
        ),
        ("4.4", "", r"validation_metadata\.csv, valid_1_a_1\.nii\.gz: .* ZSpacing '', .* are not spacings"),
        ("4.4", "nan", r"validation_metadata\.csv, valid_1_a_1\.nii\.gz: spacing \(1\.7, 2\.1, nan\) must be"),
        ("4.4", "0", r"valid_1_a_1\.nii\.gz: spacing \(1\.7, 2\.1, 0\.0\) must be three positive"),
        ("4.4", "thick", r"valid_1_a_1\.nii\.gz: XYSpacing .* ZSpacing 'thick', .* are not spacings"),
        ("[1.7, 2.1]", "[1.7]", r"XYSpacing '\[1\.7\]', ZSpacing '4\.4', .* are not spacings in mm"),
        ("[1.7, 2.1]", "nan", r"XYSpacing 'nan', ZSpacing '4\.4', .* are not spacings in mm"),
        ("[1.7, 2.1]", "__import__('os')", r"are not spacings in mm"),
        ("-1024.0", "", r"valid_1_a_1\.nii\.gz: .*RescaleSlope '1\.0', RescaleIntercept '' are not spacings"),
        ("-1024.0,1.0", "-1024.0,0", r"slope 0\.0 and intercept -1024\.0 must be finite"),
        ("valid_1_a_2", "valid_1_a_1", r"has 'valid_1_a_1\.nii\.gz' on line 2 and again on line 3; delete one"),
        ("valid_1_a_2.nii.gz", "", r"validation_metadata\.csv, line 3: VolumeName is empty"),
    ],
)
def test_bad_metadata_is_named(tree, old, new, message):
    path = ct_rate.metadata_path(tree, "valid")
    edit(path, old, new)
    with pytest.raises(DataError, match=message):
        ct_rate.read_metadata(path)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("2", "Arterial wall calcification is '2', not 0 or 1"),
        ("", "Arterial wall calcification is '', not 0 or 1"),
        ("yes", "Arterial wall calcification is 'yes', not 0 or 1"),
        ("0.5", "Arterial wall calcification is '0.5', not 0 or 1"),
    ],
)
def test_bad_labels_are_named(tree, new, message):
    path = ct_rate.labels_path(tree, "valid")
    edit(path, "valid_1_a_2.nii.gz,0,1", f"valid_1_a_2.nii.gz,0,{new}")
    with pytest.raises(DataError, match=rf"valid_predicted_labels\.csv, valid_1_a_2\.nii\.gz: {message}"):
        ct_rate.read_labels(path)


def test_missing_tables_and_columns_are_named(tree, tmp_path):
    with pytest.raises(DataError, match=r"valid_predicted_labels\.csv lacks column 'Pneumonia'"):
        ct_rate.read_labels(ct_rate.labels_path(tree, "valid"), ct_rate.CT_RATE_LT_LABELS)
    with pytest.raises(DataError, match=r"train_metadata\.csv does not exist; download or generate"):
        ct_rate.read_metadata(ct_rate.metadata_path(tree, "train"))
    path = ct_rate.reports_path(tree, "valid")
    edit(path, "Findings_EN", "Findings")
    with pytest.raises(DataError, match=r"validation_reports\.csv lacks column 'Findings_EN'"):
        ct_rate.read_reports(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"validation_reports\.csv has no row under its header"):
        ct_rate.read_reports(path)


# ---- training JSON and prompts ----
def training():
    return {
        "train": {"Nodule. — é": {"images": NAMES[:2], "processed_report": ["There is Lung nodule", "There is Cyst"]}},
        "val": {"No effusion.": {"images": NAMES[2:], "processed_report": ["There is nothing"]}},
    }


def test_training_json_round_trips_and_forgets_the_authors_folders(tree):
    path = tree / "training.json"
    ct_rate.write_training_json(path, training())
    assert ct_rate.read_training_json(path) == training()
    assert json.loads(path.read_text(encoding="utf-8")) == training()
    edit(path, NAMES[0], f"/data/of/authors/{NAMES[0]}")
    assert ct_rate.read_training_json(path) == training()


def change(content, split, report, **entry):
    content[split][report].update(entry)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"top-level keys \[\] must be 'train' and 'val'"),
        ({"valid": {}}, r"top-level keys \['valid'\] must be 'train' and 'val'; rename \['valid'\]"),
        ([], r"holds a list, not an object"),
        ({"train": []}, r"'train' must map each report"),
        (
            {"train": {"R": {"image": [], "processed_report": ["x"]}}},
            r"train, report 'R': keys must be .* found \['image'",
        ),
        ({"train": {"R": ["x"]}}, r"found list"),
        (
            change(training(), "val", "No effusion.", processed_report=[]),
            r"val, report 'No .*'processed_report' is empty",
        ),
        (change(training(), "val", "No effusion.", processed_report=[" "]), r"must be a list of non-empty strings"),
        (change(training(), "val", "No effusion.", processed_report="x"), r"must be a list of non-empty strings"),
        (change(training(), "val", "No effusion.", images=[]), r"'images' is empty; list its volumes"),
        (change(training(), "val", "No effusion.", images=["scan.nii"]), r"'scan.nii' is no CT-RATE volume name"),
        (
            change(training(), "val", "No effusion.", images=NAMES[:1]),
            r"valid_1_a_1\.nii\.gz is already listed under train",
        ),
    ],
)
def test_bad_training_json_is_named(tree, content, message):
    path = tree / "training.json"
    ct_rate.write_training_json(path, content)
    with pytest.raises(DataError, match=message) as error:
        ct_rate.read_training_json(path)
    assert "training.json" in str(error.value) and "\n" not in str(error.value)


def test_broken_and_repeated_json_is_named(tmp_path):
    path = tmp_path / "training.json"
    with pytest.raises(DataError, match=r"training\.json does not exist"):
        ct_rate.read_training_json(path)
    path.write_text('{"train": {"R": {}, ')
    with pytest.raises(DataError, match=r"training\.json is not JSON .*line 1"):
        ct_rate.read_training_json(path)
    path.write_text('{"train": {"R": {}, "S": {}, "R": {}}}')
    with pytest.raises(DataError, match=r"key 'R' more than once"):
        ct_rate.read_training_json(path)


def test_prompts_are_the_released_ones(tmp_path):
    path = tmp_path / "prompts.json"
    ct_rate.write_prompts(path, ct_rate.CT_RATE_LABELS)
    content = json.loads(path.read_text())
    assert content["0"] == ["There is Medical material"] and content["17"] == [
        "There is Interlobular septal thickening"
    ]
    assert ct_rate.read_prompts(path) == [f"There is {label}" for label in ct_rate.CT_RATE_LABELS]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0": ["a"], "2": ["b"]}, r"keys \['0', '2'\] must be '0', '1'"),
        ({"Emphysema": ["a"]}, "number the classes again"),
        ({}, "without a gap"),
        ({"0": "There is a"}, r"key \"0\": 'There is a' must be a list of one prompt"),
        ({"0": ["a"], "1": []}, r'key "1": \[\] must be a list of one prompt'),
        ({"0": ["a", "b"]}, "must be a list of one prompt"),
    ],
)
def test_bad_prompts_are_named(tmp_path, content, message):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        ct_rate.read_prompts(path)


# ---- killed or failing writers ----
def test_a_failing_writer_keeps_the_old_file(tree, monkeypatch):
    path = ct_rate.volume_path(tree, NAMES[0])
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.data.files.os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        ct_rate.write_volume(tree, NAMES[0], stored_volume(9), spacing=SPACING, slope=1, intercept=0)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 2  # the scan's two reconstructions
