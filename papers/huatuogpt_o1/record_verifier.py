"""Verifiers on the 198 released records: each response was verified by GPT-4o against its ground truth, so the label is known.

Right pairs are (response, own ground truth). Wrong ones are (response, another option of its question): a rejected answer of the
same kind, which the response often names to rule it out. An option that is the ground truth in other words would be a wrong label;
those equal to the truth or holding it are left out.

    pairs = record_pairs(rows); said = cross_validated(pairs, seed=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.streams import stream
from papers.huatuogpt_o1.records import TRUTH, Record
from papers.huatuogpt_o1.verifiers import mentions

FOLDS = 10


@dataclass(frozen=True)
class Pairs:
    """One row a pair; ``record``: the place of its record, ``right``: whether the reference is its ground truth."""

    responses: list[str]
    references: list[str]
    record: np.ndarray
    right: np.ndarray


def record_pairs(rows: Sequence[Record]) -> Pairs:
    """Each record's response beside its ground truth and beside its other options."""
    found = []
    for number, row in enumerate(rows):
        truth = row[TRUTH].strip().lower()
        found.append((row["Response"], row[TRUTH], number, True))
        for letter, text in row["options"].items():
            low = text.strip().lower()
            if letter != row["answer_idx"] and low not in truth and truth not in low:
                found.append((row["Response"], text, number, False))
    responses, references, record, right = map(list, zip(*found, strict=True))
    return Pairs(responses, references, np.array(record), np.array(right))


def features(responses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(N, 7): how much of a reference stands in its response, by rare words and character triples, whole, in the first sentence
    and in the last. How rare a word is, the responses say, whose labels are not looked at."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents = list(dict.fromkeys(responses))
    words = TfidfVectorizer(token_pattern=r"[a-z0-9]+", sublinear_tf=True).fit(documents)
    triples = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True).fit(documents)
    known, split, rarest = words.vocabulary_, words.build_analyzer(), words.idf_.max()

    def covered(text: str, reference: str) -> float:
        """The share of the reference's weight, in rareness, that occurs in the text."""
        said = set(split(text))
        weight = {word: words.idf_[known[word]] if word in known else rarest for word in set(split(reference))}
        return sum(w for word, w in weight.items() if word in said) / max(sum(weight.values()), 1e-9)

    near = np.asarray(triples.transform(responses).multiply(triples.transform(references)).sum(axis=1)).ravel()
    rows = []
    for response, reference, likeness in zip(responses, references, near, strict=True):
        parts = [one for one in response.replace("\n", " ").split(". ") if one.strip()] or [response]
        whole = [float(mentions(text, reference)) for text in (response, parts[0])]
        shares = [covered(text, reference) for text in (response, parts[0], parts[-1])]
        rows.append([*shares, *whole, likeness, min(len(reference.split()), 10) / 10])
    return np.array(rows)


def cross_validated(pairs: Pairs, *, seed: int, others: bool = False) -> np.ndarray:
    """Verdicts (N,) of a logistic classifier that never saw the record it judges; both labels weigh the same.

    ``others``: the null, in which every pair's reference is one of the same kind from another record, in training and test.
    """
    from sklearn.linear_model import LogisticRegression

    references = _from_others(pairs, seed=seed) if others else pairs.references
    seen = features(pairs.responses, references)
    fold = stream(seed, "folds").permutation(int(pairs.record.max()) + 1) % FOLDS
    said = np.zeros(len(pairs.right), dtype=bool)
    for k in range(FOLDS):
        test = fold[pairs.record] == k
        model = LogisticRegression(class_weight="balanced", C=1.0, max_iter=1000).fit(seen[~test], pairs.right[~test])
        said[test] = model.predict(seen[test])
    return said


def _from_others(pairs: Pairs, *, seed: int) -> list[str]:
    """Of each pair a reference of the same label from the record so many places on."""
    shift = int(stream(seed, "shift").integers(1, pairs.record.max()))
    count = int(pairs.record.max()) + 1
    by = {
        (int(n), bool(r)): [pairs.references[k] for k in np.flatnonzero((pairs.record == n) & (pairs.right == r))]
        for n, r in set(zip(pairs.record.tolist(), pairs.right.tolist(), strict=True))
    }
    found, seen = [], {}
    for n, r in zip(pairs.record.tolist(), pairs.right.tolist(), strict=True):
        far = (n + shift) % count
        while not by.get((far, r)):
            far = (far + 1) % count
        place = seen[n, r] = seen.get((n, r), -1) + 1
        found.append(by[far, r][place % len(by[far, r])])
    return found


def balanced_by_record(said: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(R,): of each record with both labels, the mean of being right about its truth and about its other options."""
    found = []
    for number in np.unique(pairs.record):
        own = pairs.record == number
        if pairs.right[own].all():
            continue
        correct = said[own] == pairs.right[own]
        found.append((correct[pairs.right[own]].mean() + correct[~pairs.right[own]].mean()) / 2)
    return np.array(found)
