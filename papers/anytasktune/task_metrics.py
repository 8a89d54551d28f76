"""The metrics of the generated sub-tasks, fixed by skill before anything was trained: free texts against the right answers.

extract      F1 of the set of facts, mean over items            ask     F1 of the set of questions, mean over items
standardise  mean of ROUGE-L and of the F1 of the facts         split   ROUGE-L of the records in their order, a missing one 0
label, rate  macro-F1 over the labels of the right answers      score   Spearman's rank correlation, 0 where all answers are alike

All are 0 to 1, Spearman's -1 to 1. A score that is no number from one to five counts as the middle one.

>>> score(TASKS["legal_extract_information"], ["problem theft; time days"], ["problem theft ; time weeks"])
0.5
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from lib.evaluation import EvaluationError
from lib.models.causal_lm import pieces
from papers.anytasktune.metrics import f1
from papers.anytasktune.world_tasks import BETWEEN, PARTS, SCORES, TASKS, Task, is_valid  # noqa: F401  (TASKS: the example)


def spaced(text: str) -> str:
    """A text with one blank between its pieces, as the right answers are written."""
    return " ".join(pieces(text))


@lru_cache(maxsize=1)
def _scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


def rouge_l(said: str, wanted: str) -> float:
    """ROUGE-L, the F measure."""
    return float(_scorer().score(wanted, said)["rougeL"].fmeasure)


def _item(task: Task, said: str, wanted: str) -> float:
    if task.skill in ("extract", "ask"):
        return f1(set(said.split(BETWEEN)), set(wanted.split(BETWEEN)))
    if task.skill == "standardise":
        return (rouge_l(said, wanted) + f1(set(said.split()), set(wanted.split()))) / 2
    given, records = said.split(PARTS), wanted.split(PARTS)
    given += [""] * (len(records) - len(given))
    return float(np.mean([rouge_l(one, record) for one, record in zip(given, records, strict=False)]))


def macro_f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Mean F1 over the labels among the right answers; an answer that is no label is wrong."""
    found = []
    for label in sorted(set(wanted)):
        hits = sum(a == label == b for a, b in zip(said, wanted, strict=True))
        found.append(2 * hits / (said.count(label) + wanted.count(label)))
    return float(np.mean(found))


def spearman(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Rank correlation of two lists of scores in words."""
    from scipy.stats import rankdata

    middle = len(SCORES) // 2
    ranks = [rankdata([SCORES.index(one) if one in SCORES else middle for one in listed]) for listed in (said, wanted)]
    return 0.0 if any(np.ptp(one) == 0 for one in ranks) else float(np.corrcoef(*ranks)[0, 1])


def score(task: Task, texts: Sequence[str], golds: Sequence[str]) -> float:
    """The metric of a task over its items. Raises :class:`EvaluationError` unless there are as many texts as right answers."""
    if len(texts) != len(golds) or not golds:
        raise EvaluationError(
            f"{task.name}: {len(texts)} answers for {len(golds)} items; give one answer to each item, in their order."
        )
    said, wanted = [spaced(text) for text in texts], [spaced(text) for text in golds]
    if task.skill in ("label", "rate"):
        return macro_f1(said, wanted)
    if task.skill == "score":
        return spearman(said, wanted)
    return float(np.mean([_item(task, one, gold) for one, gold in zip(said, wanted, strict=True)]))


def valid_rate(task: Task, texts: Sequence[str]) -> float:
    """The share of answers that have the form of the task."""
    return float(np.mean([is_valid(task, spaced(text)) for text in texts]))
