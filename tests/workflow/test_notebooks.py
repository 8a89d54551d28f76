"""Notebooks as files: each lint rule fires, the normal form is one, hashes notice what matters, publish is strict."""

import json
import re

import nbformat
import pytest
import toy_project as toy

from lib.workflow import notebooks, paths
from lib.workflow.__main__ import main
from lib.workflow.notebooks import NotebookError, content_hash, lint, parameters, publish, read, stale


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    return toy.make(tmp_path, monkeypatch)


def _with(cells: dict[int, tuple], extra: list[tuple] = ()) -> list[tuple]:
    """The clean notebook's cells with some replaced and some more before the last."""
    changed = [cells.get(i, cell) for i, cell in enumerate(toy.CELLS)]
    return [*changed[:-1], *extra, changed[-1]]


def _code(source: str, *tags: str) -> tuple:
    return ("code", source, *tags)


def test_the_clean_notebook_breaks_no_rule(notebook):
    assert lint(notebook) == []


SOURCE_RULES = {
    "too many cells": (_with({}, [_code("1")] * 7), "15 cells; between 8 and 14"),
    "too few cells": (toy.CELLS[:-1], "7 cells; between 8 and 14"),
    "too many lines": (_with({5: _code("x = 0\n" * 60 + "scaled = rate * 2")}), "lines of code; at most 60"),
    "no question first": (_with({0: _code("1")}), "first cell must be Markdown"),
    "no parameters": (_with({2: _code('profile = "mini"\nseeds = 2\nrate = 0.1')}), "0 cells are tagged 'parameters'"),
    "two parameters cells": (_with({}, [_code("other = 1", "parameters")]), "2 cells are tagged 'parameters'"),
    "unread parameter": (
        _with({2: _code('profile = "mini"\nseeds = 2\nrate = 0.1\nlr = 1', "parameters")}),
        "no later cell reads the parameter 'lr'",
    ),
    "computed parameter": (
        _with({2: _code('profile = "mini"\nseeds = 2\nrate = 1 / seeds', "parameters")}),
        "line 3 of the parameters cell is not NAME = LITERAL",
    ),
    "function": (_with({}, [_code("if rate:\n    def double(x):\n        return 2 * x")]), "function definition"),
    "async function": (_with({}, [_code("async def double(x):\n    return 2 * x")]), "function definition"),
    "class": (_with({}, [_code("class Arm:\n    pass")]), "class definition"),
    "try": (_with({}, [_code("try:\n    run\nexcept ValueError:\n    pass")]), "try block"),
    "sys.path": (_with({}, [_code("import sys\nsys.path.append('..')")]), "sys.path"),
    "pip": (_with({}, [_code("%pip install torch")]), "shell or pip command"),
    "shell": (_with({}, [_code("!ls")]), "shell or pip command"),
    "not Python": (_with({}, [_code("x = (1")]), "'x = (1' is not Python"),
    "magic": (_with({}, [_code("%matplotlib inline")]), "'%matplotlib inline' is not Python"),
    "cuda": (_with({}, [_code("model = run\nmodel.cuda()")]), ".cuda()"),
    "absolute path": (_with({}, [_code('data = "/data/ct"')]), "absolute path"),
    "home path": (_with({}, [_code("data = '~/ct'")]), "absolute path"),
    "windows path": (_with({}, [_code('data = "C:\\\\ct"')]), "absolute path"),
}


@pytest.mark.parametrize("rule", SOURCE_RULES)
def test_each_source_rule_fires_and_names_the_notebook(notebook, rule):
    cells, sentence = SOURCE_RULES[rule]
    toy.write_notebook(notebook, cells)
    problems = lint(notebook)
    assert any(sentence in problem for problem in problems), problems
    assert all(problem.startswith("notebooks/toy/tab_a.ipynb") and "\n" not in problem for problem in problems)
    allowed = 2 if rule in ("computed parameter", "pip", "shell", "not Python", "magic", "absolute path") else 1
    assert len(problems) <= allowed, problems  # nothing else is wrong with it


@pytest.mark.parametrize("source", ['share = "1/2"', "ratio = a/b", "undefined = 1", 'text = "classes"', "retry = 1"])
def test_what_only_looks_forbidden_is_allowed(notebook, source):
    toy.write_notebook(notebook, _with({}, [_code(source)]))
    assert lint(notebook) == []


def _change(path, change, *, normal: bool = True) -> None:
    content = nbformat.read(path, as_version=4)
    change(content)
    notebooks.write(path, notebooks.normalise(content)) if normal else path.write_text(nbformat.writes(content))


def _set(cell: int, **values):
    return lambda content: content.cells[cell].update(values)


STATE_RULES = {
    "no counts": (_set(4, execution_count=None), "execution counts are [1, 2, 3, None, 5, 6], not 1..6"),
    "out of order": (_set(4, execution_count=9), "not 1..6"),
    "ended in an error": (
        _set(5, outputs=[nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]),
        "code cell 5 ended in ValueError",
    ),
    "stderr": (
        _set(5, outputs=[nbformat.v4.new_output("stream", name="stderr", text="warning")]),
        "code cell 5 prints on stderr",
    ),
    "too large": (
        _set(5, outputs=[nbformat.v4.new_output("stream", name="stdout", text="x" * 500_000)]),
        "kB; at most 400 kB",
    ),
}


@pytest.mark.parametrize("rule", STATE_RULES)
def test_each_rule_on_outputs_fires(notebook, rule):
    change, sentence = STATE_RULES[rule]
    _change(notebook, change)
    problems = lint(notebook)
    assert len(problems) == 1 and sentence in problems[0], problems


def test_a_notebook_without_counts_is_refused_because_nbval_would_pass_it(notebook):
    toy.write_notebook(notebook, executed=False)
    assert any("execution counts are [None" in problem for problem in lint(notebook))
    assert main(["lint"]) == 1


UNNORMAL = {
    "cell id": _set(4, id="abcdef"),
    "timing": lambda content: content.cells[4].metadata.update(execution={"iopub.execute_input": "2025-01-01"}),
    "papermill": lambda content: content.cells[4].metadata.update(papermill={"duration": 0.1}),
    "another kernel": lambda content: content.metadata.kernelspec.update(name="conda-env-x"),
    "Python version": lambda content: content.metadata.language_info.update(version="3.11.7"),
}


@pytest.mark.parametrize("case", UNNORMAL)
def test_what_is_not_in_normal_form_is_told_and_format_repairs_it(notebook, case):
    before = notebook.read_bytes()
    _change(notebook, UNNORMAL[case], normal=False)
    assert [p for p in lint(notebook) if "not in normal form; run `make format`" in p]
    assert main(["format"]) == 0 and notebook.read_bytes() == before and lint(notebook) == []


def test_normalise_is_idempotent_and_joins_what_was_cut_by_chance(notebook):
    content = read(notebook)
    content.cells[6].outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("sca", "led\n")]
    content.cells[6].outputs.append(nbformat.v4.new_output("display_data", {"text/plain": "x"}, metadata={"a": {}}))
    content.cells[5].source = content.cells[4].source  # the same cell twice needs two ids
    once = nbformat.writes(notebooks.normalise(content))
    again = nbformat.writes(notebooks.normalise(nbformat.reads(once, as_version=4)))
    assert once == again
    found = nbformat.reads(once, as_version=4)
    nbformat.validate(found)
    assert [out.get("text") for out in found.cells[6].outputs] == ["scaled\n", None]
    assert found.cells[6].outputs[1].metadata == {} and len({cell.id for cell in found.cells}) == len(found.cells)


# ---------------------------------------------------------------------- reading
def test_parameters_come_with_default_and_help(notebook):
    found = {p.name: (p.default, p.help) for p in parameters(notebook)}
    assert found == {"profile": ("mini", ""), "seeds": (2, "how many"), "rate": (0.1, "learning rate")}
    annotated = _code("sizes: list = [8, -1]\nname: str | None = None  # which", "parameters")
    toy.write_notebook(notebook, _with({2: annotated}))
    assert [(p.name, p.default, p.help) for p in parameters(notebook)] == [
        ("sizes", [8, -1], ""),
        ("name", None, "which"),
    ]


@pytest.mark.parametrize("text", ["", "{", '{"cells": 3}', json.dumps({"nbformat": 4, "nbformat_minor": 5})])
def test_what_is_no_notebook_is_named_in_one_line(notebook, text):
    notebook.write_text(text)
    with pytest.raises(NotebookError, match=r"^notebooks/toy/tab_a\.ipynb is not a valid notebook: [^\n]+$"):
        read(notebook)
    assert main(["lint"]) == 2
    notebook.unlink()
    with pytest.raises(NotebookError, match=r"notebooks/toy/tab_a\.ipynb does not exist"):
        read(notebook)


# ---------------------------------------------------------------------- freshness
def _lib(source: str) -> None:
    file = paths.ROOT / "lib" / "arms.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)


def test_the_content_hash_notices_what_a_run_depends_on_and_nothing_else(notebook):
    _lib("RATE = 1\n")
    toy.write_notebook(notebook, _with({1: _code("from lib.arms import RATE")}))
    hashes = [content_hash(notebook)]

    def unchanged() -> bool:
        return content_hash(notebook) == hashes[-1]

    _change(notebook, _set(6, outputs=[], execution_count=7))  # outputs are what a run gives, not what it takes
    _lib("RATE = 1  # explained\n")
    experiments = toy.experiment_facts()
    experiments["experiments"]["tab_a"]["parameters"]["smoke"] = {"seeds": 3}  # of another profile
    experiments["experiments"]["tab_a"]["minutes"]["mini"] = 3
    toy.write_yaml(paths.paper("toy") / "experiments.yml", experiments)
    facts = toy.paper_facts()
    facts["claims"][1]["statement"] = "A claim of another notebook."
    toy.write_yaml(paths.paper("toy") / "paper.yml", facts)
    assert unchanged()

    _lib("RATE = 2\n")
    hashes.append(content_hash(notebook))
    _change(notebook, _set(5, source="scaled = rate * 3"))
    hashes.append(content_hash(notebook))
    experiments["profiles"]["mini"]["batch"] = 3
    toy.write_yaml(paths.paper("toy") / "experiments.yml", experiments)
    hashes.append(content_hash(notebook))
    experiments["experiments"]["tab_a"]["parameters"]["mini"] = {"seeds": 3}
    toy.write_yaml(paths.paper("toy") / "experiments.yml", experiments)
    hashes.append(content_hash(notebook))
    facts["claims"][0]["margin"] = 0.5
    toy.write_yaml(paths.paper("toy") / "paper.yml", facts)
    hashes.append(content_hash(notebook))
    facts["published"]["t1"]["rows"]["full"][0] = 80.6
    toy.write_yaml(paths.paper("toy") / "paper.yml", facts)
    hashes.append(content_hash(notebook))
    assert len(set(hashes)) == 7, hashes


def _executed_copy(notebook, *, content=None) -> None:
    """What the runner leaves: outputs, counts, the hash of what it was run from."""
    done = content or read(notebook)
    for number, cell in enumerate(notebooks.code_cells(done), start=1):
        cell.execution_count = number
    done.cells[6].outputs = [nbformat.v4.new_output("stream", name="stdout", text="scaled 0.25\n")]
    done.metadata["reprise"] = {"content_hash": content_hash(notebook), "profile": "mini", "arithmetic": "here"}
    notebooks.write(paths.executed("toy", "tab_a", "mini"), done)


def test_publish_takes_a_finished_run_over_format_does_not_and_fresh_then_agrees(notebook):
    toy.write_notebook(notebook, executed=False)
    assert "has no recorded run" in stale(notebook) and main(["fresh"]) == 1
    _executed_copy(notebook)
    assert main(["format"]) == 0 and "has no recorded run" in stale(notebook)
    assert publish(notebook, paths.executed("toy", "tab_a", "mini")) is True
    assert lint(notebook) == [] and stale(notebook) is None and main(["fresh"]) == 0
    assert read(notebook).cells[6].outputs[0].text == "scaled 0.25\n"
    assert notebooks.recorded_arithmetic(notebook) == "here"
    before = notebook.read_bytes()
    assert publish(notebook, paths.executed("toy", "tab_a", "mini")) is False  # nothing new
    assert main(["format"]) == 0 and notebook.read_bytes() == before
    _change(notebook, _set(7, source="Read it otherwise."))
    assert "is stale" in stale(notebook) and main(["fresh"]) == 1


def _inject(content):
    injected = nbformat.v4.new_code_cell("seeds = 1", metadata={"tags": ["injected-parameters"]})
    content.cells.insert(3, injected)


def _drop_hash(content):
    content.metadata["reprise"] = {"content_hash": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [_set(5, source="scaled = rate * 3"), lambda c: c.cells.pop(5), _inject, _drop_hash],
    ids=["another cell", "a cell less", "other parameters", "other code"],
)
def test_publish_refuses_a_run_of_something_else(notebook, change):
    _executed_copy(notebook)
    copy, before = paths.executed("toy", "tab_a", "mini"), notebook.read_bytes()
    assert publish(notebook, copy) is True
    notebook.write_bytes(before)
    content = read(copy)
    change(content)
    notebooks.write(copy, content)
    assert publish(notebook, copy) is False and notebook.read_bytes() == before


# ---------------------------------------------------------------------- the committed notebooks
@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.rglob("*.ipynb")), ids=paths.relative)
def test_a_committed_notebook_breaks_no_rule(path):
    assert lint(path) == []


@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.rglob("*.ipynb")), ids=paths.relative)
def test_a_text_with_a_closed_set_is_checked_before_anything_is_built(path):
    """Each parameter that is text, or a list of it, is read by the first cell after the parameters, which checks it."""
    code = notebooks.look(path).code
    after = code[[("parameters" in cell.tags) for cell in code].index(True) + 1].source
    for parameter in parameters(path):
        if parameter.name not in (
            "profile",
            "brgsa_root",
            "ct_rate_labels",
            "path",
            "persona",
            "device",
            "precision",
        ):  # checked by `start`; folders and files; a sentence of any words; torch refuses what it does not know
            listed = parameter.default if isinstance(parameter.default, list) else [parameter.default]
            sample = listed[0] if listed else ""  # of an empty list nothing is known, so that it counts as text
            checked = "one_of(" in after or "check(" in after or "jobs.select(" in after
            assert not isinstance(sample, str) or (checked and re.search(rf"\b{parameter.name}\b", after)), parameter
