"""A new paper begins with a folder that every check accepts; a wrong or taken name is refused and nothing is written."""

import ast

import pytest
import toy_project as toy

from lib.workflow import experiments, jobs, papers, paths, report
from lib.workflow.__main__ import main


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    return tmp_path


def test_the_new_folder_passes_every_check_and_the_tables_list_its_claim(project, capsys):
    assert main(["new-paper", "second_one"]) == 0
    assert "wrote papers/second_one/paper.yml" in capsys.readouterr().out
    names = ["README.md", "__init__.py", "experiments.yml", "paper.yml", "study.py"]
    assert sorted(file.name for file in paths.paper("second_one").iterdir()) == names
    assert papers.slugs() == ["second_one", "toy"] and experiments.load("second_one").experiments == {}
    assert main(["lint"]) == 0 and [job.slug for job in jobs.select("mini")] == ["toy"]
    assert ast.get_docstring(ast.parse((paths.paper("second_one") / "study.py").read_text()))
    report.update()
    assert "no notebook yet" in (paths.paper("second_one") / "README.md").read_text()


@pytest.mark.parametrize(
    "slug, sentence",
    [
        ("toy", "papers/toy exists already"),
        ("Second", "is no name for a paper"),
        ("../second", "is no name for a paper"),
        ("2nd", "is no name for a paper"),
        ("class", "is no name for a paper"),
        ("", "is no name for a paper"),
    ],
)
def test_a_wrong_or_taken_name_is_refused_in_one_sentence(project, capsys, slug, sentence):
    before = sorted(project.rglob("*"))
    assert main(["new-paper", slug]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and sentence in error and error.count("\n") == 1
    assert sorted(project.rglob("*")) == before
