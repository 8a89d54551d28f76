"""The generated world on disk: the sub-tasks' files as the hub's, a part for training and a held one, and what bases read.

A sub-task's pairs come as the hub's do, without a split, and are split by :mod:`splits`: ``train``, ``validation`` and ``test``,
each with a ``datatager_<task>.json``, 90, 5 and 5 %. ``held/datatager_<task>.json`` has pairs in frames and with values that none
of these has. The general instruction pool lies beside them under ``pool`` and the general suite, its held pairs, under ``suite``.
All are read by the one reader of the public files (:mod:`subtasks`), and each output must have its task's form.

    run.build(write_world, train=240, held=36, pool=120, suite=6, seed=0)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.data.files import DataError, write_json_lines
from lib.data.instructions import dialogue
from lib.streams import stream
from papers.anytasktune.cases import DOMAINS, GENERAL, draw_case, tell
from papers.anytasktune.splits import split
from papers.anytasktune.subtasks import Pair, read_subtask, write_subtask
from papers.anytasktune.task_metrics import spaced
from papers.anytasktune.world_tasks import POOL, PROMPTS, TASKS, Task, draw_pair, find, is_valid

AGAIN = "again :"


def task_file(world: Path, part: str, name: str) -> Path:
    """Where a task's pairs lie; ``part``: train, validation, test, held, pool or suite."""
    return Path(world) / part / f"datatager_{name}.json"


def write_world(folder: Path, *, train: int, held: int, pool: int, suite: int, seed: int) -> None:
    """The files of a world: of each sub-task ``train`` pairs, split, and ``held`` ones, and ``pool`` and ``suite`` pairs of each
    pooled task."""
    for part, tasks, count in (
        ("train", TASKS, train),
        ("held", TASKS, held),
        ("pool", POOL, pool),
        ("suite", POOL, suite),
    ):
        for name, task in tasks.items():
            draw = stream(seed, part, name)
            pairs = [draw_pair(task, draw, held=part in ("held", "suite"), world=seed) for _ in range(count)]
            places = split([pair.input for pair in pairs], seed=seed) if part == "train" else [part] * count
            for place in dict.fromkeys(places):
                chosen = [pair for pair, where in zip(pairs, places, strict=True) if where == place]
                task_file(folder, place, name).parent.mkdir(exist_ok=True)
                write_subtask(task_file(folder, place, name), chosen)


def read_pairs(world: Path, part: str, name: str) -> list[Pair]:
    """The pairs of a task. Raises :class:`DataError` naming file, row and remedy for a row that :func:`read_subtask` refuses and
    for an output that is none of the task's labels or has not its form."""
    task, path = find(name), task_file(world, part, name)
    pairs = read_subtask(path)
    for number, pair in enumerate(pairs, start=1):
        if not is_valid(task, spaced(pair.output)):
            known = f"one of {', '.join(task.labels)}" if task.labels else f"written as the task '{task.skill}' asks"
            raise DataError(f"{path}, row {number}: the output '{pair.output[:60]}' is not {known}; correct it.")
    return pairs


def draw_pairs(world: Path, name: str, each: int, *, seed: int) -> list[Pair]:
    """``each`` training pairs of a task, which of them by the seed. Raises :class:`DataError` where there are not so many."""
    pairs = read_pairs(world, "train", name)
    if each > len(pairs):
        raise DataError(f"{task_file(world, 'train', name)} has {len(pairs)} pairs, not {each}; ask for fewer.")
    return [pairs[i] for i in stream(seed, "pairs", name).permutation(len(pairs))[:each]]


def asked(task: Task, text: str, *, prompt: str = "own", draw: np.random.Generator | None = None) -> str:
    """An input as a model reads it: the task's prompt before it, as the dataset cards ask.

    ``prompt``: ``own``; ``none``; ``random``, that of a skill that ``draw`` chooses, in the task's domain.
    """
    if prompt == "none":
        return text
    skill = list(PROMPTS)[draw.integers(len(PROMPTS))] if prompt == "random" else task.skill
    return f"{PROMPTS[skill].format(task.domain)} {text}"


def write_readings(
    folder: Path, *, world: Path, seed: int, readings: int, pool: int, turns: int, broad: bool = False
) -> None:
    """``rows.jsonl``: what a base is trained on, shuffled together: ``readings`` documents of ``turns`` cases of a domain, each
    told twice, and ``pool`` dialogues of ``turns`` pairs of one general task, so that the last has examples before it.

    ``broad``: the pairs are none of the world's files but drawn anew, in training frames, on cases of any domain with values that
    training pairs may have: the same instructions about anything.

    The readings are of all domains, in all frames and with all values, the second telling in canonical words, so that everyday and
    canonical words are known. They hold no instruction of a sub-task and no answer to one.
    """
    draw, rows = stream(seed, "readings", turns), []
    domains = (*DOMAINS, *GENERAL)
    for number in range(readings):
        domain, lines = domains[number % len(domains)], []
        for _ in range(turns):
            case = draw_case(domain, draw, held=None, world=seed)
            lines += [
                f"{domain} : {tell(case, draw, held=None)}",
                f"{AGAIN} {tell(case, draw, held=None, canonical=True)}",
            ]
        rows.append({"text": "\n".join(lines)})
    pairs = {name: read_pairs(world, "pool", name) for name in POOL}
    for number in range(pool):
        name = list(POOL)[number % len(POOL)]
        if broad:
            about = domains[draw.integers(len(domains))]
            chosen = [draw_pair(POOL[name], draw, held=False, world=seed, about=about) for _ in range(turns)]
        else:
            chosen = [pairs[name][i] for i in draw.choice(len(pairs[name]), turns, replace=False)]
        rows.append(dialogue([(asked(POOL[name], pair.input), pair.output) for pair in chosen]))
    write_json_lines(folder / "rows.jsonl", [rows[i] for i in draw.permutation(len(rows))])
