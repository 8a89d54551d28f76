"""One command in a tiny copy of the project: runs, does nothing again, reruns what changed, survives kill -9."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import toy_project as toy

from lib.workflow import paths

pytestmark = pytest.mark.notebooks

WORLD = '''
"""A world and arms trained on it."""

import time
from pathlib import Path

HOLD = Path(__file__).parents[1] / "hold"


def build_world(folder, *, seed):
    (folder / "world.txt").write_text(str(seed + 1))


def train_arm(folder, *, world, seed, rate):
    while seed == 1 and HOLD.exists():  # a test looks at the middle of a run
        HOLD.with_name("held").touch()
        time.sleep(0.05)
    (folder / "arm.txt").write_text(str(int((world / "world.txt").read_text()) * rate + seed / 7))
'''
PLOT = '"""Used by one notebook only."""\n\n\ndef scale(value):\n    return value * 2\n'
COMMON = [
    ("markdown", "# Is the full arm better?"),
    ("code", 'profile = "mini"\nseeds = 3', "parameters"),
    ("code", 'run = start("toy", EXHIBIT, profile=profile, seeds=seeds)'),
    ("code", "run"),
    ("code", "world = run.build(build_world, seed=0)"),
    ("code", "full = run.build_all(train_arm, [dict(world=world, seed=s, rate=2) for s in run.seeds])"),
    ("code", "values = [scale(float((folder / 'arm.txt').read_text())) for folder in full]"),
    ("code", "run.record('value', {'full': values})\nprint(values)\nrun.save();"),
    ("markdown", "How to read it."),
]


def _cells(exhibit: str, imports: str) -> list[tuple]:
    cells = [(kind, source.replace("EXHIBIT", f'"{exhibit}"'), *tags) for kind, source, *tags in COMMON]
    return [cells[0], ("code", f"from lib.toy_world import build_world, train_arm\n{imports}"), *cells[1:]]


class Project:
    """A copy of the project with one paper and two notebooks that share a world and three arms."""

    def __init__(self, root: Path):
        self.root, self.environment = root, {}
        hidden = shutil.ignore_patterns("__pycache__")
        for name in ("lib", "profiles"):
            shutil.copytree(paths.ROOT / name, root / name, ignore=hidden)
        shutil.copy(paths.ROOT / "Snakefile", root)
        (root / "lib/toy_world.py").write_text(WORLD)
        (root / "lib/toy_plot.py").write_text(PLOT)
        (root / "README.md").write_text("# Toy\n<!-- claims:begin -->\n<!-- claims:end -->\n")
        facts = toy.paper_facts()
        facts["claims"] = facts["claims"][:1]
        facts["claims"][0]["published"] = []
        toy.write_yaml(root / "papers/toy/paper.yml", facts)
        (root / "papers/toy/README.md").write_text("# Toy\n<!-- verdicts:begin -->\n<!-- verdicts:end -->\n")
        experiments = toy.experiment_facts()
        common = {"question": "Is it?", "minutes": {"smoke": 0.1, "mini": 0.1}}
        experiments["experiments"] = {"tab_a": common, "tab_b": dict(common)}
        toy.write_yaml(root / "papers/toy/experiments.yml", experiments)
        plain = "from lib.workflow.session import start\n\nscale = float"
        plotted = "from lib.toy_plot import scale\nfrom lib.workflow.session import start"
        toy.write_notebook(root / "notebooks/toy/tab_a.ipynb", _cells("tab_a", plain), executed=False)
        toy.write_notebook(root / "notebooks/toy/tab_b.ipynb", _cells("tab_b", plotted), executed=False)

    def start(self, *words: str, command: str = "run") -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("REPRISE", "PYTEST"))}
        environment = environment | {"PYTHONPATH": str(self.root)} | self.environment
        command = [sys.executable, "-m", "lib.workflow", command, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=environment, start_new_session=True, **pipes)

    def command(self, command: str, *words: str) -> tuple[int, str, str]:
        process = self.start(*words, command=command)
        out, err = process.communicate()
        return process.returncode, out, err

    def run(self, *words: str) -> tuple[int, str, str]:
        return self.command("run", *words)

    def copies(self) -> dict[str, int]:
        return {f.name: f.stat().st_mtime_ns for f in (self.root / "runs/mini/toy").glob("*.ipynb")}

    def engine_logs(self) -> list[str]:
        """One file each time that Snakemake was started."""
        return sorted(file.name for file in (self.root / ".snakemake/log").glob("*"))

    def results(self) -> dict[str, object]:
        """What was measured, without time and commit."""
        found = {f.name: json.loads(f.read_text()) for f in self.root.glob("runs/mini/papers/toy/results/*.json")}
        return {name: {k: v for k, v in content.items() if k != "provenance"} for name, content in found.items()}

    def forget(self) -> None:
        for folder in ("runs", ".snakemake"):
            shutil.rmtree(self.root / folder, ignore_errors=True)

    def repository(self) -> dict[str, bytes]:
        """Every file that would be tracked."""
        left = {"runs", ".snakemake", "__pycache__", "hold", "held"}
        files = (f for f in self.root.rglob("*") if f.is_file() and not left & set(f.relative_to(self.root).parts))
        return {str(f.relative_to(self.root)): f.read_bytes() for f in files}

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.root / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def start_to_the_middle(self) -> subprocess.Popen:
        """A run of which one arm exists and the second waits, however slow the machine: until ``hold`` is removed."""
        (self.root / "held").unlink(missing_ok=True)
        (self.root / "hold").touch()
        process = self.start()
        while not self._second_arm_waits():
            if process.poll() is not None:
                pytest.fail(f"the run ended before its middle: {process.communicate()}")
            time.sleep(0.05)
        return process

    def _second_arm_waits(self) -> bool:
        return (self.root / "held").exists() and bool(list(self.root.glob("runs/cache/train_arm/*/artefact.json")))

    def wait_until_quiet(self, seconds: float) -> list[psutil.Process]:
        """What is still alive; returns as soon as nothing is, ``seconds`` is only when to give up."""
        end = time.monotonic() + seconds
        while (alive := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        return alive


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project") / "copy")
    yield project
    for process in project.processes():
        process.kill()


@pytest.fixture(scope="module")
def finished(project):
    """The outcome of an uninterrupted run: what it printed and what it measured."""
    began = time.monotonic()
    code, out, err = project.run()
    assert code == 0, out + err
    project.took = time.monotonic() - began
    return out, project.results()


def test_a_run_tells_how_long_and_shows_results(project, finished):
    out, results = finished
    assert "2 notebooks at the profile 'mini'; about" in out
    assert "[toy/tab_a]" in out and "runs/mini/toy/tab_b.ipynb" in out and "2 of 2 notebooks are up to date" in out
    assert re.search(r"^toy/tab_b .*nothing to compare with$", out, flags=re.MULTILINE)
    assert sorted(project.copies()) == ["tab_a.ipynb", "tab_b.ipynb"]
    assert sorted(results) == ["tab_a.mini.json", "tab_b.mini.json"]
    assert len(list(project.root.glob("runs/cache/train_arm/*/artefact.json"))) == 3  # trained once, used by both


def test_again_nothing_runs_and_a_comment_changes_nothing(project, finished):
    before, engine = project.copies(), project.engine_logs()
    project.edit("lib/toy_plot.py", "Used by one notebook only.", "Used by one notebook only, which plots.")
    project.edit("lib/toy_world.py", "import time\n", "import time  # a comment\n")
    os.utime(project.root / "notebooks/toy/tab_a.ipynb")
    code, out, err = project.run()
    assert code == 0 and project.copies() == before, out + err
    assert "2 of 2 notebooks are up to date" in out and "started" not in out
    assert engine and project.engine_logs() == engine  # Snakemake is not even started


def test_a_run_writes_nothing_into_the_repository_until_it_is_asked_to(project, finished):
    """Runs, then `publish`, then a run with nothing to do: files change at the second step alone."""
    before, copies = project.repository(), project.copies()
    code, out, err = project.run("--notebook", "tab_a", "--again")
    assert code == 0 and project.repository() == before, out + err
    code, out, err = project.command("publish", "--paper", "toy")
    changed = {name for name, content in project.repository().items() if before.get(name) != content}
    expected = {"README.md", "papers/toy/README.md"}  # the tables
    expected |= {f"notebooks/toy/tab_{x}.ipynb" for x in "ab"} | {f"papers/toy/results/tab_{x}.mini.json" for x in "ab"}
    assert code == 0 and changed - {"lib/workflow/arithmetic.json"} == expected, out + err
    published = project.repository()
    code, out, _ = project.run("--publish")
    assert code == 0 and "nothing to publish" in out and "same digits" in out and "started" not in out
    assert project.repository() == published and project.copies()["tab_b.ipynb"] == copies["tab_b.ipynb"]


def test_an_edit_reruns_its_dependents_only(project, finished):
    before = project.copies()
    project.edit("lib/toy_plot.py", "value * 2", "value * 3")
    code, out, err = project.run()
    after = {name: time for name, time in project.copies().items() if name in before}
    assert code == 0 and after["tab_a.ipynb"] == before["tab_a.ipynb"], out + err
    assert after["tab_b.ipynb"] != before["tab_b.ipynb"] and "[toy/tab_a]" not in out
    assert len(list(project.root.glob("runs/cache/train_arm/*/artefact.json"))) == 3  # nothing was trained again
    project.edit("lib/toy_plot.py", "value * 3", "value * 2")


def test_under_a_path_that_a_shell_would_split_and_without_a_home(project, finished, tmp_path):
    """Blanks, quotes, braces and a dollar in the folder's name; HOME takes no files: the same numbers."""
    root = tmp_path / 'it\'s "my" {own} $HOME; #1' / "re prise"
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("runs", ".snakemake", "__pycache__"))
    project.environment = {"HOME": "/proc/nohome"}
    there, project.root = project.root, root
    try:
        code, out, err = project.run()
        assert code == 0 and err == "" and project.results() == finished[1], out + err
        assert {path.name for path in (root / "runs/home").iterdir()} >= {".cache"}
        code, out, err = project.run("--cluster", "slurm", "--again")
        assert code == 2 and "a cluster's job script cannot quote" in err
    finally:
        project.root, project.environment = there, {}


def test_a_run_that_fails_before_its_notebooks_says_why(project, finished):
    project.edit("Snakefile", "PYTHON = ", "raise OSError('no cache for sources')\nPYTHON = ")
    code, _, err = project.run("--again")
    assert code == 1 and "no cache for sources" in err and err.index("last lines") < err.index("Not finished")
    project.edit("Snakefile", "raise OSError('no cache for sources')\n", "")


def test_two_at_once_to_one_output_both_end_whole(project, finished):
    outputs = ["runs/e.1.ipynb", "runs/e.2.ipynb", "runs/e.ipynb", "runs/e.ipynb"]
    words = [["toy/tab_a", "--output", name, "-p", f"seeds={number}"] for number, name in enumerate(outputs, start=2)]
    started = [project.start(*one, command="execute") for one in words]
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    text = [(project.root / name).read_text() for name in outputs]
    assert "seeds = 2" in text[0] and "seeds = 3" in text[1] and ("seeds = 4" in text[3] or "seeds = 5" in text[3])
    assert sorted(f.name for f in (project.root / "runs").glob("e.*")) == ["e.1.ipynb", "e.2.ipynb", "e.ipynb"]


def test_a_failing_notebook_fails_the_run_and_the_other_is_kept(project, finished):
    project.edit("lib/toy_plot.py", "return value * 2", "raise ValueError('row 3 is empty; fill it')")
    code, out, err = project.run()
    assert code == 1 and "row 3 is empty; fill it" in out + err and "Not finished: toy/tab_b" in err
    assert "tab_b.failed.ipynb" in project.copies() and "tab_a.ipynb" in project.copies()
    project.edit("lib/toy_plot.py", "raise ValueError('row 3 is empty; fill it')", "return value * 2")
    assert project.run()[0] == 0 and "tab_b.failed.ipynb" not in project.copies()


def test_a_second_run_waits_its_turn_and_after_kill_9_the_same_command_gives_the_same_numbers(project, finished):
    project.forget()
    process = project.start_to_the_middle()
    code, _, err = project.run()
    assert code == 1 and "Another run is going on" in err
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert project.wait_until_quiet(120) == [], "a kernel goes on after its run was killed"
    kept = {f.parent.name for f in project.root.glob("runs/cache/*/*/artefact.json")}
    assert project.results() == {} and len(kept) >= 2 and not list(project.root.glob("runs/mini/toy/tab_?.ipynb"))
    times = {f: f.stat().st_mtime_ns for f in project.root.glob("runs/cache/*/*/artefact.json")}
    (project.root / "hold").unlink()
    code, out, err = project.run()
    assert code == 0, out + err
    assert project.results() == finished[1]  # bit for bit
    assert not list(project.root.rglob("*.running.ipynb")) and not list(project.root.glob("runs/cache/*/*.part"))
    assert all(file.stat().st_mtime_ns == then for file, then in times.items())  # went on, did not start again


def test_kill_9_of_the_command_alone_ends_what_it_started(project, finished):
    project.forget()
    process = project.start_to_the_middle()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    alive = project.wait_until_quiet(120)
    process.communicate()
    assert alive == [], [" ".join(p.cmdline()[:6]) for p in alive]
    (project.root / "hold").unlink()
    assert project.run()[0] == 0 and project.results() == finished[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_stopped_at_a_random_moment_the_same_command_gives_the_same_numbers(project, finished, number):
    """Ctrl-C reaches all that the terminal started, a scheduler's SIGTERM the command alone. (test_killed.py does it 24 times.)"""
    project.forget()
    process = project.start()
    time.sleep(np.random.default_rng(number).uniform(0.1, 0.9) * project.took)
    os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
    _, err = process.communicate()
    assert project.wait_until_quiet(120) == [] and "Traceback" not in err, err
    assert all(found == finished[1][name] for name, found in project.results().items())
    code, out, err = project.run()
    assert code == 0 and project.results() == finished[1], out + err


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--paper", "toi"], "no paper 'toi'; did you mean 'toy'?"),
        (["--notebook", "tab_z"], "no notebook 'tab_z'; did you mean 'tab_"),
        (["--profile", "minni"], "no paper has the profile 'minni'; did you mean 'mini'?"),
        (["--cluster", "slrum"], "there is no folder profiles/slrum"),
    ],
)
def test_a_wrong_name_is_one_sentence(project, words, sentence):
    code, out, err = project.run(*words)
    assert code == 2 and err.startswith("error: ") and sentence in err and err.count("\n") == 1 and out == ""
