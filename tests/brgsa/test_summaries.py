"""Rules that read reports: they check the generated ones and are checked by them and by hand-written sentences."""

import re

import numpy as np
import pytest
from generated_reports import make_reports

from lib.data.chest_ct import reports as radiology_reports
from lib.data.chest_ct.findings import LEXICON
from lib.data.chest_ct.reports import write_report
from papers.brgsa import summaries
from papers.brgsa.summaries import NORMAL_STATEMENT, RuleSummariser

REPORTS = list(make_reports(500))


def precision_recall(summariser):
    # The findings section alone: the impression, which denies nothing, would hide a finding that is lost there.
    pairs = [(set(summariser.findings(r.findings)), truth) for r, truth in REPORTS]
    hits = sum(len(found & truth) for found, truth in pairs)
    return hits / sum(len(found) for found, _ in pairs), hits / sum(len(truth) for _, truth in pairs)


# ---- reading them back ----
def test_the_rules_read_500_reports_without_a_mistake():
    assert precision_recall(RuleSummariser(LEXICON)) == (1.0, 1.0)
    summariser = RuleSummariser(LEXICON)
    for report, truth in REPORTS:
        assert set(summariser(report.text)) == ({f"There is {n}" for n in truth} or {NORMAL_STATEMENT})


@pytest.mark.parametrize("rule", ["_DENIES_AFTER", "_DENIES_BEFORE"])
def test_a_negation_mistake_would_be_seen(monkeypatch, rule):
    monkeypatch.setattr(summaries, rule, re.compile(r"(?!)"))  # a rule that never fires
    precision, recall = precision_recall(RuleSummariser(LEXICON))
    assert precision < 0.8 and recall == 1.0


def test_a_negation_without_end_would_be_seen(monkeypatch):
    monkeypatch.setattr(summaries, "_CLAUSES", re.compile(r"[.]"))  # "no X, but Y" then denies Y
    precision, recall = precision_recall(RuleSummariser(LEXICON))
    assert precision == 1.0 and recall < 0.99


def test_a_missing_synonym_would_be_seen():
    poorer = {name: phrases[:1] for name, phrases in LEXICON.items()}
    assert precision_recall(RuleSummariser(poorer))[1] < 0.5


@pytest.mark.parametrize(
    "text, expected",
    [
        ("No nodular lesion, mass lesion or consolidation is seen.", []),
        ("No pleural effusion, but a lung mass is seen.", ["Lung mass"]),
        ("Pleural effusion is not seen; however, emphysema is noted.", ["Emphysema"]),
        ("There is a lung nodule without atelectasis.", ["Lung nodule"]),
        ("Neither emphysema nor atelectasis could be identified. Bronchiectasis is present.", ["Bronchiectasis"]),
        ("Although cardiomegaly could not be identified, a hiatal hernia is seen.", ["Hiatal hernia"]),
        ("Pneumonia cannot be excluded.", ["Pneumonia"]),
        ("There is no change in the lung nodule.", ["Lung nodule"]),
        ("No significant interval change. Emphysema.", ["Emphysema"]),
        ("Peribronchial thickening is observed.", ["Peribronchial thickening"]),  # not bronchial thickening
        ("Mediastinal emphysema is seen.", ["Pneumomediastinum"]),  # not emphysema
        ("A usual interstitial pneumonia pattern.", ["Pulmonary fibrosis"]),  # not pneumonia
        ("EMPHYSEMATOUS\nCHANGES are present.", ["Emphysema"]),
        ("Known adenocarcinoma.", []),
        ("Lung nodule. Pleural fluid. A pulmonary nodule.", ["Lung nodule", "Pleural effusion"]),  # order, once each
    ],
)
def test_sentences_by_hand(text, expected):
    assert RuleSummariser(LEXICON).findings(text) == expected


def test_a_normal_report_has_its_own_statement():
    report = write_report(np.random.default_rng(0), [])
    assert RuleSummariser(LEXICON)(report.text) == [NORMAL_STATEMENT] == ["There is no abnormality"]
    assert report.impression in radiology_reports.NORMAL_IMPRESSIONS


# ---- imperfection ----
def test_drop_and_insert_happen_at_their_rates():
    dropped = inserted = true = 0
    summariser = RuleSummariser(LEXICON, drop=0.2, insert=0.1, seed=1)
    for report, truth in REPORTS:
        said = {s.removeprefix("There is ") for s in summariser(report.text)} - {"no abnormality"}
        true, dropped, inserted = true + len(truth), dropped + len(truth - said), inserted + len(said - truth)
    trials = true + sum(not truth for _, truth in REPORTS)
    assert dropped / true == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / true))
    assert inserted / trials == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / trials))


def test_imperfection_depends_on_the_report_and_the_seed_only():
    texts = [r.text for r, _ in REPORTS[:60]]
    first = RuleSummariser(LEXICON, drop=0.3, insert=0.3, seed=1)
    forwards = [first(t) for t in texts]
    assert forwards == [first(t) for t in reversed(texts)][::-1]
    assert forwards != [RuleSummariser(LEXICON, drop=0.3, insert=0.3, seed=2)(t) for t in texts]


def test_dropping_everything_leaves_a_normal_report():
    assert RuleSummariser(LEXICON, drop=1.0)("There is emphysema.") == [NORMAL_STATEMENT]


@pytest.mark.parametrize("knob", [{"drop": -0.1}, {"insert": 1.5}])
def test_a_rate_outside_0_to_1_is_refused(knob):
    with pytest.raises(ValueError, match="0 to 1"):
        RuleSummariser(LEXICON, **knob)


def test_a_phrase_with_two_meanings_is_refused():
    with pytest.raises(ValueError, match="'Pleural fluid' means both 'A' and 'B'"):
        RuleSummariser({"A": ("pleural fluid",), "B": ("Pleural fluid",)})
