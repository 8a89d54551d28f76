"""Every path of the project, in one place.

Papermill runs in the caller's folder and nbval in the notebook's, so nothing may depend on the working directory.

>>> relative(notebook("<slug>", "<exhibit>"))
'notebooks/<slug>/<exhibit>.ipynb'
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PAPERS = ROOT / "papers"
RUNS = Path(os.environ.get("REPRISE_RUNS", ROOT / "runs"))
CACHE = Path(os.environ.get("REPRISE_CACHE", RUNS / "cache"))

# Files the authors released. An offline mirror beside the checkout is read in place; otherwise pinned downloads land here.
_MIRROR = ROOT.parent / "shared" / "data"
DATA_ROOT = Path(os.environ.get("REPRISE_DATA", _MIRROR if _MIRROR.is_dir() else RUNS / "data"))

# What libraries write below HOME, and the variable that sends it elsewhere.
_HOME = {"XDG_CACHE_HOME": ".cache", "MPLCONFIGDIR": ".config/matplotlib", "IPYTHONDIR": ".ipython"}
_HOME |= {"JUPYTER_CONFIG_DIR": ".jupyter", "JUPYTER_DATA_DIR": ".local/share/jupyter"}

# The profiles whose figures and results may be published into the repository, in the order in which tables show them.
PUBLISHED_PROFILES = ("mini", "real", "gpu", "full")
TOOLS = ("smoke", "mini")  # at which the notebooks that belong to no paper are run
SHOWN_PROFILE = "mini"  # whose outputs the committed notebooks carry; where it is absent, the next of these


def _takes_files(folder: Path) -> bool:
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryDirectory(dir=folder):
            return folder.is_absolute()
    except OSError:
        return False


def caches_without_home() -> None:
    """Send to ``runs/home`` what libraries cannot write below HOME: read-only in containers and on nodes of clusters."""
    for name, usual in _HOME.items():
        if not _takes_files(Path(os.environ.get(name) or os.path.expanduser(f"~/{usual}"))):
            os.environ[name] = str(RUNS / "home" / usual)


def output_root() -> Path:
    """Folder under which a running notebook writes ``figures/`` and ``papers/<slug>/results/``: never the repository.

    The runner says which (``REPRISE_OUT``); a kernel that nobody told, in JupyterLab or an editor, writes to
    ``runs/own``. Into the repository they come by ``make publish`` alone.
    """
    return Path(os.environ.get("REPRISE_OUT") or RUNS / "own")


def run_root(profile: str) -> Path:
    """Folder under which a run of a whole profile writes."""
    return RUNS / profile


def paper(slug: str) -> Path:
    return PAPERS / slug


def notebook(slug: str, exhibit: str) -> Path:
    return NOTEBOOKS / slug / f"{exhibit}.ipynb"


def executed(slug: str, exhibit: str, profile: str) -> Path:
    """Where the executed copy of a notebook lands (never inside ``notebooks/``)."""
    return run_root(profile) / slug / f"{exhibit}.ipynb"


def figure(slug: str, exhibit: str, profile: str, suffix: str, *, root: Path | None = None) -> Path:
    """A figure's ``png`` or its numbers (``json``): the committed one, or the one under ``root``."""
    return (root or ROOT) / "figures" / slug / f"{exhibit}.{profile}.{suffix}"


def outcomes(slug: str, exhibit: str, profile: str, suffix: str, *, root: Path | None = None) -> Path:
    """The picture of what an exhibit's outcomes rest on, or its numbers (``json``)."""
    return (root or ROOT) / "figures" / slug / "outcomes" / f"{exhibit}.{profile}.{suffix}"


def results(slug: str, *, root: Path | None = None) -> Path:
    """Folder of what a paper's exhibits measured: the committed one, or the one under ``root``."""
    return PAPERS / slug / "results" if root is None else root / "papers" / slug / "results"


def result(slug: str, exhibit: str, profile: str, *, root: Path | None = None) -> Path:
    """What an exhibit measured: the committed file, or the one under ``root``."""
    return results(slug, root=root) / f"{exhibit}.{profile}.json"


def relative(path: Path) -> str:
    """``path`` as a reader of the repository would write it: relative to the root where possible."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def write(path: Path, content: str | bytes) -> None:
    """Write under a temporary name and rename: the file is old, new or absent, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
