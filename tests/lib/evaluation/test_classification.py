"""AUROC against scikit-learn, and groups of classes by frequency."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lib.evaluation import EvaluationError
from lib.evaluation.classification import auc_per_class, frequency_groups, macro_auc


def example(*, seed=0, rows=400, classes=6, decimals=None):
    generator = np.random.default_rng(seed)
    labels = (generator.random((rows, classes)) < np.linspace(0.5, 0.05, classes)).astype(int)
    labels[0], labels[1] = 0, 1  # every class has both values
    scores = generator.normal(size=(rows, classes)) + 0.8 * labels
    return labels, scores if decimals is None else scores.round(decimals)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_auc_equals_scikit_learn(decimals):
    labels, scores = example(decimals=decimals)
    np.testing.assert_allclose(auc_per_class(labels, scores), roc_auc_score(labels, scores, average=None), atol=1e-12)
    np.testing.assert_allclose(macro_auc(labels, scores), roc_auc_score(labels, scores, average="macro"), atol=1e-12)


def test_auc_by_hand_with_one_tie():
    # pairs (positive, negative): 0.5>0.1, 0.5=0.5 (half), 0.9>0.1, 0.9>0.5
    assert auc_per_class([[0], [1], [0], [1]], [[0.1], [0.5], [0.5], [0.9]]) == pytest.approx([3.5 / 4], abs=0)


def test_classes_do_not_mix():
    labels, scores = example()
    order = [3, 0, 5, 1, 4, 2]
    np.testing.assert_array_equal(
        auc_per_class(labels[:, order], scores[:, order]), auc_per_class(labels, scores)[order]
    )
    assert abs(auc_per_class(labels[:, [1, 0]], scores[:, :2]) - auc_per_class(labels, scores)[:2]).max() > 0.05


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(0, 2))
def test_auc_properties(seed, rows, decimals):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, size=(rows, 3))
    scores = generator.normal(size=(rows, 3)).round(decimals)
    auc = auc_per_class(labels, scores)
    both = (labels.min(axis=0) == 0) & (labels.max(axis=0) == 1)
    np.testing.assert_array_equal(np.isnan(auc), ~both)
    np.testing.assert_allclose(auc_per_class(1 - labels, scores), 1 - auc, atol=1e-12)  # mirrored labels
    np.testing.assert_allclose(auc_per_class(labels, -scores), 1 - auc, atol=1e-12)  # mirrored scores
    np.testing.assert_array_equal(auc_per_class(labels, 3 * scores + 7), auc)  # only the order counts
    shuffled = generator.permutation(rows)
    np.testing.assert_array_equal(auc_per_class(labels[shuffled], scores[shuffled]), auc)


def test_degenerate_classes():
    labels = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 0]])
    scores = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.1]])
    np.testing.assert_array_equal(auc_per_class(labels, scores), [np.nan, np.nan, 1.0])
    assert macro_auc(labels, scores) == 1.0
    assert math.isnan(macro_auc(labels[:, :2], scores[:, :2]))
    assert auc_per_class([[0], [1]], [[2.0], [2.0]]) == 0.5


def test_frequency_groups_at_their_borders():
    labels = np.zeros((200, 4), dtype=int)
    for c, positives in enumerate((100, 99, 10, 9)):
        labels[:positives, c] = 1
    assert frequency_groups(labels).tolist() == ["head", "medium", "medium", "tail"]
    with pytest.raises(EvaluationError, match="tail=20 exceeds head=10"):
        frequency_groups(labels, head=10, tail=20)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([[0, 1], [1, 0]], [[0.1], [0.2]], r"shape \(2, 2\), scores \(2, 1\)"),
        ([[0, 2], [1, 0]], [[0.1, 0.2], [0.3, 0.4]], r"labels\[0, 1\] is 2"),
        ([[0, 1], [1, np.nan]], [[0.1, 0.2], [0.3, 0.4]], r"labels\[1, 1\] is nan"),
        ([[0, 1], [1, 0]], [[0.1, 0.2], [np.inf, 0.4]], r"scores\[1, 0\] is inf"),
        ([0, 1], [0.1, 0.2], r"scores has shape \(2,\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "no rows"),
        ([["yes"], ["no"]], [[0.1], [0.2]], "labels are not numbers in equal rows .*; map words"),
        ([[1, 0], [1]], [[0.1, 0.2], [0.3, 0.4]], "labels are not numbers in equal rows"),
        ([[1], [0]], [["0.1"], ["0.2"]], "scores are not numbers"),
        ([[1], [0]], np.array([[1j], [0.2]]), "scores are not numbers in equal rows .complex128"),
        (np.ma.array([[1], [0]], mask=[[True], [False]]), [[0.1], [0.2]], "labels are not numbers .*masked entries"),
        ([[1], [pd.NA]], [[0.1], [0.2]], "labels are not numbers .*; map words, fill or drop them"),
        ([[1], [None]], [[0.1], [0.2]], r"labels\[1, 0\] is nan"),
        ([[1], [0]], np.array([["2020"], ["2021"]], "datetime64[Y]"), "scores are not numbers"),
    ],
)
def test_bad_input_names_the_entry(labels, scores, message):
    with pytest.raises(EvaluationError, match=message):
        auc_per_class(labels, scores)
