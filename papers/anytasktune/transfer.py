"""What a model tuned on one sub-task gains or loses on every other, and whether skills explain it.

gains = transfer(study); arms(study, gains)  # of N6, one value a seed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lib.streams import stream
from papers.anytasktune.world_arms import Tuning
from papers.anytasktune.world_study import BASE, Study
from papers.anytasktune.world_tasks import TASKS


def transfer(study: Study) -> np.ndarray:
    """Gain over the untuned base (tuned on, asked, seeds), in the metric of the task that is asked."""
    tasks, seeds = study.tasks, study.run.seeds
    jobs = [(seed, name) for name in tasks for seed in seeds]
    models = study.tuned([(seed, Tuning((name,))) for seed, name in jobs])
    said = study.replies([(seed, model, tasks) for (seed, _), model in zip(jobs, models, strict=True)])
    worth = [study.worth(seed, one) for (seed, _), one in zip(jobs, said, strict=True)]
    scores = np.array([[one[name][0] for name in tasks] for one in worth]).reshape(len(tasks), len(seeds), len(tasks))
    base = np.array([study.scores(BASE)[name] for name in tasks])  # asked x seeds
    return scores.transpose(0, 2, 1) - base[None]


def skills(study: Study) -> list[str]:
    """The skill of each task, in their order."""
    return [TASKS[name].skill for name in study.tasks]


def dealt_groups(groups: Sequence[str], *, seed: int) -> list[str]:
    """The same groups, dealt at random among the tasks."""
    return [groups[i] for i in stream(seed, "dealt groups").permutation(len(groups))]


def related(gains: np.ndarray, groups: Sequence[str], seed: int) -> tuple[float, float]:
    """Mean gain on other tasks of the own group and on tasks of other groups; ``seed``: the place of the replicate in ``gains``.

    Where no two tasks are of one group (or all are), the mean is 0.
    """
    same = np.equal.outer(np.array(groups), np.array(groups))
    other = ~same
    np.fill_diagonal(same, False)
    return tuple(float(gains[..., seed][mask].mean()) if mask.any() else 0.0 for mask in (same, other))


def arms(study: Study, gains: np.ndarray) -> Mapping[str, list[float]]:
    """The arms of N6, one value a seed."""
    found: dict[str, list[float]] = {}
    for place, seed in enumerate(study.run.seeds):
        own = related(gains, skills(study), place)
        dealt = related(gains, dealt_groups(skills(study), seed=seed), place)
        names = ("same_skill_elsewhere", "other_skill", "same_random_group", "other_random_group")
        for name, value in zip(names, (*own, *dealt), strict=True):
            found.setdefault(name, []).append(value)
    return found
