"""Notebooks that need a card: no more at a time than there are cards, each with its own."""

import multiprocessing
import os
import time

import pytest
import toy_project as toy

from lib.workflow import cards, jobs, paths


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A notebook whose profile `big` computes on a card, on a machine with two."""
    toy.make(tmp_path, monkeypatch)
    facts = toy.experiment_facts()
    facts["profiles"]["big"] = {"machine": {"device": "cuda"}}
    facts["stands_on"]["big"] = "real"
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    return jobs.Job("toy", "tab_a", "big", None)


def card_of(job):
    with cards.one_for(job):
        return os.environ["CUDA_VISIBLE_DEVICES"]


def hold(job, told, seconds):
    """In a process of its own: say the card, keep it for so long, say that it is given back."""

    def act():
        with cards.one_for(job):
            told.put(os.environ["CUDA_VISIBLE_DEVICES"])
            time.sleep(seconds)
            told.put("end")

    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    return process


def test_each_notebook_sees_a_card_that_no_other_has(job):
    told = multiprocessing.get_context("fork").Queue()
    processes = [hold(job, told, 1) for _ in range(3)]
    said = [told.get(timeout=30) for _ in range(6)]
    assert {*said[:2]} == {"3", "5"} and said[2] == "end"  # the third waits until one ends
    assert said.count("end") == 3 and {*said} == {"3", "5", "end"}
    for process in processes:
        process.join(30)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5" and card_of(job) == "3"


def test_a_card_whose_notebook_was_killed_or_failed_is_free_again(job):
    with pytest.raises(ValueError), cards.one_for(job):
        raise ValueError
    process = multiprocessing.get_context("fork").Process(
        target=lambda: cards.one_for(job).__enter__() or time.sleep(60)
    )
    process.start()
    while not (paths.RUNS / ".card.3.lock").exists():
        time.sleep(0.02)
    process.kill()
    process.join()
    assert card_of(job) == "3"


def test_so_many_run_at_a_time_as_there_are_cards(job, monkeypatch):
    cpu = jobs.Job("toy", "tab_a", "mini", None)
    assert cards.bound([cpu, job]) == ["--resources", "gpu=2"] and cards.bound([cpu]) == []
    for told, number in (("", 1), ("7", 1), ("GPU-a1, GPU-b2,GPU-c3", 3)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
        assert cards.bound([job]) == ["--resources", f"gpu={number}"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert card_of(job) == "7" and not list(paths.RUNS.glob(".card*"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with cards.one_for(cpu):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
