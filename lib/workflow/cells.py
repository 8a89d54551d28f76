"""A notebook as plain JSON: its cells and what its runner recorded, read without the validator of nbformat.

Importing that validator costs three seconds, and every command looks at every notebook. Here is checked what is looked
at; :func:`lib.workflow.notebooks.read` checks all, for lint and for what is written.

>>> from lib.workflow import paths
>>> look(paths.NOTEBOOKS / "00_start_here.ipynb").cells[0].cell_type
'markdown'
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.workflow import paths


class NotebookError(ValueError):
    """A notebook that breaks a rule; the message names the file and the remedy."""


@dataclass(frozen=True)
class Cell:
    """One cell: what somebody typed, its tags, and the execution count of a code cell that was run."""

    cell_type: str
    source: str
    tags: tuple[str, ...]
    execution_count: int | None


@dataclass(frozen=True)
class Look:
    """The cells of a notebook and what the runner recorded in it (content hash, profile, arithmetic)."""

    cells: tuple[Cell, ...]
    recorded: dict[str, Any]

    @property
    def code(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.cell_type == "code")


def not_valid(path: Path, reason: object) -> NotebookError:
    return NotebookError(f"{paths.relative(path)} is not a valid notebook: {str(reason).splitlines()[0]}")


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _tags(metadata: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_text(tag) for tag in metadata.get("tags", []))


def look(path: Path) -> Look:
    """Read a notebook; raises :class:`NotebookError` when it is missing or has no cells of version 4."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["nbformat"] != 4:
            raise not_valid(path, f"its version is {content['nbformat']}, not 4")
        cells = tuple(
            Cell(cell["cell_type"], _text(cell["source"]), _tags(cell["metadata"]), cell.get("execution_count"))
            for cell in content["cells"]
        )
        return Look(cells, dict(content["metadata"].get("reprise", {})))
    except FileNotFoundError:
        raise NotebookError(f"{paths.relative(path)} does not exist") from None
    except KeyError as error:
        raise not_valid(path, f"it has no {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise error if isinstance(error, NotebookError) else not_valid(path, error) from None


def parse(source: str, path: Path) -> ast.Module:
    """The code of one cell as a tree; raises :class:`NotebookError` naming the line that is not Python."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        line = source.splitlines()[(error.lineno or 1) - 1].strip()[:60]
        raise NotebookError(f"{paths.relative(path)}: '{line}' is not Python ({error.msg}); correct it") from None


@dataclass(frozen=True)
class Parameter:
    """One literal of the ``parameters`` cell, with its trailing comment."""

    name: str
    default: Any
    help: str = ""


def parameters(path: Path) -> list[Parameter]:
    """The literals of the notebook's ``parameters`` cell, in order; a trailing comment is the help text."""
    source = next((cell.source for cell in look(path).code if "parameters" in cell.tags), None)
    if source is None:
        return []
    lines = source.splitlines()
    found = []
    for node in parse(source, path).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        try:
            value = ast.literal_eval(node.value)
            name = targets[0].id
        except (ValueError, AttributeError, IndexError):
            raise NotebookError(
                f"{paths.relative(path)}: line {node.lineno} of the parameters cell is not NAME = LITERAL"
            ) from None
        _, _, comment = lines[node.end_lineno - 1].partition("#")
        found.append(Parameter(name=name, default=value, help=comment.strip()))
    return found


def _after_the_parameters(cells: Iterable[Cell]) -> list[Cell]:
    cells = list(cells)
    first = next((i for i, cell in enumerate(cells) if "parameters" in cell.tags), len(cells))
    return cells[first + 1 :]


def read_by_later_cells(path: Path) -> set[str]:
    """Names that the cells after the ``parameters`` cell read."""
    trees = [parse(cell.source, path) for cell in _after_the_parameters(look(path).code)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
