"""Cross-modal retrieval in both directions, with reports that occur twice, and the level of chance.

Normal reports repeat word for word and reconstructions of one scan share theirs, so a retrieved item counts when its
text is identical to the query's. Used by the retrieval notebooks.

>>> image = text = np.eye(3)
>>> measure_retrieval(image, text, captions=["a", "b", "c"], ks=[1])["image_to_text"].recall[1]
1.0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, finite, paired_vectors, unit


@dataclass(frozen=True)
class Retrieval:
    """One direction: how often a match is among the first k, and where the first match stands."""

    recall: dict[int, float]  # k -> share of queries with a match among the k most similar
    median_rank: float  # of the first match, 1 = best
    chance: dict[int, float]  # the same two numbers for a random order of the gallery
    chance_median_rank: float
    queries: int


def rank_of_first_match(similarity: ArrayLike, match: ArrayLike) -> np.ndarray:
    """Rank (1 = first) of the most similar matching gallery item of each query.

    ``similarity`` (Q, G), larger = closer; ``match`` (Q, G) bool. Returns (Q,) integers. Items that do not match and
    are exactly as similar as the best match stand before it, so a collapsed encoder gets no credit. Raises
    ``EvaluationError`` naming the first query without any match.
    """
    values, relevant = finite(similarity, "similarity", ndim=2), np.asarray(match, dtype=bool)
    if values.shape != relevant.shape:
        raise EvaluationError(
            f"similarity has shape {values.shape} and match {relevant.shape}; both must be (queries, gallery)."
        )
    alone = ~relevant.any(axis=1)
    if alone.any():
        raise EvaluationError(f"query {int(np.argmax(alone))} matches nothing in the gallery; drop it or add its pair.")
    best = np.where(relevant, values, -np.inf).max(axis=1, keepdims=True)  # (Q, 1)
    return 1 + ((values >= best) & ~relevant).sum(axis=1)


def chance_recall(match: ArrayLike) -> np.ndarray:
    """Recall at k = 1 .. G of a random order, ``(G,)``: the chance that k items drawn hold a match, over queries.

    ``match`` (Q, G) bool. With m matches the chance to miss is C(G - m, k) / C(G, k).
    """
    relevant = np.asarray(match, dtype=bool)
    gallery = relevant.shape[1]
    matches, queries = np.unique(relevant.sum(axis=1), return_counts=True)
    drawn = np.arange(gallery)
    # (kinds, G): probability that draw k + 1 misses too, given that all before it missed
    misses = np.clip(gallery - matches[:, None] - drawn, 0, None) / (gallery - drawn)
    return 1 - queries @ np.cumprod(misses, axis=1) / queries.sum()


def _one_direction(similarity: np.ndarray, match: np.ndarray, ks: Sequence[int]) -> Retrieval:
    ranks, chance = rank_of_first_match(similarity, match), chance_recall(match)
    return Retrieval(
        recall={k: float((ranks <= k).mean()) for k in ks},
        median_rank=float(np.median(ranks)),
        chance={k: float(chance[k - 1]) for k in ks},
        chance_median_rank=float(1 + np.argmax(chance >= 0.5)),
        queries=len(ranks),
    )


def retrieval_from_similarity(
    similarity: ArrayLike, *, captions: Sequence[str] | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, Retrieval]:
    """``{"image_to_text": Retrieval, "text_to_image": Retrieval}`` of a square ``similarity`` (N images, N texts).

    ``captions`` (N,): text of each pair; a retrieved item counts when its caption equals the query's. Without captions
    only the own pair counts. Raises ``EvaluationError`` for another shape, a wrong number of captions, or a k outside 1
    .. N.
    """
    values = finite(similarity, "similarity", ndim=2)
    pairs = len(values)
    if values.shape[0] != values.shape[1] or not pairs:
        raise EvaluationError(
            f"similarity has shape {values.shape}; it must be square, row i and column i being one pair."
        )
    if captions is not None and len(captions) != pairs:
        raise EvaluationError(f"{len(captions)} captions for {pairs} pairs; give the text of every pair, in row order.")
    outside = [k for k in ks if not 1 <= k <= pairs]
    if outside:
        raise EvaluationError(f"recall at {outside[0]} needs 1 <= k <= {pairs}, the size of the gallery: change ks.")
    text = np.arange(pairs) if captions is None else np.unique(np.asarray(captions, dtype=str), return_inverse=True)[1]
    match = text[:, None] == text[None, :]  # (N, N), symmetric
    return {"image_to_text": _one_direction(values, match, ks), "text_to_image": _one_direction(values.T, match, ks)}


def measure_retrieval(
    image: ArrayLike, text: ArrayLike, *, captions: Sequence[str] | None = None, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, Retrieval]:
    """``retrieval_from_similarity`` of the cosines of ``image`` (N, d) and ``text`` (N, d), row i of both one pair."""
    first, second = paired_vectors(image, text)
    return retrieval_from_similarity(unit(first) @ unit(second).T, captions=captions, ks=ks)
