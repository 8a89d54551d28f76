"""What a fit of Med-MAT is measured by: the letter log-likelihoods it left behind, their accuracy, and means over targets.

scores = read_scores(folder, jobs); scores[0]["03"].accuracy(corrected=True)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from papers.med_mat.data.selection import Subset


@dataclass(frozen=True)
class Scored:
    """Letter log-likelihoods of one fit on one subset: test (images, rotations, options), the right places, the pool."""

    test: np.ndarray
    right: np.ndarray
    pool: np.ndarray

    def accuracy(self, *, corrected: bool = False) -> float:
        """Share of right answers over images and rotations of their options.

        ``corrected``: each letter's mean log-likelihood over the pool (other images, every rotation) is subtracted
        first, so that a preference for a letter cannot hide what was learnt.
        """
        prior = self.pool.mean(axis=(0, 1)) if corrected else 0.0
        return float(((self.test - prior).argmax(-1) == self.right).mean())


def read_scores(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Scored]]:
    with np.load(folder / "scores.npz") as stored:
        values = {key: stored[key] for key in stored.files}
    return [
        {
            no: Scored(*(values[f"{number}/{no}/{what}"].astype(np.float64) for what in ("test", "test_right", "pool")))
            for no in job["tests"]
        }
        for number, job in enumerate(jobs)
    ]


def accuracies(scores: list[list[dict[str, Scored]]], *, corrected: bool = False) -> np.ndarray:
    """Accuracy (seeds, jobs) of an arm whose jobs test one subset each."""
    return np.array([[next(iter(job.values())).accuracy(corrected=corrected) for job in jobs] for jobs in scores])


def over_targets(values: np.ndarray, targets: Sequence[Subset]) -> np.ndarray:
    """Mean over the jobs of each target, then over targets: (seeds, jobs) -> (seeds,). Rows that share one count once."""
    numbers = [target.no for target in targets]
    means = [values[:, [i for i, no in enumerate(numbers) if no == one]].mean(1) for one in dict.fromkeys(numbers)]
    return np.mean(means, axis=0)
