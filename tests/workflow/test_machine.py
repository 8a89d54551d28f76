"""Where things are computed is the session's: every function that computes on a device is told, and no study decides."""

import ast
from pathlib import Path

import pytest

from lib.machine import Machine
from lib.workflow import cache, paths, session

SOURCES = sorted([*paths.PAPERS.rglob("*.py"), *(paths.ROOT / "lib" / "training").rglob("*.py")])


def _artefacts(tree: ast.Module) -> list[ast.FunctionDef]:
    """Functions whose first parameter is ``folder``: what the cache builds, but for a loader (``load_...``) of what it built."""
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    named = [node for node in found if node.args.args and node.args.args[0].arg == "folder"]
    return [node for node in named if not node.name.startswith(("_", "load_"))]


def _parameters(function: ast.FunctionDef) -> set[str]:
    return {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}


def test_no_artefact_has_a_device_or_precision_of_its_own():
    own = set(Machine.__dataclass_fields__)
    astray = [
        f"{path.relative_to(paths.ROOT)}: {function.name}({name})"
        for path in SOURCES
        for function in _artefacts(ast.parse(path.read_text(encoding="utf-8")))
        for name in own & _parameters(function)
    ]
    assert not astray


def test_studies_name_no_device():
    """``run.machine`` is read where a notebook's own process computes, never written into a recipe."""
    words = [f'"{name}":' for name in Machine.__dataclass_fields__]
    astray = [
        str(path)
        for path in sorted(paths.PAPERS.rglob("*.py"))
        for word in words
        if word in path.read_text(encoding="utf-8").replace('"device": machine.device', "")  # handed on
    ]
    assert not astray


def test_a_function_that_trains_or_loads_a_model_has_the_machine():
    """``train``, ``fit_stacked``, ``sft.fit`` and ``causal_lm.load`` compute where they are told."""
    asked = {"train", "fit_stacked", "load_on", "tune", "fit"}
    without = []
    for path in SOURCES:
        for function in _artefacts(ast.parse(path.read_text(encoding="utf-8"))):
            called = {
                node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute))
            }
            if called & asked and "machine" not in _parameters(function):
                without.append(f"{path.relative_to(paths.ROOT)}: {function.name}")
    assert not without


def _computes(folder: Path, *, machine: Machine, seed: int) -> None: ...


def _writes(folder: Path, *, seed: int) -> None: ...


def test_the_session_hands_the_profile_s_machine_to_who_computes(monkeypatch):
    seen = []
    monkeypatch.setattr(cache, "build_all", lambda function, many, progress: seen.append((function.__name__, many)))
    run = session.Run(
        None, "exhibit", "gpu", [0], {"machine": {"device": "cuda", "precision": "bf16", "micro_batch": 4}}, []
    )
    run.build_all(_computes, [{"seed": 1}])
    run.build_all(_writes, [{"seed": 1}])
    machine = Machine(device="cuda", precision="bf16", micro_batch=4)
    assert seen == [("_computes", [{"seed": 1, "machine": machine}]), ("_writes", [{"seed": 1}])]


def test_what_changes_no_digit_builds_nothing_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.closure, "modules", lambda name: [Path(__file__)])
    one, other, third = (
        cache.describe(_computes, {"seed": 1, "machine": machine})[1]
        for machine in (Machine(), Machine(recompute=True, checkpoint_every=9, processes=4), Machine(precision="bf16"))
    )
    assert one == other != third


@pytest.mark.parametrize("wrong", [{"device": "tpu"}, {"precision": "fp8"}, {"cards": 2}, {"micro_batch": "many"}])
def test_a_machine_that_is_none_is_refused_in_the_profile(wrong):
    from lib.workflow.experiments import Experiments

    with pytest.raises(ValueError):
        Experiments(stands_on={"gpu": "real"}, profiles={"gpu": {"machine": wrong}}, experiments={})
    with pytest.raises(ValueError, match="'device' belongs under 'machine'"):
        Experiments(stands_on={"gpu": "real"}, profiles={"gpu": {"device": "cuda"}}, experiments={})


@pytest.mark.parametrize("micro_batch", [None, 1, 2, 4, 8])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_step_takes_the_batch_that_is_stated_over_all_devices(monkeypatch, micro_batch, devices):
    monkeypatch.setenv("WORLD_SIZE", str(devices))
    machine = Machine(micro_batch=micro_batch)
    assert machine.at_a_time(8) * machine.accumulated(8) * devices == 8
    rows = list(range(5))  # what one device has of a step is divided no further by the devices
    parts = list(machine.parts(rows))
    assert [row for part in parts for row in part] == rows and all(len(part) <= (micro_batch or 5) for part in parts)


def test_a_batch_that_devices_do_not_divide_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="a batch of 8 is not 3"):
        Machine().accumulated(8)
