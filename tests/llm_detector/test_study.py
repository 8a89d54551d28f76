"""What a table says first, when a null makes outcomes invalid, how claims find their arms; and the plan on a small world."""

import numpy as np
import pytest

from lib.workflow import papers, session
from papers.llm_detector import bases, found, split
from papers.llm_detector import study as detection
from papers.llm_detector.found import Case, Found, detector_and_cell
from papers.llm_detector.split import CELLS, IN_DOMAIN, Holdout
from papers.llm_detector.texts import Text

TEXTS = [
    Text(f"{d}{k}-{g}", f"{d}{k}", d, g, f"{d} {k} {g}") for d in "ab" for k in range(20) for g in ("human", "x", "y")
]
HELD = Holdout(("b",), ("y",))


def run(evidence="real", seeds=1):
    return session.Run(
        paper=papers.load_paper("llm_detector"), exhibit="tab_document", profile="real", seeds=list(range(seeds)),
        settings={}, claims=[], evidence=evidence,
    )  # fmt: skip


def some(evidence="real", seeds=1, **scores):
    """A found of cases over TEXTS; ``scores``: arm -> how far apart the classes are."""
    cases = [Case(seed, HELD, TEXTS, (0, 1), tuple(range(len(TEXTS)))) for seed in range(seeds)]
    result = Found(run(evidence, seeds), cases)
    for number, (arm, apart) in enumerate(scores.items()):
        for case in cases:
            noise = np.random.default_rng(100 * number + case.seed).normal(size=len(TEXTS))
            result.scores.setdefault(arm, {})[case] = noise + apart * case.machine
    return result


def test_a_table_says_first_whether_a_baseline_beats_the_papers_method():
    one = some(llm_detector=0.5, bag_of_words=3.0, curvature=0.0)
    table = one.table(["llm_detector", "bag_of_words", "curvature"])
    said = one.first_line(table, "llm_detector", IN_DOMAIN)
    assert said.startswith("A baseline beats the paper's method (1 of 2 do): AUROC, in domain, bag_of_words 0.9")
    assert one.first_line({k: table[k] for k in ("llm_detector", "curvature")}, "llm_detector", IN_DOMAIN).startswith(
        "No baseline"
    )
    assert all(low <= mean <= high for row in table.values() for mean, low, high in row.values())


def test_a_null_that_is_not_at_chance_leaves_the_claim_unjudged(capsys):
    one = some(llm_detector=3.0, embeddings=0.5, llm_detector_shuffled_labels=1.5, embeddings_shuffled_labels=0.0)
    nulls = one.nulls(["llm_detector_shuffled_labels", "embeddings_shuffled_labels"])
    assert nulls == {"llm_detector_shuffled_labels": False, "embeddings_shuffled_labels": True}
    one.judge("R1", measure="AUROC")
    said = capsys.readouterr().out
    assert "NOT at chance: outcomes that rest on it are invalid" in said and "R1 not judged (invalid control: " in said
    assert "on shuffled labels: llm_detector_shuffled_labels, in domain)" in said and one.run.judged == {}


def test_a_null_that_just_leaves_chance_in_its_plain_interval_is_enough(capsys):
    """Four replicates a hair above one half: an interval widened for several nulls would still hold one half."""
    one = some("miniature", 4, llm_detector=1.0, encoder_detector=1.0, llm_detector_shuffled_labels=0.0,
               encoder_detector_shuffled_labels=0.0)  # fmt: skip
    areas = {
        "llm_detector_shuffled_labels": [0.505, 0.51, 0.515, 0.53],
        "encoder_detector_shuffled_labels": [0.5, 0.49, 0.51, 0.5],
    }
    one.samples = lambda arm, *cell, **kind: np.array(areas.get(arm, [0.7, 0.71, 0.72, 0.7]))
    assert list(one.nulls(sorted(areas)).values()) == [True, True]
    areas["llm_detector_shuffled_labels"][-1] = 0.52
    assert list(one.nulls(sorted(areas)).values()) == [True, False]
    one.judge("C1", measure="balanced accuracy")
    assert "C1 not judged (invalid control: not at chance on shuffled labels: llm_detector" in capsys.readouterr().out
    assert one.run.judged == {}


def test_a_claim_rests_on_the_nulls_of_the_detectors_and_cells_that_it_names():
    arms = [
        one + two for one in ("llm_detector", "encoder_detector", "bag_of_words") for two in ("", "_shuffled_labels")
    ]
    one = some(**dict.fromkeys(arms, 0.0))
    named = {claim: one.rests_on(claim) for claim in ("C1", "C2a", "C2b")}
    llm, encoder, words = (f"{arm}_shuffled_labels" for arm in ("llm_detector", "encoder_detector", "bag_of_words"))
    assert named["C1"] == [(llm, IN_DOMAIN), (encoder, IN_DOMAIN)]
    assert named["C2a"] == [(encoder, split.DOMAIN), (encoder, IN_DOMAIN)]
    assert named["C2b"] == [(arm, cell) for arm in (llm, words) for cell in (split.DOMAIN, IN_DOMAIN)]


def test_a_claim_on_real_texts_is_judged_over_sources_after_saying_what_could_be_told(capsys):
    arms = {
        "llm_detector": 3.0,
        "embeddings": 0.5,
        "llm_detector_shuffled_labels": 0.0,
        "embeddings_shuffled_labels": 0.0,
    }
    one = some(**arms)
    one.judge("R1", measure="AUROC")
    said = capsys.readouterr().out
    assert said.index("could not be told from none") < said.index("R1 holds")
    judged = one.run.judged["R1"]
    assert judged["effect"]["n"] == 40 and judged["effect"]["low"] > 0.1
    twice = some(**{**arms, "embeddings": 3.0})
    twice.judge("R1", measure="AUROC")
    assert twice.run.judged["R1"]["outcome"] == "undecided"


def test_replicates_have_one_value_each_and_a_student_interval():
    one = some("miniature", seeds=4, llm_detector=2.0)
    samples = one.samples("llm_detector", IN_DOMAIN)
    assert samples.shape == (4,) and len(set(samples)) == 4
    mean, low, high = one.triple(samples)
    assert mean == pytest.approx(samples.mean()) and low < mean < high


def test_arms_are_compared_on_the_texts_that_both_were_asked_of():
    one = some(llm_detector=1.0, curvature=1.0)
    case = one.cases[0]
    one.scores["llm_detector"][case][60:90] = np.nan
    asked = one.inside(case, IN_DOMAIN, ["curvature", "llm_detector"])
    assert set(asked) < set(one.inside(case, IN_DOMAIN, ["curvature"])) or not set(asked) & set(range(60, 90))
    assert one.samples("curvature", IN_DOMAIN, like=["llm_detector"]).shape == (1 + found.RESAMPLES,)


def test_cells_see_what_they_are_named_after():
    """Scores that know the generator x alone: a perfect detector of it, and none of y."""
    one = some(llm_detector=0.0)
    case = one.cases[0]
    one.scores["llm_detector"][case] = np.array([float(t.generator == "x") for t in TEXTS])
    area = {cell: one.samples("llm_detector", cell)[0] for cell in CELLS}
    assert area == {IN_DOMAIN: 1, split.DOMAIN: 1, split.GENERATOR: 0.5, split.BOTH: 0.5}
    assert one.recall("llm_detector")["a"] == {"human": [0.0], "x": [1.0], "y": [0.0]}
    assert "b" not in one.recall("llm_detector", seen=True)


def test_written_answers_count_an_invalid_one_as_wrong():
    one = some(llm_detector=1.0)
    case = one.cases[0]
    one.written["llm_detector"] = {case: {k: int(case.machine[k]) for k in range(len(TEXTS))}}
    assert one.written_accuracy("llm_detector", IN_DOMAIN) == (1.0, 0.0)
    one.written["llm_detector"][case] |= {k: None for k in range(len(TEXTS)) if TEXTS[k].generator == "x"}
    accuracy, invalid = one.written_accuracy("llm_detector", IN_DOMAIN)
    assert accuracy == 0.5 and invalid == 0.5


def test_training_texts_are_a_human_and_a_machine_text_of_each_source_that_may_train():
    places = bases.balanced(TEXTS, list(range(len(TEXTS))), HELD, seed=0)
    chosen = [TEXTS[k] for k in places]
    assert {one.domain for one in chosen} == {"a"} and {one.generator for one in chosen} == {"human", "x"}
    assert len(chosen) == 40 and len({one.source for one in chosen}) == 20
    free = [TEXTS[k] for k in bases.balanced(TEXTS, list(range(len(TEXTS))), Holdout((), ()), seed=0)]
    by_turns = [one.generator for one in free if one.generator != "human"]
    assert by_turns.count("x") == by_turns.count("y") == 20


def test_names_of_arms():
    assert detector_and_cell("llm_detector_shuffled_labels_out_of_domain") == (
        "llm_detector_shuffled_labels",
        split.DOMAIN,
    )
    assert detection.spoken("encoder_detector_shuffled_labels") == "encoder, shuffled labels"
    paper = papers.load_paper("llm_detector")
    known = {*detection.CHEAP, detection.LLM, detection.ENCODER}
    for claim in [paper.claim(one) for one in ("C1", "C2a", "C2b", "C2c", "R1", "R2a", "R2b")]:
        for arms in (claim.arms, claim.counterpart.arms):
            for name in (arms.treatment, arms.baseline):
                assert detector_and_cell(name)[0].removesuffix(detection.SHUFFLED) in known, name
