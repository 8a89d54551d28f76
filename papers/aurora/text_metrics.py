"""Text metrics for Chinese replies, as Aurora's release computes them: BLEU-4 on characters, ROUGE on jieba's words.

Each is a mean over pairs, times 100. Used wherever a free reply has a reference.

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


def rouge(replies: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """ROUGE-1, -2 and -L f-measures (N,) of each reply, 0 to 100, on words cut by jieba.

    Paper: the package rouge-chinese. Here: rouge-score with jieba's words as tokens. Because: it is maintained; both
    count the same n-grams and longest common subsequence.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE), tokenizer=_Words())
    each = [scorer.score(reference, reply) for reply, reference in _paired(replies, references)]
    return {name: 100 * np.array([one[key].fmeasure for one in each]) for key, name in ROUGE.items()}


def text_scores(replies: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The four columns of the README's checkpoint table: mean BLEU-4, ROUGE-1, ROUGE-2, ROUGE-L, 0 to 100."""
    scores = {"BLEU-4": character_bleu(replies, references), **rouge(replies, references)}
    return {name: float(values.mean()) for name, values in scores.items()}
