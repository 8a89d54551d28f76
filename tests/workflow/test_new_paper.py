"""A new paper begins with a folder that every check accepts; a wrong or taken name is refused and nothing is written."""

import ast
import json
import os
import shutil
import subprocess
import sys

import pytest
import toy_project as toy

from lib.workflow import experiments, jobs, notebooks, papers, paths, report
from lib.workflow.__main__ import main


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    return tmp_path


def test_the_new_paper_passes_every_check_and_the_tables_list_its_claim(project, capsys):
    assert main(["new-paper", "second_one"]) == 0
    assert "wrote papers/second_one/paper.yml" in capsys.readouterr().out
    names = ["README.md", "__init__.py", "experiments.yml", "paper.yml", "study.py"]
    assert sorted(file.name for file in paths.paper("second_one").iterdir()) == names
    assert papers.slugs() == ["second_one", "toy"] and list(experiments.load("second_one").experiments) == ["tab_first"]
    assert [job.label for job in jobs.select("mini", paper="second_one")] == ["second_one/tab_first"]
    assert ast.get_docstring(ast.parse((paths.paper("second_one") / "study.py").read_text()))
    notebook = paths.notebook("second_one", "tab_first")
    (problem,) = notebooks.lint(notebook)
    assert "execution counts are" in problem and "run it as a whole and then `make publish`" in problem
    for file in (*paths.paper("second_one").iterdir(), notebook):
        assert "$" not in file.read_text(encoding="utf-8"), file.name
    report.update()
    assert "not run yet" in (paths.paper("second_one") / "README.md").read_text()


@pytest.mark.notebooks
def test_the_new_paper_runs_at_smoke_and_judges_at_mini(tmp_path):
    for name in ("lib", "profiles"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.ROOT / "Snakefile", tmp_path)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "__init__.py").touch()
    (tmp_path / "README.md").write_text("# Toy\n<!-- claims:begin -->\n<!-- claims:end -->\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("REPRISE", "PYTEST"))}

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "lib.workflow", *words], cwd=tmp_path, capture_output=True, text=True,
            env=environment | {"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("new-paper", "second_one")
    command("run", "--profile", "smoke", "--paper", "second_one")
    result = json.loads((tmp_path / "runs/smoke/papers/second_one/results/tab_first.smoke.json").read_text())
    assert result["seeds"] == [0, 1] and result["claims"] == {}
    told = command("run", "--paper", "second_one", "--notebook", "first")
    assert "C1  " in told and "control " in told and "figure: runs/mini/figures/second_one/tab_first.mini.png" in told
    command("publish", "--paper", "second_one")
    assert "no problem" in command("lint")


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
