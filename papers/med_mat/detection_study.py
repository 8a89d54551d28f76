"""The plan of Tables 5, 6, 13 and 14 on the generated world: which subsets, which arms, what is measured.

Used by ``tab5_tab6_detection``; data is :mod:`papers.med_mat.detection`, fits :mod:`papers.med_mat.fits.detection`.

    detection = prepare_detection(study); rows = detection.classification_rows()
    scores = detection.classification(rows); overlaps = detection.overlaps(mask=False)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError
from papers.med_mat import detection as med_mat_detection
from papers.med_mat.data.selection import Subset
from papers.med_mat.fits import detection as med_mat_detection_fits
from papers.med_mat.scores import Scored
from papers.med_mat.study import Study

# Table 5 and 6: detection target <- the detection subset of the other, and classification in the target's modality and area
PLACES = {"39": ("38", "13"), "38": ("39", "08")}
SHOWN = ("38", "39", "42", "45", "47", "49")  # the detection subsets of Tables 5, 6, 13 and 14


@dataclass(frozen=True)
class HelpedRow:
    """A row of Tables 13 and 14 on the world: a detection and a classification subset, and the classification target."""

    row: str
    located: str
    classified: str
    target: Subset


@dataclass(frozen=True)
class Detection:
    """Prepared detection subsets beside a :class:`Study`. ``settings``: the profile's section ``detection``."""

    study: Study
    settings: dict[str, Any]
    located: Path

    def classification_rows(self) -> list[HelpedRow]:
        """The eight rows of Tables 13 and 14, whose members are the first printed choice that the world holds."""
        found = []
        for row in self.study.published:
            if row.table != "tab13_tab14_detection_helps":
                continue
            target = self.study.cell(row.target)
            by_place = next(m for m in row.fits if target not in map(self._cell, m))
            places = [m.no for m in by_place if m.role == "det/seg"]
            letters = [self._cell(m).no for m in by_place if m.role != "det/seg"]
            found.append(HelpedRow(row.row, places[0], letters[0], target))
        return found

    def _cell(self, subset: Subset) -> Subset:
        return subset if subset.role == "det/seg" else self.study.cell(subset)

    # ------------------------------------------------------------------ arms
    def _fit(self, jobs: list[dict[str, Any]], kind: str) -> Path:
        told = {key: self.settings[key] for key in ("steps", "batch", "learning_rate")}
        given = {"located": self.located, "rows": self.study.rows, "base": self.study.base}
        return self.study.run.build(med_mat_detection_fits.fit_located, kind=kind, jobs=jobs, **given, **told)

    def _jobs(self, made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Every job at every seed, seeds outermost."""
        blank = {"target_rows": 0, "located": {}, "classified": {}, "permuted": []}
        return [{**blank, **job, "seed": seed} for seed in self.study.run.seeds for job in made]

    def classification(self, rows: Sequence[HelpedRow], *, corrected: bool = False) -> dict[str, np.ndarray]:
        """Accuracy (seeds, rows) on the classification targets, by arm.

        Untrained; trained on both members; on both with images exchanged (the null); on the classification member alone,
        which tells what detection adds.
        """
        half = self.study.volume // 2

        def related(row: HelpedRow) -> dict[str, Any]:
            return {"target": row.target.no, "located": {row.located: half}, "classified": {row.classified: half}}

        arms = {
            "baseline": [{"target": row.target.no} for row in rows],
            "detection_and_classification": [related(row) for row in rows],
            "permuted_detection_and_classification": [
                {**related(row), "permuted": [row.located, row.classified]} for row in rows
            ],
            "classification_only": [{**related(row), "located": {}} for row in rows],
        }
        found = {}
        for arm, made in arms.items():
            jobs = self._jobs(made)
            with np.load(self._fit(jobs, "box") / "scores.npz") as stored:
                values = [_scored(stored, i, job["target"]).accuracy(corrected=corrected) for i, job in enumerate(jobs)]
            found[arm] = np.reshape(values, (-1, len(rows)))
        return found

    def overlaps(self, *, mask: bool) -> dict[str, np.ndarray]:
        """cIoU (seeds, targets) on the detection targets 39 and 38, in the order of :data:`PLACES`."""
        half, few = self.study.volume // 2, self.settings["target_rows"]

        def job(target: str, *, with_related: bool, permuted: bool = False) -> dict[str, Any]:
            located, classified = PLACES[target]
            if not with_related:
                return {"target": target, "target_rows": few}
            related = {"located": {located: half}, "classified": {classified: half}}
            return {
                "target": target,
                "target_rows": few,
                **related,
                "permuted": [located, classified] if permuted else [],
            }

        arms = {
            "untrained": [{"target": target} for target in PLACES],
            "target_only": [job(target, with_related=False) for target in PLACES],
            "target_plus_related": [job(target, with_related=True) for target in PLACES],
            "target_plus_permuted_related": [job(target, with_related=True, permuted=True) for target in PLACES],
        }
        found = {}
        for arm, made in arms.items():
            jobs = self._jobs(made)
            stored = json.loads((self._fit(jobs, "mask" if mask else "box") / "overlap.json").read_text())
            found[arm] = np.reshape([stored[str(i)] for i in range(len(jobs))], (-1, len(PLACES)))
        return found

    def blind(self) -> dict[str, float]:
        """cIoU on each detection target of one box that ignores the image: the median of all its training boxes."""
        rows, found = med_mat_detection_fits.LocatedRows(self.located), {}
        for target in PLACES:
            parts = {part: rows.located(target, "box", part) for part in ("train", "test")}
            answer = med_mat_detection.blind_answer(parts["train"])
            found[target] = med_mat_detection.score([answer] * len(parts["test"]), parts["test"])
        return found


def _scored(stored: Any, number: int, no: str) -> Scored:
    names = ("test", "test_right", "pool")
    return Scored(*(stored[f"{number}/{no}/{what}"].astype(np.float64) for what in names))


def prepare_detection(study: Study) -> Detection:
    """Draw the detection subsets and prepare their rows for the study's base model, where missing.

    Raises :class:`DataError` for a profile without detection data.
    """
    settings = study.run.settings.get("detection")
    if settings is None:
        raise DataError(
            f"The profile '{study.run.profile}' has no detection data: the release holds none (its rows say TODO); run "
            "tab5_tab6_detection at mini or gpu."
        )
    table = (study.world / "datasets.csv").read_text(encoding="utf-8")
    drawn = {
        "table": table,
        "numbers": list(SHOWN),
        "count": settings["images"],
        "seed": study.settings["world"]["seed"],
    }
    root = study.run.build(med_mat_detection.write_detection, **drawn)
    sizes = {"train": settings["train"], "test": settings["test"]}
    located = study.run.build(
        med_mat_detection_fits.prepare_located, root=root, base=study.base, numbers=list(SHOWN), **sizes
    )
    return Detection(study, settings, located)
