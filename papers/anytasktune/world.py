"""The generated world on disk: the sub-tasks' files as the hub's, a part for training and a held one, and what bases read.

``train/datatager_<task>.json`` holds pairs in the training frames and values, ``held/datatager_<task>.json`` pairs in frames and
with values that no training pair has. The general instruction pool lies beside them under ``pool`` and the general suite, its
held pairs, under ``suite``. All are read by the one reader of the public files (:mod:`subtasks`), and each output must have its
task's form.

    run.build(write_world, train=240, held=36, pool=120, suite=6, seed=0)
"""

from __future__ import annotations

from pathlib import Path

from lib.data.files import DataError, write_json_lines
from lib.data.instructions import dialogue
from lib.streams import stream
from papers.anytasktune.cases import DOMAINS, GENERAL, draw_case, tell
from papers.anytasktune.subtasks import Pair, read_subtask, write_subtask
from papers.anytasktune.task_metrics import spaced
from papers.anytasktune.world_tasks import POOL, TASKS, Task, draw_pair, find, is_valid

AGAIN = "again :"


def task_file(world: Path, part: str, name: str) -> Path:
    """Where a task's pairs lie; ``part``: train, held, pool or suite."""
    return Path(world) / part / f"datatager_{name}.json"


def write_world(folder: Path, *, train: int, held: int, pool: int, suite: int, seed: int) -> None:
    """The files of a world: ``train`` and ``held`` pairs of each sub-task, ``pool`` and ``suite`` pairs of each pooled one."""
    for part, tasks, count in (
        ("train", TASKS, train),
        ("held", TASKS, held),
        ("pool", POOL, pool),
        ("suite", POOL, suite),
    ):
        (folder / part).mkdir()
        for name, task in tasks.items():
            draw = stream(seed, part, name)
            pairs = [draw_pair(task, draw, held=part in ("held", "suite"), world=seed) for _ in range(count)]
            write_subtask(task_file(folder, part, name), pairs)


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


def asked(task: Task, text: str) -> str:
    """An input as a model reads it: the task's prompt before it, as the dataset cards ask."""
    return f"{task.prompt} {text}"


def write_readings(folder: Path, *, world: Path, seed: int, readings: int, pool: int, turns: int) -> None:
    """``rows.jsonl``: what a base is trained on, shuffled together: ``readings`` documents of ``turns`` cases of a domain, each
    told twice, and ``pool`` dialogues of ``turns`` pairs of one general task, so that the last has examples before it.

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
        chosen = [pairs[name][i] for i in draw.choice(len(pairs[name]), turns, replace=False)]
        rows.append(dialogue([(asked(POOL[name], pair.input), pair.output) for pair in chosen]))
    write_json_lines(folder / "rows.jsonl", [rows[i] for i in draw.permutation(len(rows))])
