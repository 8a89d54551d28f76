"""A generated exam in the released format, as raw as the real ones: most of its items break one rule or another.

Kinds: ``sound`` (two hops, one right answer), ``recall`` (a disease is named: every weak model that knows the fact is right),
``ambiguous`` (the findings fit two diseases with different values), ``except``, ``several`` (two right options, as "ac"), ``short``
and ``leaked`` (a sound item whose text is in the evaluation data, too).

    rows = draw_exam(world, counts={"sound": 60, "recall": 40, ...}, seed=0); rows[0]["kind"]
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lib.streams import stream
from papers.huatuogpt_o1.records import LETTERS, Record
from papers.huatuogpt_o1.world import ATTRIBUTES, Case, World, answers, cases

KINDS = ("sound", "recall", "ambiguous", "except", "several", "short", "leaked")
OPTIONS = 4


def _row(rng: np.random.Generator, question: str, right: str, wrong: list[str], **told: object) -> Record:
    texts = [right, *wrong]
    order = rng.permutation(len(texts))
    options = {letter: texts[k] for letter, k in zip(LETTERS, order, strict=False)}
    letter = next(letter for letter, text in options.items() if text == right)
    return {"question": question, "options": options, "answer_idx": letter, "answer": right, **told}


def _others(rng: np.random.Generator, world: World, attribute: str, never: set[int], count: int) -> list[str]:
    """Names of so many other values, one name each."""
    free = [k for k in range(len(world.values[attribute])) if k not in never]
    return [world.values[attribute][int(k)][int(rng.integers(2))] for k in rng.choice(free, size=count, replace=False)]


def _asked(rng: np.random.Generator, world: World, case: Case, *, lead: str = "", **told: object) -> Record:
    """The multiple-choice item of a case; ``lead`` stands before its question."""
    wrong = _others(rng, world, case.attribute, answers(world, case), OPTIONS - 1)
    right = world.names(case.disease, case.attribute)[case.name]
    return _row(rng, lead + case.text(), right, wrong, case=case, **told)


def _background(rng: np.random.Generator) -> str:
    """Short, so that two items do not share 64 characters for their stock phrase alone."""
    return f"At {int(rng.integers(18, 90))}, ill for {int(rng.integers(2, 30))} days. "


def draw_exam(world: World, *, counts: Mapping[str, int], seed: int) -> list[Record]:
    """Rows of the exam format with two keys more, ``kind`` and ``case`` (``None`` where a row has none), in mixed order.

    Raises ``ValueError`` for an unknown kind and when the world has fewer such questions than ``counts`` says.
    """
    if unknown := set(counts) - set(KINDS):
        raise ValueError(f"there is no kind of item '{min(unknown)}'; the kinds are {', '.join(KINDS)}")
    rng, all_cases = stream(seed, "exam"), cases(world)
    sound = [case for case in all_cases if len(answers(world, case)) == 1]
    ambiguous = [
        case for case in all_cases if 1 < len(answers(world, case)) <= len(world.values["cause"]) - OPTIONS + 1
    ]
    need = counts.get("sound", 0) + counts.get("leaked", 0) + counts.get("short", 0)
    for kind, have, wanted in [("sound", len(sound), need), ("ambiguous", len(ambiguous), counts.get("ambiguous", 0))]:
        if wanted > have:
            raise ValueError(f"the world has {have} {kind} questions and {wanted} are asked for; ask for fewer")
    chosen = iter([sound[int(k)] for k in rng.permutation(len(sound))[:need]])
    doubtful = iter([ambiguous[int(k)] for k in rng.permutation(len(ambiguous))[: counts.get("ambiguous", 0)]])
    rows = []
    for kind in KINDS:
        for _ in range(counts.get(kind, 0)):
            rows.append(_item(rng, world, kind, chosen, doubtful))
    return [rows[int(k)] for k in rng.permutation(len(rows))]


def _item(rng: np.random.Generator, world: World, kind: str, sound, doubtful) -> Record:
    disease, attribute = int(rng.integers(len(world.diseases))), str(rng.choice(ATTRIBUTES))
    name, value = world.diseases[disease].name, world.diseases[disease].known[attribute]
    pair = world.values[attribute][value]
    if kind == "recall":
        wrong = _others(rng, world, attribute, {value}, OPTIONS - 1)
        question = f"{_background(rng)}The diagnosis of {name} is certain. Which {attribute}?"
        return _row(rng, question, pair[int(rng.integers(2))], wrong, kind=kind, case=None)
    if kind == "except":
        wrong = [str(one) for one in rng.choice(world.diseases[disease].findings, size=OPTIONS - 1, replace=False)]
        odd = str(rng.choice([one for one in world.findings if one not in world.diseases[disease].findings]))
        question = f"{_background(rng)}All of the following are findings of {name} except:"
        return _row(rng, question, odd, wrong, kind=kind, case=None)
    if kind == "several":
        other = _others(rng, world, attribute, {value}, 1)[0]
        question = f"{_background(rng)}Of {name}: a) {pair[0]} b) {other} c) {pair[1]}. Which {attribute}?"
        return _row(rng, question, "ac", ["ab", "bc", "abc"], kind=kind, case=None)
    if kind == "short":
        case = next(sound)
        wrong = _others(rng, world, case.attribute, answers(world, case), OPTIONS - 1)
        return _row(
            rng, f"{case.attribute}?", world.names(case.disease, case.attribute)[0], wrong, kind=kind, case=None
        )
    return _asked(rng, world, next(doubtful if kind == "ambiguous" else sound), lead=_background(rng), kind=kind)
