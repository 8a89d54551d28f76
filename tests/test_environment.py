"""environment.yml, pyproject.toml and requirements.lock tell the same story."""

import re
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lib.workflow import closure, paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = (paths.ROOT / "environment.yml").read_text()
DIRECT = {
    canonicalize_name(Requirement(line).name): Requirement(line)
    for line in (
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    )
}


def _locked() -> dict[str, Version]:
    lines = [line.strip() for line in (paths.ROOT / "requirements.lock").read_text().splitlines()]
    pins = [line for line in lines if line and not line.startswith("#")]
    found = {}
    for pin in pins:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", pin)
        assert match, f"requirements.lock: '{pin}' is not NAME==VERSION (no URL, no local build tag)"
        name = canonicalize_name(match[1])
        assert name not in found, f"requirements.lock pins {name} twice"
        found[name] = Version(match[2])
    return found


def _reasons() -> dict[str, str]:
    block = ENVIRONMENT[ENVIRONMENT.index("Why each direct dependency") : ENVIRONMENT.index("name: reprise")]
    return dict(re.findall(r"^#   (\S+)\s\s+(\S.*)$", block, flags=re.MULTILINE))


@pytest.mark.parametrize("name", sorted(DIRECT))
def test_a_direct_dependency_is_locked_inside_its_range_and_has_a_reason(name):
    locked = _locked()
    assert name in locked, f"{name} is not in requirements.lock; run `make lock`"
    assert DIRECT[name].specifier.contains(locked[name]), f"{name} {locked[name]} is outside {DIRECT[name].specifier}"
    reasons = {canonicalize_name(key): reason for key, reason in _reasons().items()}
    assert len(reasons.get(name, "")) > 4, f"environment.yml does not say why {name} is here"


def test_there_is_no_reason_for_something_else_and_they_are_in_order():
    names = [canonicalize_name(name) for name in _reasons()]
    assert set(names) == set(DIRECT) and names == sorted(names)


def test_every_range_has_an_end_or_is_exact():
    for name, requirement in DIRECT.items():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators in ({">=", "<"}, {"=="}), (
            f"pyproject.toml: {requirement} may take a release nobody has tried ({name})"
        )


def test_conda_installs_python_pip_and_the_two_lines():
    content = yaml.safe_load(ENVIRONMENT)
    python, pip, section = content["dependencies"]
    assert (pip, section) == ("pip", {"pip": ["-r requirements.lock", "-e ."]})
    version = re.fullmatch(r"python=(\d+\.\d+)", python)[1]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(
        f"{version}.99"
    )  # conda takes the newest of a series
    assert sorted(content) == ["channels", "dependencies", "name"]


def test_what_is_installed_is_what_is_locked():
    from importlib.metadata import PackageNotFoundError, version

    optional = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"]["slurm"]}
    for name in set(DIRECT) - optional:
        try:
            installed = Version(version(name))
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed; run `make run` again")
        assert Version(installed.public) == _locked()[name], f"{name} {installed} is installed; run `make run` again"


@pytest.mark.slow
def test_every_import_of_the_project_is_a_direct_dependency():
    """A package that only comes along with another may go with its next release."""
    import ast
    from importlib.metadata import packages_distributions

    distributions = packages_distributions()
    # comes with what it serves: nbformat with papermill, jinja2 with the chat templates of transformers, websocket-client with
    # JupyterLab's server ...
    carried = {
        "nbformat",
        "jupyter-client",
        "jinja2",
        "ipython",
        "requests",
        "packaging",
        "psutil",
        "pillow",
        "huggingface-hub",
        "websocket-client",
    }
    own = {*closure.PACKAGES, *(file.stem for file in (paths.ROOT / "tests").rglob("*.py"))}
    for file in (file for folder in (*closure.PACKAGES, "tests") for file in (paths.ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - own:
                owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
                assert owners & (set(DIRECT) | carried), f"{paths.relative(file)} imports {name}, not in pyproject.toml"
