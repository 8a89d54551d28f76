"""Before anything long: what a profile needs, beside what this machine has.

Inputs, disk, memory, cards, declared hours; then a step of every arm at its full size as shapes: bytes, and whether each tensor
lies on its model's device (``tests/<slug>/test_full_size.py``); on request the cells of every exhibit on small files in the real
layout (tests with the mark ``pair``). The twins stay tests: what CI holds true is what is told here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.machine import Machine
from lib.workflow import experiments, inputs, paths
from lib.workflow.jobs import Job

_NEED = re.compile(r"([^;\n]+?), (\w+): ([\d.]+) GiB")  # what a test of shapes prints: "pretraining, full: 43.1 GiB"
_CASE = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED)\S* tests/\w+/(\S+?)::(\w+)(?:\[(\S+)\])?(?: - (.*))?$", re.M)
GIB = 2**30
LEAST = 10 * 10**9  # bytes of disk for runs and their artefacts, below which a run is not begun


@dataclass(frozen=True)
class Twins:
    """What the tests of a paper told: arm -> GiB at the profile, the cases that were run, and those that failed with why."""

    needs: dict[str, float]
    cases: list[str]
    failed: dict[str, str]


def machine_of(slug: str, profile: str) -> Machine:
    return Machine(**experiments.load(slug).profiles[profile].get("machine", {}))


def cards() -> list[tuple[str, float]]:
    """Name and GiB of each card that torch sees."""
    import torch

    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [(one.name, one.total_memory / GIB) for one in found]


def memory() -> tuple[float, float]:
    """GiB of memory: of the machine, and free now."""
    page = os.sysconf("SC_PAGE_SIZE") / GIB
    return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page


def time_of(chosen: Sequence[Job], at_a_time: int) -> str:
    """The declared time in words: together, of the longest, and on this machine.

    >>> time_of([Job("a", "b", "full", 600), Job("a", "c", "full", 60)], 1)
    '2 notebooks, 11 h declared together, 10 h the longest; 1 at a time: about 11 h'
    """
    minutes = [job.minutes or 0.5 for job in chosen]
    expected = max(*minutes, sum(minutes) / at_a_time) if len(minutes) > 1 else minutes[0]
    said = f"{len(chosen)} notebooks, {_hours(sum(minutes))} declared together, {_hours(max(minutes))} the longest"
    return f"{said}; {at_a_time} at a time: about {_hours(expected)}"


def _hours(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def ask_tests(slug: str, profile: str, files: Sequence[Path], *options: str) -> Twins:
    """Run some of a paper's tests in a process of their own, and keep what they say of a profile."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *options, *map(str, files)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")} | {"COLUMNS": "400"}
    done = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    needs, cases, failed = {}, [], {}
    for arm, where, gib in _NEED.findall(done.stdout):
        if where == profile:
            needs[arm.strip()] = max(float(gib), needs.get(arm.strip(), 0.0))
    for state, _, test, case, why in _CASE.findall(done.stdout):
        name = f"{test.removeprefix('test_').replace('_', ' ')}{f' [{case}]' if case else ''}"
        cases.append(name)
        if state in ("FAILED", "ERROR"):
            failed[name] = why or "it failed"
    if done.returncode not in (0, 1, 5):  # 5: no test was chosen
        failed["the tests"] = " ".join((done.stderr or done.stdout).split())[-300:]
    return Twins(needs, cases, failed)


def steps(slug: str, profile: str) -> Twins | None:
    """A step of each arm as shapes; ``None`` for a profile on the CPU, and where the tests are not here."""
    files = sorted((paths.ROOT / "tests" / slug).glob("test_full_size.py"))
    return ask_tests(slug, profile, files) if files and machine_of(slug, profile).device == "cuda" else None


def exhibits(slug: str, profile: str) -> Twins:
    """The cells of every exhibit that a test runs at the profile."""
    files = [file for file in sorted((paths.ROOT / "tests" / slug).glob("test_*.py")) if "@at(" in file.read_text()]
    return ask_tests(slug, profile, files, "-m", "pair", f"-k-{profile}]") if files else Twins({}, [], {})


def places() -> dict[Path, float]:
    """GB free where runs and artefacts are written."""
    found = {}
    for folder in (paths.RUNS, paths.CACHE):
        there = next(one for one in (folder, *folder.parents) if one.exists())
        found[folder] = shutil.disk_usage(there).free / 1e9
    return found


def examine(
    chosen: Sequence[Job],
    profile: str,
    *,
    at_a_time: int,
    arms: bool = True,
    cells: bool = False,
    tell: Callable[[str], None] = print,
) -> list[str]:
    """Tell what these notebooks need beside what is here, line by line; returns one sentence for each thing that lacks."""
    slugs = [slug for slug in dict.fromkeys(job.slug for job in chosen) if experiments.has(slug)]
    found = inputs.look(slugs, profile)
    lacking = inputs.problems(found)
    here = sum(one.state in ("checked", "unchecked") for one in found)
    tell(f"inputs   {here} of {len(found)} are here (`data --profile {profile}` tells where each goes)")
    for folder, free in places().items():
        tell(f"disk     {free:.0f} GB free for {paths.relative(folder)}")
        if free * 1e9 < LEAST:
            lacking.append(f"{folder} has {free:.1f} GB free; make room, or set REPRISE_RUNS and REPRISE_CACHE")
    tell("memory   {:.0f} GiB, {:.0f} of them free".format(*memory()))
    seen = cards()
    tell(f"cards    {', '.join(f'{name}, {gib:.0f} GiB' for name, gib in seen) or 'none'}")
    on_cards = [slug for slug in slugs if machine_of(slug, profile).device == "cuda"]
    if on_cards and not seen:
        lacking.append(f"{', '.join(on_cards)}: the profile '{profile}' computes on cuda, and torch sees no card")
    tell(f"time     {time_of(chosen, max(1, len(seen)) if on_cards else at_a_time)}")
    for slug in slugs:
        if arms and (told := steps(slug, profile)):
            lacking += _tell_arms(slug, told, min((gib for _, gib in seen), default=None), tell)
        if cells:
            told = exhibits(slug, profile)
            tell(
                f"cells    {slug}: {len(told.cases) - len(told.failed)} of {len(told.cases)} exhibits run on small files"
            )
            lacking += [f"{slug}: {case}: {why}" for case, why in told.failed.items()]
    return lacking


def _tell_arms(slug: str, told: Twins, card: float | None, tell: Callable[[str], None]) -> list[str]:
    tell(f"arms     {slug}, a step of each at its full size as shapes (+-20 %):")
    lacking = []
    for arm, gib in told.needs.items():
        tell(f"         {gib:6.1f} GiB  {arm}")
        if card is not None and 1.2 * gib > card:
            lacking.append(f"{slug}: {arm} needs {gib:.0f} GiB (+-20 %), the card has {card:.0f}; lower micro_batch")
    where = [case for case in told.cases if "device" in case]
    right = [case for case in where if case not in told.failed]
    found = (
        f"{len(right)} of {len(where)} checks find every tensor on its model's device"
        if where
        else "no check of devices"
    )
    tell(f"         {found}")
    return lacking + [f"{slug}: {case}: {why}" for case, why in told.failed.items()]
