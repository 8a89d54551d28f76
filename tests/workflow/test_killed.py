"""A study killed at random moments, by SIGKILL, SIGTERM and Ctrl-C, again and again: it always ends with the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from toy_study import ARMS

from lib.workflow import paths

HITS = 24  # interruptions that met a run at work
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


class Server:
    """A process that runs the study, each time in a fork of its own, in a copy of the project."""

    def __init__(self, root):
        self.runs = root / "runs"
        shutil.copytree(paths.ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(paths.ROOT / "tests/helpers/toy_study.py", root / "lib")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("REPRISE", "PYTEST"))}
        command = [sys.executable, "-c", "from lib import toy_study; toy_study.serve()"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=root, env=environment | {"PYTHONPATH": str(root)}, **pipes)

    def run(self, number=None, after=0.0):
        """Exit code of one run, to which the signal ``number`` is sent after so many seconds."""
        print(file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        if number is not None:
            time.sleep(after)
            os.kill(pid, number)
        print(file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def result(self):
        file = self.runs / "result.json"
        return json.loads(file.read_text()) if file.exists() else None

    def built(self):
        return sorted(f.parent.name for f in self.runs.glob("cache/train_arm/*/artefact.json"))


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.process.stdin.close()
    server.process.wait(60)


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_and_ends_with_the_same_bits(server):
    assert server.run() == 0
    expected, once = server.result(), []
    for _ in range(2):
        shutil.rmtree(server.runs)
        began = time.monotonic()
        assert server.run() == 0 and server.result() == expected
        once.append(time.monotonic() - began)
    assert len(expected) == ARMS and len({arm["weights"] for arm in expected}) == ARMS
    rng, hits, ends, resumed = np.random.default_rng(0), dict.fromkeys(SIGNALS, 0), 0, 0
    for _ in range(20 * HITS):
        if sum(hits.values()) >= HITS and ends:
            break
        number = min(hits, key=hits.get)
        before = server.built()
        code = server.run(number, after=rng.uniform(0, min(once)))
        assert set(before) <= set(server.built()), "what was finished is lost"
        if code == 0:
            assert server.result() == expected
            shutil.rmtree(server.runs)
            ends += 1
            continue
        assert code == (130 if number == signal.SIGINT else -number)
        assert server.result() in (None, expected)  # never half
        hits[number] += 1
        resumed += bool(list(server.runs.glob("cache/train_arm/*.part/checkpoint/fit.pt")))
        if sum(hits.values()) % 6 == 0:  # now and then to the end at once
            assert server.run() == 0 and server.result() == expected
            assert not list(server.runs.glob("cache/*/*.part"))
            shutil.rmtree(server.runs)
            ends += 1
    assert ends and resumed >= 3 and min(hits.values()) >= HITS // len(SIGNALS)
