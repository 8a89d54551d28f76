"""Settings that stand for another machine, and what draws the notebooks that are tried under them."""

import json
import subprocess

from lib.workflow import jobs, paths

FOREIGN = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def trained(job: jobs.Job) -> bool:
    """Whether the committed result of a notebook rests on our own training."""
    path = paths.result(job.slug, job.exhibit, job.profile)
    return path.is_file() and json.loads(path.read_text())["evidence"] == "miniature"
