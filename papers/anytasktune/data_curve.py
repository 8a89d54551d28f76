"""How many pairs a tuned small model needs: its score at several numbers of them, and where that crosses a stronger model's.

>>> crossing([25, 50, 100], [0.2, 0.4, 0.5], 0.4), crossing([25, 50], [0.2, 0.3], 0.4), crossing([25, 50], [0.5, 0.6], 0.4)
(50.0, None, 25.0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from papers.anytasktune.world_arms import SHUFFLED, TUNED
from papers.anytasktune.world_study import Study


def curve(study: Study, arm: str, pairs: Sequence[int], tasks: Sequence[str] | None = None) -> list[list[float]]:
    """Mean score over tasks (by default all) of an arm with each number of pairs: points x seeds."""
    return [study.mean(f"{arm} at {count}", tasks) for count in pairs]


def crossing(pairs: Sequence[int], scores: Sequence[float], level: float) -> float | None:
    """The first number of pairs with a score of ``level`` or more, on straight lines over the logarithm of their number; the
    least of them where the scores begin there, ``None`` where they do not come to it."""
    if scores[0] >= level:
        return float(pairs[0])
    for k in range(1, len(scores)):
        if scores[k] >= level:
            share = (level - scores[k - 1]) / (scores[k] - scores[k - 1])
            return float(pairs[k - 1] * (pairs[k] / pairs[k - 1]) ** share)
    return None


def crossings(study: Study, pairs: Sequence[int], rival: str) -> dict[str, float | None]:
    """Task -> where the tuned small model comes to a rival's score, both as means over the seeds."""
    at = {count: study.scores(f"{TUNED} at {count}") for count in pairs}
    levels = study.scores(rival)
    return {
        name: crossing(pairs, [float(np.mean(at[count][name])) for count in pairs], float(np.mean(levels[name])))
        for name in study.tasks
    }


def arms(study: Study, pairs: Sequence[int]) -> Mapping[str, list[float]]:
    """The arms of N7, one value a seed: most and fewest pairs, with right and with shuffled outputs."""
    most, fewest = max(pairs), min(pairs)
    return {
        "most_pairs": study.mean(f"{TUNED} at {most}"),
        "fewest_pairs": study.mean(f"{TUNED} at {fewest}"),
        "most_pairs_shuffled": study.mean(f"{SHUFFLED} at {most}"),
        "fewest_pairs_shuffled": study.mean(f"{SHUFFLED} at {fewest}"),
    }
