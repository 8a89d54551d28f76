"""Open-I as CARZero evaluates it: 7,470 chest radiographs, 18 findings, and the released checkpoint's scores.

Sources: the Open-I file of CARZero (Lai et al., CVPR 2024) and, for the scores, a third-party run of the released
checkpoint (github.com/Skizdukion/reproduce_carzero). Used by the CARZero notebooks.

    openi = load_openi(run.source("open_i")); openi.positives["Lesion"]      # 7
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.data.files import DataError, positions, read_csv
from lib.data.scored_set import ScoredSet, align, read_findings, read_images, read_scores

# Class -> the lower-case texts that make it positive, in prompt order. A finding's own name is always one of them.
# "granuloma" is inside "calcified granuloma", so class 17 contains class 16: the official rule, kept.
OPENI_FINDINGS: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("atelectasis", "atelectases"),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": ("effusion",),
    "Infiltration": ("infiltration", "infiltrate"),
    "Mass": ("mass",),
    "Nodule": ("nodule",),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax",),
    "Edema": ("edema",),
    "Emphysema": ("emphysema",),
    "Fibrosis": ("fibrosis",),
    "Pleural thickening": ("pleural_thickening", "pleural thickening"),
    "Hernia": ("hernia",),
    "Fracture": ("fracture",),
    "Opacity": ("opacity",),
    "Lesion": ("lesion",),
    "Calcified granuloma": ("calcified granuloma",),
    "Granuloma": ("granuloma",),
}


def label_report(text: str) -> list[int]:
    """0/1 for each of the 18 findings: present when one of its texts is a substring of the lower-case text."""
    text = text.lower()
    return [int(any(word in text for word in words)) for words in OPENI_FINDINGS.values()]


def read_labels(path: Path, names: Sequence[str]) -> np.ndarray:
    """Labels (N, 18) int8 of the images ``names`` (file names), from the column ``labels_automatic`` of ``custom.csv``.

    ``labels_major`` is the human MeSH coding; with it the official counts and AUC are not reproduced. Raises
    :class:`DataError` when an image has no row or two.
    """
    table = read_csv(path, columns=["file_name", "labels_automatic"])
    rows = align(names, positions(table, table["file_name"], path), path=path)
    found = table["labels_automatic"].tolist()
    return np.array([label_report(found[row]) for row in rows], dtype=np.int8)


def load_openi(root: Path) -> ScoredSet:
    """Labels and released scores of Open-I, 7,470 images by 18 findings; scores are logits (positive prompt only).

    ``root`` holds ``Dataset/OpenI/`` and ``Performance/test/Openi.csv``. Raises :class:`DataError` naming file and
    line. Source: CARZero's zero-shot protocol; labels follow its evaluation code (github.com/laihaoran/CARZero).
    """
    folder = Path(root) / "Dataset" / "OpenI"
    prompts = folder / "openi_multi_label_text.json"
    asked = read_findings(prompts)
    # Prompts add the organ ("Lung Infiltration"), so a class is recognised by its name inside the prompt.
    if len(asked) != len(OPENI_FINDINGS):
        raise DataError(f"{prompts} has {len(asked)} prompts for {len(OPENI_FINDINGS)} findings; fetch it again.")
    for k, (name, text) in enumerate(zip(OPENI_FINDINGS, asked, strict=True)):
        if name.lower() not in text.lower():
            raise DataError(f"{prompts}, key '{k}' asks for '{text}' where '{name}' is expected; fetch it again.")
    names = [Path(entry).name for entry in read_images(folder / "openi_multi_label_image.csv")]
    scores = read_scores(Path(root) / "Performance" / "test" / "Openi.csv", classes=len(asked), images=len(names))
    labels = read_labels(folder / "custom.csv", names)
    return ScoredSet(names=tuple(names), classes=tuple(OPENI_FINDINGS), labels=labels, scores=scores)
