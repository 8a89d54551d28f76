"""A trained notebook at mini, from a cold cache, under another arithmetic: it must say what the committed one says.

The settings stand for another machine; which notebook changes with the commit. `make nbval` under the same settings
runs them all.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from foreign import FOREIGN, affordable, commit, trained

from lib.workflow import jobs, paths

DEAREST = 1.0  # minutes at mini, in a run of the whole paper; alone, and with the foreign kernels, it takes several


def draw(every: list[jobs.Job], by: str) -> str:
    """Label of a trained notebook that is not one of the dearest, of a paper that is not."""
    able = [job.label for job in affordable(every, DEAREST) if trained(job)]
    return min(able, key=lambda label: hashlib.sha256(f"{by}/{label}".encode()).hexdigest())


@pytest.mark.notebooks
def test_a_trained_notebook_means_the_same_under_another_arithmetic(tmp_path):
    label = draw(jobs.every("mini"), commit())
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment |= FOREIGN | {"REPRISE_NBVAL": label, "REPRISE_CACHE": str(tmp_path / "cache")}
    tests = str(Path(__file__).with_name("test_nbval.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, "-k", "same_again"]
    done = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-8000:] + done.stderr[-2000:]
    assert list((tmp_path / "cache").rglob("artefact.json")), "nothing was trained"


def test_the_draw_changes_with_the_commit_and_leaves_the_dear_papers_to_the_whole_run():
    every = jobs.every("mini")
    drawn = {draw(every, str(number)) for number in range(60)}
    assert len(drawn) > 3 and len({label.split("/")[0] for label in drawn}) > 1
