"""The cards of this machine: as many notebooks that need one run at a time as there are, and each sees one of its own.

On a cluster the scheduler does both, and a job sees its card alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from filelock import FileLock, Timeout

from lib.workflow import paths
from lib.workflow.jobs import Job


def visible() -> list[str]:
    """Names of the cards that a process sees which is started now, as ``CUDA_VISIBLE_DEVICES`` has them."""
    if (told := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def bound(chosen: Sequence[Job]) -> list[str]:
    """What tells Snakemake how many of these notebooks with a card may run at a time; nothing where none needs one."""
    return ["--resources", f"gpu={max(1, len(visible()))}"] if any(job.gpus for job in chosen) else []


@contextmanager
def one_for(job: Job) -> Iterator[None]:
    """Within, a kernel sees one card that no other notebook here has, where the job needs a card and there are several."""
    names = visible() if job.gpus else []
    if len(names) < 2:
        yield
        return
    paths.RUNS.mkdir(parents=True, exist_ok=True)
    while True:
        for name in names:
            lock = FileLock(paths.RUNS / f".card.{name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                with patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": name}):
                    yield
            finally:
                lock.release()
            return
        time.sleep(1)
