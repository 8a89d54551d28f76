"""How CMB-Exam reads a free reply, a stricter way, and the averages over its exams.

The released extractor (FreedomIntelligence/CMB, ``src/utils.py``) takes what follows "the answer is", else every capital
letter A to G in the text: "CT" or "Basil" then counts as an option. ``strict_letters`` takes only letters that stand
alone. Used by the long-context study.

>>> released_letters("Basil", multiple=False), strict_letters("Basil", multiple=False), strict_letters("B", multiple=False)
('B', '', 'B')
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lib.evaluation import EvaluationError
from lib.evaluation.statistics import binomial_interval

_CUE = re.compile(r"(?:答案(?:是|为|：|:)?|[Tt]he answer is:?|[Aa]nswers?:)\s*(.*)", flags=re.DOTALL)
_ANY = re.compile(r"[A-G]")
_RUN = r"[A-G](?:[\s,，、和;；]*[A-G])*"  # "B", "ABC", "A, C"
_ALONE = re.compile(rf"(?<![A-Za-z0-9])(?:选项?)?({_RUN})(?![A-Za-z0-9])")


def _letters(found: Sequence[str], *, multiple: bool) -> str:
    """As an answer key writes them: each once, in alphabetical order; only the first of a single-answer question."""
    return "".join(sorted(set(found))) if multiple else "".join(found[:1])


def released_letters(reply: str, *, multiple: bool) -> str:
    """The letters the released extractor finds; "" when there is none."""
    cue = _CUE.search(reply)
    return _letters(_ANY.findall(cue[1] if cue and _ANY.search(cue[1]) else reply), multiple=multiple)


def strict_letters(reply: str, *, multiple: bool) -> str:
    """Letters that stand alone, or run together as "ABC"; "" when there is none.

    A word such as "CT" or "BCG" made of option letters only cannot be told from "ABC"; in a single-answer question a run
    of more than one letter is therefore no answer.
    """
    runs = [_ANY.findall(run) for run in _ALONE.findall(reply)]
    if not multiple:
        runs = [run for run in runs if len(run) == 1]
    return _letters(runs[0] if runs else [], multiple=multiple)


def exam_accuracy(correct: Sequence[bool], exams: Sequence[str]) -> dict[str, float]:
    """Share of correct answers in each exam, exams in the order in which they occur. Raises ``EvaluationError``."""
    hits, groups = np.asarray(correct, dtype=bool), np.asarray(exams)
    if not len(hits) or hits.shape != groups.shape:
        raise EvaluationError(f"{len(hits)} answers and {len(groups)} exam names; give one of each for each question.")
    return {str(exam): float(hits[groups == exam].mean()) for exam in dict.fromkeys(exams)}


def accuracy_gap(first: float, second: float, *, items: int) -> tuple[float, float, float]:
    """Points of 100 between two published accuracies (per cent), with the 95 % interval if each rests on ``items`` questions.

    Newcombe's interval of two independent shares, from the Wilson interval of each: accuracies printed without one.
    """
    shares = [first / 100, second / 100]
    (a_low, a_high), (b_low, b_high) = (binomial_interval(round(share * items), items) for share in shares)
    a, b = shares
    low = a - b - np.hypot(a - a_low, b_high - b)
    high = a - b + np.hypot(a_high - a, b - b_low)
    return 100 * (a - b), float(100 * low), float(100 * high)
