"""The generated chest-CT world on disk, as a CT-RATE tree (train, valid).

Everything is written by the format module `ct_rate`, so its readers serve this world and the real data alike.
Whatever is drawn has a stream of its own, named by split, thing and scan: more scans do not change the earlier ones,
another word in a report moves no lesion, and the same seed gives the same bytes.

    write_internal(root, split="train", scans=800, seed=0); write_internal(root, split="valid", scans=300, seed=0)
"""

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data import ct_rate
from lib.data.chest_ct.findings import FINDINGS
from lib.data.chest_ct.reports import write_report
from lib.data.chest_ct.scanner import SHAPE, SPACING, Anatomy, Observation, Scan, observe, reconstruct, render_scan
from lib.data.files import DataError, write_atomic, write_csv
from lib.streams import stream

SPLITS = ("train", "valid", "external")
LT_COLUMNS = tuple(n for n in FINDINGS if n in ct_rate.CT_RATE_LT_LABELS)  # CT-RATE-LT-label.csv's own order
SECOND_SCAN_RATE = 0.15  # patients who are scanned twice
HIGH_INTERCEPT_RATE = 0.15  # scans of a scanner that stores (HU + 8192) * 2 instead of HU + 1024
KERNELS = ((1, "soft"), (2, "sharp"))  # reconstructions of a scan, by their number in the name
_BLOCK = 25  # scans over which a finding's frequency is evened out


@dataclass(frozen=True)
class PlannedScan:
    """Scan `index` of a split: patient number, letter of the scan, the patient's first scan, names of its findings."""

    split: str
    index: int
    patient: int
    letter: str
    first_index: int
    findings: tuple[str, ...]

    def stream(self, seed: int, *names: str | int) -> np.random.Generator:
        """The random stream of one thing that is drawn of this scan."""
        return stream(seed, self.split, *names, self.index)


# ---- what is in the world ----
def plan_scans(split: str, *, scans: int, seed: int) -> list[PlannedScan]:
    """Who is scanned and what each scan shows. A longer plan starts with the shorter one. `DataError` for another split.

    Findings are independent of each other; within every 25 scans each is spread so that its count in any longer run is
    within one or two of prevalence x scans: a rare finding is not missing by bad luck.
    """
    if split not in SPLITS:
        raise DataError(f"there is no split {split!r}; write one of {', '.join(SPLITS)}.")
    shown = np.zeros((scans, len(FINDINGS)), dtype=bool)
    for column, (name, finding) in enumerate(FINDINGS.items()):
        rng = stream(seed, split, "who shows", name)
        start, due = rng.random(), finding.prevalence * _BLOCK
        for block in range(-(-scans // _BLOCK)):
            count = int(start + due * (block + 1)) - int(start + due * block)
            places = block * _BLOCK + rng.permutation(_BLOCK)[:count]
            shown[places[places < scans], column] = True
    again = stream(seed, split, "who comes again").random(scans) < SECOND_SCAN_RATE
    names, plan = np.array(list(FINDINGS)), []
    for index in range(scans):
        before = plan[-1] if plan else None
        second = before is not None and before.letter == "a" and again[index]
        patient = before.patient + (not second) if before else 1
        first = before.first_index if second else index
        plan.append(PlannedScan(split, index, int(patient), "b" if second else "a", first, tuple(names[shown[index]])))
    return plan


def make_scan(planned: PlannedScan, seed: int, shape, spacing) -> tuple[Anatomy, list[Observation], Scan]:
    """The scan's patient (the same at every scan), what it shows, and the noiseless rendering."""
    anatomy = Anatomy.sample(stream(seed, planned.split, "patient", planned.first_index))
    observations = [observe(planned.stream(seed, "finding", name), name) for name in planned.findings]
    rng = planned.stream(seed, "scanner")
    return anatomy, observations, render_scan(rng, observations, shape=shape, spacing=spacing, anatomy=anatomy)


# ---- internal: the CT-RATE tree ----
def write_internal(
    folder: Path,
    *,
    split: str,
    scans: int,
    seed: int,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
    reconstructions: int = 2,
    compression: int = 1,
) -> None:
    """Writes one split ("train" or "valid") under `folder`, CT-RATE's `dataset/` folder; both splits may share a root.

    Per scan two reconstructions of one rendering on the grid `shape`, `spacing` (mm): `_1` soft, `_2` sharper with a
    third more slices; with `reconstructions` 1 the soft one alone. `compression` is gzip's level: 0 stores, which is
    faster than any and half as large again. Also metadata, the 18 labels, the 15 labels (`lt_labels_path`), reports,
    the two prompt files and, for "valid", the findings' masks on the grid of `_1` (`read_masks`). `DataError` if the
    split is there.
    """
    root = Path(folder)
    if split not in ("train", "valid"):
        raise DataError(f"split {split!r} is not one of CT-RATE's; write 'train' or 'valid'.")
    if reconstructions not in (1, 2):
        raise DataError(f"a scan has 1 or 2 reconstructions, not {reconstructions}.")
    if (root / split).exists():
        raise DataError(f"{root / split} exists already; write into an empty folder or remove it.")
    metadata, reports, rows = [], [], {}
    for planned in plan_scans(split, scans=scans, seed=seed):
        anatomy, observations, scan = make_scan(planned, seed, shape, spacing)
        report, rng = write_report(planned.stream(seed, "report"), observations), planned.stream(seed, "storage")
        slope, intercept = (0.5, -8192.0) if rng.random() < HIGH_INTERCEPT_RATE else (1.0, -1024.0)
        table_height = float(np.round(rng.uniform(-40, 40), 1))
        for number, kernel in KERNELS[:reconstructions]:
            name = f"{split}_{planned.patient}_{planned.letter}_{number}.nii.gz"
            noisy = planned.stream(seed, "noise", kernel)
            hu, thickness = reconstruct(scan, noisy, kernel=kernel, noise=anatomy.noise)
            stored = np.rint((hu - np.float32(intercept)) * np.float32(1 / slope)).astype(np.int16)
            origin = [-(n - 1) / 2 * s for n, s in zip(stored.shape, thickness, strict=True)]
            origin[1] += table_height
            row = ct_rate.write_volume(
                root,
                name,
                stored,
                spacing=thickness,
                slope=slope,
                intercept=intercept,
                origin=origin,
                level=compression,
            )
            metadata.append(row)
            reports.append((name, report.findings, report.impression))
            rows[name] = planned.findings
            if split == "valid" and number == 1:
                _write_masks(root, name, scan)
    labels = _label_table(rows)
    write_csv(lt_labels_path(root, split), labels[list(LT_COLUMNS)], key="VolumeName")
    ct_rate.write_prompts(root / "CT-RATE_valid_text.json", ct_rate.CT_RATE_LABELS)
    ct_rate.write_prompts(root / "CT-RATE-LT-text.json", ct_rate.CT_RATE_LT_LABELS)
    ct_rate.write_split(
        root,
        split,
        metadata=metadata,
        labels=labels[list(ct_rate.CT_RATE_LABELS)],
        reports=pd.DataFrame(reports, columns=["VolumeName", "Findings_EN", "Impressions_EN"]),
    )


def lt_labels_path(root: Path, split: str) -> Path:
    """The 15 labels; BrgSA publishes those of "valid" under this name, those of "train" exist in this world only."""
    return Path(root) / ("CT-RATE-LT-label.csv" if split == "valid" else f"CT-RATE-LT-{split}-label.csv")


def _label_table(rows: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """0/1 table, one row a volume or id, one column for each of the 33 findings."""
    values = np.array([[name in shown for name in FINDINGS] for shown in rows.values()], dtype=np.int8)
    return pd.DataFrame(values.reshape(-1, len(FINDINGS)), index=list(rows), columns=list(FINDINGS))


def _write_masks(root: Path, name: str, scan: Scan) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as npz:
        for finding, mask in scan.masks.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, mask, allow_pickle=False)
            npz.writestr(zipfile.ZipInfo(f"{finding}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=1)
    write_atomic(masks_path(root, name), archive.getvalue())


def masks_path(root: Path, name: str) -> Path:
    return Path(root) / "masks" / f"{str(name).removesuffix('.nii.gz')}.npz"


def read_masks(root: Path, name: str) -> dict[str, np.ndarray]:
    """Finding -> bool (X,Y,Z) on the grid of volume `name`, a first reconstruction of "valid"; {} for a normal scan."""
    path = masks_path(root, name)
    try:
        with np.load(path, allow_pickle=False) as content:
            return {finding: content[finding] for finding in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} does not exist or is damaged ({error}); masks are written for first reconstructions of 'valid'."
        ) from None
