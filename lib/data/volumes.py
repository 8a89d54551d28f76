"""CT volumes: stored numbers to Hounsfield units, one voxel grid, one window. The only preprocessing in the library.

Used by the readers of CT-RATE (`ct_rate`) and RAD-ChestCT. Every array is **(X, Y, Z)**, NIfTI's index
order (x fastest towards the patient's left or right, z along the table), never SimpleITK's (Z, Y, X); spacings and
shapes follow the same order, in millimetres and voxels.

    hu = preprocess_volume(stored, Geometry((0.7, 0.7, 1.0), 1, -1024))   # (256, 256, 128), [-1000, 1000]

Source: BrgSA, `preprocess/data_fix_metadata_*.py` of the released code. Two deviations.
1. Paper: `ResampleImageFilter` keeps its default pixel value 0 HU (water) for samples beyond the last voxel's half
   width, met when a spacing coarser than the target does not divide the field of view. Here: -1024, as the padding.
   Because: a slab of water at the patient's edge is an artefact; `resample(..., fill=0)` gives the shipped value.
2. Paper: a volume stored as int16 is rescaled and resampled as int16. Here: float32. Because: rounding to whole HU
   differs by at most 1 HU, and float32 is what the model reads.
"""

import math
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, replace

import numpy as np

from lib.data.files import DataError

AIR_HU = -1024.0  # what padding is filled with before the window
HU_WINDOW = (-1000.0, 1000.0)
TARGET_SPACING = (1.5, 1.5, 3.0)  # mm, (x, y, z)
TARGET_SHAPE = (256, 256, 128)  # voxels, (x, y, z)
MEAN, STD = 0.4978, 0.2449  # BrgSA reuses the constants of its chest radiographs
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # DICOM's cosines: x to the patient's left, y to the back, hence z to the head
_LARGEST = 1e9  # no CT number; a product of such numbers is still finite in float32
_SAMPLED_VOXELS = 100_000  # enough to see whether a volume has air and soft tissue
_SLAB = 8  # slices resampled at a time: what is at work stays in the processor's cache


def _check_spacing(spacing: Sequence[float], *, name: str) -> tuple[float, float, float]:
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(math.isfinite(value) and value > 0 for value in values):
        raise DataError(f"{name}: spacing {values} must be three positive finite numbers in mm; correct its metadata.")
    return values


@dataclass(frozen=True)
class Geometry:
    """Spacing (x, y, z) in mm and the rescale to HU, slope * stored + intercept, checked here and nowhere else.

    `orientation`: cosines of the x and the y axis in DICOM's LPS frame, None where not told. No volume is turned, so
    readers warn of those that are not `axial`. `DataError` naming `name` for a spacing that is not three positive
    finite numbers, a slope that is 0 and anything not finite.
    """

    spacing: tuple[float, float, float]
    slope: float = 1.0
    intercept: float = 0.0
    orientation: tuple[float, ...] | None = AXIAL
    name: InitVar[str] = "the volume"

    def __post_init__(self, name: str):
        object.__setattr__(self, "spacing", _check_spacing(self.spacing, name=name))
        if not (0 < abs(self.slope) < _LARGEST and abs(self.intercept) < _LARGEST):
            raise DataError(
                f"{name}: slope {self.slope} and intercept {self.intercept} must be finite, slope not 0; fix its metadata."
            )

    @property
    def axial(self) -> bool:
        """Whether the voxels lie as in `AXIAL`, up to a tilt."""
        return self.orientation is not None and tuple(map(round, self.orientation)) == AXIAL


def check_volume(stored: np.ndarray, *, name: str = "the volume") -> np.ndarray:
    """`stored` as a non-empty finite real array (X, Y, Z); `DataError` naming `name` otherwise. Before any arithmetic."""
    stored = np.asarray(stored)
    if stored.ndim != 3 or 0 in stored.shape:
        raise DataError(f"{name}: shape {stored.shape} is not a volume (X, Y, Z); export one 3D series per file.")
    if not np.issubdtype(stored.dtype, np.floating) and not np.issubdtype(stored.dtype, np.integer):
        raise DataError(f"{name}: voxels of type {stored.dtype} are not CT numbers; export the file as int16.")
    if np.issubdtype(stored.dtype, np.floating) and not max(-float(stored.min()), float(stored.max())) < _LARGEST:
        wrong = np.argwhere(~(np.abs(stored.astype(np.float64)) < _LARGEST))  # min and max hand NaN on
        index = tuple(int(i) for i in wrong[0])
        raise DataError(
            f"{name}: {len(wrong)} voxels are NaN or infinite, first at (x, y, z) {index} (1e9 counts as such); fetch it again."
        )
    return stored


def to_hu(stored: np.ndarray, *, slope: float, intercept: float) -> np.ndarray:
    """Hounsfield units slope * stored + intercept (DICOM PS3.3 C.11.1), float32 or, for float64 input, float64.

    Applies the rescale unconditionally; ask `slope_already_applied` first, as `preprocess_volume` does.
    """
    dtype = np.float64 if stored.dtype == np.float64 else np.float32
    hu = stored.astype(dtype)
    if slope != 1:
        hu *= dtype(slope)
    if intercept != 0:
        hu += dtype(intercept)
    return hu


def _plausibility(values: np.ndarray) -> tuple[float, float]:
    """How much `values` look like HU of a chest: (the rarer of air/lung and soft tissue, all within the CT scale)."""
    air = np.mean((values >= -1100) & (values <= -500))
    tissue = np.mean((values >= -200) & (values <= 300))
    return min(air, tissue), np.mean((values >= -1100) & (values <= 3100))


def slope_already_applied(stored: np.ndarray, *, slope: float, intercept: float) -> bool:
    """True when `stored` is in HU although its metadata announces a rescale still to be done (CT-RATE has both kinds).

    A chest holds air or lung and soft tissue at once. In HU they lie in [-1100, -500] and [-200, 300]. Whichever
    reading of the numbers (as they are, or rescaled) shows more of the rarer of the two is right: applying -1024 twice
    would put air near -2024 and leave nothing at soft tissue, not applying it would leave nothing at air. Paddings
    such as GE's -2000 or Siemens' -8192 fall in neither band, so they mislead neither way, as a bare minimum would.
    A volume of one material is judged by the share of voxels in [-1100, 3100] and otherwise taken as not rescaled.
    """
    if slope == 1 and intercept == 0:
        return False
    step = max(1, round((stored.size / _SAMPLED_VOXELS) ** (1 / 3)))
    sample = stored[::step, ::step, ::step].astype(np.float32)
    return _plausibility(sample) > _plausibility(sample * np.float32(slope) + np.float32(intercept))


def _axis_weights(size: int, spacing: float, target: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Lower and upper voxel, weight of the upper one, and how many leading samples lie inside the image, one axis."""
    new_size = round(size * spacing / target)  # round half to even, as the shipped script
    position = np.arange(new_size) * (target / spacing)  # in input voxels; both grids share the centre of voxel 0
    # ITK: a sample is inside up to, not including, half a voxel beyond the last centre, and clamped to that voxel.
    inside = int(np.count_nonzero(position < size - 0.5))
    lower = np.minimum(position.astype(np.int64), size - 1)
    upper = np.minimum(lower + (position > lower), size - 1)  # the same voxel where the upper one counts for nothing
    return lower, upper, position - lower, inside


def resample(
    array: np.ndarray,
    *,
    spacing: Sequence[float],
    target_spacing: Sequence[float],
    fill: float = AIR_HU,
    slope: float = 1,
    intercept: float = 0,
) -> np.ndarray:
    """Linear resampling of `array` (X, Y, Z) from `spacing` to `target_spacing` (mm); same origin and direction.

    Equal to SimpleITK's `ResampleImageFilter` with `sitkLinear`, identity transform, size round(size * spacing /
    target) and default pixel value `fill`, to 1e-3 HU, whatever the direction: origin and direction are shared by
    both grids, so they cancel. `to_hu` comes first. Returns float32 (float64 for float64). `DataError`: an axis is empty.
    """
    target_spacing = _check_spacing(target_spacing, name="the target spacing")
    axes = [_axis_weights(n, s, t) for n, s, t in zip(array.shape, spacing, target_spacing, strict=True)]
    new_shape = tuple(len(axis[0]) for axis in axes)
    if 0 in new_shape:
        raise DataError(
            f"a volume of {array.shape} voxels at {spacing} mm has no voxel left at {target_spacing} mm: {new_shape}; "
            "correct its spacing or use a finer target."
        )
    # Separable: one axis after the other, the one that shrinks most first, so that the rest handle fewer voxels.
    order = sorted(range(3), key=lambda i: new_shape[i] / array.shape[i])
    # From here in the order of memory, slowest axis first (NIfTI: z, y, x): `take` copies any other array turned round.
    memory = sorted(range(3), key=lambda i: -abs(array.strides[i]))
    out = np.empty(new_shape, dtype=np.float64 if array.dtype == np.float64 else np.float32)
    array, result, axes = array.transpose(memory), out.transpose(memory), [axes[i] for i in memory]
    for first in range(0, len(result), _SLAB):
        slab = slice(first, first + _SLAB)
        start, stop = axes[0][0][first], axes[0][1][slab][-1] + 1
        block = to_hu(array[start:stop], slope=slope, intercept=intercept)
        for axis in map(memory.index, order):
            lower, upper, weight, _ = axes[axis]
            if axis == 0:
                lower, upper, weight = lower[slab] - start, upper[slab] - start, weight[slab]
            low, high = block.take(lower, axis=axis), block.take(upper, axis=axis)
            high -= low
            high *= weight.astype(out.dtype).reshape([-1 if i == axis else 1 for i in range(3)])
            block = np.add(low, high, out=low)
        result[slab] = block
    for axis, (_, _, _, inside) in enumerate(axes):
        result[(slice(None),) * axis + (slice(inside, None),)] = fill
    return out


def crop_or_pad(array: np.ndarray, shape: Sequence[int], *, fill: float = AIR_HU) -> np.ndarray:
    """Centre crop, then pad with `fill`, each axis of `array` (X, Y, Z) to `shape`; a new array of the same type.

    An odd surplus loses its extra voxel at the low end, an odd deficit gains it at the high end (shipped script).
    """
    out = np.full(tuple(shape), fill, dtype=array.dtype)
    sizes = list(zip(array.shape, shape, strict=True))
    source = tuple(slice(start := math.ceil(max(size - wanted, 0) / 2), start + wanted) for size, wanted in sizes)
    target = tuple(slice(before := max(wanted - size, 0) // 2, before + size) for size, wanted in sizes)
    out[target] = array[source]
    return out


def window_hu(array: np.ndarray) -> np.ndarray:
    """`array` clamped to `HU_WINDOW`; a new array."""
    return np.clip(array, *HU_WINDOW)


def preprocess_volume(
    stored: np.ndarray,
    geometry: Geometry,
    *,
    target_spacing: Sequence[float] = TARGET_SPACING,
    shape: Sequence[int] = TARGET_SHAPE,
    name: str = "the volume",
) -> np.ndarray:
    """A stored CT volume as the model's input: float32 (X, Y, Z) of `shape`, HU in [-1000, 1000].

    Rescale exactly once, linear resampling to `target_spacing` (mm), centre crop, pad with -1024, clamp (BrgSA,
    preprocessing; both datasets). A volume that `slope_already_applied` recognises is not rescaled again; the readers
    warn about it by name. `DataError` naming `name` for an array that is not 3D, is empty or has NaN voxels.
    """
    stored = check_volume(stored, name=name)
    if slope_already_applied(stored, slope=geometry.slope, intercept=geometry.intercept):
        geometry = replace(geometry, slope=1, intercept=0)
    return regrid(stored, geometry, target_spacing=target_spacing, shape=shape, name=name)


def regrid(
    stored: np.ndarray, geometry: Geometry, *, target_spacing: Sequence[float], shape: Sequence[int], name: str
) -> np.ndarray:
    """`preprocess_volume` of an array that was checked, its rescale applied as `geometry` says without asking."""
    slope, intercept = geometry.slope, geometry.intercept
    try:
        hu = resample(stored, spacing=geometry.spacing, target_spacing=target_spacing, slope=slope, intercept=intercept)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    hu = crop_or_pad(hu, shape)
    return np.clip(hu, *HU_WINDOW, out=hu).astype(np.float32, copy=False)


def normalise(volume_hu: np.ndarray) -> np.ndarray:
    """HU clipped to [-1000, 1000], scaled to [-1, 1], minus 0.4978, over 0.2449 (BrgSA): about [-6.12, 2.05]."""
    scaled = window_hu(volume_hu) / np.float32(HU_WINDOW[1])
    return ((scaled - np.float32(MEAN)) / np.float32(STD)).astype(np.float32, copy=False)
