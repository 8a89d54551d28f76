"""JupyterLab works on copies: what is changed there stays there, what is not follows the project."""

import os

import pytest
import toy_project as toy

from lib.workflow import lab, notebooks, paths
from lib.workflow.__main__ import main


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    path = toy.make(tmp_path, monkeypatch)
    (tmp_path / "figures").mkdir()
    return path


def _edit(path, old, new):
    content = notebooks.read(path)
    for cell in content.cells:
        cell.source = cell.source.replace(old, new)
    content.metadata["language_info"] = {"name": "python", "version": "3.11.7"}  # what JupyterLab writes when it saves
    notebooks.write(path, content)


def test_copies_stand_beside_figures_and_papers(notebook):
    folder = lab.prepare()
    copy = folder / "notebooks/toy/tab_a.ipynb"
    assert copy.read_bytes() == notebook.read_bytes() and (folder / "papers/toy/paper.yml").is_file()
    assert (folder / "figures").is_dir() and (folder / "README.md").is_file()
    (paths.RUNS / "explore" / "page.html").touch()  # what is made later is there, too
    assert (folder / "explore" / "page.html").is_file() and (folder / "gallery").is_dir()
    assert lab.prepare() == folder


def test_an_edit_in_the_lab_leaves_the_project_alone_and_is_kept(notebook, capsys):
    before, copy = notebook.read_bytes(), lab.prepare() / "notebooks/toy/tab_a.ipynb"
    _edit(copy, "rate = 0.1", "rate = 0.5")
    mine = copy.read_bytes()
    assert lab.prepare() and notebook.read_bytes() == before and copy.read_bytes() == mine
    assert capsys.readouterr().out == ""  # the project's is as it was: nothing to tell
    _edit(notebook, "rate * 2", "rate * 3")
    lab.prepare()
    assert "kept your runs/lab/notebooks/toy/tab_a.ipynb; the project's has changed since" in capsys.readouterr().out
    assert copy.read_bytes() == mine
    copy.unlink()
    lab.prepare()
    assert "rate * 3" in copy.read_text()


def test_a_copy_that_was_only_run_or_saved_follows_the_project(notebook):
    copy = lab.prepare() / "notebooks/toy/tab_a.ipynb"
    _edit(copy, "nothing of this", "kind")
    _edit(notebook, "rate * 2", "rate * 3")
    lab.prepare()
    assert "rate * 3" in copy.read_text()


@pytest.mark.parametrize("words, folder", [([], "runs/lab"), (["--in-place"], "")])
def test_the_command_becomes_jupyterlab_there(notebook, monkeypatch, words, folder):
    started = []
    monkeypatch.setattr(os, "execv", lambda program, command: started.extend(command))
    main(["lab", *words, "--", "--no-browser", "--port=8899"])
    assert started[1:3] == ["-m", "jupyterlab"] and f"--ServerApp.root_dir={paths.ROOT / folder}" in started
    assert {"--no-browser", "--port=8899", "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"} <= set(
        started
    )


def test_a_kernel_that_nobody_told_writes_below_runs(notebook):
    assert paths.output_root() == paths.RUNS / "own"
