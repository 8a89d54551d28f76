"""Findings read out of reports, and the measures, by closed forms and by the libraries' own words."""

import numpy as np
import pytest

from lib.data.chest_ct.findings import FINDINGS
from lib.data.chest_ct.reports import write_report as write_free_text
from lib.data.chest_ct.scanner import observe
from lib.evaluation import EvaluationError
from papers.e3d_gpt import measures
from papers.e3d_gpt.findings import SHOWN, label_report, level_of, side_of, write_report


def test_the_labeller_reads_what_the_report_says():
    rng = np.random.default_rng(0)
    for _ in range(50):
        shown = {name: FINDINGS[name].zones[0] for name in SHOWN if rng.random() < 0.4}
        assert label_report(write_report(shown), SHOWN) == [name in shown for name in SHOWN]


def test_the_labeller_reads_free_text_with_denials():
    """Reports in the manner of CT-RATE, where most findings have other names than their labels."""
    rng, names = np.random.default_rng(1), list(FINDINGS)
    right = []
    for _ in range(60):
        shown = [name for name in names if rng.random() < 0.1]
        report = write_free_text(rng, [observe(rng, name) for name in shown]).findings
        right += [said == (name in shown) for name, said in zip(names, label_report(report, names), strict=True)]
    assert np.mean(right) > 0.97


def test_side_and_level_are_those_of_findings_that_can_be_elsewhere():
    assert side_of("Lung nodule", "left upper lung") == "left" and level_of("Lung nodule", "left upper lung") == "upper"
    assert (
        level_of("Consolidation", "right lower lung") is None
        and side_of("Consolidation", "right lower lung") == "right"
    )
    assert side_of("Cardiomegaly", "heart") is None and level_of("Emphysema", "both upper lungs") is None


def test_clinical_f1_is_scikit_learns():
    from sklearn.metrics import balanced_accuracy_score, f1_score

    rng = np.random.default_rng(2)
    found, truth = rng.random((50, 4)) < 0.5, rng.random((50, 4)) < 0.3
    assert measures.clinical_f1(found, truth) == pytest.approx(f1_score(truth, found, average="macro"))
    wanted = np.mean([balanced_accuracy_score(truth[:, k], found[:, k]) for k in range(4)])
    assert measures.balanced_accuracy(found, truth) == pytest.approx(wanted)
    assert measures.clinical_f1(np.zeros_like(found), truth) == 0
    assert measures.balanced_accuracy(np.ones_like(found), truth) == 0.5


def test_overlap_is_best_for_the_same_words_and_worse_in_another_order():
    same = measures.overlap(["no nodule in the lung ."], ["no nodule in the lung ."])
    turned = measures.overlap(["lung the in nodule no ."], ["no nodule in the lung ."])
    assert same["BLEU-4"] == pytest.approx(1) and same["ROUGE-L"] == pytest.approx(1)
    assert turned["BLEU-1"] == pytest.approx(1) and turned["BLEU-4"] < 0.5 and turned["ROUGE-L"] < 0.6
    assert turned["METEOR"] < same["METEOR"]
    stems = measures.overlap(["nodules"], ["nodule"])
    assert stems["METEOR"] > 0 and stems["BLEU-1"] == 0
    assert measures.overlap([""], ["no nodule"]) == {"BLEU-1": 0, "BLEU-4": 0, "ROUGE-L": 0, "METEOR": 0}


def test_a_reference_of_zero_words_is_one_sentence():
    with pytest.raises(EvaluationError, match="reference report 1 has no word"):
        measures.overlap(["a", "b"], ["a", " . "])
    with pytest.raises(EvaluationError, match="1 reports for 2 references"):
        measures.overlap(["a"], ["a", "b"])


def test_a_question_is_right_when_its_answer_is_the_most_probable_candidate():
    right = measures.hits([[0.2, 0.8], [0.6, 0.4]], [("yes", "no"), ("left", "right")], ["no", "right"])
    assert right.tolist() == [True, False]


@pytest.mark.parametrize("width", [3, 60])
def test_the_probe_is_ridge_regression_either_way(width):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(30, width)), rng.random((30, 2)) < 0.5, rng.normal(size=(5, width))
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    model = Ridge(alpha=0.1 * 30).fit((x - mean) / scale, y.astype(float))
    wanted = model.predict((z - mean) / scale) - y.mean(axis=0)
    assert np.allclose(measures.ridge_scores(x, y, z, penalty=0.1), wanted)
