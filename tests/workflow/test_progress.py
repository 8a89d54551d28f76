"""How far a cell is: to the runner's log, in an opened notebook a bar, elsewhere nothing."""

import IPython.display
import pytest

from lib.workflow.progress import Progress


@pytest.fixture
def drawn(monkeypatch):
    """What was displayed, in the order of drawing."""
    contents = []

    class Handle:
        def update(self, content):
            contents.append(content.data)

    def display(content, *, display_id):
        assert display_id is True
        contents.append(content.data)
        return Handle()

    monkeypatch.delenv("REPRISE_PROGRESS", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(IPython.display, "display", display)
    return contents


def test_nothing_is_said_where_nobody_looks(drawn, capsys):
    Progress("train_arm", 3)(1)
    assert drawn == [] and capsys.readouterr() == ("", "")


def test_a_bar_in_an_opened_notebook_becomes_a_line_when_all_are_done(drawn, monkeypatch, capsys):
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    seconds = iter([0.0, 0.0, 10.0, 30.0])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    progress = Progress("train<arm>", 3)
    for done in (1, 2, 3):
        progress(done)
    assert drawn[0].startswith('<progress value="1" max="3"') and drawn[0].endswith("train&lt;arm&gt;: 1 of 3")
    assert "2 of 3, about 10 s left" in drawn[1] and drawn[2] == "train&lt;arm&gt;: 3 of 3 in 30 s"
    assert capsys.readouterr().err == ""


def test_the_runner_is_told_in_its_log_and_nothing_is_drawn(drawn, monkeypatch, tmp_path):
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    monkeypatch.setenv("REPRISE_PROGRESS", str(tmp_path / "log"))
    Progress("train_arm", 3)(1)
    assert (tmp_path / "log").read_text() == "train_arm 1/3\n" and drawn == []
