"""The arrows between benchmarks, papers and the rooms of lib, and what importing a module must not load."""

import subprocess
import sys
import tomllib

import pytest

from lib.workflow import closure, paths

HEAVY = {
    "monai",
    "umap",
    "transformers",
    "peft",
    "trl",
    "snakemake",
    "numba",
    "matplotlib",
    "SimpleITK",
    "papermill",
}
MODULES = sorted(
    ".".join(file.relative_to(paths.ROOT).with_suffix("").parts)
    for package in closure.PACKAGES
    for file in (paths.ROOT / package).rglob("*.py")
    if file.name not in ("__init__.py", "__main__.py")
)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_contracts_are_kept():
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]
    done = subprocess.run([*lint, "--no-cache"], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert f"{len(contracts)} kept, 0 broken" in done.stdout


@pytest.mark.slow
def test_importing_every_module_loads_no_heavy_library():
    """One process for all of them; who is to blame is looked for only when something was loaded."""
    report = f"import sys; print(*sorted({HEAVY!r} & set(sys.modules)))"
    if not (loaded := _python(f"import {', '.join(MODULES)}; {report}").split()):
        return
    guilty = [module for module in MODULES if _python(f"import {module}; {report}").split()]
    pytest.fail(f"importing {', '.join(guilty)} loads {', '.join(loaded)}; import it inside the function that needs it")


@pytest.mark.parametrize(
    "room",
    [
        "lib.workflow.session",
        "lib.workflow.__main__",
        "lib.workflow.commands",
        "lib.data.ct_rate",
        "lib.evaluation.statistics",
    ],
)
def test_rooms_without_tensors_do_not_load_torch(room):
    assert _python(f"import {room}, sys; print('torch' in sys.modules, 'sklearn' in sys.modules)") == "False False\n"


def test_looking_at_notebooks_and_asking_for_help_stays_quick():
    """nbformat imports a validator that takes three seconds; only what is written or linted needs it."""
    assert _python("import lib.workflow.commands, sys; print('nbformat' in sys.modules)") == "False\n"
    help_loads = (
        "import lib.workflow.__main__ as m, sys; m._parser(); print({'numpy', 'pydantic', 'yaml'} & set(sys.modules))"
    )
    assert _python(help_loads) == "set()\n"
