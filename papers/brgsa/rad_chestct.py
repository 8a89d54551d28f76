"""RAD-ChestCT: npz volumes, merged abnormality table, and how both are matched to the CT-RATE labels.

One reader serves the downloaded set and the generated one of `lib.data.chest_ct`.

    root/<id>.npz        key `ct`: int16 HU, array (Z, Y, X) with z reversed against CT-RATE
    metadata CSV         VolumeAcc_DEID ("trn00001.npz"), orig_orientation ("1,0,0,0,1,0")
    merged labels CSV    NoteAcc_DEID ("trn00001"), 84 abnormality columns True/False

    hu = load_volume(root, "trn00001")   # float32 (X, Y, Z) = (256, 256, 128), HU in [-1000, 1000]

An id is the file name without `.npz`. Arrays handed in and out are (X, Y, Z), as in `lib.data.volumes`. Sources:
RAD-ChestCT (zenodo.org/records/6406114); BrgSA, `preprocess/data_process_radchestct.py` and the mapping of its
`triple_Rad_ChestCT_new_result`. Every reader raises `DataError`.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.ct_rate_layout import CT_RATE_LABELS
from lib.data.files import DataError, one_line, read_csv, write_atomic, write_csv
from lib.data.volumes import TARGET_SHAPE, TARGET_SPACING, Geometry, preprocess_volume

ASSUMED_SPACING = (0.8, 0.8, 0.8)  # mm; the released volumes were resampled to it and do not repeat it
RAD_SOURCES = {  # label -> source columns whose OR it is
    "Medical material": (
        "catheter_or_port",
        "tracheal_tube",
        "chest_tube",
        "breast_implant",
        "pacemaker_or_defib",
        "stent",
        "clip",
        "staple",
        "gi_tube",
        "hardware",
        "suture",
    ),
    "Calcification": ("calcification",),
    "Cardiomegaly": ("cardiomegaly",),
    "Pericardial effusion": ("pericardial_effusion",),
    "Hiatal hernia": ("hernia",),
    "Lymphadenopathy": ("lymphadenopathy",),
    "Emphysema": ("emphysema",),
    "Atelectasis": ("atelectasis",),
    "Lung nodule": ("nodule", "nodulegr1cm"),
    "Lung opacity": ("opacity",),
    "Pulmonary fibrotic sequela": ("scarring",),
    "Pleural effusion": ("pleural_effusion",),
    "Peribronchial thickening": ("bronchial_wall_thickening",),
    "Consolidation": ("consolidation",),
    "Bronchiectasis": ("bronchiectasis",),
    "Interlobular septal thickening": ("septal_thickening",),
}
RAD_LABELS = tuple(RAD_SOURCES)
_CALCIFICATIONS = ("Arterial wall calcification", "Coronary artery wall calcification")


def volume_path(root: Path, name: str) -> Path:
    """`name` with or without `.npz`."""
    return Path(root) / f"{str(name).removesuffix('.npz')}.npz"


def write_volume(root: Path, name: str, stored: np.ndarray) -> dict[str, str]:
    """Writes `stored` (X, Y, Z), int16 HU, as RAD-ChestCT does, and returns its metadata row.

    The same input gives the same bytes.
    """
    stored = np.asarray(stored)
    if stored.ndim != 3 or stored.dtype != np.int16:
        raise DataError(
            f"{name}: {stored.dtype} array of shape {stored.shape}; RAD-ChestCT holds int16 volumes (X, Y, Z)."
        )
    array = np.ascontiguousarray(stored.transpose(2, 1, 0)[::-1])  # (Z, Y, X), z reversed
    member, archive = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, array, allow_pickle=False)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as npz:
        # np.savez would stamp the time of day into the file.
        npz.writestr(zipfile.ZipInfo("ct.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=1)
    path = volume_path(root, name)
    write_atomic(path, archive.getvalue())
    return {"VolumeAcc_DEID": path.name, "orig_orientation": "1,0,0,0,1,0"}


def load_volume(
    root: Path,
    name: str,
    *,
    spacing: Sequence[float] = ASSUMED_SPACING,
    target_spacing: Sequence[float] = TARGET_SPACING,
    shape: Sequence[int] = TARGET_SHAPE,
) -> np.ndarray:
    """One volume as float32 (X, Y, Z) of `shape`, HU in [-1000, 1000]; z turned to CT-RATE's direction.

    `spacing` (mm) is an assumption about the release, hence a parameter. The orientation column plays no part: input
    and output grids share it. `DataError` names the file when it is missing, damaged, lacks `ct` or is not 3D.
    """
    path = volume_path(root, name)
    try:
        with np.load(path, allow_pickle=False) as content:
            array = content["ct"]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; download it or take {name} out of the list.") from None
    except KeyError:
        raise DataError(f"{path} has no array 'ct'; use the volumes of RAD-ChestCT as released.") from None
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is not a readable npz volume ({one_line(error)}); fetch or generate it again."
        ) from error
    if array.ndim == 3:
        array = array[::-1].transpose(2, 1, 0)  # (Z, Y, X) reversed in z -> (X, Y, Z)
    geometry = Geometry(tuple(spacing), name=str(path))
    return preprocess_volume(array, geometry, target_spacing=target_spacing, shape=shape, name=str(path))


def write_metadata(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes the rows of `write_volume` as the metadata CSV."""
    write_csv(path, pd.DataFrame(list(rows)))


def read_labels(path: Path, *, sources: Mapping[str, Sequence[str]] = RAD_SOURCES) -> pd.DataFrame:
    """The 16 labels, 0/1 int8, indexed by id, columns in the order of `sources`: each the OR of its source columns.

    The id column is NoteAcc_DEID or VolumeAcc_DEID. Other columns are ignored. BrgSA's older mapping is
    `RAD_SOURCES | {"Medical material": ("catheter_or_port",), "Lung nodule": ("nodule",)}`.
    """
    needed = [source for columns in sources.values() for source in columns]
    try:
        key = next(iter(pd.read_csv(path, nrows=0).columns.intersection(["NoteAcc_DEID", "VolumeAcc_DEID"])), None)
    except (OSError, ValueError):
        key = None  # read_csv says what is wrong with the file
    table = read_csv(path, columns=needed, key=key or "NoteAcc_DEID")[needed]
    truth = table.apply(lambda column: column.str.strip().str.lower().map({"true": 1, "false": 0, "1": 1, "0": 0}))
    if truth.isna().to_numpy().any():
        row, column = (int(i) for i in np.argwhere(truth.isna().to_numpy())[0])
        raise DataError(
            f"{path}, {table.index[row]}: {needed[column]} is {table.iat[row, column]!r}, not True or False; "
            "correct it or take the row out."
        )
    labels = pd.DataFrame({label: truth[list(columns)].max(axis=1) for label, columns in sources.items()})
    labels.index = labels.index.str.removesuffix(".npz")
    if labels.index.has_duplicates:
        raise DataError(f"{path}: id {labels.index[labels.index.duplicated()][0]} occurs more than once; keep one row.")
    return labels.astype(np.int8)


def merge_ct_rate_scores(scores: np.ndarray) -> np.ndarray:
    """Scores (N, 18) in CT_RATE_LABELS order -> (N, 16) in RAD_LABELS order.

    RAD-ChestCT has no mosaic attenuation (dropped) and one calcification (the larger score of the two). For scores of
    negative prompts the smaller would be meant: negate before and after.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[1] != len(CT_RATE_LABELS):
        raise DataError(
            f"scores of shape {scores.shape} are not (N, {len(CT_RATE_LABELS)}); score the CT-RATE prompts."
        )
    arterial, coronary = (CT_RATE_LABELS.index(label) for label in _CALCIFICATIONS)
    merged = scores.copy()
    merged[:, arterial] = scores[:, [arterial, coronary]].max(axis=1)
    return np.delete(merged, [coronary, CT_RATE_LABELS.index("Mosaic attenuation pattern")], axis=1)
