"""Evaluation: from scores, embeddings and maps held in numpy arrays to numbers. Knows no dataset and no model.

Here: the checks of what comes in. Bad input ends in one sentence naming the row, the column and the remedy.

>>> labels, scores = labels_and_scores([[0, 1], [1, 0]], [[0.1, 0.7], [0.9, 0.2]])
>>> labels.shape, scores.shape
((2, 2), (2, 2))
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


class EvaluationError(ValueError):
    """Labels, scores, vectors or maps that cannot be evaluated as they are."""


def numbers(values: ArrayLike, name: str) -> np.ndarray:
    """``values`` as a float64 array; ``EvaluationError`` for text, complex or masked numbers and rows of unequal length."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO" or np.ma.is_masked(values):
            raise TypeError(f"{array.dtype} or masked entries")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as why:
        raise EvaluationError(f"{name} are not numbers in equal rows ({why}); map words, fill or drop them.") from None


def finite(values: ArrayLike, name: str, *, ndim: int | None = None) -> np.ndarray:
    """``values`` as a float64 array of ``ndim`` axes, if given; raises ``EvaluationError`` at the first nan or infinity."""
    array = numbers(values, name)
    if ndim is not None and array.ndim != ndim:
        raise EvaluationError(f"{name} has shape {array.shape}; an array with {ndim} axes is needed: reshape it.")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise EvaluationError(f"{name}{list(where)} is {array[where]}; drop or repair that entry before evaluating.")
    return array


def labels_and_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """``(labels bool (N, C), scores float64 (N, C))``; raises ``EvaluationError`` unless labels are 0/1 and fit."""
    values, checked = numbers(labels, "labels"), finite(scores, "scores", ndim=2)
    if values.shape != checked.shape:
        raise EvaluationError(
            f"labels have shape {values.shape}, scores {checked.shape}; both must be (rows, classes): join them by id."
        )
    if checked.shape[0] == 0:
        raise EvaluationError("labels and scores have no rows; check that the join by id kept any.")
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise EvaluationError(
            f"labels[{row}, {column}] is {values[row, column]}; labels must be 0 or 1: map or drop it."
        )
    return values == 1, checked


def paired_vectors(image: ArrayLike, text: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two float64 ``(N, d)`` arrays, row i of one belonging to row i of the other, none of length zero."""
    first, second = finite(image, "image", ndim=2), finite(text, "text", ndim=2)
    if first.shape != second.shape:
        raise EvaluationError(f"image has shape {first.shape} and text {second.shape}; row i of both must be one pair.")
    for name, vectors in (("image", first), ("text", second)):
        zero = np.flatnonzero(~vectors.any(axis=1))
        if zero.size:
            raise EvaluationError(f"{name}[{zero[0]}] is the zero vector and has no direction; drop that pair.")
    return first, second


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of ``vectors`` (N, d) scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
