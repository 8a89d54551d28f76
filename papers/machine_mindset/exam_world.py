"""An exam about made-up things, in the layout of MMLU: a skill that personality data never touch, learnt by a tiny base.

The four options are the same colours in the same order, because a model of this size does not learn to match listed options to
letters; so a question is a thing and its answer a letter. Half of the things stand in ``val`` (to be practised), half in
``test`` (to be asked).

    run.build(write_exam_world, things=64, seed=0)
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from lib.data.exams import LETTERS, Exam, Question, Subject, write_exam
from lib.streams import stream

COLOURS = ("red", "blue", "green", "white")
SUBJECT = "colours"
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "mo", "ne", "pi", "ra", "so", "tu")


def things(count: int) -> list[str]:
    """So many made-up names, the same in every world, because worlds share one vocabulary."""
    names = ["".join(parts) for parts in product(_SYLLABLES, repeat=3)]
    return [names[i] for i in stream(0, "things").permutation(len(names))[:count]]


def write_exam_world(folder: Path, *, count: int, seed: int) -> None:
    """The exam of a world: ``count`` things, each colour equally often, which thing has which drawn by ``seed``."""
    order, names = stream(seed, "colours").permutation(count), things(count)
    drawn = [(names[i], LETTERS[place % len(LETTERS)]) for place, i in enumerate(order)]
    halves = {"val": drawn[: count // 2], "test": drawn[count // 2 :]}
    halves["dev"] = halves["val"][:4]
    questions = {
        split: {
            SUBJECT: [
                Question(SUBJECT, number, f"Which colour is the {name}?", COLOURS, letter)
                for number, (name, letter) in enumerate(rows)
            ]
        }
        for split, rows in halves.items()
    }
    write_exam(folder, Exam("MMLU", {SUBJECT: Subject("colours", "Other")}, questions))
