"""BrgSA's released per-volume scores, read in place of a model: CT-RATE-LT, RAD-ChestCT and CT-RATE.

The release (github.com/laihaoran/BrgSA) keeps labels, image lists and prompts under ``Dataset/`` and score CSVs under
``Performance/BrgSA_best_model/``. Score rows have no names: row k is line k of the image CSV. Labels are joined by
volume name and reordered to the prompts, because label files use other row and column orders. Used by the BrgSA
notebooks.

    rad = load_rad_chestct(root, variant="v^t"); rad.classes[1]      # "Calcification"
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from lib.data import ct_rate
from lib.data.files import DataError
from lib.data.scored_set import ScoredSet, align, image_id, read_findings, read_images, read_scores
from papers.brgsa import rad_chestct

# Which pair of embeddings the cosine is taken of; "mean" = (vt + v^t) / 2 is the score the authors' code computes.
Variant = Literal["mean", "vt", "v^t", "vt^", "v^t^"]
Resolution = Literal["112x112x64", "112x112x112", "224x224x64", "224x224x112"]  # of the input; otherwise 256x256x128
VARIANTS: tuple[Variant, ...] = ("mean", "vt", "v^t", "vt^", "v^t^")
RESOLUTIONS: tuple[Resolution, ...] = ("112x112x64", "112x112x112", "224x224x64", "224x224x112")

_RAD = "Rad_ChestCT_resolution0.8"  # 0.8 mm: the spacing assumed for RAD-ChestCT

# Further RAD-ChestCT findings whose label column is not the finding's own words joined by "_".
_REST_COLUMNS = {
    "Intravenous Catheter or Port": "catheter_or_port",
    "Coronary artery bypass graft": "cabg",
    "Tree-in-bud pattern": "tree_in_bud",
    "Scattered calcifications": "scattered_calc",
    "Ground-glass opacity": "groundglass",
    "Implanted hardware": "hardware",
    "Soft tissue abnormality": "soft_tissue",
    "Post-surgical changes": "postsurgical",
    "Gastrointestinal tube": "gi_tube",
    "Surgical staples": "staple",
    "Pacemaker or defibrillator": "pacemaker_or_defib",
    "Surgical clip": "clip",
    "Abnormal density": "density",
    "Scattered nodules": "scattered_nod",
    "Band-like or linear opacity": "bandlike_or_linear",
}


def _images(root: Path, file: str) -> list[str]:
    return [image_id(entry) for entry in read_images(root / "Dataset" / file)]


def _scores(root: Path, file: str, *, classes: int, images: int) -> np.ndarray:
    return read_scores(root / "Performance" / "BrgSA_best_model" / f"{file}.csv", classes=classes, images=images)


def _joined(labels: pd.DataFrame, names: list[str], path: Path) -> np.ndarray:
    """Rows of ``labels`` (indexed by volume) in the order of ``names``: (N, K) int8."""
    rows = {image_id(name): i for i, name in enumerate(labels.index)}
    return labels.to_numpy(dtype=np.int8)[align(names, rows, path=path)]


def _score_file(variant: str, resolution: str | None) -> str:
    """The end of a score file's name: epoch and, where it is not the default, variant or resolution."""
    if variant not in VARIANTS:
        raise DataError(f"There is no score variant '{variant}'; use one of {', '.join(VARIANTS)}.")
    if resolution is None:
        return "epoch38" if variant == "mean" else f"{variant}_epoch38"
    if resolution not in RESOLUTIONS:
        raise DataError(
            f"There are no scores at resolution '{resolution}'; use None or one of {', '.join(RESOLUTIONS)}."
        )
    if variant != "mean":
        raise DataError(
            f"Scores at {resolution} were released for variant 'mean', not '{variant}'; leave one of them out."
        )
    return f"epoch38_{resolution}"


def _ct_rate_findings(root: Path) -> list[str]:
    """The 18 findings in prompt order; it must be CT-RATE's, because the merge to RAD-ChestCT goes by position."""
    path = root / "Dataset" / "CT-RATE_valid_text.json"
    findings = read_findings(path)
    if tuple(findings) != ct_rate.CT_RATE_LABELS:
        raise DataError(f"{path} does not ask for CT-RATE's 18 labels in their order; fetch it again.")
    return findings


def load_ct_rate_lt(root: Path) -> ScoredSet:
    """CT-RATE-LT: the validation volumes by 15 under-represented abnormalities, in prompt order; scores are cosines.

    Raises :class:`DataError` naming file and line. Source: BrgSA, CT-RATE-LT experiment.
    """
    root = Path(root)
    classes = read_findings(root / "Dataset" / "CT-RATE-LT-text.json")
    names = _images(root, "CT-RATE_valid_image.csv")
    scores = _scores(root, "CT-RATE_LT_epoch38", classes=len(classes), images=len(names))
    path = root / "Dataset" / "CT-RATE-LT-label.csv"
    labels = _joined(ct_rate.read_labels(path, classes), names, path)
    return ScoredSet(names=tuple(names), classes=tuple(classes), labels=labels, scores=scores)


def load_ct_rate(root: Path, labels_path: Path, *, variant: Variant = "mean") -> ScoredSet:
    """CT-RATE: the validation volumes by 18 abnormalities; scores are cosines.

    ``labels_path`` is CT-RATE's own ``valid_predicted_labels.csv``, which BrgSA does not redistribute (gated).
    """
    root, path = Path(root), Path(labels_path)
    classes = _ct_rate_findings(root)
    names = _images(root, "CT-RATE_valid_image.csv")
    scores = _scores(root, f"CT-RATE_{_score_file(variant, None)}", classes=len(classes), images=len(names))
    labels = _joined(ct_rate.read_labels(path, classes), names, path)
    return ScoredSet(names=tuple(names), classes=tuple(classes), labels=labels, scores=scores)


def load_rad_chestct(
    root: Path,
    *,
    variant: Variant = "mean",
    resolution: Resolution | None = None,
    subtract_negative: bool = False,
) -> ScoredSet:
    """RAD-ChestCT: the external volumes by 16 abnormalities; scores are cosines.

    The 18 scores become 16: mosaic attenuation goes, the calcifications become one, with the larger score of the two.
    ``subtract_negative`` scores "There is X" minus "There is no X" (our rule), the merged calcification then taking the
    smaller of its two negatives. A label is the union of its columns in ``rad_chestct.RAD_SOURCES``, as in the shipped
    evaluation. Raises :class:`DataError` naming file and line. Source: BrgSA, RAD-ChestCT experiment and its two ablations.
    """
    root = Path(root)
    findings = len(_ct_rate_findings(root))
    names = _images(root, "Rad_ChestCT_all_image.csv")
    file = f"{_RAD}_{_score_file(variant, resolution)}"
    scores = rad_chestct.merge_ct_rate_scores(_scores(root, file, classes=findings, images=len(names)))
    if subtract_negative:
        if (variant, resolution) != ("mean", None):
            raise DataError("Negative prompts were released for variant 'mean' at full resolution; leave both out.")
        absent = _scores(root, f"{_RAD}_no_epoch38", classes=findings, images=len(names))
        scores = scores + rad_chestct.merge_ct_rate_scores(-absent)  # -min(a, b) = max(-a, -b)
    path = root / "Dataset" / "merged_abnormality_labels_with_id.csv"
    labels = _joined(rad_chestct.read_labels(path), names, path)
    return ScoredSet(names=tuple(names), classes=rad_chestct.RAD_LABELS, labels=labels, scores=scores)


def load_rad_chestct_rest(root: Path) -> ScoredSet:
    """RAD-ChestCT: 56 further abnormalities (67 further prompts without the 11 devices); scores are cosines.

    Raises :class:`DataError` naming file and line. Source: BrgSA, further RAD-ChestCT labels.
    """
    root = Path(root)
    path = root / "Dataset" / "RADChest-CT-text-rest.json"
    findings = read_findings(path)
    columns = {name: _REST_COLUMNS.get(name, name.lower().replace(" ", "_")) for name in findings}
    # Devices are already inside "Medical material" of the 16.
    devices = set(rad_chestct.RAD_SOURCES["Medical material"])
    if not devices <= set(columns.values()):
        absent = sorted(devices - set(columns.values()))[0]
        raise DataError(f"{path} has no prompt for the device '{absent}'; fetch it again.")
    names = _images(root, "Rad_ChestCT_all_image.csv")
    scores = _scores(root, f"{_RAD}_rest_label_epoch38", classes=len(findings), images=len(names))
    keep = [k for k, name in enumerate(findings) if columns[name] not in devices]
    classes = tuple(findings[k] for k in keep)
    path = root / "Dataset" / "merged_abnormality_labels_with_id.csv"
    labels = rad_chestct.read_labels(path, sources={name: (columns[name],) for name in classes})
    return ScoredSet(names=tuple(names), classes=classes, labels=_joined(labels, names, path), scores=scores[:, keep])
