"""The CT-RATE tree: volumes, metadata, labels, reports, written and read.

One reader serves the downloaded dataset and the generated one of `lib.data.chest_ct`. `root` is the folder that the
dataset calls `dataset/`; a name is a VolumeName such as `valid_12_a_1.nii.gz` (split, patient, scan, reconstruction).

    root/<split>/<split>_<p>/<split>_<p>_<s>/<VolumeName>           int16, (X, Y, Z), rescale not yet applied
    root/metadata/{train,validation}_metadata.csv                   spacing, position, orientation, rescale
    root/multi_abnormality_labels/{train,valid}_predicted_labels.csv
    root/radiology_text_reports/{train,validation}_reports.csv

    hu = load_volume(root, "valid_1_a_1.nii.gz", read_metadata(metadata_path(root, "valid"))["valid_1_a_1.nii.gz"])

Names, places, training JSON and prompts are in `ct_rate_layout`, re-exported here.
Sources: CT-RATE (huggingface.co/datasets/ibrahimhamamci/CT-RATE); BrgSA, preprocessing and `gloria` loaders. Volumes
are (X, Y, Z) throughout, as in `lib.data.volumes`. Every reader raises `DataError`.
"""

import gzip
import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.ct_rate_layout import (  # noqa: F401, some are for those who import this module
    CT_RATE_LABELS,
    CT_RATE_LT_LABELS,
    METADATA_COLUMNS,
    REPORT_COLUMNS,
    VolumeName,
    labels_path,
    metadata_path,
    parse_volume_name,
    read_prompts,
    read_training_json,
    reports_path,
    volume_path,
    write_prompts,
    write_training_json,
)
from lib.data.files import DataError, one_line, read_csv, to_number, write_atomic, write_csv
from lib.data.volumes import (
    AXIAL,
    TARGET_SHAPE,
    TARGET_SPACING,
    Geometry,
    check_volume,
    regrid,
    slope_already_applied,
)


def write_volume(
    root: Path,
    name: str,
    stored: np.ndarray,
    *,
    spacing: Sequence[float],
    slope: float,
    intercept: float,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    level: int = 1,
) -> dict[str, object]:
    """Writes `stored` (X, Y, Z), int16, where CT-RATE keeps it, and returns its metadata row (`METADATA_COLUMNS`).

    `spacing` in mm; `origin` in mm in DICOM's LPS frame, along whose axes the voxels lie; `level` of gzip, 0 to 9. As in CT-RATE
    the header says slope 1, intercept 0 and the real ones go to the row. The same input gives the same bytes. `DataError` for bad
    input.
    """
    import nibabel

    path = volume_path(root, name)
    geometry = Geometry(tuple(spacing), float(slope), float(intercept), name=str(name))
    spacing = geometry.spacing
    stored = np.asarray(stored)
    if stored.ndim != 3 or stored.dtype != np.int16:
        raise DataError(
            f"{name}: {stored.dtype} array of shape {stored.shape}; CT-RATE stores int16 volumes (X, Y, Z)."
        )
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    affine[:2] *= -1  # LPS of DICOM to RAS of NIfTI
    image = nibabel.Nifti1Image(stored, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    write_atomic(path, gzip.compress(image.to_bytes(), compresslevel=level, mtime=0))
    return {
        "VolumeName": str(name),
        "XYSpacing": str([spacing[0], spacing[1]]),
        "ZSpacing": spacing[2],
        "ImagePositionPatient": str([float(value) for value in origin]),
        "ImageOrientationPatient": str(list(AXIAL)),
        "RescaleIntercept": geometry.intercept,
        "RescaleSlope": geometry.slope,
    }


def read_stored(root: Path, name: str, geometry: Geometry) -> np.ndarray:
    """The numbers stored in a volume, (X, Y, Z). A header that repeats the metadata's rescale is not applied.

    A `UserWarning` names a volume whose header turns the voxels otherwise than the metadata (identity: says nothing).
    """
    import nibabel

    path = volume_path(root, name)
    header_errors = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
    )
    try:
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
        axes, proxy = "".join(map(str, nibabel.aff2axcodes(image.affine))), image.dataobj
        if geometry.axial and axes != "LPS" and not np.array_equal(image.affine, np.eye(4)):
            warnings.warn(f"{path}: its header says axes {axes}, its metadata LPS; it is read as stored", stacklevel=3)
        # Releases differ: the header says 1 and 0, or what the metadata says. Any other scaling packs the file.
        same = proxy.slope == geometry.slope and proxy.inter == geometry.intercept
        return proxy.get_unscaled() if same else np.asanyarray(proxy)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; download it or take {name} out of the list.") from None
    except (OSError, EOFError, zlib.error, ValueError, TypeError, MemoryError, OverflowError, *header_errors) as error:
        raise DataError(
            f"{path} is not a readable NIfTI volume ({one_line(error)}); fetch or generate it again."
        ) from error


def _listed(text: str, count: int) -> tuple[float, ...]:
    """The finite numbers of "[0.7, 0.7]", in their order; ValueError for other texts, a set or a dictionary too."""
    text = text.strip()
    numbers = tuple(to_number(part.strip(" '")) for part in text[1:-1].split(","))
    if text[:1] + text[-1:] not in ("[]", "()") or len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{text!r} is no list of {count} numbers")
    return numbers


def _geometry(row: Mapping[str, str], *, name: str) -> Geometry:
    try:
        spacing = (*_listed(row["XYSpacing"], 2), to_number(row["ZSpacing"]))
        slope, intercept = to_number(row["RescaleSlope"]), to_number(row["RescaleIntercept"])
    except ValueError:
        columns = ("XYSpacing", "ZSpacing", "RescaleSlope", "RescaleIntercept")
        told = ", ".join(f"{column} {row[column]!r}" for column in columns)
        raise DataError(
            f'{name}: {told} are not spacings in mm and a rescale; write them like "[0.7, 0.7]", 1.5, 1 and -1024, or '
            "take the row out."
        ) from None
    try:
        orientation = _listed(row["ImageOrientationPatient"], 6)
    except ValueError:
        orientation = None
    return Geometry(spacing, slope, intercept, orientation, name=name)


def load_volume(
    root: Path,
    name: str,
    geometry: Geometry,
    *,
    target_spacing: Sequence[float] = TARGET_SPACING,
    shape: Sequence[int] = TARGET_SHAPE,
) -> np.ndarray:
    """One volume as float32 (X, Y, Z) of `shape`, HU in [-1000, 1000] (`preprocess_volume`).

    The geometry is the metadata's (`read_metadata`), not the header's, which CT-RATE leaves at slope 1, intercept 0. A
    volume that is in HU already is not rescaled again and a `UserWarning` names it. `DataError` names the file when it
    is missing, cut off, not gzip, not 3D or has NaN voxels.
    """
    slope, intercept, place = geometry.slope, geometry.intercept, str(volume_path(root, name))
    stored = check_volume(read_stored(root, name, geometry), name=place)
    if slope_already_applied(stored, slope=slope, intercept=intercept):
        warnings.warn(f"{name} is in HU already: slope {slope:g}, intercept {intercept:g} not applied", stacklevel=2)
        geometry = replace(geometry, slope=1, intercept=0)
    return regrid(stored, geometry, target_spacing=target_spacing, shape=shape, name=place)


def write_split(
    root: Path,
    split: str,
    *,
    metadata: Sequence[Mapping[str, object]],
    labels: pd.DataFrame,
    reports: pd.DataFrame | None = None,
) -> None:
    """Writes the CSVs of one split: rows of `write_volume`, 0/1 labels, and reports (`REPORT_COLUMNS`) if given."""
    write_csv(metadata_path(root, split), pd.DataFrame(list(metadata), columns=list(METADATA_COLUMNS)))
    write_csv(labels_path(root, split), labels, key="VolumeName")
    if reports is not None:
        write_csv(reports_path(root, split), reports, key="VolumeName")


def read_metadata(path: Path) -> dict[str, Geometry]:
    """VolumeName -> its geometry, in file order; `DataError` names file and volume (NaN, zero, text).

    One `UserWarning` names the volumes that are not `axial`: none is turned, so their left and right may be exchanged.
    """
    table = read_csv(path, columns=METADATA_COLUMNS[1:], key="VolumeName")
    found = {name: _geometry(row, name=f"{path}, {name}") for name, row in table.to_dict("index").items()}
    turned = [name for name, geometry in found.items() if not geometry.axial]
    _warn_of(turned, f"{path}: ImageOrientationPatient is not {list(AXIAL)}, and no volume is turned, in")
    return found


def _warn_of(names: Sequence[str], what: str) -> None:
    if names:
        warnings.warn(f"{what} {len(names)} volumes: {', '.join(names[:5])}{' ...' * (len(names) > 5)}", stacklevel=3)


def read_labels(path: Path, labels: Sequence[str] | None = None) -> pd.DataFrame:
    """0/1 labels, int8, indexed by VolumeName; columns `labels` in that order, or all of the file's in its own."""
    table = read_csv(path, columns=labels or (), key="VolumeName")
    table = table[list(labels)] if labels is not None else table
    numbers = table.apply(pd.to_numeric, errors="coerce")
    wrong = ~numbers.isin([0, 1])
    if wrong.to_numpy().any():
        row, column = (int(i) for i in np.argwhere(wrong.to_numpy())[0])
        raise DataError(
            f"{path}, {table.index[row]}: {table.columns[column]} is {table.iat[row, column]!r}, not 0 or 1; "
            "correct it or take the row out."
        )
    return numbers.astype(np.int8)


def read_reports(path: Path) -> pd.DataFrame:
    """Findings_EN and Impressions_EN (text, "" where empty) indexed by VolumeName."""
    return read_csv(path, columns=REPORT_COLUMNS[1:], key="VolumeName")[list(REPORT_COLUMNS[1:])]


def images_by_report(reports: pd.DataFrame) -> dict[str, list[str]]:
    """Unique report text (findings, a space, impression) -> its VolumeNames: reconstructions share their scan's.

    Volumes without a word of report are left out, and a `UserWarning` counts them: they would all share one.
    """
    text = (reports["Findings_EN"] + " " + reports["Impressions_EN"]).str.strip()
    blank = list(text.index[text == ""])
    _warn_of(blank, "neither findings nor impression, hence left out:")
    text = text.drop(blank)
    return {report: list(names) for report, names in text.groupby(text, sort=False).groups.items()}
