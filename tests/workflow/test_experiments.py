"""How notebooks are run: what each stands on at each profile, and what is absent, refused before anything starts."""

import pytest
import toy_project as toy

from lib.workflow import execute, experiments, jobs, paths
from lib.workflow.__main__ import main
from lib.workflow.notebooks import NotebookError
from lib.workflow.papers import PaperError
from lib.workflow.session import SessionError, start

WHY = "its images are not free"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Writes the toy paper's experiments after a change, and loads them."""
    toy.make(tmp_path, monkeypatch)

    def written(**changes):
        facts = toy.experiment_facts()
        facts["profiles"]["real"] = {"machine": {"device": "cpu"}}
        facts["stands_on"]["real"] = "real"
        facts["experiments"]["tab_a"] |= changes
        toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
        return experiments.load("toy")

    return written


def test_a_notebook_stands_on_what_its_paper_does_unless_it_says_otherwise(plan):
    kinds = {"smoke": "miniature", "mini": "miniature", "real": "real"}
    assert {profile: plan().evidence("tab_a", profile) for profile in kinds} == kinds
    assert plan(stands_on="printed").evidence("tab_a", "real") == "printed"
    some = plan(stands_on={"mini": "released"})
    assert (some.evidence("tab_a", "mini"), some.evidence("tab_a", "real")) == ("released", "real")
    assert start("toy", "tab_a", profile="mini").evidence == "released"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stands_on": {"full": "real"}}, r"'tab_a' names the profile 'full'"),
        ({"absent": {"full": WHY}}, r"'tab_a' names the profile 'full'"),
        ({"stands_on": "guessed"}, r"experiments\.tab_a\.stands_on"),
        ({"absent": {"real": ""}}, r"experiments\.tab_a\.absent\.real"),
    ],
)
def test_a_wrong_word_names_the_key(plan, change, message):
    with pytest.raises(PaperError, match=message):
        plan(**change)


def test_every_profile_says_what_it_stands_on(plan):
    plan()
    facts = toy.experiment_facts()
    facts["profiles"]["full"] = {"machine": {"device": "cuda"}}
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    with pytest.raises(PaperError, match=r"stands_on must say of smoke, mini, full"):
        experiments.load("toy")


def test_what_is_absent_is_no_job_and_is_refused_in_one_sentence(plan, capsys):
    plan(absent={"real": WHY})
    assert "toy/tab_a" not in [job.label for job in jobs.every("real")]
    assert "toy/tab_a" in [job.label for job in jobs.every("mini")]
    sentence = rf"toy/tab_a is absent at the profile 'real': {WHY}"
    with pytest.raises(jobs.SelectionError, match=sentence):
        jobs.select("real", notebook="tab_a")
    with pytest.raises(NotebookError, match=sentence):
        execute.profile_parameters(paths.notebook("toy", "tab_a"), "real")
    with pytest.raises(SessionError, match=sentence):
        start("toy", "tab_a", profile="real")
    assert main(["run", "--profile", "real", "--notebook", "tab_a"]) == 2
    assert sentence in capsys.readouterr().err and not paths.RUNS.exists()
