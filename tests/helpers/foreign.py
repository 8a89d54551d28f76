"""Settings that stand for another machine, and the commit that draws which notebooks are tried under them."""

import subprocess

from lib.workflow import paths

FOREIGN = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    return done.stdout.strip()
