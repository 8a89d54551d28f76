"""The notebooks as files: their parameters, their content hash, the linter, and the normaliser behind ``make format``.

A committed notebook carries the outputs of its ``mini`` run. ``publish`` copies them there from an executed copy, with
the hash of everything the run depended on and the fingerprint of its arithmetic; ``stale`` tells when that no longer is
what is in the repository.

>>> lint(paths.NOTEBOOKS / "00_start_here.ipynb")      # or a list of sentences
[]
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lib.workflow import closure, experiments, papers, paths
from lib.workflow.cells import NotebookError, look, not_valid, parameters, parse, read_by_later_cells

if TYPE_CHECKING:
    import nbformat  # inside functions: its validator costs three seconds

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
MAX_CELLS, MIN_CELLS, MAX_CODE_LINES, MAX_BYTES = 14, 8, 60, 400_000

_FORBIDDEN = {
    r"^\s*(async\s+)?def\s": "a function definition (functions live in papers/<slug> or lib)",
    r"^\s*class\s": "a class definition (classes live in papers/<slug> or lib)",
    r"^\s*try\s*:": "a try block",
    r"sys\.path": "sys.path",
    r"^\s*[!%]\s*pip|^\s*!": "a shell or pip command",
    r"\.cuda\(": ".cuda() (use run.device)",
    r"[\"'](/|~/|[A-Za-z]:[\\/]+)\w": "an absolute path (use lib.workflow.paths)",
}


def read(path: Path) -> nbformat.NotebookNode:
    """Read and validate a notebook; raises :class:`NotebookError` when it is missing or not of version 4."""
    import nbformat

    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise NotebookError(f"{paths.relative(path)} does not exist") from None
    except Exception as error:  # nbformat raises a different class for each kind of damage
        raise not_valid(path, error) from None
    return notebook


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


# ---------------------------------------------------------------------- freshness
def files(path: Path) -> list[Path]:
    """The project's files a notebook depends on (of lib, papers and benchmarks), directly or not."""
    code = look(path).code
    for cell in code:
        parse(cell.source, path)
    return closure.modules_of_source("\n".join(cell.source for cell in code))


def settings_digest(path: Path, profile: str) -> str:
    """Hash of what the paper's folder tells this notebook: its own section, the profile's settings, the claims it judges,
    every published number, every table (``*.csv``)."""
    slug, exhibit = path.parent.name, path.stem
    if not (path.is_relative_to(paths.NOTEBOOKS) and experiments.has(slug)):
        return "none"
    plan, paper = experiments.load(slug), papers.load_paper(slug)
    if exhibit not in plan.experiments:
        raise NotebookError(
            f"{paths.relative(path)} is not listed in papers/{slug}/experiments.yml; add it under 'experiments'"
        )
    experiment = plan.experiments[exhibit]
    told = {
        "parameters": experiment.parameters.get(profile, {}),
        "settings": plan.profiles.get(profile, {}),
        "sources": {name: source.model_dump() for name, source in plan.sources.items()},
        "stands_on": plan.evidence(exhibit, profile) if profile in plan.stands_on else None,
        "claims": [paper.claim(claim_id).model_dump() for claim_id in experiment.claims],
        "published": {name: table.model_dump() for name, table in paper.published.items()},
        "tables": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(paths.paper(slug).glob("*.csv"))
        },
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def shown_profile(path: Path) -> str:
    """The profile whose outputs a committed notebook carries."""
    slug = path.parent.name
    if (
        path.is_relative_to(paths.NOTEBOOKS)
        and experiments.has(slug)
        and path.stem in experiments.load(slug).experiments
    ):
        return experiments.load(slug).shown(path.stem)
    return paths.SHOWN_PROFILE


def content_hash(path: Path, profile: str | None = None) -> str:
    """Hash of everything a run of the notebook depends on: its cells, the project's files it needs, its settings.

    ``profile``: by default the one whose outputs the committed copy carries.
    """
    profile = shown_profile(path) if profile is None else profile
    cells = [f"{cell.cell_type}:{cell.source}" for cell in look(path).cells]
    return closure.source_hash(files(path), *cells, settings_digest(path, profile))


def stale(path: Path) -> str | None:
    """``None`` when the committed outputs belong to what is in the repository, else one sentence."""
    recorded = look(path).recorded.get("content_hash")
    if recorded is None:
        return f"{paths.relative(path)} has no recorded run; run it and then `make publish`"
    if recorded != content_hash(path):
        name = paths.relative(path)
        return f"{name} is stale: the notebook, its code in papers or lib, or its YAML changed; run it, then `make publish`"
    return None


def _recorded(path: Path, key: str) -> str | None:
    try:
        return look(path).recorded.get(key)
    except NotebookError:
        return None


def recorded_hash(path: Path) -> str | None:
    """The content hash a notebook was run from, as its runner recorded it; ``None`` when there is none."""
    return _recorded(path, "content_hash")


def recorded_arithmetic(path: Path) -> str | None:
    """The fingerprint of the arithmetic a notebook was run under; ``None`` when there is none."""
    return _recorded(path, "arithmetic")


# ---------------------------------------------------------------------- normaliser
def _merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs without metadata, each run of stdout in one piece (where it was cut depends on timing)."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type in ("display_data", "execute_result"):
            output.metadata = {}
        if kept and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The one form in which notebooks are committed: content-hash ids, no timing, the python3 kernel, merged streams."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = {"tags": sorted(_tags(cell))} if _tags(cell) else {}
        if "outputs" in cell:
            cell.outputs = _merged(cell.outputs)
    notebook.metadata = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
        **({"reprise": notebook.metadata["reprise"]} if "reprise" in notebook.metadata else {}),
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    import nbformat

    paths.write(path, nbformat.writes(notebook, indent=1) + "\n")


def publish(path: Path, executed: Path) -> bool:
    """Copy the outputs of an executed copy into the committed notebook; ``False`` when nothing changed, or when its cells
    no longer match."""
    source, done = read(path), read(executed)
    kept = [cell for cell in done.cells if "injected-parameters" not in _tags(cell)]
    if [cell.source for cell in kept] != [cell.source for cell in source.cells] or len(kept) != len(done.cells):
        return False
    if done.metadata.get("reprise", {}).get("content_hash") != content_hash(path):
        return False
    for target, cell in zip(source.cells, kept, strict=True):
        if target.cell_type == "code":
            target.outputs, target.execution_count = cell.outputs, cell.execution_count
    source.metadata["reprise"] = dict(done.metadata["reprise"])
    before = path.read_text(encoding="utf-8")
    write(path, normalise(source))
    return path.read_text(encoding="utf-8") != before


# ---------------------------------------------------------------------- linter
def _dials(path: Path) -> list[str]:
    """What a profile leaves at the miniature's value (:meth:`experiments.Experiments.left_at_mini`)."""
    slug, exhibit = path.parent.name, path.stem
    if not (path.is_relative_to(paths.NOTEBOOKS) and experiments.has(slug)):
        return []
    plan = experiments.load(slug)
    if exhibit not in plan.experiments:
        return []
    return plan.left_at_mini(exhibit, {one.name: one.default for one in parameters(path)})


def lint(path: Path) -> list[str]:
    """Every rule of design section 5 the notebook breaks, one sentence each."""
    import nbformat

    notebook, problems = read(path), []
    cells, code = notebook.cells, code_cells(notebook)
    name = paths.relative(path)

    def complain(sentence: str) -> None:
        problems.append(f"{name}: {sentence}")

    if not MIN_CELLS <= len(cells) <= MAX_CELLS:
        complain(f"{len(cells)} cells; between {MIN_CELLS} and {MAX_CELLS} are wanted")
    lines = sum(len([line for line in cell.source.splitlines() if line.strip()]) for cell in code)
    if lines > MAX_CODE_LINES:
        complain(f"{lines} lines of code; at most {MAX_CODE_LINES}: move code into papers/<slug> or lib")
    if cells and cells[0].cell_type != "markdown":
        complain("the first cell must be Markdown: the question")
    tagged = [cell for cell in code if "parameters" in _tags(cell)]
    if len(tagged) != 1:
        complain(f"{len(tagged)} cells are tagged 'parameters'; one is wanted")
    else:
        try:
            unused = {p.name for p in parameters(path)} - read_by_later_cells(path)
            for parameter in sorted(unused):
                complain(f"no later cell reads the parameter '{parameter}'")
            for sentence in _dials(path):
                complain(sentence)
        except NotebookError as error:
            problems.append(str(error))
    for number, cell in enumerate(code, start=1):
        for pattern, what in _FORBIDDEN.items():
            if re.search(pattern, cell.source, flags=re.MULTILINE):
                complain(f"code cell {number} contains {what}")
        for output in cell.outputs:
            if output.output_type == "error":
                complain(f"code cell {number} ended in {output.ename}")
            if output.get("name") == "stderr":
                complain(f"code cell {number} prints on stderr")
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        complain(f"execution counts are {counts}, not 1..{len(code)}: run it as a whole and then `make publish`")
    if path.stat().st_size > MAX_BYTES:
        complain(f"{path.stat().st_size // 1000} kB; at most {MAX_BYTES // 1000} kB")
    if nbformat.writes(normalise(read(path)), indent=1) + "\n" != path.read_text(encoding="utf-8"):
        complain("not in normal form; run `make format`")
    return problems
