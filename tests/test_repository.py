"""The repository as a whole: what a newcomer reads first, what must not be in it, notebooks and experiments in step."""

import ast
import re
import subprocess

import pytest

from lib.workflow import closure, experiments, jobs, notebooks, papers, paths

LARGEST = 1_500_000  # bytes of one file
TEXT = {".py", ".md", ".yml", ".yaml", ".toml", ".ipynb", ".json", ".lock", ".cff", ".txt", ".csv", ""}


def _files():
    """The files of the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for line in done.stdout.splitlines() if (path := paths.ROOT / line).is_file()]


def test_the_readme_has_the_two_commands_first():
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(?:\$ )?(make \w+)", text, flags=re.MULTILINE)
    assert commands[:2] == ["make run", "make test"], (
        "README.md must name `make run` and then `make test`, each on a line"
    )


def test_ci_runs_the_readmes_test_command():
    script = paths.ROOT / ".ci" / "run"
    assert "make test" in script.read_text() and script.stat().st_mode & 0o111


def test_ci_runs_the_examples_in_docstrings():
    makefile = (paths.ROOT / "Makefile").read_text()
    command = next(line for line in makefile.splitlines() if line.startswith("PYTEST :="))
    assert "--doctest-modules" in command and set(command.split()) >= {"tests", *closure.PACKAGES}
    assert makefile.count("$(PYTEST)") == 2  # of `make test` and of `make check`


def test_make_knows_the_commands_the_readme_names():
    makefile = (paths.ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z -]*):(?!=)", makefile, flags=re.MULTILINE))
    targets = {name for line in targets for name in line.split()}
    for page in [paths.ROOT / "README.md", *paths.PAPERS.glob("*/README.md")]:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")):
            assert target in targets, f"{paths.relative(page)} names `make {target}`, which the Makefile does not have"


def test_no_file_is_large():
    for file in _files():
        assert file.stat().st_size <= LARGEST, f"{paths.relative(file)} has {file.stat().st_size / 1e6:.1f} MB"


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(
        r"(?<![\w.:/])/(home|root|Users|work|mnt|scratch)/\w{2,}"
    )  # of a person or a machine, not a system's
    for file in _files():
        if file.suffix in TEXT and file.name != "test_repository.py":
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                found = place.search(line)
                assert not found, f"{paths.relative(file)}, line {number} names {found[0]}"


def test_no_file_is_what_a_run_leaves():
    left = re.compile(r"(\.running|\.failed|\.previous|-checkpoint)\.ipynb$|\.part$|\.lock$|\.progress$|\.pyc$")
    for file in _files():
        assert file.name == "requirements.lock" or not left.search(file.name), paths.relative(file)


def test_no_code_branches_on_the_name_of_a_profile():
    """A profile is data in experiments.yml. paths.PUBLISHED_PROFILES only says whose results are committed."""
    names = {"smoke", "mini", "real", "gpu", "full"}

    def texts(node) -> set[str]:
        return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}

    for file in sorted(file for package in closure.PACKAGES for file in (paths.ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            about = isinstance(node, ast.Compare | ast.Match) and ".evidence" not in ast.unparse(
                node
            )  # has a "real", too
            profile = about and "profile" in ast.unparse(node)
            named = texts(node) & names if about else set()
            wrong = (profile and named) or (named and isinstance(node, ast.Compare) and len(texts(node) - names) == 0)
            assert not wrong, (
                f"{paths.relative(file)}, line {node.lineno} asks for a profile by name: {ast.unparse(node)}"
            )


def test_every_experiment_has_its_notebook_and_every_notebook_its_experiment():
    for slug in papers.slugs():
        found = {path.stem for path in (paths.NOTEBOOKS / slug).glob("*.ipynb")}
        listed = set(experiments.load(slug).experiments) if experiments.has(slug) else set()
        assert found == listed, f"{slug}: only in notebooks/ {found - listed}, only in experiments.yml {listed - found}"
    assert set(paths.NOTEBOOKS.rglob("*.ipynb")) == {job.notebook for job in jobs.shown()}


def test_every_notebook_has_a_budget_for_what_it_stands_on_and_keeps_it():
    budget = {"smoke": 20 / 60 + 0.01, "mini": 3, "real": 5}  # minutes
    for slug in filter(experiments.has, papers.slugs()):
        plan = experiments.load(slug)
        assert {"smoke", "mini"} <= set(plan.profiles)
        for name, experiment in plan.experiments.items():
            for profile, most in budget.items():
                if plan.stands(name, profile):
                    assert experiment.minutes.get(profile, 99) <= most, (
                        f"{slug}/{name}: at most {most} min at {profile}"
                    )


def test_the_profiles_fit_the_notebooks():
    """Every parameter of every profile exists, has the right type and is read: the runner would refuse it otherwise."""
    from lib.workflow.execute import check_parameters, profile_parameters

    for slug in filter(experiments.has, papers.slugs()):
        for profile in experiments.load(slug).profiles:
            for exhibit in experiments.load(slug).experiments:
                if not experiments.load(slug).stands(exhibit, profile):
                    continue
                path = paths.notebook(slug, exhibit)
                check_parameters(path, profile_parameters(path, profile))


def test_a_verdict_rests_on_five_seeds():
    """Design: at least five seeds behind every committed verdict at mini. (Of real data the cases may be resampled.)"""
    for slug in filter(experiments.has, papers.slugs()):
        miniature = {claim.id for claim in papers.load_paper(slug).claims if "miniature" in claim.evidence}
        for exhibit, experiment in experiments.load(slug).experiments.items():
            defaults = {p.name: p.default for p in notebooks.parameters(paths.notebook(slug, exhibit))}
            if miniature & set(experiment.claims) and "seeds" in defaults:
                seeds = defaults["seeds"]
                assert (seeds if isinstance(seeds, int) else len(seeds)) >= 5, (
                    f"{slug}/{exhibit} judges on {seeds} seeds"
                )


@pytest.mark.parametrize("path", sorted(paths.ROOT.joinpath("figures").glob("*/*.json")), ids=paths.relative)
def test_a_figure_has_its_picture_and_its_notebook(path):
    assert path.with_suffix(".png").is_file()
    exhibit, profile = path.stem.rsplit(".", 1)
    assert paths.notebook(path.parent.name, exhibit).is_file() and profile in paths.PUBLISHED_PROFILES
