"""The modality gap in the original embedding space, and two pictures of it (UMAP, and PCA as its null).

Decide on the numbers of ``measure_gap``; a UMAP may separate what is mixed and its coordinates differ between machines.
Used by the modality-gap, CMKI and knowledge-bank notebooks, for raw and for reconstructed embeddings alike.

>>> image, text = np.random.default_rng(0).normal([[[5.0]], [[-5.0]]], size=(2, 40, 4))
>>> measure_gap(image, text, seed=0).classifier_accuracy    # 0.5 = mixed, 1.0 = two separate clusters
1.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, finite, paired_vectors, unit

HELD_OUT = 0.5  # share of the pairs that tests the modality classifier


@dataclass(frozen=True)
class ModalityGap:
    """Numbers that say how far the images of a set lie from its texts."""

    centroid_distance: float  # between the mean unit image and the mean unit text, 0 to 2
    classifier_accuracy: float  # held-out, 0.5 = the modalities cannot be told apart
    paired_cosine: float  # mean over pairs, -1 to 1
    image_norm: float  # mean length of the vectors as given
    text_norm: float
    pairs: int


def modality_classifier_accuracy(
    image: ArrayLike, text: ArrayLike, *, seed: int, groups: ArrayLike | None = None
) -> float:
    """Held-out accuracy of a logistic regression that tells image from text vectors; 0.5 when they are mixed.

    ``image``, ``text`` (N, d). Vectors are scaled to length 1 (every score is a cosine, so length alone is no gap),
    then each coordinate is standardised by the training half. The split is by pair: both members of a pair are on one
    side, and with ``groups`` (N,) (say the patient) all pairs of a group are, because reconstructions of one scan share
    their report. Raises ``EvaluationError`` for fewer than 4 pairs or fewer than 2 groups.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupShuffleSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    first, second = paired_vectors(image, text)
    member = np.arange(len(first)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(member) != len(first):
        raise EvaluationError(f"groups has {len(member)} entries for {len(first)} pairs; give one group a pair.")
    if len(first) < 4 or len(np.unique(member)) < 2:
        raise EvaluationError(
            f"{len(first)} pairs in {len(np.unique(member))} groups cannot be split; give 4 pairs, 2 groups."
        )
    splitter = GroupShuffleSplit(n_splits=1, test_size=HELD_OUT, random_state=seed)
    train, test = next(splitter.split(member, groups=member))
    images, texts = unit(first), unit(second)

    def stacked(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([images[rows], texts[rows]]), np.repeat([0, 1], len(rows))

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(*stacked(train)).score(*stacked(test)))


def measure_gap(image: ArrayLike, text: ArrayLike, *, seed: int, groups: ArrayLike | None = None) -> ModalityGap:
    """Centroid distance of the unit vectors, modality-classifier accuracy, mean paired cosine and mean lengths.

    ``image``, ``text`` (N, d), row i of both being one pair. ``seed`` and ``groups``: see
    ``modality_classifier_accuracy``. Raises ``EvaluationError`` for unequal shapes, values that are not finite, zero
    vectors, too few pairs.
    """
    first, second = paired_vectors(image, text)
    images, texts = unit(first), unit(second)
    return ModalityGap(
        centroid_distance=float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0))),
        classifier_accuracy=modality_classifier_accuracy(first, second, seed=seed, groups=groups),
        paired_cosine=float((images * texts).sum(axis=1).mean()),
        image_norm=float(np.linalg.norm(first, axis=1).mean()),
        text_norm=float(np.linalg.norm(second, axis=1).mean()),
        pairs=len(first),
    )


def gap_along_others(image: ArrayLike, text: ArrayLike, *, groups: ArrayLike) -> np.ndarray:
    """(N,): how far each unit image lies from its unit text along the line between the centroids of the other groups' pairs.

    The mean over pairs is the distance of the centroids, for a bootstrap over ``groups`` (N,); but where a line holds in one
    group alone it is about zero, on either side, while a distance never falls below what chance gives. Raises
    ``EvaluationError`` below two groups.
    """
    first, second = paired_vectors(image, text)
    apart = unit(first) - unit(second)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(member) != len(apart) or len(names) < 2:
        raise EvaluationError(
            f"{len(member)} labels of {len(names)} groups for {len(apart)} pairs; give each pair one, of two groups or more."
        )
    sums = np.zeros((len(names), apart.shape[1]))
    np.add.at(sums, member, apart)
    return (apart * unit(sums.sum(axis=0) - sums)[member]).sum(axis=1)


def permute_modality(image: ArrayLike, text: ArrayLike, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same vectors with the modality label of each pair drawn at random: a null that must measure no gap."""
    first, second = paired_vectors(image, text)
    swap = np.random.default_rng(seed).random(len(first))[:, None] < 0.5
    return np.where(swap, second, first), np.where(swap, first, second)


def _directed(vectors: ArrayLike) -> np.ndarray:
    """``vectors`` (N, d) as float64, each with a direction: a cosine needs one."""
    values = finite(vectors, "vectors", ndim=2)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(values, axis=1)
    if (wrong := np.flatnonzero(~((lengths > 0) & np.isfinite(lengths)))).size:
        row = wrong[0]
        raise EvaluationError(f"vectors[{row}] is a zero vector or too long, its length is {lengths[row]:g}; drop it.")
    return values


def umap_embedding(vectors: ArrayLike, *, seed: int) -> np.ndarray:
    """UMAP (cosine distance) of ``vectors`` (N, d) to (N, 2). Same seed, same machine: same picture.

    For looking only. Stack images and texts first, so that both are placed in one map. Raises ``EvaluationError`` below
    5 rows, and at a zero vector.
    """
    values = _directed(vectors)
    if len(values) < 5:
        raise EvaluationError(f"vectors has {len(values)} rows; a UMAP needs at least 5: use pca_embedding for so few.")
    from umap import UMAP

    # a seeded UMAP runs on one thread anyway; n_jobs=1 says so and keeps it from warning
    neighbours, start = min(15, len(values) - 1), "pca" if values.shape[1] > 1 else "random"
    # from the components and not UMAP's eigenvectors: scipy's solver of those starts from the system's own entropy
    projection = UMAP(n_neighbors=neighbours, min_dist=0.1, metric="cosine", init=start, random_state=seed, n_jobs=1)
    return np.asarray(projection.fit_transform(values), dtype=np.float64)


def pca_embedding(vectors: ArrayLike) -> np.ndarray:
    """First two principal components of the unit ``vectors`` (N, d) -> (N, 2): the null of the UMAP picture.

    A gap that UMAP shows and no linear map shows may be UMAP's own. Raises ``EvaluationError`` below 2 rows or 2
    dimensions, and at a zero vector.
    """
    values = _directed(vectors)
    if min(values.shape) < 2:
        raise EvaluationError(
            f"vectors has shape {values.shape}; two components need at least 2 rows and 2 dimensions."
        )
    from sklearn.decomposition import PCA

    solver = "covariance_eigh" if values.shape[0] >= values.shape[1] else "full"  # the same to 1e-13, and sooner
    return PCA(n_components=2, svd_solver=solver).fit_transform(unit(values))
