"""Text metrics for Chinese replies: BLEU-4 on characters as in Aurora's release, ROUGE on jieba's words counted two ways.

Each is a mean over pairs, times 100. Used wherever a free reply has a reference. The release's ROUGE (rouge-chinese) is the
one with ``distinct=True``; beside its printed numbers stand ours counted that way.

>>> round(text_scores(["他住在城里。"], ["他住在山里。"])["BLEU-4"], 2)
37.99
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import numpy as np

from lib.evaluation import EvaluationError

ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


def _paired(replies: Sequence[str], references: Sequence[str]) -> list[tuple[str, str]]:
    if len(replies) != len(references) or not len(replies):
        raise EvaluationError(
            f"{len(replies)} replies and {len(references)} references; give one of each, and at least one."
        )
    for number, reference in enumerate(references):
        if not reference.strip():
            raise EvaluationError(f"reference {number} is empty; take the pair out.")
    return list(zip(replies, references, strict=True))


def character_bleu(replies: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Sentence BLEU-4 (N,) of each reply, 0 to 100: NLTK on the list of characters, smoothing method 3, equal weights.

    An empty reply scores 0.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smooth, pairs = SmoothingFunction().method3, _paired(replies, references)
    return 100 * np.array([sentence_bleu([list(ref)], list(reply), smoothing_function=smooth) for reply, ref in pairs])


@functools.cache
def _segmenter():
    """jieba's tokenizer, silent: it reports where it keeps its dictionary on stderr."""
    import jieba

    jieba.setLogLevel(logging.ERROR)
    jieba.initialize()
    return jieba


class _Words:
    """jieba's words, in the form rouge-score asks for; blanks are no words."""

    def tokenize(self, text: str) -> list[str]:
        return [word for word in _segmenter().cut(text) if word.strip()]


def rouge(replies: Sequence[str], references: Sequence[str], *, distinct: bool = False) -> dict[str, np.ndarray]:
    """ROUGE-1, -2 and -L f-measures (N,) of each reply, 0 to 100, on words cut by jieba.

    Paper: the package rouge-chinese, which counts each different word or pair of words once (``distinct``). Here: by
    default rouge-score, which counts every occurrence, clipped as ROUGE is defined. Because: a word said five times is then
    not as good as said once. ROUGE-L is the longest common subsequence of all words in both.
    """
    from rouge_score.rouge_scorer import RougeScorer

    pairs = _paired(replies, references)
    scorer = RougeScorer(list(ROUGE), tokenizer=_Words())
    each = [scorer.score(reference, reply) for reply, reference in pairs]
    found = {name: 100 * np.array([one[key].fmeasure for one in each]) for key, name in ROUGE.items()}
    if distinct:
        for order, name in ((1, "ROUGE-1"), (2, "ROUGE-2")):
            found[name] = 100 * np.array([_distinct_f(reply, reference, order) for reply, reference in pairs])
    return found


def _distinct_f(reply: str, reference: str, order: int) -> float:
    """F-measure of the sets of n-grams: twice what both have over what each has."""
    words = [_Words().tokenize(text) for text in (reply, reference)]
    first, second = ({tuple(one[i : i + order]) for i in range(len(one) - order + 1)} for one in words)
    return 2 * len(first & second) / (len(first) + len(second)) if first or second else 0.0


def text_scores(replies: Sequence[str], references: Sequence[str], *, distinct: bool = False) -> dict[str, float]:
    """The four columns of the README's checkpoint table: mean BLEU-4, ROUGE-1, ROUGE-2, ROUGE-L, 0 to 100.

    ``distinct``: ROUGE as the README counts it (:func:`rouge`).
    """
    scores = {"BLEU-4": character_bleu(replies, references), **rouge(replies, references, distinct=distinct)}
    return {name: float(values.mean()) for name, values in scores.items()}
