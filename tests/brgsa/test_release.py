"""The tables of the authors' released scores, on a generated release: against scikit-learn, and what is refused."""

import shutil

import numpy as np
import pytest
from brgsa_release import write_release
from sklearn.metrics import roc_auc_score

from lib.data.files import DataError
from lib.data.scored_set import ScoredSet
from papers.brgsa import release as brgsa_release


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("brgsa") / "release", volumes=60)


@pytest.mark.slow
def test_every_table_of_a_release_is_measured(release):
    released = brgsa_release.load_all(str(release.root), ct_rate_labels=str(release.ct_labels_path))
    assert len(released.sets) == len(released.said) == 1 + 5 + 4 + 1 + 1 + 5
    assert list(brgsa_release.load_all(str(release.root)).sets) == list(released.sets)[:12]
    measured = brgsa_release.measure(released.sets, resamples=40)
    lt = measured.loc["CT-RATE-LT, 15 labels"]
    expected = roc_auc_score(release.lt, release.scores["CT-RATE_LT_epoch38"])
    assert lt["mean"] == pytest.approx(expected) and (lt["volumes"], lt["labels"]) == (60, 15)
    mean = [release.scores[f"CT-RATE_{variant}_epoch38"] for variant in ("vt", "v^t")]
    found = measured.loc["CT-RATE, 18 labels, mean", "mean"]
    assert found == pytest.approx(roc_auc_score(release.ct, np.mean(mean, axis=0)))
    assert (measured["low"] <= measured["mean"]).all() and (measured["mean"] <= measured["high"]).all()
    assert (measured["low"] < measured["high"]).all() and (measured["mean"] > 0.8).all()
    labels = measured["labels"].to_dict()
    assert labels["RAD-ChestCT, 16 labels, v^t"] == 16 and labels["RAD-ChestCT, 56 further labels"] == 56
    null = brgsa_release.permuted(released.sets, seed=0)
    assert list(null.index) == list(measured.index) and null.between(0.35, 0.65).all()


def test_the_interval_keeps_the_scans_of_a_patient_together(release):
    """Four copies of everything under one patient's names say no more than one copy does."""
    one = brgsa_release.load_all(str(release.root)).sets["CT-RATE-LT, 15 labels"]
    names = tuple(f"valid_{k}_a_{copy}" for copy in range(4) for k in range(60))
    four = ScoredSet(names, one.classes, np.tile(one.labels, (4, 1)), np.tile(one.scores, (4, 1)))
    apart = ScoredSet(tuple(f"valid_{k}_a_1" for k in range(240)), four.classes, four.labels, four.scores)
    alone = ScoredSet(names[:60], one.classes, one.labels, one.scores)
    table = brgsa_release.measure({"alone": alone, "four": four, "apart": apart}, resamples=200)
    width = table["high"] - table["low"]
    assert table.loc["four", "mean"] == pytest.approx(table.loc["alone", "mean"])
    assert width["four"] == pytest.approx(width["alone"], rel=0.05) and width["apart"] < 0.7 * width["alone"]


def test_without_a_release_one_sentence_says_what_to_do_and_a_wrong_folder_is_refused(tmp_path):
    skipped = brgsa_release.load_all("")
    assert skipped.sets == {}
    assert skipped.said == [
        "Skipped: no brgsa_root given. Clone the authors' repository and set brgsa_root to its folder."
    ]
    table = brgsa_release.measure({}, resamples=10)
    assert table.empty and list(table) == ["mean", "low", "high", "volumes", "labels"]
    assert brgsa_release.permuted({}, seed=0).empty
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match="has no folder 'Performance'; brgsa_root must be a clone"):
            brgsa_release.load_all(str(root))


def test_a_release_that_lost_a_file_is_told(release, tmp_path):
    root = shutil.copytree(release.root, tmp_path / "copy")
    lost = root / "Performance" / "BrgSA_best_model" / "Rad_ChestCT_resolution0.8_epoch38_112x112x64.csv"
    lost.unlink()
    with pytest.raises(DataError, match=r"112x112x64\.csv does not exist"):
        brgsa_release.load_all(str(root))
