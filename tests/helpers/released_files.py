"""Real released files for tests: from the data root, else downloaded, else the test is skipped and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.workflow.sources import SourceUnavailable, fetch


def released(slug: str, source: str) -> Path:
    """The folder of a source of a paper. Wrong content fails the test: only absence skips it."""
    try:
        return fetch(slug, source)
    except SourceUnavailable as absent:
        pytest.skip(f"released files of {slug} are neither in the data root nor downloadable: {absent}")
