"""Sentences of mixed documents: shuffled labels, places, splits by source; what a table of sentences says first."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.workflow import papers, session
from papers.llm_detector import sentences
from papers.llm_detector.texts import Mixed

RNG = np.random.default_rng(2)
DOCUMENTS = [
    Mixed(f"m{k}", f"s{k // 2}", "d", "x", tuple(
        (f"words {k} {n}", "machine" if n >= 1 + k % 3 else "human") for n in range(4)
    ))
    for k in range(40)
]  # fmt: skip


def plan(evidence="real"):
    run = session.Run(
        paper=papers.load_paper("llm_detector"), exhibit="tab_sentence", profile="real", seeds=[0],
        settings={"sentences": {"share": 0.5}}, claims=[], evidence=evidence,
    )  # fmt: skip
    ground = SimpleNamespace(documents=DOCUMENTS, encoder_base=None, alone={"embedding": RNG.normal(size=(160, 3))})
    study = SimpleNamespace(run=run, settings=run.settings, ground=lambda seed: ground)
    return sentences.prepare(study)


def test_documents_are_split_by_source_and_labels_shuffled_among_those_that_train():
    case = plan().cases[0]
    sources = [{DOCUMENTS[k].source for k in side} for side in (case.train, case.test)]
    assert not sources[0] & sources[1] and len(case.train) == len(case.test) == 20
    shuffled = case.labels(shuffle=True)
    inside = case.rows(case.train)
    assert shuffled[inside].sum() == case.machine[inside].sum() and (shuffled[inside] != case.machine[inside]).any()
    assert (shuffled[case.rows(case.test)] == case.machine[case.rows(case.test)]).all()


def test_place_alone_tells_across_places_and_nothing_within_one(capsys):
    found = plan().detect(["place", "length", sentences.SENTENCE], shuffled=[sentences.SENTENCE])
    table = found.table(["place"])
    assert table["place"]["macro-F1"][0] > 0.7 and table["place"]["AUROC within a place"] == (0.5, 0.5, 0.5)
    assert found.nulls(["place", "length"]) == {"place": True, "length": True}
    said = capsys.readouterr().out
    assert said.count("at chance") == 2 and "NOT" not in said


def test_a_table_says_first_who_is_better_and_a_broken_null_leaves_the_claim_unjudged(capsys):
    whole = plan()
    found = sentences.Labelled(whole.study, whole.cases)
    machine = whole.cases[0].machine
    for number, arm in enumerate([*sentences.ARMS, "llm_detector_shuffled_labels", "sniffer_shuffled_labels"]):
        apart = {"llm_detector": 1.0, "sniffer": 4.0}.get(arm, 0.0)
        found.scores[arm] = [np.random.default_rng(number).normal(size=len(machine)) + apart * (machine - 0.5)]
    table = found.table(sentences.ARMS)
    assert found.first_line(table, "macro-F1").startswith(
        "A baseline beats the paper's method (1 of 5 do): macro-F1, sniffer"
    )
    found.judge("R3b", measure="AUROC within a place", nulls={"place": True, "curvature_shuffled_labels": False})
    assert found.study.run.judged["R3b"]["effect"]["mean"] < 0
    found.judge("R3a", measure="AUROC within a place", nulls={"llm_detector_shuffled_labels": False})
    assert "R3a not judged (invalid control: " in capsys.readouterr().out and "R3a" not in found.study.run.judged


def test_documents_right_and_boundaries_are_counted_in_whole_documents():
    whole = plan()
    found = sentences.Labelled(whole.study, whole.cases)
    found.scores["perfect"] = [whole.cases[0].machine * 2.0 - 1]
    found.invalid["perfect"] = [0.25]
    assert found.whole("perfect") == {"documents right": 1.0, "boundary F1": 1.0, "invalid answers": 0.25}
    found.scores["blind"] = [np.full(160, -1.0)]
    assert found.whole("blind") == {"documents right": 0.0, "boundary F1": 0.0}
    assert found.samples("perfect", measure="macro-F1")[0] == pytest.approx(1)
