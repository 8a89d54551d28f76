"""What needs no model: the most frequent output, the output of the nearest training input, the input itself.

Retrieval is strong where data are made from templates: a tuned model that only ties it has memorised. It sees the very pairs that
the tuned model of the same seed sees.

    run.build(answer_without_model, world=world, tasks=["legal_split_cases"], way="nearest_pair", each=200, count=36, seed=0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lib.data.files import DataError, write_json
from papers.anytasktune.linear import nearest
from papers.anytasktune.world import draw_pairs, read_pairs

MAJORITY, NEAREST, COPY = WAYS = ("majority_output", "nearest_pair", "copied_input")


def majority(outputs: Sequence[str]) -> str:
    """The most frequent output, of equally frequent ones the first in alphabetical order.

    >>> majority(["low", "high", "high", "low", "medium"])
    'high'
    """
    counts = Counter(outputs)
    return min(counts, key=lambda output: (-counts[output], output))


def answer_without_model(
    folder: Path, *, world: Path, tasks: Sequence[str], way: str, each: int, count: int, seed: int, part: str = "held"
) -> None:
    """``answers.json``: task -> an answer to each of its first ``count`` items of a part, from ``each`` training pairs."""
    if way not in WAYS:
        raise DataError(f"there is no way '{way}' of answering without a model; there are {', '.join(WAYS)}.")
    found = {}
    for name in tasks:
        asked = [pair.input for pair in read_pairs(world, part, name)[:count]]
        learnt = draw_pairs(world, name, each, seed=seed)
        if way == COPY:
            found[name] = asked
        elif way == MAJORITY:
            found[name] = [majority([pair.output for pair in learnt])] * len(asked)
        else:
            found[name] = [learnt[i].output for i in nearest([pair.input for pair in learnt], asked)]
    write_json(folder / "answers.json", found)
