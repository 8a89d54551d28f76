"""The CT-RATE tree: volumes, metadata, labels, reports, written and read.

One reader serves the downloaded dataset and the generated one of `lib.data.chest_ct`. `root` is the folder that the
dataset calls `dataset/`; a name is a VolumeName such as `valid_12_a_1.nii.gz` (split, patient, scan, reconstruction).

    root/<split>/<split>_<p>/<split>_<p>_<s>/<VolumeName>           int16, (X, Y, Z), rescale not yet applied
    root/metadata/{train,validation}_metadata.csv                   spacing, position, orientation, rescale
    root/multi_abnormality_labels/{train,valid}_predicted_labels.csv
    root/radiology_text_reports/{train,validation}_reports.csv

    hu = load_volume(root, "valid_1_a_1.nii.gz", read_metadata(metadata_path(root, "valid")).loc["valid_1_a_1.nii.gz"])

Names and places are in `ct_rate_layout`, training JSON and prompts in `ct_rate_text`; both are re-exported here.
Sources: CT-RATE (huggingface.co/datasets/ibrahimhamamci/CT-RATE); BrgSA, preprocessing and `gloria` loaders. Volumes
are (X, Y, Z) throughout, as in `lib.data.volumes`. Every reader raises `DataError`.
"""

import ast
import gzip
import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.ct_rate_layout import (
    CT_RATE_LABELS,
    CT_RATE_LT_LABELS,
    METADATA_COLUMNS,
    REPORT_COLUMNS,
    VolumeName,
    labels_path,
    metadata_path,
    parse_volume_name,
    reports_path,
    volume_path,
)
from lib.data.ct_rate_text import read_prompts, read_training_json, write_prompts, write_training_json
from lib.data.files import DataError, one_line, read_csv, write_atomic, write_csv
from lib.data.volumes import TARGET_SHAPE, TARGET_SPACING, check_spacing, preprocess_volume, slope_already_applied

__all__ = [
    "CT_RATE_LABELS",
    "CT_RATE_LT_LABELS",
    "METADATA_COLUMNS",
    "REPORT_COLUMNS",
    "VolumeName",
    "images_by_report",
    "labels_path",
    "load_volume",
    "metadata_path",
    "parse_volume_name",
    "read_labels",
    "read_metadata",
    "read_prompts",
    "read_reports",
    "read_stored",
    "read_training_json",
    "reports_path",
    "row_spacing",
    "volume_path",
    "write_prompts",
    "write_split",
    "write_training_json",
    "write_volume",
]


def write_volume(
    root: Path,
    name: str,
    stored: np.ndarray,
    *,
    spacing: Sequence[float],
    slope: float,
    intercept: float,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> dict[str, object]:
    """Writes `stored` (X, Y, Z), int16, where CT-RATE keeps it, and returns its metadata row (`METADATA_COLUMNS`).

    `spacing` in mm; `origin` in mm in DICOM's LPS frame, along whose axes the voxels lie. As in CT-RATE the header
    says slope 1, intercept 0 and the real ones go to the row. The same input gives the same bytes. `DataError` for bad
    input.
    """
    import nibabel

    path = volume_path(root, name)
    spacing = check_spacing(spacing, name=str(name))
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
    write_atomic(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
    return {
        "VolumeName": str(name),
        "XYSpacing": str([spacing[0], spacing[1]]),
        "ZSpacing": spacing[2],
        "ImagePositionPatient": str([float(value) for value in origin]),
        "ImageOrientationPatient": str([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        "RescaleIntercept": float(intercept),
        "RescaleSlope": float(slope),
    }


def read_stored(root: Path, name: str, *, slope: float, intercept: float) -> np.ndarray:
    """The numbers stored in a volume, (X, Y, Z). A header that repeats the metadata's rescale is not applied."""
    import nibabel

    path = volume_path(root, name)
    header_errors = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
    )
    try:
        proxy = nibabel.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes())).dataobj
        # Releases differ: the header says 1 and 0, or what the metadata says. Any other scaling packs the file.
        same = proxy.slope == slope and proxy.inter == intercept
        return proxy.get_unscaled() if same else np.asanyarray(proxy)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; download it or take {name} out of the list.") from None
    except (OSError, EOFError, zlib.error, ValueError, *header_errors) as error:
        raise DataError(
            f"{path} is not a readable NIfTI volume ({one_line(error)}); fetch or generate it again."
        ) from error


def row_spacing(row: Mapping[str, object], *, name: str) -> tuple[float, float, float]:
    """Spacing (x, y, z) in mm from XYSpacing (a list-string or a list) and ZSpacing of a metadata row."""
    try:
        xy = row["XYSpacing"]
        x, y = ast.literal_eval(xy) if isinstance(xy, str) else xy
        values = (float(x), float(y), float(row["ZSpacing"]))
    except (TypeError, ValueError, SyntaxError):
        raise DataError(
            f"{name}: XYSpacing {row['XYSpacing']!r} and ZSpacing {row['ZSpacing']!r} are not spacings in mm; "
            'write them like "[0.7, 0.7]" and 1.5, or take the row out.'
        ) from None
    return check_spacing(values, name=name)


def _row_rescale(row: Mapping[str, object], *, name: str) -> tuple[float, float]:
    try:
        slope, intercept = float(row["RescaleSlope"]), float(row["RescaleIntercept"])
    except (TypeError, ValueError):
        slope = intercept = math.nan
    if not (math.isfinite(slope) and slope != 0 and math.isfinite(intercept)):
        raise DataError(
            f"{name}: RescaleSlope {row['RescaleSlope']!r} and RescaleIntercept {row['RescaleIntercept']!r} must be "
            "finite numbers, the slope not 0; correct the row or take it out."
        )
    return slope, intercept


def load_volume(
    root: Path,
    name: str,
    metadata_row: Mapping[str, object] | pd.Series,
    *,
    target_spacing: Sequence[float] = TARGET_SPACING,
    shape: Sequence[int] = TARGET_SHAPE,
) -> np.ndarray:
    """One volume as float32 (X, Y, Z) of `shape`, HU in [-1000, 1000] (`preprocess_volume`).

    Spacing, slope and intercept come from the metadata row, not from the header, which CT-RATE leaves at 1 and 0. A
    volume that is in HU already is not rescaled again and a `UserWarning` names it. `DataError` names the file when it
    is missing, cut off, not gzip, not 3D or has NaN voxels, and the metadata row when that is the cause.
    """
    slope, intercept = _row_rescale(metadata_row, name=name)
    spacing = row_spacing(metadata_row, name=name)
    stored = read_stored(root, name, slope=slope, intercept=intercept)
    if stored.ndim == 3 and slope_already_applied(stored, slope=slope, intercept=intercept):
        warnings.warn(f"{name} is in HU already: slope {slope:g}, intercept {intercept:g} not applied", stacklevel=2)
    return preprocess_volume(
        stored,
        spacing=spacing,
        slope=slope,
        intercept=intercept,
        target_spacing=target_spacing,
        shape=shape,
        name=str(volume_path(root, name)),
    )


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


def read_metadata(path: Path) -> pd.DataFrame:
    """The metadata CSV indexed by VolumeName; spacing and rescale of every row are checked (NaN, zero, text)."""
    table = read_csv(path, columns=METADATA_COLUMNS[1:], key="VolumeName")
    for name, row in table.to_dict("index").items():
        row_spacing(row, name=f"{path}, {name}")
        _row_rescale(row, name=f"{path}, {name}")
    numbers = ["ZSpacing", "RescaleIntercept", "RescaleSlope"]
    return table.astype(dict.fromkeys(numbers, float))


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
    """Unique report text (findings, a space, impression) -> its VolumeNames: reconstructions share their scan's."""
    text = (reports["Findings_EN"] + " " + reports["Impressions_EN"]).str.strip()
    return {report: list(names) for report, names in text.groupby(text, sort=False).groups.items()}
