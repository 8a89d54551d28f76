"""The detectors that are fitted in seconds: words, shortcuts, scores of a language model, its hidden states, Sniffer's features.

Each takes the texts, what was measured of them, the places that train with their labels (1: machine), and gives a score for
every text, larger where a machine is more likely; 0 is where its own training would decide. scikit-learn does the fitting.

    scores = bag_of_words(said, train, labels); scores = threshold(values, train, labels)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

WORDS = r"(?u)\b\w+\b|[^\w\s]"  # a word, or one mark of punctuation


def _logistic(features, train: Sequence[int], labels: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=strength, max_iter=2000).fit(features[np.asarray(train)], labels)
    return fitted.decision_function(features)


def bag_of_words(said: Sequence[str], train: Sequence[int], labels: np.ndarray) -> np.ndarray:
    """TF-IDF of words and pairs of words, logistic regression. The words are those of the texts that train."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(token_pattern=WORDS, ngram_range=(1, 2), sublinear_tf=True)
    counted.fit([said[place] for place in train])
    return _logistic(counted.transform(said), train, labels, strength=10.0)


def threshold(values: np.ndarray, train: Sequence[int], labels: np.ndarray) -> np.ndarray:
    """A zero-shot score less its threshold: the value that parts the training texts with the best balanced accuracy.

    Order and area under the curve are those of ``values``: nothing else is fitted.

    >>> threshold(np.array([1.0, 2.0, 3.0, 4.0]), [0, 1, 2, 3], np.array([0, 0, 1, 1])).tolist()
    [-1.5, -0.5, 0.5, 1.5]
    """
    own = values[np.asarray(train)]
    known = np.unique(own)
    cuts = np.concatenate([[known[0] - 1], (known[1:] + known[:-1]) / 2, [known[-1] + 1]])
    above = own[None, :] > cuts[:, None]
    right = above[:, labels == 1].mean(axis=1) + (~above[:, labels == 0]).mean(axis=1)
    best = np.flatnonzero(right == right.max())
    return values - cuts[best[len(best) // 2]]


def scaled(features: np.ndarray, train: Sequence[int]) -> np.ndarray:
    """Columns with mean 0 and standard deviation 1 over the texts that train."""
    own = features[np.asarray(train)]
    return (features - own.mean(axis=0)) / np.maximum(own.std(axis=0), 1e-9)


def embeddings(states: np.ndarray, train: Sequence[int], labels: np.ndarray) -> np.ndarray:
    """Mean hidden states (N, width), logistic regression."""
    return _logistic(scaled(states, train), train, labels, strength=0.01)


def shortcut(features: np.ndarray, train: Sequence[int], labels: np.ndarray) -> np.ndarray:
    """Counts of a shortcut (N, K), logistic regression."""
    return _logistic(scaled(features, train), train, labels)


def sniffer(features: np.ndarray, train: Sequence[int], labels: np.ndarray, *, seed: int) -> np.ndarray:
    """Sniffer: log-probabilities of several models and their contrasts (Li et al. 2023) into a small network.

    Paper: two layers of 300. Here: one of 32. Because: hundreds of texts train it, not tens of thousands.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    inside = scaled(features, train)
    network = MLPClassifier(hidden_layer_sizes=(32,), alpha=1.0, solver="lbfgs", max_iter=100, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
        fitted = network.fit(inside[np.asarray(train)], labels)
    chance = fitted.predict_proba(inside)[:, 1].clip(1e-9, 1 - 1e-9)
    return np.log(chance / (1 - chance))


def contrasts(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Sniffer's features of M models: the mean log-probability by each, and the difference of each two; (N, M + M (M - 1) / 2).

    >>> contrasts([np.array([1.0]), np.array([3.0]), np.array([6.0])]).tolist()
    [[1.0, 3.0, 6.0, 2.0, 5.0, 3.0]]
    """
    pairs = [b - a for i, a in enumerate(columns) for b in columns[i + 1 :]]
    return np.stack([*columns, *pairs], axis=1)


def count_models(said: Sequence[str], train_on: Sequence[str]) -> list[np.ndarray]:
    """Mean log-probability of every text under two models of counts fitted to ``train_on``: words behind one word, and letters
    behind four; both interpolated with the shorter one and with an even chance."""
    return [
        _counted(said, train_on, lambda text: re.findall(WORDS, text.lower()), order=2),
        _counted(said, train_on, list, order=5),
    ]


def _counted(said: Sequence[str], train_on: Sequence[str], units, *, order: int) -> np.ndarray:
    seen = [Counter[tuple]() for _ in range(order + 1)]
    for text in train_on:
        line = ["\n"] * (order - 1) + units(text)
        for t in range(order - 1, len(line)):
            for n in range(order + 1):
                seen[n][tuple(line[t - n + 1 : t + 1]) if n else ()] += 1
    behind = [Counter[tuple]() for _ in range(order + 1)]
    for n in range(1, order + 1):
        for key, number in seen[n].items():
            behind[n][key[:-1]] += number
    even = 1 / (len(seen[1]) + 1)
    found = np.zeros(len(said))
    for k, text in enumerate(said):
        line = ["\n"] * (order - 1) + units(text)
        total = 0.0
        for t in range(order - 1, len(line)):
            chance = even
            for n in range(1, order + 1):
                key = tuple(line[t - n + 1 : t + 1])
                if before := behind[n][key[:-1]]:
                    chance = 0.3 * chance + 0.7 * seen[n][key] / before
            total += np.log(chance)
        found[k] = total / max(1, len(line) - order + 1)
    return found
