"""A causal language model of single characters, trained from scratch: its words, and the legal texts that it reads first.

Its base reads questions of LawBench's other ten tasks, without an answer; so it has seen legal Chinese and no task. It is tuned
and asked by the functions of :mod:`real_tasks`.

    base = run.build(write_initial, data=data, characters=1200, architecture={...}, seed=0)
    rows = run.build(write_readings, data=data, tasks=["1-1", "2-1"], longest=64, model=base) / "rows.jsonl"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lib.data.files import DataError, write_json_lines
from lib.models import causal_lm
from papers.anytasktune.lawbench import read_task
from papers.anytasktune.lawbench_tasks import ANSWERED, TASKS

UNREADABLE = "□"  # what stands for a piece that the model does not know
READ = tuple(task for task in TASKS if task not in ANSWERED)
PIECE = r"\n|[A-Za-z0-9_]+|[^\sA-Za-z0-9_]"  # as its tokenizer cuts a text (:func:`causal_lm.pieces`)
TEMPLATE = "plain"  # a question, then its answer


def alphabet(data: Path, characters: int) -> list[str]:
    """The ``characters`` most frequent pieces of all questions, and every piece of a label or of the words around an answer.

    Pieces are characters, numbers and Latin words (:func:`causal_lm.pieces`).
    """
    counts: Counter[str] = Counter()
    always: list[str] = ["\n", UNREADABLE]
    for name, task in TASKS.items():
        items = read_task(data, name)
        for item in items.items:
            counts.update(causal_lm.pieces(item.question))
        if name in ANSWERED:
            told = [
                *items.labels,
                *(task.text(item.gold) for item in items.items if task.kind == "months" and item.gold),
            ]
            always += [piece for text in (*told, task.begins, task.ends) for piece in causal_lm.pieces(text)]
    frequent = sorted(counts, key=lambda piece: (-counts[piece], piece))[:characters]
    return sorted({*frequent, *always})


def write_initial(folder: Path, *, data: Path, characters: int, architecture: dict[str, Any], seed: int) -> None:
    """The model with random weights and the words of :func:`alphabet`."""
    texts = ["\n".join(alphabet(data, characters))]
    causal_lm.write_checkpoint(folder, texts=texts, chat_template=TEMPLATE, seed=seed, **architecture)


def legible(text: str, known: Collection[str]) -> str:
    """A text with :data:`UNREADABLE` in the place of every piece that is not known.

    >>> legible("盗窃 1500 元", {"盗", "元"})
    '盗□ □ 元'
    """
    return re.sub(PIECE, lambda found: found[0] if found[0] in known else UNREADABLE, text)


def write_readings(folder: Path, *, data: Path, tasks: Sequence[str], longest: int, model: Path) -> None:
    """``rows.jsonl``: what the base reads, the questions of ``tasks`` in stretches of ``longest`` characters, as ``model`` knows
    them.

    Raises :class:`DataError` for a task whose items are asked: its questions are no reading.
    """
    if asked := [task for task in tasks if task in ANSWERED]:
        raise DataError(f"task {asked[0]} is asked, so its questions are no reading; give some of {', '.join(READ)}.")
    texts = [item.question for task in tasks for item in read_task(data, task).items]
    parts = (text[start : start + longest].strip() for text in texts for start in range(0, len(text), longest))
    known = causal_lm.load(model)[1].get_vocab()
    write_json_lines(folder / "rows.jsonl", [{"text": legible(part, known)} for part in parts if part])
