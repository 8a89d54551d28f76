"""How far the speakers of the released answers can be told apart by their words: TF-IDF and logistic regression.

An upper bound for any judge of style, and the picture beside it. Split by instruction, so that no instruction is in both parts.

    found = separate_poles(rows, language="en", seed=0, share=0.2); found.right.mean()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lib.data.files import DataError
from lib.streams import stream
from papers.machine_mindset import released_sets as sets
from papers.machine_mindset.released_sets import Row

MASK = "TYPE"  # what stands for a type's code


@dataclass(frozen=True)
class Separated:
    """``right`` (cases,): 1.0 where a case was told rightly; ``of`` (cases,): its instruction; ``accuracy``: of single answers."""

    right: np.ndarray
    of: list[str]
    accuracy: float


def features(language: str):
    """Words and pairs of words, of Chinese characters and pairs of them; weighed by TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    unit = {"en": "word", "zh": "char"}[language]
    return TfidfVectorizer(analyzer=unit, ngram_range=(1, 2), min_df=2, sublinear_tf=True)


@lru_cache(maxsize=8)
def _weighed(train: tuple[str, ...], test: tuple[str, ...], language: str) -> tuple:
    """Features of both parts, by the words of the first. Kept, because a control reads the same texts."""
    judge = features(language)
    return judge.fit_transform(train), judge.transform(test)


def _fitted(known, labels: Sequence):
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(LogisticRegression(C=10.0, solver="liblinear", random_state=0)).fit(known, list(labels))


def _parts(rows: Sequence[Row], seed: int, share: float) -> tuple[list[Row], list[Row]]:
    train, test = sets.split(rows, seed=seed, share=share)
    if not train or not test:
        raise DataError(f"{len(rows)} rows leave {len(train)} to learn from and {len(test)} to ask; give more rows.")
    return train, test


def separate_poles(rows: Sequence[Row], *, language: str, seed: int, share: float, shuffled: bool = False) -> Separated:
    """Tell which of two answers is the first pole's; a case is a held-out pair.

    ``shuffled``: the answers of each instruction change places by a coin, in both parts: the control.
    """
    coin = stream(seed, "shuffled poles")
    swapped = {row.instruction: shuffled and bool(coin.integers(2)) for row in rows}
    parts = _parts(rows, seed, share)
    train, test = _weighed(*(tuple(text for row in part for text in row.answers.values()) for part in parts), language)
    known, asked = (
        matrix[[2 * k + (place ^ swapped[row.instruction]) for k, row in enumerate(part) for place in (0, 1)]]
        for matrix, part in zip((train, test), parts, strict=True)
    )
    given = _fitted(known, [1, 0] * len(parts[0])).decision_function(asked).reshape(-1, 2)
    instructions = [row.instruction for row in parts[1]]
    return Separated(
        (given[:, 0] > given[:, 1]).astype(float), instructions, float(((given > 0) == [True, False]).mean())
    )


def separate_types(
    rows: Mapping[str, Sequence[Row]], *, seed: int, share: float, shuffled: bool = False
) -> tuple[Separated, dict[str, float]]:
    """Tell which of sixteen types gave an answer, its codes masked; and per axis the share of answers whose letter was told.

    ``shuffled``: the types are dealt anew to the answers of each question, in both parts.
    """
    listed = [(row.instruction, sets.CODE.sub(MASK, row.answers[kind]), kind) for kind in rows for row in rows[kind]]
    if shuffled:
        places: dict[str, list[int]] = {}
        for number, (question, _, _) in enumerate(listed):
            places.setdefault(question, []).append(number)
        draw, dealt = stream(seed, "shuffled types"), [kind for _, _, kind in listed]
        for numbers in places.values():
            for number, other in zip(numbers, draw.permutation(numbers), strict=True):
                dealt[number] = listed[other][2]
        listed = [(question, text, kind) for (question, text, _), kind in zip(listed, dealt, strict=True)]
    train, test = (
        [one for one in listed if sets.is_held(one[0], seed=seed, share=share) is held] for held in (False, True)
    )
    if not train or not test:
        raise DataError(f"{len(listed)} answers leave {len(train)} to learn from and {len(test)} to ask; give more.")
    known, asked = _weighed(*(tuple(text for _, text, _ in part) for part in (train, test)), "en")
    told = _fitted(known, [kind for _, _, kind in train]).predict(asked)
    right = np.array([a == b for a, (_, _, b) in zip(told, test, strict=True)], dtype=float)
    letters = {
        axis: float(np.mean([a[k] == b[k] for a, (_, _, b) in zip(told, test, strict=True)]))
        for k, axis in enumerate(sets.AXES)
    }
    return Separated(right, [question for question, _, _ in test], float(right.mean())), letters


def vectors(texts: Sequence[str], *, language: str, size: int = 50) -> np.ndarray:
    """(N, size): TF-IDF of the texts by its largest singular directions, for a picture."""
    from sklearn.decomposition import TruncatedSVD

    weighed = features(language).fit_transform(list(texts))
    return TruncatedSVD(min(size, min(weighed.shape) - 1), random_state=0).fit_transform(weighed)
