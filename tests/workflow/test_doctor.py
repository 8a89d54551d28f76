"""The doctor: what lacks is told before anything long, arms and exhibits from the tests that hold them true."""

from types import SimpleNamespace

import pytest
import toy_project as toy

from lib.workflow import doctor, jobs, paths
from lib.workflow.__main__ import main

SHAPES = """
import pytest

def test_an_arm_fits_one_card():
    print("the arm, big: 71.5 GiB; DPO, big: 3.25 GiB")

def test_another_profile():
    print("the arm, mini: 1.0 GiB")

@pytest.mark.parametrize("fit", ["arm", "base"])
def test_nothing_is_left_on_another_device(fit):
    assert fit == "arm", "a batch stayed on the CPU"
"""
CELLS = """
import pytest

@pytest.mark.pair
@pytest.mark.parametrize("exhibit", [pytest.param("tab_a", id="tab_a-big"), pytest.param("tab_b", id="tab_b-mini")])
def test_an_exhibit_runs(exhibit):  # @at(
    assert exhibit == "tab_a"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A toy project whose profile `big` computes on a card and reads a folder that is not there."""
    toy.make(tmp_path, monkeypatch)
    facts = toy.experiment_facts()
    facts["profiles"]["big"] = {"machine": {"device": "cuda"}, "sources": ["scans"]}
    facts["stands_on"]["big"] = "real"
    facts["sources"] = {"scans": {"folder": "data/scans", "licence": None, "note": "ask for them"}}
    facts["experiments"]["tab_a"]["minutes"]["big"] = 600
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    for name, content in {"test_full_size.py": SHAPES, "test_full.py": CELLS}.items():
        (tmp_path / "tests/toy").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests/toy" / name).write_text(content)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    pair: a pair\n")
    return tmp_path


@pytest.mark.slow
def test_what_lacks_is_told_with_the_need_of_each_arm(project, capsys):
    assert main(["doctor", "--profile", "big", "--paper", "toy", "--cells"]) == 1
    out, err = capsys.readouterr()
    assert "0 of 1 are here" in out and "10 h the longest; 1 at a time: about 10 h" in out
    assert "71.5 GiB  the arm" in out and "3.2 GiB  DPO" in out and " 1.0 GiB" not in out
    assert (
        "1 of 2 checks find every tensor on its model's device" in out and "1 of 1 exhibits run on small files" in out
    )
    told = err.splitlines()
    assert told[0] == "toy/scans: data/scans does not exist; ask for them"
    assert "computes on cuda, and torch sees no card" in told[1]
    assert (
        "nothing is left on another device [base]" in told[2]
        and "a batch stayed on the CPU" in told[2]
        and len(told) == 3
    )


def test_an_arm_that_the_card_does_not_hold_is_named(project, monkeypatch):
    monkeypatch.setattr(doctor, "cards", lambda: [("Large", 80.0), ("Larger", 141.0)])
    monkeypatch.setattr(doctor, "steps", lambda *_: doctor.Twins({"pretraining": 70.0, "arm": 60.0}, [], {}))
    said = []
    lacking = doctor.examine(jobs.select("big"), "big", at_a_time=2, tell=said.append)
    assert [one for one in lacking if "GiB" in one] == [
        "toy: pretraining needs 70 GiB (+-20 %), the card has 80; lower micro_batch"
    ]
    assert any("Large, 80 GiB, Larger, 141 GiB" in line for line in said)


def test_on_a_good_machine_nothing_lacks(project, monkeypatch, capsys):
    assert main(["doctor", "--profile", "mini"]) == 0
    out, err = capsys.readouterr()
    assert "0 of 0 are here" in out and "cards    " in out and err == ""


def test_a_full_disk_is_told(project, monkeypatch, capsys):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=5e8))
    assert main(["doctor", "--profile", "mini"]) == 1
    assert "has 0.5 GB free; make room, or set REPRISE_RUNS" in capsys.readouterr().err
