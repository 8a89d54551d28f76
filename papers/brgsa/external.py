"""Another hospital's patients of the generated chest-CT world, in RAD-ChestCT's format: the external set.

write_external(folder, scans=200, seed=0)
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lib.data import ct_rate
from lib.data.chest_ct.scanner import reconstruct
from lib.data.chest_ct.world import make_scan, plan_scans
from lib.data.files import DataError, write_csv
from papers.brgsa import rad_chestct

EXTERNAL_SHAPE, EXTERNAL_SPACING = (45, 45, 45), (8.0, 8.0, 8.0)  # isotropic, as RAD-ChestCT is
EXTERNAL_GAIN, EXTERNAL_OFFSET, EXTERNAL_NOISE = 1.05, 15.0, 1.8  # another scanner: HU stretched and raised, more noise


def write_external(
    folder: Path,
    *,
    scans: int,
    seed: int,
    shape: tuple[int, int, int] = EXTERNAL_SHAPE,
    spacing: tuple[float, float, float] = EXTERNAL_SPACING,
) -> None:
    """Writes another hospital's patients under `folder`: npz volumes, metadata, source-column labels, 16 prompts.

    Same findings and frequencies, other grid (`shape`, `spacing` in mm; the format does not record the spacing, so
    hand it to `rad_chestct.load_volume`), HU stretched, raised and noisier as the constants above say. A label
    with several source columns is True in one or two of them, drawn at random. `DataError` if `folder` has volumes.
    """
    root = Path(folder)
    if next(root.glob("*.npz"), None) is not None:
        raise DataError(f"{root} holds volumes already; write into an empty folder.")
    metadata, sources = [], {}
    for planned in plan_scans("external", scans=scans, seed=seed):
        anatomy, _, scan = make_scan(planned, seed, shape, spacing)
        hu, _ = reconstruct(
            scan, planned.stream(seed, "noise", "soft"), kernel="soft", noise=EXTERNAL_NOISE * anatomy.noise
        )
        shifted = np.clip(EXTERNAL_GAIN * (hu + 1000) - 1000 + EXTERNAL_OFFSET, -1024, 3071)
        name = f"trn{planned.index + 1:05d}"
        metadata.append(rad_chestct.write_volume(root, name, np.rint(shifted).astype(np.int16)))
        sources[name] = _source_columns(planned.stream(seed, "columns"), planned.findings)
    columns = [column for of_label in rad_chestct.RAD_SOURCES.values() for column in of_label] + ["other_path"]
    table = pd.DataFrame([{c: c in true for c in columns} for true in sources.values()], index=list(sources))
    rad_chestct.write_metadata(root / "CT_Scan_Metadata_Complete_35747.csv", metadata)
    write_csv(root / "merged_abnormality_labels_with_id.csv", table, key="NoteAcc_DEID")
    ct_rate.write_prompts(root / "RAD-ChestCT-text.json", rad_chestct.RAD_LABELS)


def _source_columns(rng: np.random.Generator, findings: tuple[str, ...]) -> set[str]:
    """RAD-ChestCT's columns that are True for these findings; what it has no label for goes to `other_path`."""
    true: set[str] = set()
    for finding in findings:
        label = (
            "Calcification"
            if finding in ("Arterial wall calcification", "Coronary artery wall calcification")
            else finding
        )
        columns = rad_chestct.RAD_SOURCES.get(label, ("other_path",))
        count = min(len(columns), 1 + int(rng.random() < 0.3))
        true.update(columns[i] for i in rng.permutation(len(columns))[:count])
    return true
