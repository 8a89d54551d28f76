"""The paper's printed tables, recomputed."""

import pytest

from lib.workflow import papers
from papers.huatuogpt_o1 import published

PAPER = papers.load_paper("huatuogpt_o1")


def test_printed_means_are_plain_means():
    means = published.recomputed_means(published.table(PAPER, "tab1_main"))
    assert len(means) == 21 and means["difference"].abs().max() < 0.06


def test_simple_chains_are_not_above_none_on_average():
    assert published.gain(PAPER, "C5a").mean() == pytest.approx(2.02, abs=0.005)
    assert published.gain(PAPER, "C5b").mean() == pytest.approx(-0.20, abs=0.005)
    assert published.gain(PAPER, "C7a")["GPQA med"] < 0 < published.gain(PAPER, "C7a").mean()


def test_a_printed_mean_is_no_column():
    assert "Avg" not in published.gain(PAPER, "C1") and len(published.gain(PAPER, "C1")) == 7
