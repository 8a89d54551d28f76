"""The CT benchmark on small volumes: both ways give the same HU, whatever the grid; times are the notebook's matter."""

import nibabel
import numpy as np
import pytest

from benchmarks.ct_preprocessing import NAME, measure_preprocessing, write_copy, write_generated
from lib.data import ct_rate
from lib.data.files import DataError

pytest.importorskip("SimpleITK")


@pytest.mark.parametrize(
    "shape, spacing, tilt",
    [
        ((40, 40, 20), (9.0, 9.0, 18.0), 0.0),
        ((40, 40, 20), (8.7, 8.7, 17.0), 20.0),  # no sample falls on the border, where rounding decides
        ((60, 33, 90), (6.0, 11.0, 4.0), 0.0),
        ((400, 20, 20), (1.1, 18.0, 30.0), 0.0),
    ],
    ids=["coarse", "oblique", "anisotropic", "cropped"],
)
def test_both_ways_agree(tmp_path, shape, spacing, tilt):
    timing = measure_preprocessing(*write_generated(tmp_path, shape=shape, spacing=spacing, tilt=tilt), repeats=1)
    assert timing.shape == shape and timing.spacing == spacing
    assert timing.largest_difference < 1e-3
    assert timing.ratio == timing.seconds / timing.peer_seconds


def test_a_tilt_turns_the_axes_of_the_header_and_keeps_the_voxels(tmp_path):
    grid = {"shape": (20, 20, 10), "spacing": (18.0, 18.0, 36.0)}
    stored, affines = [], []
    for tilt in (0.0, 30.0):
        root, geometry = write_generated(tmp_path / str(tilt), **grid, tilt=tilt)
        stored.append(ct_rate.read_stored(root, NAME, geometry))
        affines.append(nibabel.load(ct_rate.volume_path(root, NAME)).affine)
    np.testing.assert_array_equal(*stored)
    turned = affines[1][:3, :3] / grid["spacing"]
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-6)
    assert turned[1, 1] == pytest.approx(-np.cos(np.pi / 6)) and affines[0][1, 1] == -18


def test_a_ct_of_ones_own_is_measured_in_ct_rates_form(tmp_path):
    root, geometry = write_generated(tmp_path / "drawn", shape=(20, 20, 10), spacing=(18.0, 18.0, 36.0))
    image = nibabel.load(ct_rate.volume_path(root, NAME))
    image.header.set_slope_inter(1, -1024)
    nibabel.save(nibabel.Nifti1Image(image.dataobj.get_unscaled(), image.affine, image.header), tmp_path / "plain.nii")
    content = bytearray((tmp_path / "plain.nii").read_bytes())
    content[112:120] = np.array([1, -1024], "<f4").tobytes()  # scl_slope and scl_inter, which a save resets
    (tmp_path / "own.nii").write_bytes(content)
    copied, told = write_copy(tmp_path / "copy", tmp_path / "own.nii")
    assert told == geometry
    assert ct_rate.volume_path(copied, NAME).read_bytes() == ct_rate.volume_path(root, NAME).read_bytes()
    with pytest.raises(DataError, match="absent"):
        write_copy(tmp_path / "copy", tmp_path / "absent.nii.gz")
