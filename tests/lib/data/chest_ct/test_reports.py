"""Generated reports: as long, as varied and as full of denials as real ones, and true to what was observed."""

import re

import numpy as np
from generated_reports import make_reports

from lib.data.chest_ct.findings import LEXICON
from lib.data.chest_ct.reports import CLEAR, CLOSING, NORMAL_IMPRESSIONS, OPENING, write_report
from lib.data.chest_ct.scanner import observe
from papers.brgsa.summaries import RuleSummariser

REPORTS = list(make_reports(500))


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
