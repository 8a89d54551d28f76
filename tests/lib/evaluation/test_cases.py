"""Intervals over cases: of known distributions, of copies, and drawn together."""

import numpy as np
import pytest

from lib.evaluation import EvaluationError
from lib.evaluation.cases import bootstrap_means, over_cases


def test_single_cases_give_the_interval_of_a_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 2.0, (400, 1))
    ((mean, low, high),) = bootstrap_means(values, np.arange(400), resamples=4000, seed=0)
    half = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - half, abs=0.03) and high == pytest.approx(mean + half, abs=0.03)


def test_copies_of_a_case_add_nothing():
    values = np.random.default_rng(1).normal(size=(40, 1))
    alone = bootstrap_means(values, np.arange(40), resamples=2000, seed=0)
    copied = bootstrap_means(np.repeat(values, 5, axis=0), np.repeat(np.arange(40), 5), resamples=2000, seed=0)
    np.testing.assert_allclose(alone, copied)


def test_columns_are_drawn_together():
    values = np.random.default_rng(2).normal(size=(30, 2)) + 5
    (_, _, difference) = bootstrap_means(
        np.column_stack([values, values[:, 0] - values[:, 0]]), np.arange(30), resamples=500, seed=0
    )
    assert difference == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("clusters", [["a", "a", "a"], ["a", "b"]])
def test_too_few_clusters_or_labels_are_refused(clusters):
    with pytest.raises(EvaluationError, match="give each row a cluster, two or more in all"):
        bootstrap_means(np.ones((3, 1)), clusters, resamples=10, seed=0)


def test_effect_control_and_their_difference_over_cases():
    rng = np.random.default_rng(3)
    shared, own = rng.normal(size=200), rng.normal(0.5, 0.1, 200)
    found = over_cases(shared + own, shared, resamples=2000)
    assert found["n"] == 200
    assert found["excess"] == pytest.approx((0.5, 0.486, 0.514), abs=0.02)  # what both share goes out of the difference
    assert found["effect"][2] - found["effect"][1] > 0.2


def test_clusters_are_counted_and_resampled_together():
    found = over_cases([1, 1, 1, 0, 0, 0], [0] * 6, clusters=list("aaabbb"), resamples=500)
    assert found["n"] == 2 and found["effect"] == (0.5, 0.0, 1.0)
