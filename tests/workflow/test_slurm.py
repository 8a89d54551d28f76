"""profiles/slurm on a cluster of this one machine (profiles/slurm/one_node.sh), where SLURM is installed and root is here."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from lib.workflow import paths

SCRIPT = paths.ROOT / "profiles/slurm/one_node.sh"
READY = not os.geteuid() and all(map(shutil.which, ("slurmctld", "slurmd", "munged")))


@pytest.mark.notebooks
@pytest.mark.skipif(not READY, reason="needs root and Debian's slurmctld, slurmd and munge; the script's head says how")
def test_a_new_papers_smoke_runs_as_a_job_of_the_cluster(tmp_path):
    """`make paper` in a copy of the project, then its smoke through the profile as it is committed, which only looks more often."""
    for name in ("lib", "profiles", "papers/__init__.py", "Snakefile", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (paths.ROOT / name).is_dir() else shutil.copy
        if (paths.ROOT / name).exists():
            copy(paths.ROOT / name, tmp_path / name)
    with (tmp_path / "profiles/slurm/config.yaml").open("a") as config:
        config.write("seconds-between-status-checks: 3\nslurm-init-seconds-before-status-checks: 3\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("REPRISE", "PYTEST"))}
    environment["PYTHONPATH"] = str(tmp_path)
    command = [sys.executable, "-m", "lib.workflow"]
    told = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    assert subprocess.run([*command, "new-paper", "toy"], **told).returncode == 0
    words = ["run", "--profile", "smoke", "--paper", "toy", "--cluster", "slurm"]
    with FileLock(Path(tempfile.gettempdir()) / "one_node.lock"):  # a machine is one cluster at a time
        done = subprocess.run(["bash", str(SCRIPT), *command, *words], **told, timeout=600)
    assert done.returncode == 0 and "1 of 1 notebooks are up to date" in done.stdout, done.stdout + done.stderr
    assert "submitted with SLURM jobid" in (tmp_path / "runs/.engine.log").read_text()
    assert list(tmp_path.glob("runs/smoke/toy/*.ipynb")) and not os.path.exists("/etc/slurm/slurm.conf")


def test_without_slurm_or_root_it_says_what_to_do(tmp_path):
    done = subprocess.run(
        ["/bin/bash", str(SCRIPT), "true"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and "there is no slurmctld; the head of" in done.stderr
