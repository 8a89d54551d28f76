"""From runs/ into the repository: only when asked, only what is finished, only from one arithmetic."""

import json

import pytest
import toy_project as toy

from lib.workflow import arithmetic, jobs, notebooks, paths
from lib.workflow.__main__ import main
from lib.workflow.publish import PublishError, publish

FIGURE = ("figures", "toy", "tab_a.mini.png")


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    monkeypatch.setattr(arithmetic, "COMMITTED", tmp_path / "arithmetic.json")
    arithmetic.committed.cache_clear()
    yield tmp_path
    arithmetic.committed.cache_clear()


def _run(*, value=0.5, fingerprint=None, seconds=1.0):
    """What a finished mini run leaves."""
    notebook = paths.notebook("toy", "tab_a")
    done = notebooks.read(notebook)
    fingerprint = fingerprint or arithmetic.fingerprint()
    done.metadata["reprise"] = {
        "content_hash": notebooks.content_hash(notebook),
        "profile": "mini",
        "arithmetic": fingerprint,
    }
    notebooks.write(paths.executed("toy", "tab_a", "mini"), done)
    root = paths.run_root("mini")
    provenance = {"hardware": "a processor", "arithmetic": fingerprint, "seconds": seconds, "commit": str(seconds)}
    result = toy.result(
        numbers=[{"quantity": "AUC", "arm": "full", "unit": "", "values": [value]}], provenance=provenance
    )
    for name, content in {"result": json.dumps(result).encode(), "png": b"picture", "json": b"{}"}.items():
        path = (
            paths.result("toy", "tab_a", "mini", root=root)
            if name == "result"
            else paths.figure("toy", "tab_a", "mini", name, root=root)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _publish():
    return {paths.relative(path) for path in publish(jobs.select("mini"), "mini")}


def test_all_that_a_run_made_comes_over_once(project):
    _run()
    files = {"figures/toy/tab_a.mini.png", "figures/toy/tab_a.mini.json", "papers/toy/results/tab_a.mini.json"}
    assert _publish() == files | {"notebooks/toy/tab_a.ipynb", "arithmetic.json", "README.md", "papers/toy/README.md"}
    assert project.joinpath(*FIGURE).read_bytes() == b"picture"
    assert json.loads((project / "arithmetic.json").read_text())["operations"] == dict(arithmetic.operations())
    assert _publish() == set()
    _run(seconds=2.0)
    assert _publish() == set()  # the same numbers at another moment
    _run(value=0.6)
    assert _publish() == {"papers/toy/results/tab_a.mini.json"}


def test_an_unfinished_or_stale_run_is_refused_and_nothing_changes(project, capsys):
    assert main(["publish"]) == 2 and "not up to date: toy/tab_a; run first" in capsys.readouterr().err
    _run()
    path = paths.notebook("toy", "tab_a")
    path.write_text(path.read_text().replace("rate * 2", "rate * 3"))
    with pytest.raises(PublishError, match="not up to date: toy/tab_a"):
        _publish()
    assert not (project / "figures").exists() and not (project / "arithmetic.json").exists()


def test_a_profile_that_is_only_plumbing_is_refused(project):
    with pytest.raises(PublishError, match="'smoke' is not published; only mini, real, gpu, full are"):
        publish(jobs.select("smoke"), "smoke")


def test_another_arithmetic_comes_in_whole_or_not_at_all(project, monkeypatch):
    _run()
    _publish()
    _run(value=0.6, fingerprint="another")
    assert "papers/toy/results/tab_a.mini.json" in _publish()  # all notebooks of the profile
    _run(value=0.7, fingerprint="a third")
    one = jobs.select("mini")
    monkeypatch.setattr(jobs, "every", lambda profile: [*one, jobs.Job("toy", "tab_b", "mini", 1.0)])
    with pytest.raises(PublishError, match=r"this machine computes otherwise \(a third\)"):
        publish(one, "mini")
