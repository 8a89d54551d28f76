"""Ctrl-C ends a command in one sentence, whether it is still importing, at work, or done."""

import signal
import subprocess
import sys
import time

import pytest

from lib.workflow import paths
from lib.workflow.__main__ import STOPPED, main


def test_while_a_command_works(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lib.workflow.commands.tables", interrupted)
    assert main(["tables"]) == 130
    assert capsys.readouterr().err == f"{STOPPED}\n"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["argparse", "lib.workflow.commands", "lib.workflow.verdicts", "numpy"])
def test_while_it_still_imports(module, tmp_path):
    """An import that waits stands for a slow disk: the signal arrives in the middle of it."""
    waiting = f"""
import runpy, sys, time
class Wait:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            open(r"{tmp_path}/here", "w").close()
            time.sleep(60)
sys.meta_path.insert(0, Wait())
sys.modules.pop("argparse", None)
sys.argv = ["lib.workflow", "tables"]
runpy.run_module("lib.workflow", run_name="__main__")
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", waiting], cwd=paths.ROOT, **pipes)
    end = time.monotonic() + 60
    while not (tmp_path / "here").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", f"{STOPPED}\n")


def test_help_comes_at_once():
    started = time.process_time(), time.monotonic()
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "lib.workflow", "--help"], cwd=paths.ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0 and "gallery" in done.stdout and time.monotonic() - started[1] < 30
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"numpy", "pydantic", "yaml", "torch", "nbformat", "lib.workflow.commands"}
