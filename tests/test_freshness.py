"""Every committed notebook shows what the repository gives today: its recorded content hash is current."""

import pytest

from lib.workflow import notebooks, paths


@pytest.mark.notebooks
@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.rglob("*.ipynb")), ids=paths.relative)
def test_a_committed_notebook_is_fresh(path):
    assert notebooks.stale(path) is None
