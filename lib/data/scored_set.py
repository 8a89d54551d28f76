"""A scored set: the images of a test set, what each shows, and what a model said, aligned row by row.

GLoRIA's descendants (CARZero, BrgSA) release the same three files: a score CSV without names (header ``0..K-1``), an
image CSV whose line k names row k, and a prompt JSON whose key order is the class order. Used by the
papers' readers of released scores; every classification metric takes ``labels`` and ``scores``.

    found = ScoredSet(...); found.scores.shape == found.labels.shape == (7470, 18)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.files import DataError, positions, read_csv, read_json, to_numbers

_PROMPT = re.compile(r"there is (?:no )?(\S.*?)\.?", re.IGNORECASE)


@dataclass(frozen=True)
class ScoredSet:
    """``labels`` (N, K) int8 of 0 and 1 and ``scores`` (N, K) float64, row n belonging to ``names[n]``, column k to
    ``classes[k]``. Larger scores mean "present"; their unit is the model's (cosine or logit)."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        shape = (len(self.names), len(self.classes))
        if self.labels.shape != shape or self.scores.shape != shape:
            raise DataError(
                f"A scored set of {shape[0]} images and {shape[1]} classes got labels {self.labels.shape} and scores "
                f"{self.scores.shape}; pass arrays of shape {shape}."
            )

    @property
    def positives(self) -> dict[str, int]:
        """Number of images that show each class."""
        return dict(zip(self.classes, self.labels.sum(axis=0, dtype=int).tolist(), strict=True))


def image_id(path: str) -> str:
    """The image's id in a path of any length: ``/x/valid_1_a_1.nii.gz`` -> ``valid_1_a_1``."""
    return re.split(r"[/\\]", path)[-1].split(".")[0]


def read_images(path: Path) -> list[str]:
    """The ``Path`` column of an image CSV, in file order (N). Raises :class:`DataError` for an image listed twice."""
    table = read_csv(path, columns=["Path"])
    positions(table, [image_id(entry) for entry in table["Path"]], path)
    return table["Path"].tolist()


def read_findings(path: Path) -> list[str]:
    """What the prompts of a prompt JSON ask for, in class order: "There is (no) Lung nodule" -> "Lung nodule".

    Released files hold ``{"0": ["There is X"], ...}`` or ``{"0": "There is X", ...}``; both are read. Raises
    :class:`DataError` for keys other than "0", "1", ... in this order, another form of prompt and a finding asked
    twice.
    """
    content = read_json(path)
    if not content or list(content) != [str(k) for k in range(len(content))]:
        raise DataError(
            f"{path}: keys {', '.join(list(content)[:5])} ... must be '0', '1', ... in order; number them again."
        )
    findings: list[str] = []
    for key, value in content.items():
        prompt = value[0] if isinstance(value, list) and len(value) == 1 else value
        match = _PROMPT.fullmatch(prompt.strip()) if isinstance(prompt, str) else None
        if match is None:
            raise DataError(
                f"{path}, key '{key}' holds {value!r}, not one prompt of the form 'There is X'; correct it."
            )
        if match.group(1) in findings:
            first = findings.index(match.group(1))
            raise DataError(f"{path}, keys '{first}' and '{key}' both ask for {match.group(1)}; drop one class.")
        findings.append(match.group(1))
    return findings


def read_scores(path: Path, *, classes: int, images: int) -> np.ndarray:
    """Score CSV with header ``0..classes-1`` and one line an image, as float64 (images, classes).

    Rows have no name, so a file with another number of rows is an error: every row after the gap would be scored
    against another image's labels.
    """
    table = read_csv(path)
    if list(table.columns) != [str(k) for k in range(classes)]:
        raise DataError(
            f"{path} has {len(table.columns)} columns ({', '.join(table.columns[:3])} ...) where its prompts ask "
            f"for {classes} (0 ... {classes - 1}); use the score file of these prompts."
        )
    if len(table) != images:
        raise DataError(
            f"{path} has {len(table)} rows for {images} images in the image list; rows are matched by position, "
            f"so use the list the scores were made from."
        )
    return to_numbers(table, path)


def align(names: Sequence[str], rows: Mapping[str, int], *, path: Path) -> list[int]:
    """For each image its row in the label file ``path``; :class:`DataError` names the first image without one."""
    missing = [name for name in names if name not in rows]
    if missing:
        raise DataError(
            f"{path} has no row for '{missing[0]}' ({len(missing)} of {len(names)} images are without labels); "
            f"use the label file of this image list."
        )
    return [rows[name] for name in names]
