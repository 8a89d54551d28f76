"""What the study hands to its fits and reads back: one difference between arms, bases under seeds, sets weighed alike."""

import numpy as np
import pytest
from handed import handed

from lib.streams import stream_seed
from lib.workflow.session import start
from papers.e3d_gpt import answering, costs, encoders, study, tuning
from papers.e3d_gpt.bases import Base, TestSet
from papers.e3d_gpt.findings import SHOWN
from papers.e3d_gpt.instructions import Item
from papers.e3d_gpt.study import BLIND, E3D, M3D, Answers, Study, Tuned

TestSet.__test__ = False  # no test of pytest's
REPORTS = ["Lung opacity in the left upper lobe.", "Lung opacity not seen."]


def test_set(folder, count=4):
    """Findings: the first volume shows a lung opacity; two questions on it."""
    labels = np.zeros((count, len(SHOWN)), dtype=bool)
    labels[0, 0] = True
    reports = [(row, Item(str(row), "What?", REPORTS[row > 0], "report")) for row in range(count)]
    questions = [
        (0, Item("0", "Say whether there is lung opacity", "yes", "yes_no")),
        (1, Item("1", "Say whether there is lung opacity", "no", "yes_no")),
        (0, Item("0", "Name the side of the lung opacity", "left", "side")),
    ]
    return TestSet(folder / "prepared", folder, labels, reports, questions)


test_set.__test__ = False


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A study of two seeds on two bases, whose artefacts are one folder; what was asked for."""
    np.save(tmp_path / "labels.npy", np.zeros((6, len(SHOWN))))
    (tmp_path / "answers.json").write_text('{"reports": [], "closed": []}')
    np.save(tmp_path / "scores.npy", np.zeros((8, len(SHOWN))))
    run = start("e3d_gpt", "tab_report_generation", profile="mini", seeds=2)
    tests = {name: test_set(tmp_path) for name in ("ct_rate", "bimcv_r")}
    bases = {
        seed: Base(seed, run, tmp_path / "pool", [tmp_path / "a", tmp_path / "b"], tmp_path, tests)
        for seed in run.seeds
    }
    return Study(run, run.settings, bases), handed(monkeypatch, tmp_path)


def asked(calls, function):
    return [told for one, told in calls if one is function]


def test_arms_differ_in_projector_and_encoder_alone(made):
    owner, calls = made
    owner.tune({"e3d_gpt": E3D, "m3d_style": M3D, "blind": BLIND})
    fits = asked(calls, tuning.tune)
    assert len(fits) == 6
    first, second, blind = fits[0], fits[2], fits[4]
    same = {name for name in first if name not in ("projector", "vision", "tokens", "prepared")}
    assert all(first[name] == second[name] == blind[name] for name in same)
    assert [one["projector"] for one in (first, second, blind)] == ["convolution", "average", None]
    assert blind["tokens"] == [] and first["tokens"] and first["prepared"] == []
    assert [one["seed"] for one in fits] == [0, 1] * 3


def test_the_other_patient_is_asked_of_the_same_trained_model(made):
    owner, calls = made
    owner.tune({"e3d_gpt": E3D, "other": {**E3D, "roll": 37}})
    fits, answers = asked(calls, tuning.tune), asked(calls, answering.answer)
    assert fits[0] == fits[2]
    assert [one["roll"] for one in answers] == [0] * 4 + [37] * 4
    assert {**answers[0], "roll": 37} == answers[4]


def test_encoders_of_a_base_share_its_seed_and_differ_in_their_cause(made):
    owner, calls = made
    owner.build_encoders(["masked", "shuffled_voxels", "normalised", "contrastive"])
    masked = [one for one in asked(calls, encoders.pretrain_masked) if one["seed"] == stream_seed(0, "pretraining")]
    plain, shuffled, normalised = masked
    assert {name for name in plain if plain[name] != shuffled[name]} == {"shuffled"} and shuffled["shuffled"]
    assert {name for name in plain if plain[name] != normalised[name]} == {"norm_pix_loss"} and normalised[
        "norm_pix_loss"
    ]
    contrast = asked(calls, encoders.pretrain_contrastive)[0]
    assert contrast["prepared"] == plain["prepared"][1:]  # a pool without reports is no use to it


def test_starts_are_tuned_alike(made):
    owner, calls = made
    owner.fine_tune({"mae_pretrained": "masked", "scratch": "untrained"})
    fits = asked(calls, encoders.fine_tune)
    assert len(fits) == 4 and {name for name in fits[0] if fits[0][name] != fits[2][name]} <= {"encoder"}


def tuned(reports, closed, diagnosis=None):
    return [Tuned(0, 0, {name: Answers(reports, closed, diagnosis) for name in ("ct_rate", "bimcv_r")})]


def test_measures_read_reports_questions_and_probabilities(made):
    owner, _ = made
    right = tuned([REPORTS[0], *[REPORTS[1]] * 3], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    blind = tuned([REPORTS[1]] * 4, [[0.1, 0.9], [0.1, 0.9], [0.9, 0.1]])
    assert owner.f1(right) == [1] and owner.f1(blind) == [0]
    assert owner.balanced(right) == [1] and owner.balanced(blind) == [0.5]
    assert owner.accuracy(right) == [1] and owner.accuracy(blind) == [
        0.25
    ]  # kinds weigh alike: half of one, none of the other
    assert owner.accuracy(blind, kinds=["yes_no"]) == [0.5] and owner.accuracy(blind, kinds=["side", "level"]) == [0]
    assert owner.overlap(right)["BLEU-4"] == [pytest.approx(1)] and owner.overlap(blind)["BLEU-4"][0] < 1
    yes = np.zeros((4, len(SHOWN)))
    yes[0, 0] = 1
    assert owner.diagnosis(tuned([], [], yes)) == [1] and owner.diagnosis(tuned([], [], -yes)) == [0]
    assert owner.diagnosis_by_finding(tuned([], [], yes))[SHOWN[0]] == [1]


def test_claims_on_named_data_sets_are_left_to_these(made, capsys):
    owner, _ = made
    run = owner.run
    run.settings = {**run.settings, "verdicts": False}
    both = {"e3d_gpt": [0.5, 0.6], "blind_language_model": [0, 0], "e3d_gpt_other_patient": [0.3, 0.3]}
    study.judge_reports(run, both, {"ct_rate": both, "bimcv_r": both})
    said = capsys.readouterr().out
    assert "C3a not judged" in said and "C3b not judged" in said and "O1: no verdict" in said


def test_costs_are_those_of_a_closed_form():
    """Projections and attention of one Llama layer, by hand; a convolution is a product with eight tokens joined."""
    told = {"grid": (4, 4, 2), "width": 6, "words": 10}
    language = {"width": 8, "depth": 3, "heads": 2, "inner": 12, "vocabulary": 50}
    found = costs.count("convolution", language=language, **told)
    length = 4 + 10
    layer = length * (4 * 8 * 8 + 3 * 8 * 12) + 2 * length * length * 8
    assert found.tokens == 4 and found.projector == 4 * (8 * 6 * 8 + 8 * 8)
    assert found.language == pytest.approx(3 * layer, rel=0.02)
    assert found.parameters == 8 * 6 * 8 + 8 + 8 * 8 + 8
    kept = costs.count("linear", language=language, **told)
    assert kept.tokens == 32 and kept.total > found.total
