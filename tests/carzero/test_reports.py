"""Reports and their rewriting: words mean one thing, the rewriter makes no mistake, its errors have the shares they are told."""

import re
from collections import Counter

import pytest

from lib.streams import stream
from papers.carzero.findings import CHESTXRAY14, FINDINGS, OPENI_PROMPTS, PADCHEST, SEVERITIES
from papers.carzero.reports import CANONICAL, NEGATED, write_report
from papers.carzero.rewriter import rewrite, with_errors

REPORTS = [
    ([(name, "left" if FINDINGS[name].sided else "", SEVERITIES[n % 3]) for name in names], n)
    for n, names in enumerate([["mass"], ["effusion", "edema"], [], ["nodule", "fracture", "hernia"]] * 250)
]


def test_a_word_of_a_report_means_one_name():
    words = [word for finding in FINDINGS.values() for many in finding.words.values() for word in many]
    assert len(words) == len(set(words))
    for word in words:
        assert sum(other in word for other in words) == 1, f"'{word}' holds another finding's word"


def test_prompts_are_names_that_rewritten_reports_use():
    names = {name for finding in FINDINGS.values() for name in finding.names}
    asked = {*OPENI_PROMPTS, *CHESTXRAY14.values(), *(prompt for _, prompt in PADCHEST.values())}
    assert {prompt.lower() for prompt in asked} <= names


def test_the_rewriter_says_what_was_seen_and_nothing_else():
    for shown, n in REPORTS:
        report = write_report(shown, rng=stream(0, "report", n))
        said = [one.strip() for one in rewrite(report).split(".") if one.strip()]
        found = [re.sub("There is (mild |moderate |severe )?", "", one) for one in said if "There is no" not in one]
        names = [set(FINDINGS[name].names) for name, *_ in shown]
        assert len(found) == len(shown) and all(any(one in mine for one in found) for mine in names)


def test_shares_are_those_stated():
    reports = [write_report(shown, rng=stream(1, "report", n)).lower() for shown, n in REPORTS if shown]
    sentences = [one.strip() for report in reports for one in report.split(".") if one.strip()]
    denied = [one for one in sentences if re.search(r"\b(no|without)\b", one)]
    assert len(denied) / len(sentences) == pytest.approx(NEGATED, abs=0.02)
    names = sorted({name for finding in FINDINGS.values() for name in finding.names}, key=len, reverse=True)
    canonical = sum(any(name in one for name in names) for one in sentences)
    assert canonical / len(sentences) == pytest.approx(CANONICAL, abs=0.04)


def test_errors_have_the_shares_they_are_told():
    listed = [[f"there is a{i}", f"there is b{i}"] for i in range(2000)]
    found = with_errors(listed, drop=0.1, mislabel=0.2, seed=0)
    own = sum(one in mine for mine, many in zip(listed, found, strict=True) for one in many)
    count = Counter(len(many) for many in found)
    assert own / 4000 == pytest.approx(0.7, abs=0.03) and min(count) == 1
    assert sum(map(len, found)) / 4000 == pytest.approx(0.9, abs=0.02)
    assert with_errors(listed, drop=0.0, mislabel=0.0, seed=0) == listed
