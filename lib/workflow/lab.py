"""JupyterLab on copies: whoever changes a parameter there changes nothing in the repository.

``make lab`` opens ``runs/lab``, which looks as the repository does: ``notebooks`` with a copy of every notebook, beside them
``figures``, ``papers``, the gallery and the explorer's pages. A copy in which somebody changed a cell is kept; the others follow
the project. Figures and results of a notebook that is run there go to ``runs/own``.

    prepare()                # the folder, copies brought up to date
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from lib.workflow import notebooks, paths
from lib.workflow.execute import QUIET

COPIED = ".copied.json"  # copy -> hash of its cells when it was made
LINKED = ("figures", "papers", "README.md")  # of the repository
MADE = ("gallery", "explore", "own")  # below runs


def _cells(path: Path) -> str:
    """Hash of what somebody can have changed in a notebook: its cells, not their outputs."""
    try:
        cells = [f"{cell.cell_type}:{cell.source}" for cell in notebooks.look(path).cells]
    except notebooks.NotebookError:
        return "not a notebook"
    return hashlib.sha256("\n".join(cells).encode()).hexdigest()


def prepare() -> Path:
    """Bring ``runs/lab`` up to date and return it; prints which changed copies were kept though the project's changed."""
    folder = paths.RUNS / "lab"
    record = folder / COPIED
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    for source in sorted(paths.NOTEBOOKS.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in source.parts:
            continue
        name = str(source.relative_to(paths.NOTEBOOKS))
        copy, current = folder / "notebooks" / name, _cells(source)
        changed = copy.is_file() and _cells(copy) != known.get(name)
        if changed and current != known.get(name):
            print(f"kept your {paths.relative(copy)}; the project's has changed since: delete yours to get it")
        if not changed and not (copy.is_file() and current == known.get(name)):
            paths.write(copy, source.read_text(encoding="utf-8"))
            known[name] = current
    paths.write(record, json.dumps(known, indent=1))
    for name in MADE:
        (paths.RUNS / name).mkdir(parents=True, exist_ok=True)
    for place in (*(paths.ROOT / name for name in LINKED), *(paths.RUNS / name for name in MADE)):
        link = folder / place.name
        if not link.exists():
            link.symlink_to(place, target_is_directory=place.is_dir())
    return folder


def open_lab(words: list[str], *, in_place: bool = False) -> None:
    """Become JupyterLab, on the copies or (``in_place``) on the repository's notebooks; ``words`` are its own options."""
    folder = paths.ROOT if in_place else prepare()
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # usual in a container
    os.environ.update(QUIET)
    command = [sys.executable, "-m", "jupyterlab", *root, f"--ServerApp.root_dir={folder}", *words]
    if not any(word.startswith("--LabApp.default_url") for word in words):
        command.append("--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb")
    sys.stdout.flush()
    os.execv(sys.executable, command)
