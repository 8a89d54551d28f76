"""The plan of Tables 5, 6, 13 and 14 on the generated world: which subsets, which arms, what is measured.

Used by ``tab5_tab6_detection``; data is :mod:`papers.med_mat.detection`, fits :mod:`papers.med_mat.fits.detection`.

    detection = prepare_detection(study); rows = detection.classification_rows()
    scores = detection.classification(rows); overlaps = detection.overlaps(mask=False)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError
from lib.streams import stream
from papers.med_mat import detection as med_mat_detection
from papers.med_mat.data.selection import Subset
from papers.med_mat.fits import detection as med_mat_detection_fits
from papers.med_mat.scores import Scored
from papers.med_mat.study import Study

# Table 5 and 6: detection target <- the detection subset of the other, and classification in the target's modality and area
PLACES = {"39": ("38", "13"), "38": ("39", "08")}
UNRELATED = {"39": "08", "38": "13"}  # instead of the latter: the other target's, of another modality and area
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
    located: list[Path]  # of each base

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

    def far_from(self, row: HelpedRow) -> str:
        """The detection subset that takes the place of a row's own in its control: of another modality and another area.

        It holds the format and the task of finding lesions, and no element of the target. The first of those drawn, by
        the row's name.
        """
        table = self.study.registry.subsets
        far = [no for no in SHOWN if table[no].modality != row.target.modality and table[no].area != row.target.area]
        return far[stream(0, "unrelated detection subset", row.row).integers(len(far))]

    # ------------------------------------------------------------------ arms
    def _fit(self, made: Sequence[dict[str, Any]], kind: str) -> tuple[Path, list[dict[str, Any]]]:
        """The artefact of every job at every seed, seeds outermost, and those jobs."""
        told = {key: self.settings[key] for key in ("steps", "batch", "learning_rate")}
        blank = {"target_rows": 0, "located": {}, "classified": {}, "permuted": []}
        by_seed = [[{**blank, **job, "seed": seed} for job in made] for seed in self.study.run.seeds]
        jobs, stand = list(chain.from_iterable(by_seed)), self.study.stand(by_seed)
        given = {"located": self.located, "kind": kind, "jobs": jobs, **stand, **told}
        return self.study.run.build(med_mat_detection_fits.fit_located, **given), jobs

    def classification(self, rows: Sequence[HelpedRow], *, corrected: bool = False) -> dict[str, np.ndarray]:
        """Accuracy (seeds, rows) on the classification targets, by arm.

        Untrained; trained on both members; on the classification member with as many rows of an unrelated detection
        subset (the control); on the classification member alone, which tells what boxes add at all.
        """
        half = self.study.volume // 2

        def job(row: HelpedRow, located: str) -> dict[str, Any]:
            boxes = {located: half} if located else {}
            return {"target": row.target.no, "located": boxes, "classified": {row.classified: half}}

        arms = {
            "baseline": [{"target": row.target.no} for row in rows],
            "detection_and_classification": [job(row, row.located) for row in rows],
            "unrelated_detection_and_classification": [job(row, self.far_from(row)) for row in rows],
            "classification_only": [job(row, "") for row in rows],
        }
        found = {}
        for arm, made in arms.items():
            folder, jobs = self._fit(made, "box")
            with np.load(folder / "scores.npz") as stored:
                values = [_scored(stored, i, job["target"]).accuracy(corrected=corrected) for i, job in enumerate(jobs)]
            found[arm] = np.reshape(values, (-1, len(rows)))
        return found

    def overlaps(self, *, mask: bool) -> dict[str, np.ndarray]:
        """cIoU (seeds, targets) on the detection targets 39 and 38, in the order of :data:`PLACES`.

        In the control the classification subset is one of another modality and area; the detection subset is the same.
        """
        half, few = self.study.volume // 2, self.settings["target_rows"]

        def job(target: str, classified: str = "") -> dict[str, Any]:
            own = {"target": target, "target_rows": few}
            related = {"located": {PLACES[target][0]: half}, "classified": {classified: half}}
            return {**own, **related} if classified else own

        arms = {
            "untrained": [{"target": target} for target in PLACES],
            "target_only": [job(target) for target in PLACES],
            "target_plus_related": [job(target, classified) for target, (_, classified) in PLACES.items()],
            "target_plus_unrelated": [job(target, UNRELATED[target]) for target in PLACES],
        }
        found = {}
        for arm, made in arms.items():
            folder, jobs = self._fit(made, "mask" if mask else "box")
            stored = json.loads((folder / "overlap.json").read_text())
            found[arm] = np.reshape([stored[str(i)] for i in range(len(jobs))], (-1, len(PLACES)))
        return found

    def blind(self) -> dict[str, float]:
        """cIoU on each detection target of one box that ignores the image: the median of all its training boxes; the mean
        over bases."""
        found: dict[str, list[float]] = {target: [] for target in PLACES}
        for rows in map(med_mat_detection_fits.LocatedRows, self.located):
            for target, values in found.items():
                parts = {part: rows.located(target, "box", part) for part in ("train", "test")}
                answer = med_mat_detection.blind_answer(parts["train"])
                values.append(med_mat_detection.score([answer] * len(parts["test"]), parts["test"]))
        return {target: float(np.mean(values)) for target, values in found.items()}


def _scored(stored: Any, number: int, no: str) -> Scored:
    names = ("test", "test_right", "pool")
    return Scored(*(stored[f"{number}/{no}/{what}"].astype(np.float64) for what in names))


def prepare_detection(study: Study) -> Detection:
    """Draw the detection subsets of each base and prepare their rows for its model, where missing.

    Raises :class:`DataError` for a profile without detection data.
    """
    settings = study.run.settings.get("detection")
    if settings is None:
        raise DataError(
            f"The profile '{study.run.profile}' has no detection data: the release holds none (its rows say TODO); run "
            "tab5_tab6_detection at mini or gpu."
        )
    table = (study.run.facts / "datasets.csv").read_text(encoding="utf-8")
    drawn = {"table": table, "numbers": list(SHOWN), "count": settings["images"]}
    grounds = study.grounds
    roots = study.run.build_all(med_mat_detection.write_detection, [{**drawn, "seed": seed} for seed in grounds])
    sizes = {"numbers": list(SHOWN), "train": settings["train"], "test": settings["test"]}
    models = [ground.model for ground in grounds.values()]
    made = [{**sizes, "root": root, "base": model} for root, model in zip(roots, models, strict=True)]
    return Detection(study, settings, study.run.build_all(med_mat_detection_fits.prepare_located, made))
