"""A folder of somebody's own chest CTs and reports: ``*.nii.gz`` at any depth, each with a report.

Reports are a CSV with the columns ``volume`` and ``report``, or, without one, a text file beside each volume (``a.nii.gz``,
``a.txt``). A CSV names a volume by its path below the folder or by its file's name, with or without ``.nii.gz``; its further
columns are kept, ``labels`` cut at semicolons. What cannot be used is told, a sentence each, and does not hinder the rest.

    cases, problems = read_cases(folder, folder / "reports.csv")
    hu = load_volume(folder / cases[0].name, target_spacing=(1.5, 1.5, 3.0), shape=(256, 256, 128))
"""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.data.files import DataError, one_line, read_csv
from lib.data.volumes import Geometry, check_volume, regrid

SUFFIX = ".nii.gz"
TAKEN = ("vector", "x", "y", "modality", "text", "path", "seed", "arm", "thumbnail")  # columns of the saved embeddings
_MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
_LPS = np.array([[0, -1], [1, -1], [2, 1]])  # nibabel's axes are RAS: x and y run the other way


@dataclass(frozen=True)
class Case:
    """One volume, by its path below the folder, with its report and what else its row told."""

    name: str
    report: str
    more: dict[str, str] = field(default_factory=dict)


def _bare(name: str) -> str:
    return name.removesuffix(SUFFIX)


def _volumes(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the volumes below a folder, and a sentence for each that no table could name."""
    found = sorted(path for path in folder.rglob(f"*{SUFFIX}") if path.is_file() and not path.name.startswith("."))
    names, problems = [], []
    for path in found:
        name = path.relative_to(folder).as_posix()
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            problems.append(f"{name!a}: its name is no text in UTF-8; rename the file.")
        else:
            names.append(name)
    return names, problems


def read_cases(folder: Path, reports: Path | None = None) -> tuple[list[Case], list[str]]:
    """The cases of a folder in the order of their names, and one sentence for each volume or report that cannot be used.

    :class:`DataError` for a folder without volumes and a CSV that is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the one that holds the volumes.")
    names, problems = _volumes(folder)
    if not names:
        raise DataError(f"{folder} holds no {SUFFIX} file; give the folder of the volumes.{''.join(problems[:1])}")
    found, told = _of_table(names, Path(reports)) if reports else _of_texts(folder, names)
    return found, problems + told


def _of_texts(folder: Path, names: Sequence[str]) -> tuple[list[Case], list[str]]:
    cases, problems = [], []
    for name in names:
        path = folder / f"{_bare(name)}.txt"
        try:
            report = path.read_bytes().decode("utf-8-sig").strip()
        except FileNotFoundError:
            problems.append(f"{name} has no report; write it into {path.name} beside it.")
        except (OSError, ValueError) as error:
            problems.append(f"{path} is no text in UTF-8 ({one_line(error)}); save it as UTF-8.")
        else:
            if report and "\0" not in report:
                cases.append(Case(name, report))
            else:
                problems.append(
                    f"{path} {'is no text: it holds NUL' if report else 'is empty'}; write the report again."
                )
    stems = {_bare(name) for name in names}
    for path in sorted(folder.rglob("*.txt")):
        stem = path.relative_to(folder).as_posix().removesuffix(".txt")
        if path.is_file() and not path.name.startswith(".") and stem not in stems:
            problems.append(
                f"{path} is a report without a volume; there is no {stem.rpartition('/')[2]}{SUFFIX} beside it."
            )
    return cases, problems


def _of_table(names: Sequence[str], path: Path) -> tuple[list[Case], list[str]]:
    table = read_csv(path, columns=("volume", "report"))
    for column in table.columns:
        if column in TAKEN:
            raise DataError(f"{path}: the column '{column}' is one that embeddings have of their own; rename it.")
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for key in {_bare(name), _bare(name.rpartition("/")[2])}:
            by_name[key].append(name)
    lines: dict[str, list[int]] = defaultdict(list)
    problems = []
    for line, told in table["volume"].items():
        key = _bare(told.strip().replace("\\", "/").removeprefix("./"))
        meant = [name for name in names if _bare(name) == key] or by_name.get(key, [])
        if len(meant) == 1:
            lines[meant[0]].append(line)
        elif meant:
            problems.append(
                f"{path}, line {line}: '{told}' may be {' or '.join(meant[:2])}; give its path below the folder."
            )
        else:
            problems.append(f"{path}, line {line}: '{told[:80]}' is a report without a volume; there is no such file.")
    cases, rest = [], [column for column in table.columns if column not in ("volume", "report")]
    for name in names:
        if len(where := lines.get(name, [])) > 1:
            problems.append(
                f"{path} has {name} on line {where[0]} and again on line {where[1]}; delete one of the rows."
            )
        elif not where:
            problems.append(f"{name} has no report in {path}; add a row.")
        elif report := table.at[where[0], "report"].strip():
            cases.append(Case(name, report, {column: table.at[where[0], column] for column in rest}))
        else:
            problems.append(f"{path}, line {where[0]}: the report of {name} is empty; write it or take the row out.")
    return cases, problems


# ---------------------------------------------------------------------- one volume
def load_volume(path: Path, *, target_spacing: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """A NIfTI file as float32 (X, Y, Z) of ``shape`` in HU, on the model's grid (:func:`lib.data.volumes.regrid`).

    Spacing, rescale and axes are the header's; axes are turned, in whole quarters, to left, posterior, superior, as CT-RATE's
    volumes lie. A ``UserWarning`` names a volume without a voxel below zero, which is hardly in HU. :class:`DataError` names
    the file when it is cut off, not gzip, not NIfTI, not 3D, or has NaN voxels or spacings.
    """
    import nibabel
    from nibabel import orientations

    errors = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
    )
    errors += (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, MemoryError, OverflowError)
    try:
        content = gzip.decompress(Path(path).read_bytes())
        with nibabel.imageglobals.LoggingOutputSuppressor():  # it tells of repairs without the file's name
            header = nibabel.Nifti1Header.from_fileobj(io.BytesIO(content), check=False)
            image = nibabel.Nifti1Image.from_bytes(content)
        spacing = nibabel.affines.voxel_sizes(image.affine) * _MILLIMETRES[image.header.get_xyzt_units()[0]]
        axes = orientations.io_orientation(image.affine) if np.isfinite(image.affine).all() else np.array([[np.nan]])
        stored = np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; put it back or take its report out.") from None
    except errors as error:
        raise DataError(f"{path} is not a readable NIfTI volume ({one_line(error)[:160]}); export it again.") from None
    if not header["sform_code"] and not header["pixdim"][1:4].all():  # repaired to 1 mm without a word
        raise DataError(f"{path}: its header has a spacing of 0 mm; export it again.")
    while stored.ndim > 3 and stored.shape[-1] == 1:
        stored = stored[..., 0]
    stored = check_volume(stored, name=str(path))
    if not np.isfinite(axes).all():
        raise DataError(f"{path}: its header does not say how the axes lie; export it again.")
    turn = orientations.ornt_transform(axes, _LPS)
    stored = orientations.apply_orientation(stored, turn)
    geometry = Geometry(tuple(spacing[np.argsort(axes[:, 0])]), name=str(path))
    if stored.min() >= 0:
        warnings.warn(
            f"{path} has no voxel below 0, so it is hardly in Hounsfield units; put its rescale into the header",
            stacklevel=2,
        )
    return regrid(stored, geometry, target_spacing=target_spacing, shape=shape, name=str(path))
