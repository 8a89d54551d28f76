"""How the task models grow with their training pairs, at equal updates, and where they pass the larger model.

found = curve(study, [25, 50, 100, 200]); crossing([25, 50, 100, 200], means, 0.6)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.workflow.session import SessionError
from papers.anytasktune.world_study import Study, Tuning


def curve(study: Study, sizes: Sequence[int], *, shuffled: bool = False) -> dict[str, np.ndarray]:
    """Task -> scores (sizes, seeds) of the model tuned on so many pairs of it; the tasks are the profile's ``curve``."""
    tasks, seeds, most = study.settings["curve"], study.run.seeds, study.settings["tune"]["pairs"]
    if list(sizes) != sorted(set(sizes)) or not 0 < sizes[0] <= sizes[-1] <= most:
        raise SessionError(f"the numbers of pairs are {list(sizes)}; give rising ones, from 1 to the profile's {most}")
    jobs = [(seed, name, size) for size in sizes for name in tasks for seed in seeds]
    models = study.tuned([(seed, Tuning((name,), shuffled=shuffled, pairs=size)) for seed, name, size in jobs])
    said = study.replies([(seed, model, [name]) for (seed, name, _), model in zip(jobs, models, strict=True)])
    worth = [study.worth(seed, one)[name][0] for (seed, name, _), one in zip(jobs, said, strict=True)]
    found = np.reshape(worth, (len(sizes), len(tasks), len(seeds)))
    return {name: found[:, k] for k, name in enumerate(tasks)}


def crossing(sizes: Sequence[int], scores: Sequence[float], level: float) -> int | None:
    """The fewest pairs from which on the curve stays above a level; ``None`` where it ends below.

    >>> crossing([25, 50, 100], [0.5, 0.3, 0.6], 0.4)
    100
    """
    above = [score > level for score in scores]
    if not above[-1]:
        return None
    last_below = max((k for k, one in enumerate(above) if not one), default=-1)
    return sizes[last_below + 1]
