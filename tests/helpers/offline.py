"""Kernels without a network: what they may not do is an error there, and a line in a file here.

with offline(tmp_path / "asked") as asked:
    execute(...)
assert asked() == []
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

FOLDER = Path(__file__).with_name("no_network")


def variables(log: Path) -> dict[str, str]:
    """What the environment of a kernel needs so that it opens no internet socket; what it tried goes to ``log``."""
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{FOLDER}{os.pathsep}{before}" if before else str(FOLDER), "NO_NETWORK_LOG": str(log)}


@contextmanager
def offline(log: Path) -> Iterator[Callable[[], list[str]]]:
    """Every kernel started within is without a network; yields what they tried until now."""
    log.touch()
    with patch.dict(os.environ, variables(log)):
        yield lambda: log.read_text().splitlines()
