"""The strict papermill runner: check parameters first, execute under a temporary name, rename only what is complete.

papermill only warns about a misspelt parameter, marks every cell completed after a dead kernel, and writes its output
in place; each of these has cost somebody a night.

    execute(paths.notebook("<slug>", "<exhibit>"), profile="smoke")
"""

from __future__ import annotations

import difflib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.workflow import arithmetic, notebooks, papers, paths
from lib.workflow.notebooks import NotebookError

QUIET = {
    "TQDM_DISABLE": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",
    "PYTHONWARNINGS": "ignore",
}


class ExecutionError(RuntimeError):
    """A notebook that did not run to its end; the message names the cell and where the traceback is."""


def _matches(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (int, str)):
        return isinstance(value, type(default))
    return isinstance(value, type(default)) and (
        not isinstance(default, list) or not default or all(_matches(v, default[0]) for v in value)
    )


def _wrong_seeds(value: Any, default: Any) -> str | None:
    """What is wrong with a list of seeds; ``None`` for a right one, and for what is no list of seeds at all.

    The session's ``start`` takes how many or which, so a list is taken where the notebook has a number.
    """
    if not isinstance(value, list) or isinstance(default, bool) or not isinstance(default, (int, list)):
        return None
    right = value and all(type(seed) is int and seed >= 0 for seed in value) and len(set(value)) == len(value)
    return None if right else f"a list of seeds holds different whole numbers from 0 up, not {value!r}"


def check_parameters(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """``given`` without what equals the notebook's default; an unknown name, a wrong type or an unread name is an error."""
    known = {parameter.name: parameter for parameter in notebooks.parameters(path)}
    used = notebooks.read_by_later_cells(path)
    name = paths.relative(path)
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known) or 'none'}"
            raise NotebookError(f"{name} has no parameter '{key}'; {hint}")
        default = known[key].default
        which = key == "seeds" and isinstance(value, list) and type(default) is int  # which, not how many
        if key == "seeds" and (wrong := _wrong_seeds(value, default)):
            raise NotebookError(f"{name}: {wrong}")
        if not which and not _matches(value, default):
            yaml_trap = (
                " (in YAML 1e-4 is text: write 1.0e-4)" if isinstance(value, str) and isinstance(default, float) else ""
            )
            raise NotebookError(
                f"{name}: parameter '{key}' must be {type(default).__name__} like {default!r}, "
                f"not {type(value).__name__} {value!r}{yaml_trap}"
            )
        if key not in used:
            raise NotebookError(
                f"{name}: no cell reads the parameter '{key}', so setting it would change nothing; remove it"
            )
    return {key: value for key, value in given.items() if value != known[key].default}


def profile_parameters(path: Path, profile: str) -> dict[str, Any]:
    """What ``experiments.yml`` sets for this notebook at this profile, with ``profile`` itself where the notebook has it."""
    slug, exhibit = path.parent.name, path.stem
    names = {parameter.name for parameter in notebooks.parameters(path)}
    chosen: dict[str, Any] = {"profile": profile} if "profile" in names else {}
    if path.is_relative_to(paths.NOTEBOOKS) and papers.has_experiments(slug):
        experiments = papers.load_experiments(slug)
        if profile not in experiments.profiles:
            raise NotebookError(
                f"papers/{slug}/experiments.yml has no profile '{profile}'; it has {', '.join(experiments.profiles)}"
            )
        if exhibit in experiments.experiments:
            chosen |= experiments.experiments[exhibit].parameters.get(profile, {})
    return chosen


def _die_with_the_run() -> None:
    """End this process when the run that started it is gone (kill -9 leaves orphans that would go on writing)."""
    host, _, pid = os.environ.get("REPRISE_RUN_PID", "").partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return

    def watch() -> None:
        while True:
            try:
                os.kill(int(pid), 0)
            except OSError:
                os._exit(143)  # the kernel notices within seconds that its parent is gone
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()


class _Progress:
    """Prints what the notebook's session says, a line each, at most every few seconds."""

    def __init__(self, label: str, log: Path):
        self.label, self.log, self.done = label, log, threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def _follow(self) -> None:
        last = ""
        while not self.done.wait(5.0):
            lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
            if lines and lines[-1] != last:
                last = lines[-1]
                print(f"  {self.label}: {last}", flush=True)

    def __enter__(self):
        self.log.unlink(missing_ok=True)
        self.thread.start()

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.log.unlink(missing_ok=True)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the kernel that is started inside, then put the old ones back."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _incomplete_cell(path: Path) -> int | None:
    """Number of the first code cell without an execution count (a dead kernel looks like success otherwise)."""
    for number, cell in enumerate(notebooks.look(path).code, start=1):
        if cell.source.strip() and cell.execution_count is None:
            return number
    return None


def _recorded(record: Path) -> str:
    """The fingerprint that the notebook's session left; of a notebook that starts none, this process's: the same."""
    try:
        return record.read_text(encoding="utf-8")
    except FileNotFoundError:
        return arithmetic.fingerprint()
    finally:
        record.unlink(missing_ok=True)


def _sentence(error: Exception) -> str:
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    where = f"cell {error.exec_count}: " if getattr(error, "exec_count", None) else ""
    text = " ".join(str(value).split())
    return f"{where}{name}: {text}"[:600]


def execute(
    path: Path, *, profile: str = "mini", given: dict[str, Any] | None = None, output: Path | None = None
) -> Path:
    """Execute one notebook and return its executed copy.

    Figures and results go below ``runs/<profile>``, never into the repository (see :mod:`lib.workflow.publish`).
    ``given`` overrides the profile's parameters; then all goes to ``runs/<profile>.custom``. On failure the copy with its
    traceback is kept as ``<name>.failed.ipynb`` and :class:`ExecutionError` says which cell and why; an earlier good
    copy stays as it was.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    usual = profile_parameters(path, profile)
    parameters = check_parameters(path, {**usual, **(given or {})})
    custom = parameters != check_parameters(path, usual)
    output = output or paths.executed(path.parent.name, path.stem, f"{profile}.custom" if custom else profile)
    running, failed = output.with_suffix(".running.ipynb"), output.with_suffix(".failed.ipynb")
    log, record = output.with_suffix(".progress"), output.with_suffix(".arithmetic")
    output.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (running, failed, record):
        leftover.unlink(missing_ok=True)
    digest = notebooks.content_hash(path, profile)
    out = os.environ.get("REPRISE_OUT") or str(paths.run_root(f"{profile}.custom" if custom else profile))
    variables = QUIET | {"REPRISE_PROGRESS": str(log), "REPRISE_RECORD": str(record), "REPRISE_OUT": out}
    label = f"{path.parent.name}/{path.stem}"

    def run_once() -> None:
        papermill.execute_notebook(
            str(path),
            str(running),
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            cwd=str(paths.ROOT),
            extra_arguments=["--log-level=CRITICAL"],  # silence a warning about TCP, printed by every kernel
        )

    problem = None
    with _environment(variables), _Progress(label, log):
        try:
            try:
                run_once()
            except RuntimeError as error:  # only "Kernel died before replying to kernel_info" is worth a second try
                if isinstance(error, PapermillExecutionError) or "kernel_info" not in str(error):
                    raise
                run_once()
            cell = _incomplete_cell(running)
            problem = f"cell {cell} did not run: the kernel died or was interrupted (out of memory?)" if cell else None
        except KeyboardInterrupt:
            problem = "interrupted"
        except Exception as error:
            problem = _sentence(error)
    if problem:
        record.unlink(missing_ok=True)
        if running.exists():
            os.replace(running, failed)
        trace = f". Traceback: {paths.relative(failed)}" if failed.exists() else ""
        raise ExecutionError(f"{label} failed in {problem}{trace}")
    done = notebooks.read(running)
    done.metadata["reprise"] = {"content_hash": "custom" if custom else digest, "profile": profile}
    done.metadata["reprise"]["arithmetic"] = _recorded(record)
    notebooks.write(running, done)
    os.replace(running, output)
    return output
