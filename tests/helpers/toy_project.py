"""A project of one toy paper with notebooks, in a temporary folder: what the tests of lib.workflow break on purpose."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import types
from pathlib import Path

import nbformat
import yaml

from lib.workflow import notebooks, paths

_PAPER = {
    "slug": "toy",
    "short": "Toy",
    "title": "A paper about toys",
    "authors": ["A. Author"],
    "year": 2025,
    "venue": None,
    "arxiv": None,
    "code": {"name": "toy/code", "url": "https://example.org/code", "revision": "abc", "licence": "MIT"},
    "data": [{"name": "toy data", "licence": None}],
    "models": [],
    "claims": [
        {
            "id": "C1",
            "statement": "The full arm is better than the plain one.",
            "source": "paper",
            "evidence": ["miniature", "released", "real", "printed"],
            "quantity": "macro AUC",
            "direction": "higher",
            "margin": 0.0,
            "arms": {"treatment": "full", "baseline": "plain"},
            "control": {"arms": {"treatment": "shuffled", "baseline": "plain"}, "reason": "shuffled pairs"},
            "exhibit": "tab_a",
            "published": [{"table": "t1", "row": "full", "column": "AUC"}],
        },
        {
            "id": "C2",
            "statement": "Nobody has tested this one.",
            "source": "ours",
            "evidence": ["miniature"],
            "quantity": "gap",
            "direction": "equal",
            "margin": 0.1,
            "arms": {"treatment": "full", "baseline": 0.5},
            "positive_control": {"arms": {"treatment": "random", "baseline": 0.5}, "reason": "random arm"},
            "exhibit": "fig_planned",
        },
    ],
    "published": {
        "t1": {
            "title": "Table 1",
            "source": "Table 1 of the paper",
            "unit": "per cent",
            "columns": ["AUC", "F1"],
            "rows": {"full": [80.5, None], "plain": [79.0, 40]},
        }
    },
}
_EXPERIMENTS = {
    "stands_on": {"smoke": "miniature", "mini": "miniature"},
    "profiles": {"smoke": {"machine": {"device": "cpu"}, "verdicts": False}, "mini": {"machine": {"device": "cpu"}}},
    "experiments": {
        "tab_a": {
            "question": "Is it better?",
            "claims": ["C1"],
            "minutes": {"smoke": 0.1, "mini": 0.2},
            "parameters": {"smoke": {"seeds": 1}},
        }
    },
}

# kind, source, tags: the least notebook that breaks no rule
CELLS = [
    ("markdown", "# Is the full arm better?"),
    ("code", "from lib.workflow.session import start"),
    ("code", 'profile = "mini"\nseeds = 2  # how many\nrate = 0.1  # learning rate', "parameters"),
    ("code", 'run = start("toy", "tab_a", profile=profile, seeds=seeds)'),
    ("code", "run"),
    ("code", "scaled = rate * 2"),
    ("code", 'print("scaled", scaled)'),
    ("markdown", "How to read it: larger is better."),
]


def paper_facts() -> dict:
    return copy.deepcopy(_PAPER)


def experiment_facts() -> dict:
    return copy.deepcopy(_EXPERIMENTS)


def put(content: dict, keys: str, value: object) -> None:
    """Set ``content["claims"][0]["id"]`` by ``keys="claims.0.id"``; ``...`` as value deletes the key."""
    *way, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
    for key in way:
        content = content[key]
    if value is ...:
        del content[last]
    else:
        content[last] = value


def write_yaml(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def write_notebook(path: Path, cells=CELLS, *, executed: bool = True) -> Path:
    """A notebook in normal form; with ``executed`` its code cells count 1..n and its prints have an output."""
    notebook = nbformat.v4.new_notebook()
    count = 0
    for kind, source, *tags in cells:
        if kind == "markdown":
            notebook.cells.append(nbformat.v4.new_markdown_cell(source))
            continue
        cell = nbformat.v4.new_code_cell(source)
        cell.metadata["tags"] = list(tags)
        count += 1
        cell.execution_count = count if executed else None
        if executed and source.startswith("print"):
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="scaled 0.2\n")]
        notebook.cells.append(cell)
    notebooks.write(path, notebooks.normalise(notebook))
    return path


def make(root: Path, monkeypatch) -> Path:
    """Point ``lib.workflow.paths`` at a toy project in ``root``; returns its notebook ``toy/tab_a``."""
    for name, folder in {"ROOT": ".", "NOTEBOOKS": "notebooks", "PAPERS": "papers", "RUNS": "runs"}.items():
        monkeypatch.setattr(paths, name, root / folder)
    monkeypatch.setattr(paths, "CACHE", root / "runs" / "cache")
    monkeypatch.delenv("REPRISE_OUT", raising=False)
    write_yaml(root / "papers/toy/paper.yml", _PAPER)
    write_yaml(root / "papers/toy/experiments.yml", _EXPERIMENTS)
    begin_end = "# Toy\n\n<!-- verdicts:begin -->\n<!-- verdicts:end -->\n\nAfter.\n"
    (root / "papers/toy/README.md").write_text(begin_end)
    (root / "README.md").write_text(begin_end.replace("verdicts", "claims"))
    return write_notebook(root / "notebooks/toy/tab_a.ipynb")


def result(**changes) -> dict:
    """What a notebook's ``run.save()`` writes."""
    judged = {
        "claim": "C1",
        "outcome": "direction seen",
        "effect": {"mean": 0.0214, "low": 0.0101, "high": 0.0333, "n": 5},
        "control": {"mean": -0.001, "low": -0.004, "high": 0.002, "n": 5},
        "excess": {"mean": 0.0224, "low": 0.0111, "high": 0.0343, "n": 5},
        "bases": 5,
        "same": 5,
        "p": 0.01,
    }
    content = {"slug": "toy", "exhibit": "tab_a", "profile": "mini", "evidence": "miniature", "seeds": [0, 1, 2, 3, 4]}
    content |= {
        "claims": {"C1": judged},
        "checks": {},
        "declined": {},
        "numbers": [],
        "recomputed": {},
        "provenance": {},
    }
    return {**content, **changes}


def write_result(content: object, *, exhibit: str = "tab_a", profile: str = "mini") -> Path:
    path = paths.PAPERS / "toy" / "results" / f"{exhibit}.{profile}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def load_module(monkeypatch, name: str, source: str):
    """Write ``source`` as the module ``lib.toy.<name>`` of the toy project and import it from there."""
    package = types.ModuleType("lib.toy")
    package.__path__ = [str(paths.ROOT / "lib" / "toy")]
    monkeypatch.setitem(sys.modules, "lib.toy", sys.modules.get("lib.toy", package))
    path = paths.ROOT / "lib" / "toy" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(f"lib.toy.{name}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module
