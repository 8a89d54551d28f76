"""A new paper that every check accepts and that runs at once: an example in the place of its facts, code and first notebook.

>>> refusal("Not a name")
"'Not a name' is no name for a paper; take a word of small letters, digits and _ that begins with a letter"
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from lib.workflow import experiments, notebooks, paths

FILES = Path(__file__).parent / "new_paper_files"
FIRST = "tab_first"  # the example's notebook


class NewPaperError(ValueError):
    """A name that cannot be a paper's, or that is one already."""


def refusal(slug: str) -> str | None:
    """Why there can be no new paper of this name, in one sentence; ``None`` when there can."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug) or keyword.iskeyword(slug):
        return f"'{slug}' is no name for a paper; take a word of small letters, digits and _ that begins with a letter"
    for folder in (paths.paper(slug), paths.NOTEBOOKS / slug):
        if folder.exists():
            return f"{paths.relative(folder)} exists already; work there, or take another name"
    return None


def _notebook(path: Path, text: str) -> None:
    """Write a notebook from cells that each begin with ``%% kind tag ...``."""
    import nbformat

    notebook = nbformat.v4.new_notebook()
    for part in text.split("%% ")[1:]:
        head, _, source = part.partition("\n")
        kind, *tags = head.split()
        make = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        notebook.cells.append(make(source.strip("\n"), metadata={"tags": tags} if tags else {}))
    notebooks.write(path, notebooks.normalise(notebook))


def create(slug: str) -> list[Path]:
    """Write ``papers/<slug>`` and its first notebook; returns the files. Raises :class:`NewPaperError` and writes nothing for a
    wrong name."""
    if reason := refusal(slug):
        raise NewPaperError(reason)

    def filled(name: str) -> str:
        return Template((FILES / name).read_text(encoding="utf-8")).substitute(slug=slug)

    folder = paths.paper(slug)
    targets = {name: folder / name for name in ("paper.yml", "experiments.yml", "README.md")}
    for name, target in {**targets, "study.py.txt": folder / "study.py"}.items():
        paths.write(target, filled(name))
    paths.write(folder / "__init__.py", "")
    _notebook(paths.notebook(slug, FIRST), filled(f"{FIRST}.txt"))
    experiments.load(slug)  # what is written passes the schema
    return [*targets.values(), folder / "__init__.py", folder / "study.py", paths.notebook(slug, FIRST)]
