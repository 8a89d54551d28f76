"""Every exhibit at every profile: run by a test, the same lines as a test runs, declared absent, or listed here as open.

A pair is *run* when a test executes the notebook's own cells at the profile on small files in the real layout (``pairs.at``), or
at smoke through the strict runner (``test_smoke.py``). It is a *twin* of smoke when the profile's section of experiments.yml has
the names that smoke's has, so that the same lines run with other sizes, or when its numbers are printed or released ones, which are
the same at every profile.
"""

import os
import re
import subprocess
import sys
from itertools import chain

import pytest

from lib.workflow import experiments, papers, paths

SLUGS = [slug for slug in papers.slugs() if experiments.has(slug)]
FILES = [
    file for file in sorted((paths.ROOT / "tests").rglob("test_*.py")) if re.search(r"^@at\(", file.read_text(), re.M)
]

# Names that a profile has and smoke has not, or the other way round -> what runs the line that reads them.
FIELD = "a field of a configuration of transformers, passed on as it is"
TREE = "sizes of a generated tree, passed on to its writer, as tests/brgsa/test_full.py does"
KEPT = "bounds how many bases stand under the seeds (tests/workflow/test_session.py)"
RANGE = {f"models.{size}.architecture.initializer_range": FIELD for size in ("small", "large")}
DIFFERENT = {
    ("anytasktune", "mini"): RANGE,
    ("anytasktune", "gpu"): RANGE,
    ("brgsa", "mini"): {"trees": TREE},
    ("brgsa", "gpu"): {"trees": TREE},
    ("carzero", "gpu"): {
        "arm.augment.light": "read by tests/carzero/test_full.py",
        "model.fusion.head_widths": "left out by tests/carzero/test_full.py, too",
    },
    ("e3d_gpt", "mini"): {"stages.lora": "smoke and full have adapters; tests/e3d_gpt/test_tuning.py runs without"},
    ("e3d_gpt", "gpu"): {"language.architecture.initializer_range": FIELD},
    ("huatuogpt_o1", "mini"): {"verifier.fit.architecture.initializer_range": FIELD},
    ("long_context", "mini"): {"bases": KEPT},
    ("long_context", "gpu"): {"bases": KEPT},
}

# Neither run by a test nor the twin of one: `make real` runs them, on a real CT and a real encoder of hundreds of megabytes.
OPEN = {("brgsa", "real"): ["fig_modality_gap", "tab_real_grounding"]}


def names(settings, before="") -> set[str]:
    """Dotted names of a profile's section, but what the session reads itself."""
    found = set()
    for key, value in settings.items():
        if before or key not in ("machine", "sources", "verdicts"):
            found |= names(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}"}
    return found


def explained(name, told) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in told)


def unexplained(slug, profile) -> set[str]:
    """Names by which a profile differs from smoke, but those under DIFFERENT."""
    sections, told = experiments.load(slug).profiles, DIFFERENT.get((slug, profile), {})
    differ = names(sections[profile]) ^ names(sections["smoke"])
    return {name for name in differ if not explained(name, told)}


def is_twin(slug, exhibit, profile) -> bool:
    """Whether the pair runs the lines that the exhibit's smoke runs."""
    plan = experiments.load(slug)
    if not plan.stands(exhibit, "smoke"):
        return False
    kinds = {plan.evidence(exhibit, one) for one in ("smoke", profile)}
    return kinds in ({"printed"}, {"released"}) or (len(kinds) == 1 and not unexplained(slug, profile))


@pytest.fixture(scope="module")
def run_by_a_test():
    """(slug, exhibit, profile) of every case that pytest collects with the mark."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "pair", "-p", "no:cacheprovider", *FILES]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    said = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    cases = re.findall(r"^tests/(\w+)/\S+\[(\w+)-(\w+)\]$", said.stdout, re.M)
    return {(slug, exhibit, profile) for slug, exhibit, profile in cases}


@pytest.mark.slow
def test_every_pair_is_run_or_the_twin_of_one_that_is_or_declared_absent_or_listed_as_open(run_by_a_test):
    assert len(run_by_a_test) > 50
    neither: dict[tuple[str, str], list[str]] = {}
    for slug in SLUGS:
        plan = experiments.load(slug)
        for exhibit in plan.experiments:
            for profile in plan.profiles:
                if not plan.stands(exhibit, profile):
                    assert len(plan.why_absent(exhibit, profile)) > 10  # declared, with its reason
                elif not (
                    profile == "smoke" or (slug, exhibit, profile) in run_by_a_test or is_twin(slug, exhibit, profile)
                ):
                    neither.setdefault((slug, profile), []).append(exhibit)
    assert neither == OPEN


def test_what_is_marked_as_run_stands_at_the_profile(run_by_a_test):
    for slug, exhibit, profile in run_by_a_test:
        assert experiments.load(slug).stands(exhibit, profile), (slug, exhibit, profile)


def test_every_exhibit_runs_at_smoke_or_says_why_not():
    absent = {
        (slug, name): plan.why_absent(name, "smoke")
        for slug in SLUGS
        for plan in [experiments.load(slug)]
        for name in plan.experiments
        if not plan.stands(name, "smoke")
    }
    assert all(absent.values()), absent


def test_a_name_that_only_one_profile_has_is_noticed(monkeypatch):
    plan = experiments.load("aurora")
    assert not unexplained("aurora", "gpu")
    other = plan.model_copy(update={"profiles": {**plan.profiles, "gpu": plan.profiles["gpu"] | {"new": {"dial": 1}}}})
    monkeypatch.setattr(experiments, "load", lambda slug: other)
    assert unexplained("aurora", "gpu") == {"new.dial"} and not is_twin("aurora", "tab_reply_language", "gpu")


def test_no_explanation_outlives_what_it_explains():
    for slug, profile in DIFFERENT:
        sections = experiments.load(slug).profiles
        differ = names(sections[profile]) ^ names(sections["smoke"])
        for key in DIFFERENT[slug, profile]:
            assert any(explained(name, {key}) for name in differ), (slug, profile, key)
    assert all(reason for reason in chain(*(told.values() for told in DIFFERENT.values())))
