"""AUROC, average precision, operating points and ranking metrics against scikit-learn and the literal procedures."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from lib.evaluation.classification import (
    auc_per_class,
    average_precision_per_class,
    frequency_groups,
    macro_auc,
    metrics_from_confusion,
    precision_at_3,
    quantile_frequency_groups,
    recall_at_1,
    roc_corner_thresholds,
    threshold_metrics,
)
from lib.evaluation.inputs import EvaluationError


def example(*, seed=0, rows=400, classes=6, decimals=None):
    generator = np.random.default_rng(seed)
    labels = (generator.random((rows, classes)) < np.linspace(0.5, 0.05, classes)).astype(int)
    labels[0], labels[1] = 0, 1  # every class has both values
    scores = generator.normal(size=(rows, classes)) + 0.8 * labels
    return labels, scores if decimals is None else scores.round(decimals)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_auc_and_average_precision_equal_scikit_learn(decimals):
    labels, scores = example(decimals=decimals)
    np.testing.assert_allclose(auc_per_class(labels, scores), roc_auc_score(labels, scores, average=None), atol=1e-12)
    np.testing.assert_allclose(macro_auc(labels, scores), roc_auc_score(labels, scores, average="macro"), atol=1e-12)
    np.testing.assert_allclose(
        average_precision_per_class(labels, scores), average_precision_score(labels, scores, average=None), atol=1e-12
    )


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
    np.testing.assert_array_equal(average_precision_per_class(labels, scores), [np.nan, 1.0, 1.0])
    assert auc_per_class([[0], [1]], [[2.0], [2.0]]) == 0.5


def literal_corner_threshold(scores, labels):
    """The released loop: O(distinct scores x rows)."""
    best_threshold, best = 0, 10000
    for threshold in np.sort(np.unique(scores)):
        tn, fp, fn, tp = confusion_matrix(labels, (scores > threshold).astype(int), labels=[0, 1]).ravel()
        true_rate = tp / (tp + fn) if (tp + fn) > 0 else 0
        false_rate = fp / (fp + tn) if (fp + tn) > 0 else 0
        distance = math.sqrt(((1 - true_rate) ** 2) + (false_rate**2))
        if distance <= best:
            best, best_threshold = distance, threshold
    return best_threshold


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_corner_thresholds_equal_the_literal_loop(decimals):
    labels, scores = example(rows=120, decimals=decimals)
    expected = [literal_corner_threshold(scores[:, c], labels[:, c]) for c in range(labels.shape[1])]
    np.testing.assert_array_equal(roc_corner_thresholds(labels, scores), expected)


def test_corner_thresholds_of_one_value_classes_equal_the_literal_loop():
    scores = np.array([[0.3, 0.3], [0.1, 0.1], [0.2, 0.2]])
    labels = np.array([[0, 1], [0, 1], [0, 1]])
    expected = [literal_corner_threshold(scores[:, c], labels[:, c]) for c in range(2)]
    np.testing.assert_array_equal(roc_corner_thresholds(labels, scores), expected)
    assert expected == [0.3, 0.1]  # nothing predicted; as much as a threshold that is a score can predict


def test_equal_distances_take_the_larger_threshold():
    # positives 1 and 3, negatives 0 and 2: cutting at 0 (TPR 1, FPR 1/2) and at 2 (TPR 1/2, FPR 0) is equally near
    labels, scores = [[0], [1], [0], [1]], [[0.0], [1.0], [2.0], [3.0]]
    assert roc_corner_thresholds(labels, scores) == [2.0]


@pytest.mark.parametrize("decimals", [None, 1])
def test_threshold_metrics_equal_scikit_learn(decimals):
    labels, scores = example(decimals=decimals)
    thresholds = roc_corner_thresholds(labels, scores)
    thresholds[0] = scores.max() + 1  # nothing predicted in this class
    measured = threshold_metrics(labels, scores, thresholds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for c in range(labels.shape[1]):
            truth, predicted = labels[:, c], (scores[:, c] > thresholds[c]).astype(int)
            assert measured["f1"][c] == pytest.approx(f1_score(truth, predicted, average="weighted"), abs=1e-12)
            assert measured["accuracy"][c] == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)
            assert measured["precision"][c] == pytest.approx(precision_score(truth, predicted), abs=1e-12)
            assert measured["recall"][c] == pytest.approx(recall_score(truth, predicted), abs=1e-12)


def test_threshold_is_strict():
    assert threshold_metrics([[1], [0]], [[0.5], [0.4]], [0.5])["recall"] == [0.0]


def test_recall_without_positives_is_undefined_not_zero():
    measured = metrics_from_confusion(0, 1, 0, 3)
    assert np.isnan(measured["recall"]) and measured["precision"] == 0 and measured["accuracy"] == 0.75


def literal_ranking(labels, scores, k):
    z = (scores - scores.mean(axis=0)) / (scores.std(axis=0) + 1e-8)
    recall, precision = [], []
    for truth, row in zip(labels, z, strict=True):
        hits = truth[np.argsort(row)[::-1][:k]].sum()
        precision.append(hits / k)
        if truth.sum():
            recall.append(hits / truth.sum())
    return np.mean(recall), np.mean(precision)


def test_ranking_metrics_equal_the_literal_procedure():
    labels, scores = example(classes=8)
    assert (labels.sum(axis=1) == 0).any()
    assert recall_at_1(labels, scores) == pytest.approx(literal_ranking(labels, scores, 1)[0], abs=1e-12)
    assert precision_at_3(labels, scores) == pytest.approx(literal_ranking(labels, scores, 3)[1], abs=1e-12)


def test_ranking_metrics_do_not_see_a_column_shift_or_scale():
    labels, scores = example()
    moved = scores * np.array([1, 5, 0.2, 3, 1, 2]) + np.array([9, 0, -4, 1, 2, 3])
    assert recall_at_1(labels, moved) == pytest.approx(recall_at_1(labels, scores), abs=1e-12)
    assert precision_at_3(labels, moved) == pytest.approx(precision_at_3(labels, scores), abs=1e-12)


def test_recall_at_1_without_any_positive_is_undefined():
    assert math.isnan(recall_at_1([[0, 0], [0, 0]], [[0.1, 0.2], [0.4, 0.3]]))
    assert precision_at_3([[0, 0], [0, 0]], [[0.1, 0.2], [0.4, 0.3]]) == 0


def test_frequency_groups_at_their_borders():
    labels = np.zeros((200, 4), dtype=int)
    for c, positives in enumerate((100, 99, 10, 9)):
        labels[:positives, c] = 1
    assert frequency_groups(labels).tolist() == ["head", "medium", "medium", "tail"]
    # counts 9, 10, 99, 100: quartiles 9.75 and 99.25
    assert quantile_frequency_groups(labels).tolist() == ["head", "medium", "medium", "tail"]
    assert quantile_frequency_groups(np.ones((5, 3))).tolist() == ["tail"] * 3  # at or below the lower cut
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
    ],
)
def test_bad_input_names_the_entry(labels, scores, message):
    for function in (auc_per_class, average_precision_per_class, roc_corner_thresholds, recall_at_1):
        with pytest.raises(EvaluationError, match=message):
            function(labels, scores)


def test_a_threshold_for_each_class_is_needed():
    with pytest.raises(EvaluationError, match="1 thresholds for 2 classes"):
        threshold_metrics([[0, 1], [1, 0]], [[0.1, 0.2], [0.3, 0.4]], [0.5])
