"""A CT volume from the file to the model's input, beside a SimpleITK script of the same recipe: same HU, measured times.

Used by ``notebooks/performance/ct_preprocessing.ipynb`` and by the tests.

    measure_preprocessing(*write_generated(folder, shape=(512, 512, 133), spacing=(0.703, 0.703, 2.5)))
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data import ct_rate
from lib.data.chest_ct.scanner import reconstruct, render_scan
from lib.data.files import DataError
from lib.data.volumes import AIR_HU, HU_WINDOW, TARGET_SHAPE, TARGET_SPACING, Geometry

NAME = "valid_1_a_1.nii.gz"  # the one volume of each tree


@dataclass(frozen=True)
class PreprocessingTiming:
    """Processor seconds of ``load_volume`` and of the SimpleITK script, the least of the repeats, and what differs."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]  # mm
    seconds: float
    peer_seconds: float
    ratio: float  # below 1: ``load_volume`` is the faster
    largest_difference: float  # HU


def write_generated(
    root: Path, *, shape: Sequence[int], spacing: Sequence[float], tilt: float = 0.0
) -> tuple[Path, Geometry]:
    """``(root, geometry)``: a drawn healthy chest on that grid (voxels, mm), one volume as CT-RATE stores it.

    ``tilt`` turns the axes in the header by so many degrees about the patient's left-right axis, an oblique scan.
    """
    import nibabel

    scan = render_scan(np.random.default_rng(0), [], shape=tuple(shape), spacing=tuple(spacing))
    hu, spacing = reconstruct(scan, np.random.default_rng(0), kernel="soft", noise=20)
    geometry = Geometry(tuple(spacing), 1.0, -1024.0)
    stored = np.rint(hu - np.float32(geometry.intercept)).astype(np.int16)
    ct_rate.write_volume(root, NAME, stored, spacing=spacing, slope=geometry.slope, intercept=geometry.intercept)
    if tilt:
        path = ct_rate.volume_path(root, NAME)
        image, turned = nibabel.load(path), np.eye(4)
        cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        turned[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
        nibabel.save(nibabel.Nifti1Image(stored, turned @ image.affine, image.header), path)
    return root, geometry


def write_copy(root: Path, file: Path) -> tuple[Path, Geometry]:
    """``(root, geometry)``: the CT in ``file`` (int16 NIfTI) as CT-RATE stores it, its rescale moved to the metadata."""
    import nibabel

    try:
        image = nibabel.load(file)
        geometry = Geometry(image.header.get_zooms(), image.dataobj.slope, image.dataobj.inter, name=str(file))
        stored = image.dataobj.get_unscaled()
    except (OSError, nibabel.filebasedimages.ImageFileError) as error:
        raise DataError(f"{file} is not a readable NIfTI volume; give the path of a chest CT.") from error
    ct_rate.write_volume(
        root, NAME, stored, spacing=geometry.spacing, slope=geometry.slope, intercept=geometry.intercept
    )
    return root, geometry


def simpleitk_volume(path: Path, geometry: Geometry) -> np.ndarray:
    """The recipe of ``preprocess_volume`` in SimpleITK's filters, float32 (X, Y, Z)."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    image.SetSpacing(geometry.spacing)
    image = sitk.Cast(image, sitk.sitkFloat32) * geometry.slope + geometry.intercept
    size = [round(n * s / t) for n, s, t in zip(image.GetSize(), geometry.spacing, TARGET_SPACING, strict=True)]
    grid = (image.GetOrigin(), TARGET_SPACING, image.GetDirection())
    image = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, *grid, AIR_HU)
    surplus = [max(n - wanted, 0) for n, wanted in zip(size, TARGET_SHAPE, strict=True)]
    image = sitk.Crop(image, [(n + 1) // 2 for n in surplus], [n // 2 for n in surplus])
    deficit = [max(wanted - n, 0) for n, wanted in zip(size, TARGET_SHAPE, strict=True)]
    image = sitk.ConstantPad(image, [n // 2 for n in deficit], [(n + 1) // 2 for n in deficit], AIR_HU)
    low, high = HU_WINDOW
    return sitk.GetArrayFromImage(sitk.Clamp(image, lowerBound=low, upperBound=high)).transpose(2, 1, 0)


def measure_preprocessing(root: Path, geometry: Geometry, *, repeats: int = 5) -> PreprocessingTiming:
    """Read and preprocess the volume under ``root`` both ways, in turn and with one thread each.

    Times are the process's own, so that what else the machine does counts little.
    """
    import SimpleITK as sitk

    path, threads = ct_rate.volume_path(root, NAME), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    ways = {
        "ours": lambda: ct_rate.load_volume(root, NAME, geometry),
        "theirs": lambda: simpleitk_volume(path, geometry),
    }
    seconds, found = {way: [] for way in ways}, {}
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        for _ in range(repeats):
            for way, load in ways.items():
                start = time.process_time()
                found[way] = load()
                seconds[way].append(time.process_time() - start)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    ours, theirs = min(seconds["ours"]), min(seconds["theirs"])
    return PreprocessingTiming(
        shape=ct_rate.read_stored(root, NAME, geometry).shape, spacing=geometry.spacing, seconds=ours,
        peer_seconds=theirs, ratio=ours / theirs,
        largest_difference=float(np.abs(found["ours"] - found["theirs"]).max()),
    )  # fmt: skip
