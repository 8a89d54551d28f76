"""What somebody types for a paper or a notebook finds what is meant, or is told what is nearest."""

import pytest
import toy_project as toy

from lib.workflow import jobs, paths
from lib.workflow.jobs import SelectionError, meant, select

KNOWN = {"brgsa": ["BrgSA"], "med_mat": ["Med-MAT"], "e3d_gpt": ["E3D-GPT"], "long_context": ["Long context"]}


@pytest.mark.parametrize(
    "word, slug",
    [("brgsa", "brgsa"), ("BrgSA", "brgsa"), ("BRGSA", "brgsa"), ("Med-MAT", "med_mat"), ("medmat", "med_mat"),
     ("e3d", "e3d_gpt"), ("E3D GPT", "e3d_gpt"), ("context", "long_context")],
)  # fmt: skip
def test_case_signs_and_the_rest_of_a_name_may_be_left_out(word, slug):
    assert meant(word, KNOWN) == [slug]


def test_a_name_written_whole_is_that_one_though_another_begins_with_it():
    assert meant("tab_a", {"tab_a": [], "tab_ab": []}) == ["tab_a"]
    assert meant("TAB a", {"tab_a": [], "tab_ab": []}) == ["tab_a"]
    assert meant("tab", {"tab_a": [], "tab_ab": [], "first_tab": []}) == ["tab_a", "tab_ab"]
    assert meant("---", KNOWN) == [] and meant("", KNOWN) == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    facts = toy.experiment_facts()
    one = facts["experiments"]["tab_a"]
    facts["experiments"] = {"tab3_exams": one, "tab3_volume": {**one, "absent": {"smoke": "nothing to see"}}}
    toy.write_yaml(paths.paper("toy") / "experiments.yml", facts)
    paths.notebook("toy", "tab_a").unlink()
    for name in facts["experiments"]:
        toy.write_notebook(paths.notebook("toy", name))


def test_a_part_of_a_notebooks_name_is_enough_when_only_one_has_it(project):
    assert [job.label for job in select("mini", paper="TOY", notebook="exams")] == ["toy/tab3_exams"]
    assert [job.label for job in select("smoke", notebook="tab3")] == ["toy/tab3_exams"]
    with pytest.raises(SelectionError, match="'tab3' may be toy/tab3_exams, toy/tab3_volume; say which"):
        select("mini", notebook="tab3")


def test_what_is_absent_says_why_and_what_is_unknown_names_the_nearest(project):
    with pytest.raises(SelectionError, match="toy/tab3_volume is absent at the profile 'smoke': nothing to see"):
        select("smoke", notebook="volume")
    with pytest.raises(SelectionError, match=r"no notebook 'tab3_exma'; did you mean 'tab3_exams'"):
        select("mini", notebook="tab3_exma")
    with pytest.raises(SelectionError, match=r"no paper 'tiy'; did you mean 'toy'\?"):
        select("mini", paper="tiy")


def test_in_this_project_tab3_of_aurora_is_its_exams_and_of_nobody_it_is_three():
    assert [job.label for job in select("mini", paper="Aurora", notebook="tab3")] == ["aurora/tab3_exams"]
    assert {job.slug for job in select("mini", paper="BrgSA")} == {"brgsa"}
    with pytest.raises(SelectionError, match=r"aurora/tab3_exams, .*long_context/tab3_general_sft.*say which"):
        select("mini", notebook="tab3")
    assert jobs.select("mini", notebook="start here")[0].label == "notebooks/00_start_here"
