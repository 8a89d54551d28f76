"""Settings that stand for another machine, and what draws the notebooks that are tried under them."""

import json
import subprocess
from collections.abc import Sequence

from lib.workflow import jobs, paths

FOREIGN = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    return done.stdout.strip()


WHOLE = 10.0  # minutes of a paper's notebooks together, its bases with them, above which it is left to `make nbval`


def affordable(every: Sequence[jobs.Job], dearest: float) -> list[jobs.Job]:
    """Notebooks of at most ``dearest`` minutes, of papers whose bases CI has the time to make."""
    whole = {job.slug: sum(one.minutes or 0 for one in every if one.slug == job.slug) for job in every}
    return [job for job in every if (job.minutes or 9) <= dearest and whole[job.slug] <= WHOLE]


def trained(job: jobs.Job) -> bool:
    """Whether the committed result of a notebook rests on our own training."""
    path = paths.result(job.slug, job.exhibit, job.profile)
    return path.is_file() and json.loads(path.read_text())["evidence"] == "miniature"
