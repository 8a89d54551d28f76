"""Measures of reports and answers. Findings named in a report come first; overlap scores are printed beside them.

BLEU and METEOR are NLTK's, ROUGE-L is rouge-score's. METEOR without WordNet, which has to be downloaded: exact matches and
stems alone, no synonyms.

>>> scores = overlap(["no lung nodule ."], ["no lung nodule ."])
>>> round(scores["BLEU-4"], 2), round(scores["ROUGE-L"], 2), round(scores["METEOR"], 2)
(1.0, 1.0, 0.99)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lib.evaluation import EvaluationError
from papers.e3d_gpt.findings import label_report


class _NoSynonyms:
    """In the place of WordNet: METEOR's stages of exact words and stems remain."""

    @staticmethod
    def synsets(word: str) -> list:
        return []


def words(text: str) -> list[str]:
    """Lower-case words and single marks."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def overlap(said: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """BLEU-1 and -4 (corpus, NLTK), ROUGE-L F (mean), METEOR (mean; no synonyms): all 0 to 1.

    Raises :class:`EvaluationError` for a reference without a word. A report of no words scores 0.
    """
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
    from nltk.translate.meteor_score import single_meteor_score
    from rouge_score.rouge_scorer import RougeScorer

    for number, reference in enumerate(wanted):
        if not re.search(r"\w", reference):
            raise EvaluationError(f"reference report {number} has no word; take it out of the test set.")
    if len(said) != len(wanted) or not wanted:
        raise EvaluationError(f"{len(said)} reports for {len(wanted)} references; give one of each, and at least one.")
    pairs = [(words(one), words(other)) for one, other in zip(said, wanted, strict=True)]
    references, hypotheses = [[other] for _, other in pairs], [one for one, _ in pairs]
    smooth, scorer = SmoothingFunction().method1, RougeScorer(["rougeL"])
    some = any(hypotheses)
    return {
        "BLEU-1": float(corpus_bleu(references, hypotheses, weights=(1.0,), smoothing_function=smooth))
        if some
        else 0.0,
        "BLEU-4": float(corpus_bleu(references, hypotheses, smoothing_function=smooth)) if some else 0.0,
        "ROUGE-L": float(np.mean([scorer.score(b, a)["rougeL"].fmeasure for a, b in zip(said, wanted, strict=True)])),
        "METEOR": float(np.mean([single_meteor_score(b, a, wordnet=_NoSynonyms) if a else 0.0 for a, b in pairs])),
    }


def named(reports: Sequence[str], findings: Sequence[str]) -> np.ndarray:
    """(N, F) bool: which findings each report affirms; equal reports are read once."""
    known = {report: label_report(report, findings) for report in set(reports)}
    return np.array([known[report] for report in reports], dtype=bool)


def clinical_f1(found: np.ndarray, truth: np.ndarray) -> float:
    """Macro F1 over the findings that occur, (N, F) bool each; 0 for one that is never named."""
    found, truth = np.asarray(found, bool), np.asarray(truth, bool)
    both, either = (found & truth).sum(axis=0), found.sum(axis=0) + truth.sum(axis=0)
    occurs = truth.any(axis=0)
    return float((2 * both[occurs] / np.maximum(either[occurs], 1)).mean()) if occurs.any() else float("nan")


def balanced_accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over findings of (sensitivity + specificity) / 2: 0.5 for whoever names without looking."""
    found, truth = np.asarray(found, bool), np.asarray(truth, bool)
    kept = truth.any(axis=0) & ~truth.all(axis=0)
    found, truth = found[:, kept], truth[:, kept]
    sensitivity = (found & truth).sum(axis=0) / truth.sum(axis=0)
    specificity = (~found & ~truth).sum(axis=0) / (~truth).sum(axis=0)
    return float(((sensitivity + specificity) / 2).mean())


def hits(closed: Sequence[Sequence[float]], candidates: Sequence[Sequence[str]], answers: Sequence[str]) -> np.ndarray:
    """(N,) bool: whether the most probable candidate is the answer."""
    return np.array(
        [told[int(np.argmax(one))] == answer for one, told, answer in zip(closed, candidates, answers, strict=True)]
    )


def ridge_scores(train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, penalty: float = 1e-2) -> np.ndarray:
    """Scores (M, C) of a ridge regression from standardised features (N, d) to 0/1 labels (N, C): a linear probe.

    ``penalty`` times N on the diagonal; solved through whichever of d and N is smaller.
    """
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-6
    x, z, y = (train - mean) / scale, (test - mean) / scale, labels - labels.mean(axis=0)
    if x.shape[1] <= len(x):
        return z @ np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(x.shape[1]), x.T @ y)
    return z @ (x.T @ np.linalg.solve(x @ x.T + penalty * len(x) * np.eye(len(x)), y))
