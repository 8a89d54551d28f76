"""The strict papermill runner: check parameters first, execute under a temporary name, rename only what is complete.

papermill only warns about a misspelt parameter, marks every cell completed after a dead kernel, and writes its output
in place; each of these has cost somebody a night.

    execute(paths.notebook("<slug>", "<exhibit>"), profile="smoke")
"""

from __future__ import annotations

import glob
import math
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lib.workflow import arithmetic, experiments, inputs, notebooks, paths
from lib.workflow.jobs import nearest
from lib.workflow.notebooks import NotebookError

QUIET = {"TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
QUIET |= {"PYTHONWARNINGS": "ignore"}
_FULL = r"\d+ requested and \d+ written|PytorchStreamWriter failed writing|unexpected pos \d+ vs"  # as numpy and torch say it
_MAKE_ROOM = ": the disk is full; free space, or set REPRISE_RUNS and REPRISE_CACHE to another disk, and run again"


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
    if not isinstance(value, type(default)) or not isinstance(default, list) or not default:
        return isinstance(value, type(default))
    widths = {len(row) for row in default if isinstance(row, list)}  # of rows that are all equally long
    return all(_matches(v, default[0]) and (len(widths) != 1 or {len(v)} == widths) for v in value)


def _leaves(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, (list, tuple)) else [value]


def _out_of_range(value: Any, parameter: notebooks.Parameter) -> str | None:
    """What is wrong with a value of the right type: text that is none, a number without end, a count below 1.

    Where the notebook itself has 0, or its comment says "or 0", a count may be that.
    """
    given, usual = _leaves(value), _leaves(parameter.default)
    if any(isinstance(v, str) and any("\ud800" <= c <= "\udfff" for c in v) for v in given):
        return "must be text in UTF-8"
    if any(isinstance(v, float) and not math.isfinite(v) for v in given):
        return "must be finite"
    if usual and all(type(v) is int for v in usual):
        least = 0 if "or 0" in parameter.help else min(1, *usual)
        return f"must be {least} or more" if min(given, default=least) < least else None
    return None


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
            raise NotebookError(f"{name} has no parameter '{key}'; {nearest(key, known)}")
        default = known[key].default
        which = key == "seeds" and isinstance(value, list) and type(default) is int  # which, not how many
        if key == "seeds" and (wrong := _wrong_seeds(value, default)):
            raise NotebookError(f"{name}: {wrong}")
        if not which and not _matches(value, default):
            trap = ""
            if isinstance(value, str) and isinstance(default, float):
                trap = " (in YAML 1e-4 is text: write 1.0e-4)"
            elif isinstance(default, str):
                trap = f" (text that looks like something else is quoted twice: -p \"{key}='...'\")"
            raise NotebookError(
                f"{name}: parameter '{key}' must be {type(default).__name__} like {default!r}, "
                f"not {type(value).__name__} {value!r}{trap}"
            )
        if not which and (wrong := _out_of_range(value, known[key])):
            raise NotebookError(f"{name}: parameter '{key}' {wrong}, not {value!r}")
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
    if path.is_relative_to(paths.NOTEBOOKS) and experiments.has(slug):
        paper = experiments.load(slug)
        if profile not in paper.profiles:
            has = ", ".join(paper.profiles)
            raise NotebookError(f"papers/{slug}/experiments.yml has no profile '{profile}'; it has {has}")
        if reason := paper.why_absent(exhibit, profile):
            raise NotebookError(f"{slug}/{exhibit} is absent at the profile '{profile}': {reason}")
        if exhibit in paper.experiments:
            chosen |= paper.experiments[exhibit].parameters.get(profile, {})
    return chosen


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _die_with_the_run() -> None:
    """End this process when the run that started it is gone (kill -9 leaves orphans that would go on writing)."""
    host, _, pid = os.environ.get("REPRISE_RUN_PID", "").partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return

    def watch() -> None:
        while True:
            if not _is_alive(int(pid)):
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


def _incomplete_cell(path: Path) -> int | None:
    """Number of the first code cell without an execution count (a dead kernel looks like success otherwise)."""
    for number, cell in enumerate(notebooks.look(path).code, start=1):
        if cell.source.strip() and cell.execution_count is None:
            return number
    return None


def _make_room(output: Path, source: Path) -> Path:
    """Refuse, before any work, an output that could not be written or must not be; else remove what dead or failed runs
    left beside it, and return the name under which this process runs it: others may run to the same output."""
    name = paths.relative(output)
    if output.suffix != ".ipynb" or output.is_dir():
        raise NotebookError(f"the output {name} is no name of a notebook; give a file that ends in .ipynb")
    if output.resolve() == source.resolve() or output.resolve().is_relative_to(paths.NOTEBOOKS.resolve()):
        raise NotebookError(f"the output {name} would overwrite what is run; name one elsewhere, as runs/mine.ipynb")
    here = f"{output.stem}.{socket.gethostname()}-"
    running = output.with_name(f"{here}{os.getpid()}.running.ipynb")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        running.touch()
        for left in output.parent.glob(f"{glob.escape(here)}*"):
            pid = left.name.removeprefix(here).partition(".")[0]
            if pid.isdigit() and (int(pid) == os.getpid() or not _is_alive(int(pid))):
                left.unlink(missing_ok=True)
        output.with_suffix(".failed.ipynb").unlink(missing_ok=True)
    except OSError as error:
        where, reason = paths.relative(Path(error.filename or output)), error.strerror
        raise NotebookError(f"the output {name} cannot be written: {where}: {reason}; name another place") from None
    return running


def _own_kernel() -> type:
    """Kernels on this interpreter, whatever a "python3" among the user's kernels or on JUPYTER_PATH points to."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    return type("OwnKernel", (AsyncKernelManager,), {"kernel_spec": KernelSpec(**get_kernel_dict())})


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
    return f"{where}{name}: {text}"[:600] + (_MAKE_ROOM if re.search(_FULL, text) else "")


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
    running, failed = _make_room(output, path), output.with_suffix(".failed.ipynb")
    log, record = (running.with_suffix("").with_suffix(f".{kind}") for kind in ("progress", "arithmetic"))
    digest = notebooks.content_hash(path, profile)
    out = os.environ.get("REPRISE_OUT") or str(paths.run_root(f"{profile}.custom" if custom else profile))
    variables = QUIET | inputs.without_network(path.parent.name, profile)
    variables |= {"REPRISE_PROGRESS": str(log), "REPRISE_RECORD": str(record), "REPRISE_OUT": out}
    label = f"{path.parent.name}/{path.stem}"

    def run_once() -> None:
        papermill.execute_notebook(
            *(str(one).replace("{", "{{").replace("}", "}}") for one in (path, running)),  # it formats both
            parameters=parameters,
            kernel_name="python3",
            kernel_manager_class=_own_kernel(),
            progress_bar=False,
            cwd=str(paths.ROOT),
            extra_arguments=["--log-level=CRITICAL"],  # silence a warning about TCP, printed by every kernel
        )

    problem = None
    with patch.dict(os.environ, variables), _Progress(label, log):
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
