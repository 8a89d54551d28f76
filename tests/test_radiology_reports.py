"""Generated reports and the rules that read them: each checks the other, and hand-written sentences check both."""

import re

import numpy as np
import pytest

from lib.data.chest_ct import reports as radiology_reports
from lib.data.chest_ct.findings import FINDINGS, LEXICON
from lib.data.chest_ct.reports import CLEAR, CLOSING, NORMAL_IMPRESSIONS, OPENING, write_report
from lib.data.chest_ct.scanner import observe
from papers.brgsa import summaries
from papers.brgsa.summaries import NORMAL_STATEMENT, RuleSummariser


def make_reports(count, *, boost=1.0):
    """(report, set of findings) pairs; `boost` multiplies the prevalences."""
    names = list(FINDINGS)
    prevalence = np.array([f.prevalence for f in FINDINGS.values()]) * boost
    for seed in range(count):
        rng = np.random.default_rng(seed)
        observations = [observe(rng, names[i]) for i in np.flatnonzero(rng.random(len(names)) < prevalence)]
        yield write_report(rng, observations), {o.name for o in observations}


REPORTS = list(make_reports(500))


def precision_recall(summariser):
    # The findings section alone: the impression, which denies nothing, would hide a finding that is lost there.
    pairs = [(set(summariser.findings(r.findings)), truth) for r, truth in REPORTS]
    hits = sum(len(found & truth) for found, truth in pairs)
    return hits / sum(len(found) for found, _ in pairs), hits / sum(len(truth) for _, truth in pairs)


# ---- reports ----
def test_reports_have_the_length_and_the_denials_of_real_ones():
    lengths = [len(re.findall(r"\.(?:\s|$)", r.findings)) for r, _ in REPORTS]
    assert min(lengths) >= 8 and np.mean([8 <= n <= 14 for n in lengths]) > 0.97
    denials = re.compile(r"\b(no|not|neither|absent|absence|without|negative|free|ruled out|clear)\b", re.IGNORECASE)
    per_report = [sum(bool(denials.search(s)) for s in r.findings.split(". ")) for r, _ in REPORTS]
    assert np.mean(per_report) > 4


def test_most_mentions_use_another_name_than_the_label():
    canonical = total = 0
    summariser = RuleSummariser(LEXICON)
    for report, _ in REPORTS:
        for sentence in re.split(r"[.;]|, but", report.findings):
            for name in summariser.findings(sentence):
                total += 1
                canonical += bool(re.search(rf"(?<!\w){name}(?!\w)", sentence, re.IGNORECASE))
    assert 0.12 <= canonical / total <= 0.19


def test_every_phrase_of_every_finding_occurs():
    text = " ".join(r.text.lower() for r, _ in make_reports(1500, boost=2))
    assert [p for phrases in LEXICON.values() for p in phrases if p.lower() not in text] == []


def test_denials_are_true_and_boilerplate_names_no_finding():
    summariser = RuleSummariser(LEXICON)
    for text in (*OPENING, *CLOSING, *NORMAL_IMPRESSIONS, *(c for c, _ in CLEAR)):
        assert not summariser._phrases.search(text), text
    for report, truth in REPORTS:
        for sentence, names in CLEAR:
            assert sentence not in report.findings or truth.isdisjoint(names)


def test_the_same_stream_writes_the_same_report():
    observations = [observe(np.random.default_rng(0), "Empyema")]
    one, again = (write_report(np.random.default_rng(7), observations) for _ in range(2))
    assert one == again != write_report(np.random.default_rng(8), observations)


def test_severity_and_place_are_told():
    rng = np.random.default_rng(0)
    observation = next(o for o in (observe(rng, "Pleural effusion") for _ in range(99)) if o.severity > 0.9)
    texts = [write_report(np.random.default_rng(i), [observation]).findings for i in range(60)]
    assert np.mean(["severe" in t.lower() for t in texts]) > 0.6 and not any("mild" in t.lower() for t in texts)
    side = observation.zone.split()[0]
    assert all(f"{side} side" in t or f"{side} hemithorax" in t for t in texts)


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
