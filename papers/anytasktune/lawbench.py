"""LawBench's files as released: the items of a task, what three models answered, the scores of 51 models.

=====================================  ==================================================================================
``<task>.json``                        JSON list of 500 ``{"instruction", "question", "answer"}``
``<model>/<task>.json``                JSON object ``"0"`` ... ``"499"`` of ``{"origin_prompt", "prediction", "refr"}``
``results_{zero,one}_shot.csv``        ``task``, ``model_name``, ``score``, ``abstention_rate``
=====================================  ==================================================================================

Traps: answers come in another order than the items (task 2-2), so they are joined on the prompt, and the gold text that stands
beside an answer must be the item's; prompts occur twice; fifteen prompts of 2-2 have been replaced in the items since, all of
a label that no instruction offers. A prompt is a string in a chat template or a list of one message.

    task = read_task(run.source("lawbench"), "3-4"); read_answers(run.source("lawbench_answers"), "GPT4", task).scores()
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.files import DataError, check_keys, check_text, read_csv, read_json, to_number
from papers.anytasktune import metrics
from papers.anytasktune.lawbench_tasks import ANSWERED, ITEMS, OUTSIDE, TASKS, Gold, Task

ANSWERING = ("GPT4", "GPT-3.5-turbo-0613", "qwen-7b-chat-hf")  # the models whose answers are there
SHOTS = ("zero", "one")
_ITEM = ("instruction", "question", "answer")
_ANSWER = ("origin_prompt", "prediction", "refr")
_CHATML = re.compile(r"\s*<\|im_start\|>user\n(.*)<\|im_end\|>\s*<\|im_start\|>assistant\s*", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """One item: what is asked (the model is given :attr:`prompt`), the gold answer as text and as a value."""

    instruction: str
    question: str
    answer: str
    gold: Gold

    @property
    def prompt(self) -> str:
        return f"{self.instruction}\n{self.question}"


@dataclass(frozen=True)
class Items:
    """A task with its items, in file order, and the labels that an answer may name."""

    task: Task
    path: Path
    items: tuple[Item, ...]
    labels: tuple[str, ...]

    def score(self, text: str, gold: Gold) -> metrics.Scored:
        """What an answering text is worth by the task's metric."""
        if self.task.kind in ("letter", "label"):
            return metrics.choose_one(text, self.labels, gold)
        if self.task.kind in ("labels", "charges"):
            return metrics.choose_some(text, self.labels, gold)
        return (
            metrics.extract(text, self.labels, gold) if self.task.kind == "entities" else metrics.sentence(text, gold)
        )


@dataclass(frozen=True)
class Answer:
    """What a model wrote to the item at ``item`` (``None``: its prompt is not among the items), and the gold it was scored by."""

    item: int | None
    text: str
    gold: Gold


@dataclass(frozen=True)
class Answers:
    """A model's answers to a task, in file order; how many of them stand at another place than their item, or repeat a prompt."""

    model: str
    items: Items
    answers: tuple[Answer, ...]
    moved: int
    repeated: int

    @property
    def outside(self) -> int:
        return sum(answer.item is None for answer in self.answers)

    def scored(self) -> Iterator[tuple[Answer, metrics.Scored]]:
        """Every answer that the benchmark counts, with its score."""
        for answer in self.answers:
            if answer.gold is not None:
                yield answer, self.items.score(answer.text, answer.gold)

    def scores(self) -> np.ndarray:
        """Score of each item, in the order of the items; NaN where the benchmark leaves the item out or has no answer to it."""
        found = np.full(len(self.items.items), np.nan)
        for answer, scored in self.scored():
            if answer.item is not None:
                found[answer.item] = scored.score
        return found

    def score(self) -> float:
        """The benchmark's score: mean over the answers that count."""
        return float(np.mean([scored.score for _, scored in self.scored()]))

    def abstention(self) -> float:
        """The benchmark's abstention rate: answers without anything to read, over all rows of the file."""
        return sum(not scored.answered for _, scored in self.scored()) / len(self.answers)


def read_task(folder: Path, task_id: str, *, count: int = ITEMS) -> Items:
    """The items of a task, of which ``count`` must be there.

    Raises :class:`DataError` naming file, row and remedy for an unknown task, other columns, another number of rows, several
    instructions, and an answer that is out of the label set.
    """
    if task_id not in TASKS:
        raise DataError(f"there is no task '{task_id}' in LawBench; it has {', '.join(TASKS)}.")
    task, path = TASKS[task_id], Path(folder) / f"{task_id}.json"
    rows = read_json(path, holds=list)
    for number, row in enumerate(rows, start=1):
        check_keys(row, f"{path}, row {number}", required=_ITEM)
        for key in _ITEM:
            check_text(row[key], f"{path}, row {number}", key)
    if len(rows) != count:
        raise DataError(f"{path} has {len(rows)} items where {count} make the task; fetch it again.")
    instructions = list(dict.fromkeys(row["instruction"] for row in rows))
    if task.kind and len(instructions) > 1:
        number = next(n for n, row in enumerate(rows, start=1) if row["instruction"] == instructions[1])
        raise DataError(f"{path}, row {number} has another instruction than row 1; a task has one, take the row out.")
    labels = task.labels(instructions[0])
    if task.kind == "charges":  # of which no instruction gives a list: all that the gold answers name
        named = [charge for row in rows for charge in row["answer"].removeprefix(task.begins).split(";")]
        labels = tuple(dict.fromkeys(named))
    items = []
    for number, row in enumerate(rows, start=1):
        gold = task.gold(row["answer"], labels=labels, place=f"{path}, row {number}") if task.kind else None
        items.append(Item(*(row[key] for key in _ITEM), gold=gold))
    return Items(task, path, tuple(items), labels)


def _prompt(told: object, place: str) -> str:
    """The prompt without its chat template."""
    if isinstance(told, list) and len(told) == 1 and isinstance(told[0], dict) and "prompt" in told[0]:
        told = told[0]["prompt"]
    if not isinstance(told, str):
        raise DataError(f"{place}: 'origin_prompt' is neither a text nor a list of one message; fetch the file again.")
    found = _CHATML.fullmatch(told)
    return found[1] if found else told


def read_answers(folder: Path, model: str, items: Items) -> Answers:
    """What ``model`` answered, each answer joined to its item by the prompt; a repeated prompt's answers go by turns.

    Raises :class:`DataError` naming file, row and remedy for a file with more or fewer rows than items, rows out of number,
    a prompt that is asked in no item (but of the label that the benchmark skips), and a gold text that is not the item's.
    """
    task_id = items.task.id
    if task_id not in ANSWERED or model not in ANSWERING:
        raise DataError(
            f"no answers of '{model}' to task {task_id} were released; models: {', '.join(ANSWERING)}, tasks: "
            f"{', '.join(ANSWERED)}."
        )
    path = Path(folder) / model / f"{task_id}.json"
    rows = read_json(path, holds=dict)
    if len(rows) != len(items.items):
        raise DataError(
            f"{path} has {len(rows)} answers where {items.path} has {len(items.items)} items; fetch both again."
        )
    waiting: dict[str, list[int]] = defaultdict(list)
    for position in reversed(range(len(items.items))):
        waiting[items.items[position].prompt].append(position)
    asked, answers, moved = Counter(), [], 0
    for number, (key, row) in enumerate(rows.items()):
        place = f"{path}, row '{key}'"
        if key != str(number):
            raise DataError(f"{place} stands where row '{number}' is expected; number the rows from 0 in their order.")
        check_keys(row, place, required=_ANSWER)
        check_text(row["prediction"], place, "prediction")
        check_text(row["refr"], place, "refr")
        prompt = _prompt(row["origin_prompt"], place)
        gold = items.task.gold(row["refr"], labels=items.labels, place=place)
        asked[prompt] += 1
        position = waiting[prompt].pop() if waiting.get(prompt) else None
        if position is None and not (task_id in OUTSIDE and gold is None):
            raise DataError(
                f"{place} asks {prompt[-40:]!r}, which no item of {items.path} asks (or not as often); join the answers to the "
                f"items that they were given to."
            )
        if position is not None and row["refr"] != items.items[position].answer:
            raise DataError(
                f"{place} has the gold answer {row['refr'][:30]!r}, row {position + 1} of {items.path} with the same prompt "
                f"{items.items[position].answer[:30]!r}; the two files are of different releases, fetch both again."
            )
        moved += position not in (None, number)
        answers.append(Answer(position, row["prediction"], gold))
    return Answers(model, items, tuple(answers), moved, sum(times - 1 for times in asked.values()))


def rescored(answers: Iterable[Answers]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and abstention rates as computed here: models as index, tasks as columns, as :func:`read_scores` gives them."""
    listed = list(answers)
    keys = pd.MultiIndex.from_tuples([(one.model, one.items.task.id) for one in listed])
    found = pd.DataFrame(
        [(one.score(), one.abstention()) for one in listed], index=keys, columns=["score", "abstention"]
    )
    tasks = list(dict.fromkeys(keys.get_level_values(1)))
    return found["score"].unstack()[tasks], found["abstention"].unstack()[tasks]


def read_scores(folder: Path, shots: str = "zero", *, column: str = "score") -> pd.DataFrame:
    """Released scores (0 to 1; or the column ``abstention_rate``): models as index, the twenty tasks as columns.

    Raises :class:`DataError` naming file and line for an unknown task, a model with a task twice or without one, and a score
    that is no number from 0 to 1.
    """
    if shots not in SHOTS:
        raise DataError(f"there are no scores of '{shots}' shots; released were {' and '.join(SHOTS)}.")
    path = Path(folder) / f"results_{shots}_shot.csv"
    table = read_csv(path, columns=["task", "model_name", "score", "abstention_rate"])
    found: dict[tuple[str, str], float] = {}
    for line, task, model, text in zip(table.index, table["task"], table["model_name"], table[column], strict=True):
        if task not in TASKS:
            raise DataError(f"{path}, line {line} has the task '{task}', which LawBench does not have; correct it.")
        if (model, task) in found:
            raise DataError(
                f"{path}, line {line} gives '{model}' a second score in task {task}; delete one of the two."
            )
        try:
            found[model, task] = to_number(text)
        except ValueError:
            found[model, task] = -1.0
        if not 0 <= found[model, task] <= 1:
            raise DataError(f"{path}, line {line}, {column} holds '{text}', no number from 0 to 1; fetch it again.")
    wide = pd.Series(found).unstack()
    for model, task in ((m, t) for m in wide.index for t in TASKS if t not in wide or np.isnan(wide.at[m, t])):
        raise DataError(f"{path} has no score of '{model}' in task {task}; fetch it again.")
    return wide[list(TASKS)].rename_axis("model")
