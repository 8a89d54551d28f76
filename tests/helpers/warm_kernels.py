"""Kernels that need not import the large libraries again: forks of one process that has them.

A kernel imports for ten seconds and more before its first cell; the tests start one a notebook. Each fork is a process of its own
with its own environment, and every module of the project is imported in it anew.

    with warm_kernels():
        execute(...)
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from lib.workflow.execute import QUIET

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "monai",
    "umap",
    "sklearn.linear_model",
    "matplotlib.pyplot",
    "ipykernel.kernelapp",
)


class _Kernel:
    """What a kernel manager asks of ``subprocess.Popen``. Nobody waits for a fork but the process it came from."""

    stdin = stdout = stderr = returncode = None

    def __init__(self, pid: int):
        self.pid = pid

    def poll(self) -> int | None:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (timeout or 60)
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("kernel", timeout or 60)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@contextmanager
def warm_kernels() -> Iterator[None]:
    """Kernels that a manager of this process launches within are forks. One process is started, and ends at the end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    quiet = os.environ | QUIET  # progress bars are switched off when their library is imported
    with subprocess.Popen([sys.executable, __file__], env=quiet, **pipes) as parent:

        def launch(command: list[str], *, env: dict[str, str], cwd: str | None = None, **others) -> _Kernel:
            asked = {"arguments": command[command.index("-m") + 1 :], "environment": env, "folder": cwd or os.getcwd()}
            print(json.dumps(asked), file=parent.stdin, flush=True)
            return _Kernel(int(parent.stdout.readline()))

        with patch("jupyter_client.provisioning.local_provisioner.launch_kernel", launch):
            yield
        parent.stdin.close()  # it reads the end, and ends


def _become_kernel(asked: dict) -> None:
    os.setsid()  # a group of its own before anybody can send the group a signal
    print(os.getpid(), flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(silent, stream)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = asked["arguments"]
    sys.path[0] = ""  # as `python -m` has it
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def main() -> None:
    import lib  # noqa: F401  the one arithmetic comes before the libraries

    for library in LIBRARIES:
        importlib.import_module(library)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended leave nothing behind
    for line in sys.stdin:
        if not os.fork():
            _become_kernel(json.loads(line))
            os._exit(0)


if __name__ == "__main__":
    main()
