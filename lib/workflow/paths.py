"""Every path of the project, in one place.

Papermill runs in the caller's folder and nbval in the notebook's, so nothing may depend on the working directory.

>>> from lib.workflow import paths
>>> paths.paper("brgsa")
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PAPERS = ROOT / "papers"
RUNS = Path(os.environ.get("REPRISE_RUNS", ROOT / "runs"))
CACHE = Path(os.environ.get("REPRISE_CACHE", RUNS / "cache"))

# Files the authors released. An offline mirror beside the checkout is read in place; otherwise pinned downloads land here.
_MIRROR = ROOT.parent / "shared" / "data"
DATA_ROOT = Path(os.environ.get("REPRISE_DATA", _MIRROR if _MIRROR.is_dir() else RUNS / "data"))

# The profile whose results are committed: its figures and results are written into the repository, any other's under runs/.
COMMITTED_PROFILES = ("mini", "gpu", "full")


def output_root(profile: str) -> Path:
    """Folder under which ``figures/`` and ``papers/<slug>/results/`` of this profile are written.

    ``REPRISE_OUT`` overrides it: tests re-execute committed notebooks without touching committed files.
    """
    override = os.environ.get("REPRISE_OUT")
    if override:
        return Path(override)
    return ROOT if profile in COMMITTED_PROFILES else RUNS / profile


def paper(slug: str) -> Path:
    return PAPERS / slug


def notebook(slug: str, exhibit: str) -> Path:
    return NOTEBOOKS / slug / f"{exhibit}.ipynb"


def executed(slug: str, exhibit: str, profile: str) -> Path:
    """Where the executed copy of a notebook lands (never inside ``notebooks/``)."""
    return RUNS / profile / slug / f"{exhibit}.ipynb"


def figure(slug: str, exhibit: str, profile: str, suffix: str) -> Path:
    return output_root(profile) / "figures" / slug / f"{exhibit}.{profile}.{suffix}"


def result(slug: str, exhibit: str, profile: str) -> Path:
    return output_root(profile) / "papers" / slug / "results" / f"{exhibit}.{profile}.json"


def relative(path: Path) -> str:
    """``path`` as a reader of the repository would write it: relative to the root where possible."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
