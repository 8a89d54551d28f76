"""Real released files for tests: from the data root, else downloaded, else the test is skipped and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.workflow.download import FileUnavailable, fetch_folder


def released(slug: str) -> Path:
    """The folder with every released file of a paper. Wrong content fails the test: only absence skips it."""
    try:
        return fetch_folder(slug)
    except FileUnavailable as absent:
        pytest.skip(f"released files of {slug} are neither in the data root nor downloadable: {absent}")
