"""The bootstrap against the released loop (scikit-learn, copied rows), its clusters, its summary."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bootstrap import generated_scores, loop_bootstrap_auc
from lib.evaluation import EvaluationError
from lib.evaluation.classification import (
    BLOCK,
    OVERALL_AVERAGED,
    OVERALL_MACRO,
    auc_per_class,
    bootstrap_auc,
    summarise_bootstrap,
)


def common_findings(rows):
    """Two classes at prevalence 0.5 and 0.23, so that few rows still hold both values in every resample."""
    labels, scores = generated_scores(rows, 6)
    return labels[:, :2], scores[:, :2]


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_equals_the_scikit_learn_loop(decimals):
    labels, scores = generated_scores(300, 4, decimals=decimals)
    resamples = BLOCK + 6  # crosses a block border
    fast, loop = (
        bootstrap_auc(labels, scores, resamples=resamples),
        loop_bootstrap_auc(labels, scores, resamples=resamples),
    )
    np.testing.assert_array_equal(np.isnan(fast), np.isnan(loop))
    np.testing.assert_allclose(fast, loop, atol=1e-12, rtol=0)


def test_one_tie_between_a_positive_and_a_negative_takes_the_tie_path():
    labels, scores = generated_scores(200, 2)
    scores[np.flatnonzero(labels[:, 0])[0], 0] = scores[np.flatnonzero(labels[:, 0] == 0)[0], 0]
    loop = loop_bootstrap_auc(labels, scores, resamples=20)
    np.testing.assert_allclose(bootstrap_auc(labels, scores, resamples=20), loop, atol=1e-12, rtol=0)


def test_resamples_without_both_values_are_nan_exactly_where_the_loop_has_none():
    labels, scores = generated_scores(40, 3)
    labels[:, 1], labels[:, 2] = 0, 0
    labels[3, 1] = 1  # absent from about a third of the resamples
    fast, loop = bootstrap_auc(labels, scores, resamples=100), loop_bootstrap_auc(labels, scores, resamples=100)
    np.testing.assert_array_equal(np.isnan(fast), np.isnan(loop))
    np.testing.assert_allclose(fast, loop, atol=1e-12, rtol=0)
    assert 20 < np.isnan(fast[:, 1]).sum() < 55 and np.isnan(fast[:, 2]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(0, 1))
def test_each_resample_is_the_plain_auc_of_its_rows(seed, rows, decimals):
    generator = np.random.default_rng(seed)
    labels, scores = generator.integers(0, 2, (rows, 2)), generator.normal(size=(rows, 2)).round(decimals)
    fast = bootstrap_auc(labels, scores, resamples=4)
    for i in range(4):
        drawn = np.random.RandomState(i).choice(rows, rows, replace=True)
        np.testing.assert_allclose(fast[i], auc_per_class(labels[drawn], scores[drawn]), atol=1e-12)
    np.testing.assert_allclose(bootstrap_auc(1 - labels, scores, resamples=4), 1 - fast, atol=1e-12)


def test_the_global_random_state_is_left_alone():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    bootstrap_auc(*generated_scores(50, 2), resamples=3)
    assert np.random.random() == expected


def test_a_longer_run_begins_with_the_shorter_one():
    labels, scores = generated_scores(100, 3)
    np.testing.assert_array_equal(
        bootstrap_auc(labels, scores, resamples=150)[:70], bootstrap_auc(labels, scores, resamples=70)
    )


def test_one_row_a_cluster_is_the_plain_bootstrap():
    labels, scores = generated_scores(120, 3)
    plain = bootstrap_auc(labels, scores, resamples=80)
    names = [f"patient_{i}" for i in np.random.default_rng(0).permutation(120)]  # unsorted names
    np.testing.assert_array_equal(bootstrap_auc(labels, scores, resamples=80, clusters=names), plain)


def test_clusters_are_drawn_whole():
    labels, scores = generated_scores(60, 2)
    patients = np.arange(60) * 7 % 20  # the rows of a patient lie apart
    clustered = bootstrap_auc(labels, scores, resamples=10, clusters=patients)
    for i in range(10):
        drawn = pd.unique(patients)[np.random.RandomState(i).choice(20, 20, replace=True)]
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in drawn])
        np.testing.assert_allclose(clustered[i], auc_per_class(labels[rows], scores[rows]), atol=1e-12)


def test_clusters_of_duplicated_rows_give_back_the_honest_width():
    labels, scores = common_findings(150)
    honest = bootstrap_auc(labels, scores, resamples=400).std(axis=0)
    twice, patients = np.repeat(np.arange(150), 4), np.repeat(np.arange(150), 4)
    naive = bootstrap_auc(labels[twice], scores[twice], resamples=400).std(axis=0)
    clustered = bootstrap_auc(labels[twice], scores[twice], resamples=400, clusters=patients).std(axis=0)
    np.testing.assert_allclose(clustered, honest, atol=1e-12)  # four copies of a patient are one patient
    assert (clustered > 1.6 * naive).all()  # sqrt(4) = 2 in the limit


def test_summary_gives_both_overall_forms():
    generator = np.random.default_rng(0)
    samples = generator.normal([0.7, 0.8, 0.9], [0.01, 0.02, 0.03], size=(4000, 3))
    table = summarise_bootstrap(samples, names=["a", "b", "c"])
    frame = pd.DataFrame(samples)
    np.testing.assert_allclose(table.loc[["a", "b", "c"], "mean"], frame.mean(), atol=1e-12)
    np.testing.assert_allclose(table.loc[["a", "b", "c"], "sd"], frame.std(), atol=1e-12)
    lows, highs = np.percentile(samples, 2.5, axis=0), np.percentile(samples, 97.5, axis=0)
    np.testing.assert_allclose(table.loc[["a", "b", "c"], "low"], lows, atol=1e-12)
    shipped = table.loc[OVERALL_AVERAGED, ["mean", "sd", "low", "high"]].astype(float)
    np.testing.assert_allclose(
        shipped, [frame.mean().mean(), frame.std().mean(), lows.mean(), highs.mean()], atol=1e-12
    )
    macro = samples.mean(axis=1)
    np.testing.assert_allclose(table.loc[OVERALL_MACRO, "sd"], macro.std(ddof=1), atol=1e-12)
    np.testing.assert_allclose(
        table.loc[OVERALL_MACRO, ["low", "high"]].astype(float), np.percentile(macro, [2.5, 97.5]), atol=1e-12
    )
    # independent classes: averaging intervals does not shrink, the interval of the average does
    assert (
        np.diff(shipped[["low", "high"]])[0] > 1.4 * np.diff(table.loc[OVERALL_MACRO, ["low", "high"]].astype(float))[0]
    )


def test_summary_leaves_undefined_resamples_out_and_counts_them():
    samples = np.array([[0.5, np.nan], [0.7, np.nan], [np.nan, np.nan], [0.9, np.nan]])
    table = summarise_bootstrap(samples, names=["a", "b"])
    assert table.loc["a", "mean"] == pytest.approx(0.7) and np.isnan(table.loc["b", "mean"])
    assert table["undefined"].to_dict() == {"a": 1, "b": 4, OVERALL_AVERAGED: 5, OVERALL_MACRO: 1}
    assert table.loc[OVERALL_MACRO, "mean"] == pytest.approx(0.7)


def test_bad_input_names_the_remedy():
    labels, scores = generated_scores(10, 2)
    with pytest.raises(EvaluationError, match="clusters has 9 entries for 10 rows"):
        bootstrap_auc(labels, scores, clusters=range(9))
    with pytest.raises(EvaluationError, match=r"clusters\[2\] is missing"):
        bootstrap_auc(labels, scores, clusters=["a", "b", None, *"cdefghi"])
    for resamples in (0, -3):
        with pytest.raises(EvaluationError, match="at least one resample"):
            bootstrap_auc(labels, scores, resamples=resamples)
    with pytest.raises(EvaluationError, match="give one name a class"):
        summarise_bootstrap(np.zeros((4, 2)), names=["a"])
