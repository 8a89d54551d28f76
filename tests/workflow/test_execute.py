"""The strict runner: parameters checked before a kernel starts; only what is complete gets the final name."""

import os
import signal
import socket
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
import toy_project as toy

import lib
from lib.workflow import execute as runner
from lib.workflow import notebooks, paths
from lib.workflow.__main__ import main
from lib.workflow.execute import ExecutionError, check_parameters, execute, profile_parameters
from lib.workflow.notebooks import NotebookError

PARAMETERS = """profile = "mini"
seeds = 2  # how many
rate = 0.1
sizes = [8, 16]
deep = False
name = None
pairs = [[1, 0]]
shots = 5  # exemplars, or 0"""
READ = "print(profile, seeds, rate, sizes, deep, name, pairs, shots)"


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    cells = [("code", PARAMETERS + "\nlonely = 1", "parameters"), ("code", READ)]
    return toy.write_notebook(tmp_path / "notebooks/toy/tab_a.ipynb", cells, executed=False)


# ---------------------------------------------------------------------- parameters
@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"seedz": 3}, r"has no parameter 'seedz'; did you mean 'seeds'\?"),
        ({"colour": 3}, r"has no parameter 'colour'; there are: profile, seeds, rate"),
        ({"seeds": 2.5}, r"'seeds' must be int like 2, not float 2\.5"),
        ({"seeds": "3"}, r"'seeds' must be int like 2, not str '3'"),
        ({"seeds": True}, r"'seeds' must be int like 2, not bool True"),
        ({"deep": 1}, r"'deep' must be bool like False, not int 1"),
        ({"rate": "1e-4"}, r"'rate' must be float like 0\.1, not str '1e-4' \(in YAML 1e-4 is text: write 1\.0e-4\)"),
        ({"profile": 3}, r"'profile' must be str like 'mini', not int 3"),
        ({"sizes": 8}, r"'sizes' must be list like \[8, 16\], not int 8"),
        ({"sizes": [8, "16"]}, r"'sizes' must be list"),
        ({"seeds": []}, r"a list of seeds holds different whole numbers from 0 up, not \[\]"),
        ({"seeds": [5, 5]}, r"a list of seeds holds different whole numbers from 0 up, not \[5, 5\]"),
        ({"seeds": [-1, 2]}, r"a list of seeds holds different whole numbers"),
        ({"seeds": [1.5, 2]}, r"a list of seeds holds different whole numbers"),
        ({"seeds": [True, 2]}, r"a list of seeds holds different whole numbers"),
        ({"seeds": ["1", "2"]}, r"a list of seeds holds different whole numbers"),
        ({"name_": 1}, r"did you mean 'name'"),
        (
            {"profile": 2024},
            r"not int 2024 \(text that looks like something else is quoted twice: -p \"profile='\.\.\.'\"\)",
        ),
        ({"profile": "caf\udce9"}, r"'profile' must be text in UTF-8, not 'caf\\udce9'"),
        ({"seeds": 0}, r"'seeds' must be 1 or more, not 0"),
        ({"seeds": -5}, r"'seeds' must be 1 or more, not -5"),
        ({"sizes": [8, 0]}, r"'sizes' must be 1 or more, not \[8, 0\]"),
        ({"rate": 1e999}, r"'rate' must be finite, not inf"),
        ({"pairs": [[1, 2], [3]]}, r"'pairs' must be list like \[\[1, 0\]\], not list \[\[1, 2\], \[3\]\]"),
        ({"pairs": [[1, -1]]}, r"'pairs' must be 0 or more"),
        ({"shots": -1}, r"'shots' must be 0 or more"),
        ({"seeds": (5, 6)}, r"'seeds' must be int like 2, not tuple \(5, 6\)"),
        ({"lonely": 2}, r"no cell reads the parameter 'lonely', so setting it would change nothing"),
    ],
)
def test_a_wrong_parameter_is_named_before_a_kernel_starts(notebook, given, sentence, capsys):
    with pytest.raises(NotebookError, match=r"^notebooks/toy/tab_a\.ipynb.*" + sentence):
        execute(notebook, given=given)
    assert not paths.RUNS.exists()
    words = [f"-p{key}={value!r}".replace("inf", "1e999") for key, value in given.items()]
    assert main(["execute", "toy/tab_a", *words]) == 2
    assert capsys.readouterr().err.startswith("error: notebooks/toy/tab_a.ipynb")


def test_what_fits_is_taken_and_a_default_is_not_injected(notebook):
    given = {"seeds": 3, "rate": 1, "sizes": [4], "name": "anything", "deep": True, "profile": "mini"}
    assert check_parameters(notebook, given) == {k: v for k, v in given.items() if k != "profile"}
    assert check_parameters(notebook, {"seeds": [5, 6, 7]}) == {"seeds": [5, 6, 7]}  # which seeds, in place of how many
    assert check_parameters(notebook, {"sizes": [], "name": 3}) == {"sizes": [], "name": 3}
    assert check_parameters(notebook, {"pairs": [[0, 1]], "shots": 0}) == {"pairs": [[0, 1]], "shots": 0}


def test_yaml_reads_1e_4_as_text_and_the_profile_says_so(notebook):
    path = paths.paper("toy") / "experiments.yml"
    text = path.read_text()
    path.write_text(text.replace("seeds: 1", "rate: 1e-4"))
    with pytest.raises(NotebookError, match=r"write 1\.0e-4"):
        check_parameters(notebook, profile_parameters(notebook, "smoke"))
    path.write_text(text.replace("seeds: 1", "rate: 1.0e-4"))
    assert check_parameters(notebook, profile_parameters(notebook, "smoke")) == {"profile": "smoke", "rate": 1e-4}


def test_a_profile_gives_its_parameters_and_an_unknown_one_is_named(notebook):
    assert profile_parameters(notebook, "smoke") == {"profile": "smoke", "seeds": 1}
    assert profile_parameters(notebook, "mini") == {"profile": "mini"}
    with pytest.raises(NotebookError, match=r"experiments\.yml has no profile 'mimi'; it has smoke, mini"):
        profile_parameters(notebook, "mimi")


def test_words_of_the_command_line_become_values(notebook, monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr("lib.workflow.commands.execute", lambda path, **rest: seen.update(rest) or path)
    words = ["-pseeds=3", "-prate=1e-4", "-pdeep=true", "-pname=null", "-psizes=[4, 5]", "-pprofile=smoke"]
    assert main(["execute", "toy/tab_a", *words]) == 0
    expected = {"seeds": 3, "rate": 1e-4, "deep": True, "name": None, "sizes": [4, 5], "profile": "smoke"}
    assert seen["given"] == expected
    assert main(["execute", "toy/tab_a", "-pseeds"]) == 2
    assert main(["execute", "toy/tab_a", "-pseeds=3", "-pseeds=4"]) == 2
    assert main(["execute", "toy/tab_a", "-pname={[1]: 2}"]) == 0 and seen["given"] == {"name": "{[1]: 2}"}
    assert main(["execute", "toy/tab_a", "-pname='2024'"]) == 0 and seen["given"] == {"name": "2024"}
    capsys.readouterr()
    assert main(["execute", "toy/tab_a", "-pname=caf\udce9"]) == 2  # a byte of Latin-1, as Python hands it over
    assert capsys.readouterr().err.startswith(r"error: '-pname=caf\udce9' is not UTF-8 text")


# ---------------------------------------------------------------------- where to: judged before any work
@pytest.mark.parametrize(
    "output, sentence",
    [
        ("runs/mine/folder", "is no name of a notebook; give a file that ends in .ipynb"),
        ("runs/mine/folder.ipynb", "is no name of a notebook"),
        ("runs/mine/e.1", "is no name of a notebook"),
        ("notebooks/toy/tab_a.ipynb", "would overwrite what is run; name one elsewhere"),
        ("notebooks/toy/../toy/new.ipynb", "would overwrite what is run"),
        ("runs/mine/link.ipynb", "would overwrite what is run"),
        ("runs/mine/file/x.ipynb", "cannot be written: runs/mine/file: File exists; name another place"),
        ("runs/mine/file/deeper/x.ipynb", "cannot be written: runs/mine/file/deeper: Not a directory"),
        ("/proc/nowhere/x.ipynb", "cannot be written: /proc/nowhere: No such file or directory; name another place"),
        (f"runs/{'n' * 240}.ipynb", "File name too long; name another place"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(notebook, monkeypatch, capsys, output, sentence):
    mine = paths.RUNS / "mine"
    (mine / "folder.ipynb").mkdir(parents=True)
    (mine / "folder").mkdir()
    (mine / "file").write_text("")
    (mine / "link.ipynb").symlink_to(notebook)
    before = {path: path.read_bytes() for path in paths.ROOT.rglob("*") if path.is_file()}
    _papermill(monkeypatch, lambda *_: pytest.fail("the notebook was run"))
    assert main(["execute", "toy/tab_a", "--output", str(paths.ROOT / output)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: the output ") and sentence in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in paths.ROOT.rglob("*") if path.is_file()} == before


def test_another_output_than_the_usual_is_written_there(notebook, monkeypatch):
    _papermill(monkeypatch, _write)
    assert main(["execute", "toy/tab_a", "--output", str(paths.RUNS / "new/e.1.ipynb")]) == 0
    assert [path.name for path in (paths.RUNS / "new").iterdir()] == ["e.1.ipynb"]


@pytest.mark.parametrize(
    "number, remedy",
    [(28, "make room or make it writable"), (13, "make room"), (30, "make room"), (24, "put that right")],
)
def test_room_is_asked_for_only_where_it_helps(notebook, monkeypatch, capsys, number, remedy):
    def fails(*_, **__):
        raise OSError(number, os.strerror(number), "a/file")

    monkeypatch.setattr("lib.workflow.commands.execute", fails)
    assert main(["execute", "toy/tab_a"]) == 2
    assert capsys.readouterr().err.startswith(f"error: a/file: {os.strerror(number)}; {remedy}")


# ---------------------------------------------------------------------- papermill replaced: what it is said to have done
def _papermill(monkeypatch, act) -> None:
    """Replace papermill's run by ``act(output path, notebook with outputs)``."""

    def run(source, output, **_):
        done = notebooks.read(runner.Path(source))
        for number, cell in enumerate(notebooks.code_cells(done), start=1):
            cell.execution_count = number
            cell.metadata["papermill"] = {"status": "completed", "exception": None}
        act(output, done)

    monkeypatch.setattr("papermill.execute_notebook", run)


def _write(output, done) -> None:
    runner.Path(output).write_text(nbformat.writes(done))


def test_a_cell_without_a_count_is_a_dead_kernel_whatever_papermill_says(notebook, monkeypatch):
    def dies(output, done):
        notebooks.code_cells(done)[1].execution_count = None
        _write(output, done)

    _papermill(monkeypatch, dies)
    with pytest.raises(ExecutionError, match=r"toy/tab_a failed in cell 2 did not run: the kernel died"):
        execute(notebook)
    names = sorted(f.name for f in (paths.RUNS / "mini/toy").iterdir())
    assert names == ["tab_a.failed.ipynb"]


def test_a_good_copy_outlives_a_failed_run_and_a_later_success_removes_the_failed_one(notebook, monkeypatch):
    _papermill(monkeypatch, _write)
    good = execute(notebook)
    assert good == paths.executed("toy", "tab_a", "mini")
    assert notebooks.recorded_hash(good) == notebooks.content_hash(notebook)
    before = good.read_bytes()

    def fails(output, done):
        _write(output, done)
        raise ValueError("row 3\nof labels.csv")

    _papermill(monkeypatch, fails)
    with pytest.raises(
        ExecutionError, match=r"ValueError: row 3 of labels\.csv\. Traceback: runs/mini/toy/tab_a\.failed"
    ):
        execute(notebook)
    assert good.read_bytes() == before
    _papermill(monkeypatch, _write)
    execute(notebook)
    assert sorted(f.name for f in good.parent.iterdir()) == ["tab_a.ipynb"]


def test_a_kernel_that_does_not_answer_is_tried_once_more(notebook, monkeypatch):
    calls = []

    def refuses(output, done):
        calls.append(output)
        if len(calls) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")
        _write(output, done)

    _papermill(monkeypatch, refuses)
    assert execute(notebook).is_file() and len(calls) == 2
    calls.clear()
    _papermill(monkeypatch, lambda output, done: calls.append(output) or (_ for _ in ()).throw(RuntimeError("other")))
    with pytest.raises(ExecutionError, match="other"):
        execute(notebook)
    assert len(calls) == 1


def test_a_leftover_of_a_killed_run_is_not_taken_for_this_one(notebook, monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive, leftover = (
        paths.executed("toy", "tab_a", "mini").with_suffix(f".{socket.gethostname()}-{pid}.running.ipynb")
        for pid in (os.getppid(), gone.pid)
    )
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half")
    alive.write_text("another run's")

    def fails(output, done):
        raise RuntimeError("no kernel spec")

    _papermill(monkeypatch, fails)
    with pytest.raises(ExecutionError) as caught:
        execute(notebook)
    assert "Traceback:" not in str(caught.value) and list(leftover.parent.iterdir()) == [alive]


def test_the_environment_is_as_before_and_the_kernel_has_one_thread(notebook, monkeypatch):
    seen = {}
    _papermill(monkeypatch, lambda output, done: seen.update(os.environ) or _write(output, done))
    before = dict(os.environ)
    execute(notebook)
    assert dict(os.environ) == before
    assert {seen[name] for name in lib.THREADS} == {"1"} and seen["TQDM_DISABLE"] == "1"
    assert seen["REPRISE_OUT"] == str(paths.RUNS / "mini") and seen["REPRISE_PROGRESS"].endswith(".progress")


def test_other_parameters_never_write_over_the_results_of_the_profile(notebook, monkeypatch):
    """Figures and results follow REPRISE_OUT; the copy has a hash that no freshness check accepts."""
    seen = {}
    _papermill(monkeypatch, lambda output, done: seen.update(os.environ) or _write(output, done))
    good = execute(notebook)
    before = good.read_bytes()
    custom = execute(notebook, given={"seeds": 7})
    assert custom == paths.RUNS / "mini.custom/toy/tab_a.ipynb" and good.read_bytes() == before
    assert seen["REPRISE_OUT"] == str(paths.RUNS / "mini.custom")
    assert notebooks.recorded_hash(custom) != notebooks.content_hash(notebook)
    assert execute(notebook, given={"seeds": 2}) == good  # the default: nothing is other


# ---------------------------------------------------------------------- real kernels


def _plain(tmp_path, *sources: str):
    """A notebook outside the project, so that its kernel uses the real lib."""
    return toy.write_notebook(tmp_path / "work" / "a.ipynb", [("code", source) for source in sources], executed=False)


@pytest.mark.notebooks
def test_a_good_run_is_complete_and_a_failing_cell_keeps_its_traceback(tmp_path, capsys):
    path, output = _plain(tmp_path, "print(1 + 1)", "print(2)"), tmp_path / "out" / "a.ipynb"
    assert main(["execute", str(path), "--output", str(output)]) == 0
    cells = notebooks.read(output).cells
    assert [cell.execution_count for cell in cells] == [1, 2] and cells[0].outputs[0].text == "2\n"
    assert list(output.parent.iterdir()) == [output]
    good = output.read_bytes()

    _plain(tmp_path, "print(1)", "total = 3\nraise ValueError(f'row {total} is empty; fill it')", "print(2)")
    assert main(["execute", str(path), "--output", str(output)]) == 2
    failed = output.with_suffix(".failed.ipynb")
    sentence = capsys.readouterr().err
    assert "work/a failed in cell 2: ValueError: row 3 is empty; fill it" in sentence and str(failed) in sentence
    error = next(out for cell in notebooks.read(failed).cells for out in cell.get("outputs", []) if "ename" in out)
    assert "row {total} is empty" in "".join(error.traceback) and output.read_bytes() == good
    assert sorted(f.name for f in output.parent.iterdir()) == ["a.failed.ipynb", "a.ipynb"]


@pytest.mark.notebooks
def test_a_foreign_python3_is_not_used(tmp_path, monkeypatch, capfd):
    """A kernelspec of that name on JUPYTER_PATH, which leads nowhere: the kernel is this interpreter all the same."""
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    path, output = _plain(tmp_path, "import sys", "print(sys.executable)"), tmp_path / "{out}" / "a {b}.ipynb"
    assert main(["execute", str(path), "--output", str(output)]) == 0 and capfd.readouterr().err == ""
    assert notebooks.read(output).cells[1].outputs[0].text == f"{sys.executable}\n"


@pytest.mark.notebooks
def test_a_dead_kernel_is_detected(tmp_path, capsys):
    path, output = _plain(tmp_path, "import os", "os._exit(1)", "print(2)"), tmp_path / "out" / "a.ipynb"
    assert main(["execute", str(path), "--output", str(output)]) == 2
    assert "work/a failed in" in capsys.readouterr().err
    assert [f.name for f in output.parent.iterdir()] == ["a.failed.ipynb"]


@pytest.mark.notebooks
def test_a_killed_runner_leaves_no_half_file_and_no_kernel(tmp_path):
    path, output = _plain(tmp_path, "import time", "time.sleep(60)"), tmp_path / "out" / "a.ipynb"
    output.parent.mkdir()
    output.write_text("the old good copy")
    command = [sys.executable, "-m", "lib.workflow", "execute", str(path), "--output", str(output)]
    process = subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.DEVNULL)
    kernels = []
    for _ in range(200):
        kernels = psutil.Process(process.pid).children(recursive=True)
        if kernels and list(output.parent.glob("a.*.running.ipynb")):
            break
        time.sleep(0.1)
    time.sleep(1)  # in the middle of the second cell
    assert kernels and process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert output.read_text() == "the old good copy"
    _, alive = psutil.wait_procs(kernels, timeout=10)
    assert alive == [], "the kernel lives on without its runner"
