"""Answers to generated questions with exact labels: what a verifier is trained on and measured with.

A response names its answer in one of several turns of phrase, by either of its names, and some name another value only to rule it
out. The reference is one name of the right value. Half of the responses are right.

    rows = draw_judgements(world, count=200, seed=0); rows[0].response, rows[0].reference, rows[0].right
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.data.files import check_keys, read_json_lines, write_json_lines
from lib.streams import stream
from papers.huatuogpt_o1.world import ATTRIBUTES, Sizes, World, draw_world

PHRASES = (
    "The {attribute} is {said}.",
    "It is {said}.",
    "Most likely {said}.",
    "It is {said}, not {other}.",
    "{other} was considered, but {said} fits.",
    "Not {other}: {said}.",
)


@dataclass(frozen=True)
class Judgement:
    """``right``: whether the response states the value that the reference names."""

    response: str
    reference: str
    right: bool


def draw_judgements(world: World, *, count: int, seed: int) -> list[Judgement]:
    """``count`` judgements; in a wrong one that rules a value out, the value ruled out is the right one as often as not."""
    rng, found = stream(seed, "judgements"), []
    for number in range(count):
        attribute, right = str(rng.choice(ATTRIBUTES)), number % 2 == 0
        pairs = world.values[attribute]
        truth, wrong, third = (int(k) for k in rng.choice(len(pairs), size=3, replace=False))
        said = truth if right else wrong
        other = wrong if right else (truth if rng.random() < 0.5 else third)
        names = [pairs[k][int(rng.integers(2))] for k in (said, other, truth)]
        phrase = PHRASES[int(rng.integers(len(PHRASES)))]
        response = phrase.format(attribute=attribute, said=names[0], other=names[1])
        found.append(Judgement(response, names[2], right))
    return [found[int(k)] for k in rng.permutation(count)]


def write_judgements(folder: Path, *, sizes: dict[str, int], count: int, seed: int, part: str) -> None:
    """``judgements.jsonl`` and ``aliases.jsonl`` of the world of ``seed``; ``part``: its name sets the draw apart from others."""
    world = draw_world(Sizes(**sizes), seed=seed)
    rows = draw_judgements(world, count=count, seed=int(stream(seed, "part", part).integers(2**31)))
    write_json_lines(folder / "judgements.jsonl", [vars(row) for row in rows])
    write_json_lines(folder / "aliases.jsonl", [list(pair) for pairs in world.values.values() for pair in pairs])


def read_judgements(folder: Path) -> tuple[list[Judgement], dict[str, Sequence[str]]]:
    """The judgements of a folder, and each name of a value -> all its names."""
    rows = []
    for place, row in read_json_lines(folder / "judgements.jsonl"):
        check_keys(row, place, required=("response", "reference", "right"))
        rows.append(Judgement(**row))
    aliases = {name: pair for _, pair in read_json_lines(folder / "aliases.jsonl") for name in pair}
    return rows, aliases
