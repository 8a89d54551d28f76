"""Preprocessing against SimpleITK, closed forms for the window and the normalisation, and the rescale applied once."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lib.data.files import DataError
from lib.data.volumes import (
    Geometry,
    crop_or_pad,
    normalise,
    preprocess_volume,
    resample,
    slope_already_applied,
    to_hu,
    window_hu,
)

sitk = pytest.importorskip("SimpleITK")

OBLIQUE = np.linalg.qr(np.array([[1.0, 0.2, -0.3], [-0.1, 1.0, 0.4], [0.35, -0.2, 1.0]]))[0]
OBLIQUE *= np.sign(np.linalg.det(OBLIQUE))
TO_HU_1E3 = {"rtol": 0, "atol": 1e-3}


def as_image(array, spacing, direction=None, origin=(0.0, 0.0, 0.0)):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction.ravel().tolist())
    return image


def as_array(image):
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def reference_resample(image, target_spacing, fill=-1024.0):
    size = [round(n * s / t) for n, s, t in zip(image.GetSize(), image.GetSpacing(), target_spacing, strict=True)]
    geometry = (image.GetOrigin(), target_spacing, image.GetDirection())
    return sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, *geometry, fill)


def reference_pipeline(image, *, slope, intercept, target_spacing, shape):
    image = reference_resample(sitk.Cast(image, sitk.sitkFloat32) * slope + intercept, target_spacing)
    surplus = [max(n - m, 0) for n, m in zip(image.GetSize(), shape, strict=True)]
    image = sitk.Crop(image, [(s + 1) // 2 for s in surplus], [s // 2 for s in surplus])
    deficit = [max(m - n, 0) for n, m in zip(image.GetSize(), shape, strict=True)]
    image = sitk.ConstantPad(image, [d // 2 for d in deficit], [(d + 1) // 2 for d in deficit], -1024)
    return as_array(sitk.Clamp(image, lowerBound=-1000, upperBound=1000))


def chest(shape=(23, 20, 17), seed=0):
    """HU: soft tissue around a lung, in air."""
    rng = np.random.default_rng(seed)
    radius = np.sqrt(sum(np.square(axis) for axis in np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]))
    hu = np.where(radius < 0.5, -800, np.where(radius < 1, 40, -1000))
    return (hu + rng.integers(-20, 21, shape)).astype(np.int16)


# ---- SimpleITK parity ----
@pytest.mark.parametrize("direction", [None, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize(
    ("size", "spacing", "target"),
    [
        ((44, 44, 36), (7.5, 7.5, 8.3), (8.0, 8.0, 9.0)),
        ((31, 18, 23), (0.7, 0.9, 5.0), (1.5, 1.5, 3.0)),  # down in plane, up along z
        ((9, 11, 7), (3.1, 2.9, 4.6), (1.5, 1.5, 3.0)),  # up everywhere: samples beyond the last centre
        ((8, 5, 6), (1.5, 1.5, 3.0), (1.5, 1.5, 3.0)),  # nothing to do
        ((1, 7, 2), (1.6, 0.8, 2.0), (1.5, 1.5, 3.0)),
    ],
)
def test_resample_equals_simpleitk(size, spacing, target, direction):
    array = np.random.default_rng(1).uniform(-1024, 3071, size).astype(np.float32)
    expected = as_array(reference_resample(as_image(array, spacing, direction, (-120.5, 33.25, 7.0)), target))
    np.testing.assert_allclose(resample(array, spacing=spacing, target_spacing=target), expected, **TO_HU_1E3)


def test_a_sample_half_a_voxel_past_the_last_centre_is_outside_as_in_simpleitk():
    array = np.arange(100, 500, 100, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    ours = resample(array, spacing=(3.0, 1.5, 3.0), target_spacing=(1.5, 1.5, 3.0))
    expected = as_array(reference_resample(as_image(array, (3.0, 1.5, 3.0)), (1.5, 1.5, 3.0)))
    np.testing.assert_array_equal(ours[:, 0, 0], [100, 150, 200, 250, 300, 350, 400, -1024])
    np.testing.assert_array_equal(ours, expected)


def test_fill_zero_is_the_shipped_default_pixel_value():
    array = np.full((4, 4, 4), 500, np.float32)
    shipped = sitk.ResampleImageFilter()
    assert shipped.GetDefaultPixelValue() == 0
    expected = as_array(reference_resample(as_image(array, (2.9, 2.9, 2.9)), (1.5, 1.5, 1.5), fill=0.0))
    ours = resample(array, spacing=(2.9,) * 3, target_spacing=(1.5,) * 3, fill=0)
    assert (ours == 0).any()
    np.testing.assert_allclose(ours, expected, **TO_HU_1E3)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    size=st.tuples(*[st.integers(1, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 9.0)] * 3),
    target=st.tuples(*[st.floats(0.4, 9.0)] * 3),
    oblique=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_resample_equals_simpleitk_on_any_grid(size, spacing, target, oblique, seed):
    new_size = [round(n * s / t) for n, s, t in zip(size, spacing, target, strict=True)]
    assume(all(new_size) and np.prod(new_size) < 200_000)
    for n, s, t, m in zip(size, spacing, target, new_size, strict=True):
        # Exactly on the border SimpleITK's own rounding of an oblique frame decides, so it defines nothing there.
        assume(np.abs(np.arange(m) * t / s - (n - 0.5)).min() > 1e-6)
    array = np.random.default_rng(seed).uniform(-1024, 3071, size).astype(np.float32)
    expected = as_array(reference_resample(as_image(array, spacing, OBLIQUE if oblique else None), target))
    np.testing.assert_allclose(resample(array, spacing=spacing, target_spacing=target), expected, **TO_HU_1E3)


@pytest.mark.parametrize("direction", [None, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("shape", [(16, 16, 8), (11, 24, 9), (40, 41, 31)], ids=["crop", "both", "pad"])
@pytest.mark.parametrize("intercept", [-1024, -8192])
def test_the_whole_preprocessing_equals_simpleitk(shape, direction, intercept):
    stored = (chest((23, 20, 17)).astype(np.int32) - intercept).astype(np.int16)
    spacing, target = (1.7, 2.1, 4.4), (1.5, 1.5, 3.0)
    expected = reference_pipeline(
        as_image(stored, spacing, direction), slope=1.0, intercept=intercept, target_spacing=target, shape=shape
    )
    ours = preprocess_volume(stored, Geometry(spacing, 1, intercept), target_spacing=target, shape=shape)
    assert ours.dtype == np.float32 and ours.shape == shape
    np.testing.assert_allclose(ours, expected, **TO_HU_1E3)


def test_default_grid_is_the_papers():
    ours = preprocess_volume(chest((6, 7, 8)), Geometry((1.5, 1.5, 3.0)))
    assert ours.shape == (256, 256, 128)
    np.testing.assert_array_equal(ours[125:131, 124:131, 60:68], window_hu(chest((6, 7, 8))))
    assert ours[:125].max() == ours[131:].max() == -1000


# ---- closed forms and invariances ----
def test_resampling_a_linear_field_is_exact_and_keeps_the_axes_apart():
    x, y, z = np.meshgrid(np.arange(9.0) * 2, np.arange(10.0) * 3, np.arange(11.0) * 4, indexing="ij")
    ours = resample(5 * x - 7 * y + 11 * z, spacing=(2, 3, 4), target_spacing=(3, 4, 5))
    u, v, w = np.meshgrid(*[np.arange(n) * t for n, t in zip(ours.shape, (3, 4, 5), strict=True)], indexing="ij")
    inside = (u <= 16) & (v <= 27) & (w <= 40)
    assert inside.mean() > 0.7
    np.testing.assert_allclose(ours[inside], (5 * u - 7 * v + 11 * w)[inside], atol=1e-9)


def test_resampling_does_not_care_about_memory_order_and_leaves_its_input_alone():
    array = chest().astype(np.float32)
    before = array.copy()
    for target in ((1.5, 1.5, 3.0), (2.0, 2.0, 2.0)):
        ours = resample(array, spacing=(2.0, 2.0, 2.0), target_spacing=target)
        np.testing.assert_array_equal(
            ours, resample(np.asfortranarray(array), spacing=(2.0, 2.0, 2.0), target_spacing=target)
        )
        ours[:] = 0
        np.testing.assert_array_equal(array, before)


def one_voxel_after_the_other(hu, spacing, target):
    """The sum written out in float32: axis by axis, lower + (upper - lower) * weight, what shrinks most first."""
    new_shape = [round(n * s / t) for n, s, t in zip(hu.shape, spacing, target, strict=True)]
    for axis in sorted(range(3), key=lambda i: new_shape[i] / hu.shape[i]):
        lines = np.moveaxis(hu, axis, 0)
        at = [k * (target[axis] / spacing[axis]) for k in range(new_shape[axis])]
        lower = [min(int(x), len(lines) - 1) for x in at]
        upper = [min(i + 1, len(lines) - 1) for i in lower]
        parts = [lines[i] + (lines[j] - lines[i]) * np.float32(x - i) for x, i, j in zip(at, lower, upper, strict=True)]
        hu = np.moveaxis(np.array(parts), 0, axis)
    return hu


ORDERS = {
    "C": np.ascontiguousarray,
    "NIfTI": np.asfortranarray,
    "RAD-ChestCT": lambda a: np.ascontiguousarray(a.T[::-1])[::-1].T,
    "y slowest": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "target", [(2.0, 2.1, 4.0), (2.5, 3.1, 1.9), (1.7, 2.1, 4.4), (0.9, 4.0, 4.4), (1.7, 2.1, 9.0), (3.4, 1.1, 2.2)]
)
@pytest.mark.parametrize("slope, intercept", [(1.0, 0.0), (1.0, -1024.0), (0.5, -8192.0)])
def test_resampling_is_the_same_sum_to_the_bit_in_any_memory_order(order, target, slope, intercept):
    spacing, fill = (1.7, 2.1, 4.4), -3000
    stored = ORDERS[order](chest((23, 20, 37)))
    assert (stored == chest((23, 20, 37))).all()
    ours = resample(stored, spacing=spacing, target_spacing=target, slope=slope, intercept=intercept, fill=fill)
    expected = one_voxel_after_the_other(stored * np.float32(slope) + np.float32(intercept), spacing, target)
    inside = ours != fill
    assert ours.dtype == np.float32 and ours.flags.c_contiguous and ours.shape == expected.shape
    assert inside.mean() > 0.8 and ours[inside].tobytes() == expected[inside].tobytes()


@pytest.mark.parametrize("order", ORDERS)
def test_a_volume_is_resampled_in_slabs_without_a_copy_of_the_whole(order):
    stored = ORDERS[order](np.zeros((100, 110, 120), dtype=np.int16))
    tracemalloc.start()
    ours = resample(stored, spacing=(1, 1, 1), target_spacing=(2, 2, 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - ours.nbytes < stored.nbytes  # a copy in float32 alone takes twice as much


@given(size=st.tuples(*[st.integers(1, 9)] * 3), shape=st.tuples(*[st.integers(1, 9)] * 3))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_crop_or_pad_keeps_the_centre(size, shape):
    array = np.arange(1, 1 + np.prod(size), dtype=np.int16).reshape(size)
    image = as_image(array, (1.0, 1.0, 1.0))
    surplus = [max(n - m, 0) for n, m in zip(size, shape, strict=True)]
    image = sitk.Crop(image, [(s + 1) // 2 for s in surplus], [s // 2 for s in surplus])
    deficit = [max(m - n, 0) for n, m in zip(size, shape, strict=True)]
    image = sitk.ConstantPad(image, [d // 2 for d in deficit], [(d + 1) // 2 for d in deficit], -7)
    np.testing.assert_array_equal(crop_or_pad(array, shape, fill=-7), as_array(image))


def test_crop_or_pad_on_odd_differences():
    array = np.arange(1, 6, dtype=np.float32)[:, None, None]
    assert crop_or_pad(array, (2, 1, 1)).ravel().tolist() == [3, 4]  # two of the three surplus voxels from the low end
    assert crop_or_pad(array, (8, 1, 1)).ravel().tolist() == [-1024, 1, 2, 3, 4, 5, -1024, -1024]


def test_window_and_normalisation_closed_forms():
    hu = np.array([-1024, -1000, 0, 250, 1000, 3071], np.float32)
    np.testing.assert_array_equal(window_hu(hu), [-1000, -1000, 0, 250, 1000, 1000])
    expected = (np.array([-1, -1, 0, 0.25, 1, 1]) - 0.4978) / 0.2449
    np.testing.assert_allclose(normalise(hu), expected, rtol=1e-6)
    assert normalise(hu).dtype == np.float32


def test_to_hu_does_not_wrap_in_int16():
    stored = np.array([[[0, 32767, -32768]]], np.int16)
    np.testing.assert_array_equal(to_hu(stored, slope=2, intercept=-8192), [[[-8192, 57342, -73728]]])


# ---- the rescale, exactly once ----
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -1000), (1, -8192), (2, -1024), (0.5, -1024)])
@pytest.mark.parametrize("padding", [None, "scanner"])
def test_slope_is_applied_once_whichever_way_the_file_was_stored(slope, intercept, padding):
    hu = chest((40, 36, 30)).astype(np.float64)
    hu = intercept + slope * np.round((hu - intercept) / slope)
    if padding:  # a corner outside the scanner's field of view: stored -2000 (GE) or 0 (Siemens), not air
        hu[:12, :, :] = intercept + slope * (0 if intercept == -8192 else -2000)
    stored = ((hu - intercept) / slope).astype(np.int16)
    in_hu = hu.astype(np.float32)
    assert not slope_already_applied(stored, slope=slope, intercept=intercept)
    assert slope_already_applied(in_hu, slope=slope, intercept=intercept)
    geometry = Geometry((2, 2, 3), slope, intercept)
    grid = {"target_spacing": (1.5, 1.5, 3), "shape": (48, 48, 32)}
    once = preprocess_volume(stored, geometry, **grid)
    again = preprocess_volume(in_hu, geometry, **grid)
    np.testing.assert_allclose(once, again, **TO_HU_1E3)
    assert once.max() < 100 and np.median(once[20:28, 20:28, 12:18]) == pytest.approx(-800, abs=10)


def test_detection_sees_through_a_large_volume_and_one_of_air_only():
    large = np.tile(chest((30, 30, 30)), (5, 5, 5))
    assert slope_already_applied(large, slope=1, intercept=-1024)
    assert not slope_already_applied(large + np.int16(1024), slope=1, intercept=-1024)
    air = np.full((4, 4, 4), -1000, np.int16)
    assert slope_already_applied(air, slope=1, intercept=-1024)
    assert not slope_already_applied(air + np.int16(1024), slope=1, intercept=-1024)
    assert not slope_already_applied(large, slope=1, intercept=0)  # nothing to apply


def test_detection_is_not_fooled_by_dense_tissue_that_a_second_rescale_would_turn_into_lung():
    hu = chest((30, 30, 30))[7:-7, 7:-7, 7:-7].copy()  # no air around: lung 46 %, tissue 54 %
    enhanced = hu[np.arange(16) % 3 > 0]
    hu[np.arange(16) % 3 > 0] = np.where(enhanced > 0, enhanced + 380, enhanced)  # contrast medium, bone
    assert slope_already_applied(hu, slope=1, intercept=-1024)
    assert not slope_already_applied(hu + np.int16(1024), slope=1, intercept=-1024)


# ---- bad input ----
NAME = "valid_1_a_1.nii.gz"


@pytest.mark.parametrize(
    ("stored", "change", "message"),
    [
        (np.zeros((3, 3)), {}, r"valid_1_a_1\.nii\.gz: shape \(3, 3\) is not a volume"),
        (np.zeros((3, 3, 3, 2)), {}, r"shape \(3, 3, 3, 2\) is not a volume"),
        (np.zeros((3, 0, 3)), {}, r"shape \(3, 0, 3\) is not a volume"),
        (np.full((2, 2, 2), np.nan), {}, r"8 voxels are NaN or infinite, first at \(x, y, z\) \(0, 0, 0\)"),
        (np.where(np.arange(8).reshape(2, 2, 2) == 5, np.inf, 0), {}, r"1 voxels .* \(1, 0, 1\)"),
        (np.zeros((2, 2, 2), complex), {}, r"complex128 are not CT numbers"),
        (np.zeros((2, 2, 2)), {"spacing": (1, np.nan, 1)}, r"valid_1_a_1\.nii\.gz: spacing \(1\.0, nan, 1\.0\)"),
        (np.zeros((2, 2, 2)), {"spacing": (1, 0, 1)}, r"three positive finite numbers in mm"),
        (np.zeros((2, 2, 2)), {"spacing": (1, 1, -2)}, r"three positive finite numbers in mm"),
        (np.zeros((2, 2, 2)), {"spacing": (1, 1)}, r"three positive finite numbers in mm"),
        (np.zeros((2, 2, 2)), {"slope": 0}, r"slope 0 and intercept 0.0 must be finite"),
        (np.zeros((2, 2, 2)), {"intercept": np.nan}, r"intercept nan must be finite"),
        (np.zeros((2, 2, 2)), {"spacing": (0.1, 1, 1)}, r"valid_1_a_1\.nii\.gz: .*no voxel left"),
        (np.zeros((2, 2, 2)), {"target_spacing": (0, 1, 1)}, r"the target spacing: spacing \(0\.0"),
    ],
)
def test_bad_volumes_are_named(stored, change, message):
    change = dict(change)
    with pytest.raises(DataError, match=message) as error:
        told = {key: change.pop(key) for key in ("spacing", "slope", "intercept") if key in change}
        geometry = Geometry(**{"spacing": (1.0, 1.0, 1.0), **told}, name=NAME)
        preprocess_volume(stored, geometry, name=NAME, **change)
    assert "valid_1_a_1.nii.gz" in str(error.value) and "\n" not in str(error.value)
