"""What needs no language model: linear models on characters, the constant answer, the nearest training item.

All of them answer in the form of the task's gold answers, so that the benchmark's metric reads them as it reads a model's text.
TF-IDF of character one- to three-grams; one linear support vector machine a label, ridge regression of log months, and for
entities a support vector machine that gives each character its type from its neighbours. Penalties are scikit-learn's defaults:
nothing is tuned.

>>> constant("months", [6, 12, 24])
12
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lib.evaluation import EvaluationError
from lib.streams import stream
from papers.anytasktune.lawbench import Items
from papers.anytasktune.lawbench_tasks import Gold

#: How an item is answered without a language model; ``shuffled``: the linear model, trained on answers dealt anew; ``copied``: by
#: its own question, in which a benchmark that looks for a label anywhere in a text may find one.
WAYS = ("linear", "shuffled", "constant", "nearest", "copied")
GRAMS = (1, 3)
WINDOW = 3  # characters on each side of the one whose type is asked
NO_TYPE, ENTITY_JOINT = "", "、"


def answer(items: Items, train: Sequence[int], test: Sequence[int], *, way: str, seed: int) -> list[str]:
    """The answers to the items ``test`` (positions) after training on the items ``train``, in one of :data:`WAYS`."""
    if way not in WAYS:
        raise EvaluationError(f"there is no way '{way}' of answering; use one of {', '.join(WAYS)}.")
    asked, learnt = ([items.items[i].question for i in part] for part in (test, train))
    if way == "copied":
        return list(asked)
    golds: list[Any] = [items.items[i].gold for i in train]
    if way == "shuffled":
        golds = [golds[i] for i in stream(seed, "shuffled answers").permutation(len(golds))]
    if way == "constant":
        found = [constant(items.task.kind, golds)] * len(asked)
    elif way == "nearest":
        found = [golds[i] for i in nearest(learnt, asked)]
    elif items.task.kind == "entities":
        found = tag(learnt, golds, asked)
    else:
        found = fitted(items.task.kind, *_features(learnt, asked), golds)
    return [items.task.text(gold) for gold in found]


def _features(learnt: Sequence[str], asked: Sequence[str]):
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char", ngram_range=GRAMS, sublinear_tf=True)
    return vectors.fit_transform(learnt), vectors.transform(asked)


def constant(kind: str, golds: Sequence[Gold]) -> Gold:
    """The one best answer: the most frequent one (the first of equals), of months the median."""
    if kind == "months":
        return round(float(np.median(golds)))
    keys = [
        gold if isinstance(gold, str) else repr(sorted(gold.items() if isinstance(gold, dict) else gold))
        for gold in golds
    ]
    return golds[keys.index(Counter(keys).most_common(1)[0][0])]


def nearest(learnt: Sequence[str], asked: Sequence[str]) -> list[int]:
    """For each asked text the position of the learnt one with the largest cosine."""
    known, new = _features(learnt, asked)
    return np.asarray((new @ known.T).argmax(axis=1)).ravel().tolist()


def fitted(kind: str, known, new, golds: Sequence[Gold]) -> list[Gold]:
    """Gold values for the rows of ``new`` by a linear model of the rows of ``known``; one label or more where they are sets."""
    from sklearn.linear_model import Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer
    from sklearn.svm import LinearSVC

    if kind == "months":
        line = Ridge().fit(known, np.log1p(np.asarray(golds, dtype=float)))
        return [max(0, round(float(months))) for months in np.expm1(line.predict(new))]
    if kind in ("letter", "label"):
        if len(set(golds)) == 1:
            return [golds[0]] * new.shape[0]
        return LinearSVC(random_state=0).fit(known, golds).predict(new).tolist()
    binary = MultiLabelBinarizer()
    wanted = binary.fit_transform([sorted(gold) for gold in golds])
    scores = OneVsRestClassifier(LinearSVC(random_state=0)).fit(known, wanted).decision_function(new)
    scores = scores.reshape(len(scores), -1)
    return [frozenset(binary.classes_[(row > 0) | (row == row.max())].tolist()) for row in scores]


def _around(text: str) -> list[list[str]]:
    """What the tagger sees of each character: its neighbours and their pairs, each with its place."""
    padded = "\0" * WINDOW + text + "\0" * WINDOW
    return [
        [f"{k}{padded[i + k]}" for k in range(2 * WINDOW + 1)]
        + [f"{k}:{padded[i + k : i + k + 2]}" for k in range(2 * WINDOW)]
        for i in range(len(text))
    ]


def types_of(text: str, gold: dict[str, str]) -> list[str]:
    """The type of each character of a text: that of the first entity in which it stands, ``""`` in none."""
    found = [NO_TYPE] * len(text)
    for kind, entity in gold.items():
        for part in (part for part in entity.split(ENTITY_JOINT) if part):
            start = text.find(part)
            for i in range(start, start + len(part) if start >= 0 else start):
                found[i] = found[i] or kind
    return found


def spans(text: str, types: Sequence[str]) -> dict[str, str]:
    """Entities by type: the stretches of characters of one type, joined as the gold answers join them."""
    found: dict[str, list[str]] = {}
    for i, kind in enumerate(types):
        if kind and i and types[i - 1] == kind:
            found[kind][-1] += text[i]
        elif kind:
            found.setdefault(kind, []).append(text[i])
    return {kind: ENTITY_JOINT.join(parts) for kind, parts in found.items()}


def tag(learnt: Sequence[str], golds: Sequence[dict[str, str]], asked: Sequence[str]) -> list[dict[str, str]]:
    """Entities of each asked text, by a linear tagger of its characters."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.svm import LinearSVC

    hashed = FeatureHasher(2**18, input_type="string", alternate_sign=False)
    wanted = [kind for text, gold in zip(learnt, golds, strict=True) for kind in types_of(text, gold)]
    if len(set(wanted)) < 2:
        return [{} for _ in asked]
    machine = LinearSVC(random_state=0).fit(
        hashed.transform([seen for text in learnt for seen in _around(text)]), wanted
    )
    return [spans(text, machine.predict(hashed.transform(_around(text))).tolist()) for text in asked]
