"""What each tuned arm of the generated sub-tasks is made of: tunings of the small model, and which tasks each of them answers.

A tuning takes as many updates as it has tasks times ``steps``, so that one model a task, one an action and one for all cost the
same. ``<arm> at <n>`` is an arm with n pairs a task in the place of the profile's number, at the same updates; ``<arm> on test``
is asked the test part of its tasks' own files in the place of held frames and values.

>>> [(one.tasks, own) for one, own in tunings("mixed_model", ["llm_resume_scoring", "finance_risk_assessor"], seed=0)]
[(('llm_resume_scoring', 'finance_risk_assessor'), ('llm_resume_scoring', 'finance_risk_assessor'))]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib.streams import stream
from lib.workflow.session import SessionError
from papers.anytasktune.world_tasks import TASKS

TUNED, SHUFFLED = "task_tuned", "task_tuned_shuffled_outputs"
STEP, MIXED = "step_model", "mixed_model"
# Arm -> the one that it is otherwise, what stands before an input in tuning, and what in use (:func:`world.asked`).
PROMPTED = {
    f"{arm}_{ending}": (arm, tuned, used)
    for arm in (STEP, MIXED)
    for ending, tuned, used in (
        ("without_prompt", "none", "none"),
        ("with_random_prompts", "random", "random"),
        ("asked_without_prompt", "own", "none"),
    )
}


@dataclass(frozen=True)
class Tuning:
    """What one model is tuned on: the training pairs of ``tasks``, ``pairs`` of each (``None``: as many as the profile says).

    ``shuffled``: outputs dealt anew within a task. ``dealt``: of all rows, shuffled together, only every ``dealt[1]``-th from
    ``dealt[0]`` on, with as many times fewer updates. ``prompt``: what stands before an input (:func:`world.asked`).
    """

    tasks: tuple[str, ...]
    shuffled: bool = False
    dealt: tuple[int, int] | None = None
    pairs: int | None = None
    prompt: str = "own"


Listed = list[tuple[Tuning, Sequence[str]]]


def actions(tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Domain -> its sub-tasks: the steps of one consultation."""
    found: dict[str, tuple[str, ...]] = {}
    for name in tasks:
        found[TASKS[name].domain] = (*found.get(TASKS[name].domain, ()), name)
    return found


def random_actions(tasks: Sequence[str], *, seed: int) -> list[tuple[str, ...]]:
    """Groups of as many sub-tasks as the actions have, dealt at random."""
    order, groups, start = stream(seed, "random actions").permutation(len(tasks)), [], 0
    for steps in actions(tasks).values():
        dealt = (tasks[i] for i in order[start : start + len(steps)])
        groups.append(tuple(sorted(dealt, key=list(tasks).index)))
        start += len(steps)
    return groups


def at(arm: str) -> tuple[str, int | None, str]:
    """The arm without what its name ends with, and that: its number of pairs, and the part of the files that it is asked.

    >>> at("task_tuned at 25"), at("nearest_pair on test")
    (('task_tuned', 25, 'held'), ('nearest_pair', None, 'test'))
    """
    name, _, part = arm.partition(" on ")
    name, _, count = name.partition(" at ")
    return name, int(count) if count else None, part or "held"


def prompt_in_use(arm: str) -> str:
    """What stands before an item that the arm is asked.

    >>> prompt_in_use("mixed_model_without_prompt"), prompt_in_use("task_tuned at 25")
    ('none', 'own')
    """
    return PROMPTED.get(at(arm)[0], ("", "", "own"))[2]


def tunings(arm: str, tasks: Sequence[str], *, seed: int) -> Listed:
    """The tunings of an arm at a seed, each with the tasks that it answers. Raises :class:`SessionError` for an unknown arm."""
    arm, pairs, _ = at(arm)
    arm, prompt, _ = PROMPTED.get(arm, (arm, "own", "own"))
    many = len(tasks)
    if arm in (TUNED, STEP, SHUFFLED):
        found: Listed = [(Tuning((name,), shuffled=arm == SHUFFLED), (name,)) for name in tasks]
    elif arm == "random_step_model":
        found = [(Tuning(tuple(tasks), dealt=(k, many)), (name,)) for k, name in enumerate(tasks)]
    else:
        groups = {
            MIXED: lambda: [tuple(tasks)],
            "action_model": lambda: list(actions(tasks).values()),
            "random_action_model": lambda: random_actions(tasks, seed=seed),
        }
        if arm not in groups:
            raise SessionError(f"there is no arm '{arm}' among those that answer the generated tasks")
        found = [(Tuning(one), one) for one in groups[arm]()]
    return [(replace(one, pairs=pairs, prompt=prompt), own) for one, own in found]
