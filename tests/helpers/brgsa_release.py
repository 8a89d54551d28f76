"""A small BrgSA release in the real one's file format: image lists, label tables, prompts and score CSVs.

Score columns carry their labels plus noise, so a label row or column that is joined wrongly lowers an AUC.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.ct_rate import CT_RATE_LABELS, CT_RATE_LT_LABELS

# The label file's column order, which is not the prompts'.
LT_COLUMNS = (
    *("Pneumonia", "Atherosclerosis", "Spondylosis", "Pneumothorax", "Bronchial thickening", "Osteophyte", "Empyema"),
    *("Lung cyst", "Lung mass", "Pericardial calcification", "Pneumomediastinum", "Pulmonary fibrosis", "Tuberculosis"),
    *("Pleural calcification", "Rib fracture"),
)

# Prompt and label column of the 67 further findings, in prompt order, as the authors' evaluation pairs them.
REST = [
    tuple(line.strip().split(" = "))
    for line in """
    Intravenous Catheter or Port = catheter_or_port
    Pleural thickening = pleural_thickening
    Coronary artery bypass graft = cabg
    Infection = infection
    Tree-in-bud pattern = tree_in_bud
    Lung resection = lung_resection
    Debris = debris
    Air trapping = air_trapping
    Cavitation = cavitation
    Scattered calcifications = scattered_calc
    Hemothorax = hemothorax
    Heart valve replacement = heart_valve_replacement
    Dilation or ectasia = dilation_or_ectasia
    Sternotomy = sternotomy
    Lesion = lesion
    Deformity = deformity
    Fibrosis = fibrosis
    Bronchiolitis = bronchiolitis
    Ground-glass opacity = groundglass
    Tuberculosis = tuberculosis
    Mucous plugging = mucous_plugging
    Implanted hardware = hardware
    Mass = mass
    Pulmonary edema = pulmonary_edema
    Lucency = lucency
    Arthritis = arthritis
    Pneumonia = pneumonia
    Inflammation = inflammation
    Bronchitis = bronchitis
    Fracture = fracture
    Secretion = secretion
    Congestion = congestion
    Soft tissue abnormality = soft_tissue
    Breast implant = breast_implant
    Breast surgery = breast_surgery
    Chest tube = chest_tube
    Aspiration = aspiration
    Post-surgical changes = postsurgical
    Pneumothorax = pneumothorax
    Tracheal tube = tracheal_tube
    Honeycombing = honeycombing
    Airspace disease = airspace_disease
    Heart failure = heart_failure
    Plaque = plaque
    Gastrointestinal tube = gi_tube
    Reticulation = reticulation
    Aneurysm = aneurysm
    Surgical staples = staple
    Coronary artery disease = coronary_artery_disease
    Pacemaker or defibrillator = pacemaker_or_defib
    Distention = distention
    Infiltrate = infiltrate
    Transplant = transplant
    Surgical clip = clip
    Abnormal density = density
    Interstitial lung disease = interstitial_lung_disease
    Scattered nodules = scattered_nod
    Suture = suture
    Bronchiolectasis = bronchiolectasis
    Atherosclerosis = atherosclerosis
    Stent = stent
    Cyst = cyst
    Band-like or linear opacity = bandlike_or_linear
    Pericardial thickening = pericardial_thickening
    Granuloma = granuloma
    Pneumonitis = pneumonitis
    Cancer = cancer
    """.strip().splitlines()
]
DEVICES = (
    *("catheter_or_port", "tracheal_tube", "chest_tube", "breast_implant", "pacemaker_or_defib", "stent", "clip"),
    *("staple", "gi_tube", "hardware", "suture"),
)
# Columns of the merged RAD-ChestCT table behind the 16 classes, beyond those of REST.
_RAD_EXTRA = (
    *(
        "atelectasis",
        "bronchial_wall_thickening",
        "bronchiectasis",
        "emphysema",
        "pleural_effusion",
        "septal_thickening",
    ),
    *("cardiomegaly", "pericardial_effusion", "calcification", "consolidation", "hernia", "lymphadenopathy", "nodule"),
    *("nodulegr1cm", "opacity", "scarring", "other_path"),
)


@dataclass
class Release:
    """Where the release is and what was written: ``scores`` maps a file's stem to its array."""

    root: Path
    ct_names: list[str]
    rad_names: list[str]
    lt: pd.DataFrame  # 0/1 by volume name, columns CT_RATE_LT_LABELS
    ct: pd.DataFrame  # 0/1 by volume name, columns CT_RATE_LABELS
    merged: pd.DataFrame  # bool by id, RAD-ChestCT's own columns
    scores: dict[str, np.ndarray]

    @property
    def ct_labels_path(self) -> Path:
        return self.root / "valid_predicted_labels.csv"


def score_path(root: Path, file: str) -> Path:
    return Path(root) / "Performance" / "BrgSA_best_model" / f"{file}.csv"


def write_scores(root: Path, file: str, scores: np.ndarray) -> None:
    path = score_path(root, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(scores).to_csv(path, index=False)


def _prompts(path: Path, findings, *, no: bool = False, plain: bool = False) -> None:
    texts = [f"There is {'no ' if no else ''}{finding}" for finding in findings]
    path.write_text(json.dumps({str(k): text if plain else [text] for k, text in enumerate(texts)}))


def _images(path: Path, files: list[str]) -> None:
    seg = [f"/data4/authors/seg/{file}" for file in files]
    pd.DataFrame({"Path": [f"/data4/authors/image/{file}" for file in files], "TotalSegPath": seg}).to_csv(
        path, index=False
    )


def write_release(root: Path, *, volumes: int = 40, seed: int = 0, scramble: int | None = None) -> Release:
    """Write the release and return what it holds. ``scramble``: a seed to shuffle the label files' rows and columns."""
    rng = np.random.default_rng(seed)
    root = Path(root)
    data = root / "Dataset"
    data.mkdir(parents=True)
    ct = [f"valid_{p}_{s}_{r}" for p in range(1, volumes) for s in "ab" for r in (1, 2)][:volumes]
    rad = [f"{'trn' if k % 2 else 'tst'}{number:05d}" for k, number in enumerate(rng.permutation(36000)[:volumes])]

    def label(names, columns):
        values = (rng.random((len(names), len(columns))) < 0.3).astype(int)
        values[:2] = [[0] * len(columns), [1] * len(columns)]  # both classes exist in every column
        return pd.DataFrame(values, index=names, columns=list(columns))

    lt, labels18 = label(ct, CT_RATE_LT_LABELS), label(ct, CT_RATE_LABELS)
    merged = label(rad, [*dict.fromkeys([*_RAD_EXTRA, *(column for _, column in REST)])]).astype(bool)

    _images(data / "CT-RATE_valid_image.csv", [f"{name}.nii.gz" for name in ct])
    _images(data / "Rad_ChestCT_all_image.csv", [f"{name}.nii.gz" for name in rad])
    _prompts(data / "CT-RATE_valid_text.json", CT_RATE_LABELS)
    _prompts(data / "CT-RATE_valid_text_no.json", CT_RATE_LABELS, no=True)
    _prompts(data / "CT-RATE-LT-text.json", CT_RATE_LT_LABELS)
    _prompts(data / "RADChest-CT-text-rest.json", [finding for finding, _ in REST], plain=True)  # as released: no lists

    style = pd.DataFrame(
        0, index=rad, columns=[*(c for c in CT_RATE_LABELS if "Mosaic" not in c), "Mosaic attenuation pattern"]
    )
    for name, column in (
        *(("Arterial wall calcification", "calcification"), ("Coronary artery wall calcification", "calcification")),
        *(("Emphysema", "emphysema"), ("Pleural effusion", "pleural_effusion"), ("Hiatal hernia", "hernia")),
    ):
        style[name] = merged[column].astype(int)

    def write(table, key, path, suffix=".nii.gz"):
        table = table.rename(index=lambda name: f"{name}{suffix}")
        if scramble is not None:
            shuffle = np.random.default_rng(scramble)
            table = table.iloc[shuffle.permutation(len(table)), shuffle.permutation(table.shape[1])]
        table.rename_axis(key).to_csv(path)

    write(lt[list(LT_COLUMNS)], "VolumeName", data / "CT-RATE-LT-label.csv")
    write(labels18, "VolumeName", root / "valid_predicted_labels.csv")
    write(merged, "NoteAcc_DEID", data / "merged_abnormality_labels_with_id.csv", suffix="")
    write(style, "VolumeName", data / "RAD-ChestCT18_ctrateStyle.csv")

    def noisy(truth):
        return np.round(0.3 * np.asarray(truth, dtype=float) + rng.normal(0, 0.15, np.shape(truth)), 7)

    rad18 = np.stack(
        [
            merged[c]
            for c in ("clip", "calcification", "cardiomegaly", "pericardial_effusion", "calcification", "hernia")
        ]
        + [merged[c] for c in ("lymphadenopathy", "emphysema", "atelectasis", "nodule", "opacity", "scarring")]
        + [merged[c] for c in ("pleural_effusion", "infection", "bronchial_wall_thickening", "consolidation")]
        + [merged[c] for c in ("bronchiectasis", "septal_thickening")],
        axis=1,
    )
    rest = merged[[column for _, column in REST]]
    scores = {"CT-RATE_LT_epoch38": noisy(lt)}
    prefix = "Rad_ChestCT_resolution0.8"
    for stem, truth in (("CT-RATE", labels18), (prefix, rad18)):
        for variant in ("vt", "v^t", "vt^", "v^t^"):
            scores[f"{stem}_{variant}_epoch38"] = noisy(truth)
        scores[f"{stem}_epoch38"] = (scores[f"{stem}_vt_epoch38"] + scores[f"{stem}_v^t_epoch38"]) / 2
    for size in ("112x112x64", "112x112x112", "224x224x64", "224x224x112"):
        scores[f"{prefix}_epoch38_{size}"] = noisy(rad18)
    scores[f"{prefix}_no_epoch38"] = noisy(1 - rad18)
    for name, truth in (("epoch38", rest), ("epoch32", rest), ("no_epoch38", ~rest)):
        scores[f"{prefix}_rest_label_{name}"] = noisy(truth)
    for file, values in scores.items():
        write_scores(root, file, values)
    return Release(root=root, ct_names=ct, rad_names=rad, lt=lt, ct=labels18, merged=merged, scores=scores)
