"""What CT-RATE is made of: labels, names, where each file lies under `root`; and BrgSA's two JSON files over it.

`root` is the folder that the dataset calls `dataset/`. Used by `ct_rate`, which re-exports it.

    volume_path(root, "valid_12_a_1.nii.gz")   # root/valid/valid_12/valid_12_a/valid_12_a_1.nii.gz
    read_prompts(path)                         # ["There is Medical material", "There is Arterial wall calcification", ...]

Sources: CT-RATE (huggingface.co/datasets/ibrahimhamamci/CT-RATE); BrgSA, `gloria` data loader (training JSON) and
`Dataset/CT-RATE_valid_text.json` (prompts, and the order of the labels).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.data.files import DataError, read_json, write_json

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


# ---- the training JSON and the prompt JSONs of BrgSA ----
def write_training_json(path: Path, content: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]) -> None:
    """Writes {"train": {report: {"images": [VolumeName, ...], "processed_report": [statement, ...]}}, "val": ...}."""
    write_json(path, content)


def read_training_json(path: Path) -> dict[str, dict[str, dict[str, list[str]]]]:
    """The training JSON, one entry per unique report, as `write_training_json` takes it.

    Images become bare VolumeNames, as the released files list the authors' own folders. `DataError` names the report
    for a wrong key, a blank report, no image, no statement, or a volume listed twice.
    """
    content = read_json(path)
    seen: dict[str, str] = {}
    wrong = sorted(set(content) - {"train", "val"})
    if wrong or not content:
        raise DataError(
            f"{path}: top-level keys {sorted(content)} must be 'train' and 'val'; rename {wrong or 'them'}."
        )
    for split, reports in content.items():
        if not isinstance(reports, dict):
            raise DataError(f"{path}: {split!r} must map each report to its images and statements; regenerate it.")
        for report, entry in reports.items():
            where = f"{path}, {split}, report {report[:60]!r}"
            if not report.strip():
                raise DataError(f"{where} is blank, so its volumes share no report; take it out.")
            if not isinstance(entry, dict) or set(entry) != {"images", "processed_report"}:
                keys = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
                raise DataError(f"{where}: keys must be 'images' and 'processed_report', found {keys}; rename them.")
            for key, remedy in (("images", "list its volumes"), ("processed_report", "summarise it again")):
                values = entry[key]
                if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
                    raise DataError(f"{where}: {key!r} must be a list of non-empty strings; {remedy}.")
                if not values:
                    raise DataError(f"{where}: {key!r} is empty; {remedy} or take the report out.")
            entry["images"] = [re.split(r"[/\\]", image)[-1] for image in entry["images"]]
            for image in entry["images"]:
                if image in seen:
                    raise DataError(f"{where}: image {image} is already listed under {seen[image]}; keep one of them.")
                seen[image] = f"{split}, report {report[:60]!r}"
                try:
                    parse_volume_name(image)
                except DataError as error:
                    raise DataError(f"{where}: {error}") from None
    return content


def write_prompts(path: Path, labels: Sequence[str]) -> None:
    """Writes {"0": ["There is <label>"], "1": ...}, one prompt per class in the order of `labels`."""
    write_json(path, {str(number): [f"There is {label}"] for number, label in enumerate(labels)})


def read_prompts(path: Path) -> list[str]:
    """One prompt per class, in class order; `DataError` unless keys are "0", "1", ... with one text each."""
    content = read_json(path)
    if not content or sorted(content) != sorted(str(number) for number in range(len(content))):
        raise DataError(f"{path}: keys {list(content)} must be '0', '1', ... without a gap; number the classes again.")
    prompts = []
    for number in range(len(content)):
        texts = content[str(number)]
        if not (isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str) and texts[0].strip()):
            raise DataError(
                f'{path}, key "{number}": {texts!r} must be a list of one prompt, like ["There is Emphysema"].'
            )
        prompts.append(texts[0])
    return prompts
