"""Generated chest-CT reports with what they report: for the tests of the writer and of the rules that read them back."""

import numpy as np

from lib.data.chest_ct.findings import FINDINGS
from lib.data.chest_ct.reports import write_report
from lib.data.chest_ct.scanner import observe


def make_reports(count, *, boost=1.0):
    """(report, set of findings) pairs; `boost` multiplies the prevalences."""
    names = list(FINDINGS)
    prevalence = np.array([f.prevalence for f in FINDINGS.values()]) * boost
    for seed in range(count):
        rng = np.random.default_rng(seed)
        observations = [observe(rng, names[i]) for i in np.flatnonzero(rng.random(len(names)) < prevalence)]
        yield write_report(rng, observations), {o.name for o in observations}
