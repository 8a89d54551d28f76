"""Areas, hits, F1 and intervals: scikit-learn's numbers, and what resampling by source must do."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score, roc_curve

from lib.evaluation import EvaluationError
from papers.llm_detector import measures

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=60).round(1)  # with ties
MACHINE = RNG.random(60) < 0.4
SOURCES = [f"s{k // 3}" for k in range(60)]


@pytest.fixture(scope="module")
def drawn():
    return measures.resample(SOURCES, resamples=40, seed=0)


def test_every_measure_is_scikit_learns_on_the_texts_and_on_each_resample(drawn):
    wholes = {
        measures.area: lambda w: roc_auc_score(MACHINE, SCORES, sample_weight=w),
        measures.balanced_accuracy: lambda w: balanced_accuracy_score(MACHINE, SCORES > 0, sample_weight=w),
        measures.macro_f1: lambda w: f1_score(MACHINE, SCORES > 0, average="macro", sample_weight=w),
    }
    for measure, whole in wholes.items():
        np.testing.assert_allclose(measure(SCORES, MACHINE, drawn), [whole(w) for w in drawn], atol=1e-12)


def test_hits_at_false_alarms_is_the_roc_curve_read_at_the_rate(drawn):
    for rate in (0.0, 0.01, 0.2, 1.0):
        for weights, found in zip(drawn, measures.hits_at_false_alarms(SCORES, MACHINE, drawn, rate=rate), strict=True):
            alarms, hits, _ = roc_curve(MACHINE, SCORES, sample_weight=weights, drop_intermediate=False)
            assert found == pytest.approx(hits[alarms <= rate + 1e-12].max())
    curve = measures.roc(SCORES, MACHINE, np.array([0.0, 0.1, 0.5, 1.0]))
    assert (np.diff(curve) >= 0).all() and curve[-1] == 1


def test_within_strata_only_texts_of_one_stratum_meet():
    """Place alone, which is all that these scores know, tells nothing within a place and much without."""
    place = np.arange(60) % 4
    machine = RNG.random(60) < place / 4
    one = np.ones((1, 60))
    assert measures.area(place.astype(float), machine, one)[0] > 0.7
    assert measures.area(place.astype(float), machine, one, place)[0] == 0.5


def test_versions_of_a_source_are_drawn_together_and_an_interval_widens_with_them(drawn):
    for k in range(0, 60, 3):
        assert (drawn[:, k] == drawn[:, k + 1]).all() and (drawn[:, k] == drawn[:, k + 2]).all()
    assert (drawn[0] == 1).all() and (drawn[1:].sum(axis=1) == 60).all()
    copies = np.repeat(RNG.normal(size=20), 3)
    machine = np.repeat(np.arange(20) < 10, 3)
    widths = []
    for sources in (SOURCES, [str(k) for k in range(60)]):
        samples = measures.area(copies, machine, measures.resample(sources, resamples=400, seed=1))
        _, low, high = measures.interval(samples)
        widths.append(high - low)
    assert widths[0] > 1.4 * widths[1]
    with pytest.raises(EvaluationError, match="1 source; resampling needs two"):
        measures.resample(["a", "a"], resamples=3, seed=0)


def test_holdouts_are_drawn_as_well():
    samples = np.array([[0.4, 0.4, 0.4, 0.4] * 50, [0.8, 0.8, 0.8, 0.8] * 50])
    whole = measures.over_holdouts(samples, seed=0)
    assert whole[0] == pytest.approx(0.6) and set(whole[1:].round(6)) == {0.4, 0.6, 0.8}


def test_documents_and_boundaries():
    scores = [np.array([-1.0, 1.0, 1.0]), np.array([-1.0, -1.0])]
    assert measures.exact_documents(scores, [[0, 1, 1], [0, 1]]) == 0.5
    assert measures.segment_f1(scores, [[0, 1, 1], [0, 1]]) == pytest.approx(2 / 3)
    assert np.isnan(measures.area(SCORES, np.ones(60, dtype=bool), np.ones((1, 60)))[0])
