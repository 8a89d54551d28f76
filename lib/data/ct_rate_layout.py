"""What CT-RATE is made of: label lists, column names, volume names, and where each file lies under `root`.

`root` is the folder that the dataset calls `dataset/`. Used by `ct_rate` (which re-exports it) and `ct_rate_text`.

    volume_path(root, "valid_12_a_1.nii.gz")   # root/valid/valid_12/valid_12_a/valid_12_a_1.nii.gz

Sources: CT-RATE (huggingface.co/datasets/ibrahimhamamci/CT-RATE); label orders from BrgSA's prompt JSONs.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lib.data.files import DataError

CT_RATE_LABELS = (  # also the order of the prompts and of the columns of released score files
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)
CT_RATE_LT_LABELS = (  # prompt order; the columns of CT-RATE-LT-label.csv come in another one
    "Pneumonia",
    "Pneumothorax",
    "Empyema",
    "Tuberculosis",
    "Pulmonary fibrosis",
    "Lung cyst",
    "Bronchial thickening",
    "Lung mass",
    "Osteophyte",
    "Rib fracture",
    "Atherosclerosis",
    "Pericardial calcification",
    "Spondylosis",
    "Pleural calcification",
    "Pneumomediastinum",
)
METADATA_COLUMNS = (
    "VolumeName",
    "XYSpacing",
    "ZSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleIntercept",
    "RescaleSlope",
)
REPORT_COLUMNS = ("VolumeName", "Findings_EN", "Impressions_EN")
_NAME = re.compile(r"([A-Za-z]+)_(\d+)_([a-z]+)_(\d+)\.nii\.gz")


@dataclass(frozen=True, slots=True)
class VolumeName:
    """One reconstruction of one scan of one patient; `patient_id` and `scan_id` are the folders it lies in."""

    split: str
    patient: int
    scan: str
    reconstruction: int

    @property
    def patient_id(self) -> str:
        return f"{self.split}_{self.patient}"

    @property
    def scan_id(self) -> str:
        return f"{self.patient_id}_{self.scan}"

    def __str__(self) -> str:
        return f"{self.scan_id}_{self.reconstruction}.nii.gz"


def parse_volume_name(name: str) -> VolumeName:
    """`valid_12_a_1.nii.gz` -> VolumeName("valid", 12, "a", 1); `DataError` for anything else."""
    match = _NAME.fullmatch(str(name))
    if match is None:
        raise DataError(
            f"{name!r} is no CT-RATE volume name; expected <split>_<patient>_<scan>_<reconstruction>.nii.gz, "
            "such as valid_12_a_1.nii.gz."
        )
    split, patient, scan, reconstruction = match.groups()
    return VolumeName(split, int(patient), scan, int(reconstruction))


def volume_path(root: Path, name: str) -> Path:
    parsed = parse_volume_name(name)
    return Path(root) / parsed.split / parsed.patient_id / parsed.scan_id / str(name)


def metadata_path(root: Path, split: str) -> Path:
    return Path(root) / "metadata" / f"{'validation' if split == 'valid' else split}_metadata.csv"


def labels_path(root: Path, split: str) -> Path:
    return Path(root) / "multi_abnormality_labels" / f"{split}_predicted_labels.csv"


def reports_path(root: Path, split: str) -> Path:
    return Path(root) / "radiology_text_reports" / f"{'validation' if split == 'valid' else split}_reports.csv"
