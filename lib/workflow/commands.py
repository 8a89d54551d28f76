"""What the commands do, one function each, given the words of the command line (:mod:`lib.workflow.__main__`)."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

from lib.machine import Machine
from lib.workflow import arithmetic, cards, compare, experiments, jobs, notebooks, papers, paths, report, summary
from lib.workflow.aliases import check as check_aliases
from lib.workflow.cache import CacheError
from lib.workflow.closure import SourceError
from lib.workflow.execute import ExecutionError, execute
from lib.workflow.new_paper import NewPaperError, create
from lib.workflow.publish import PublishError, publish
from lib.workflow.session import SessionError
from lib.workflow.sources import SourceUnfit
from lib.workflow.upkeep import format_notebooks, fresh, lint, show_cache, tables  # noqa: F401 - commands too

ERRORS = (papers.PaperError, notebooks.NotebookError, jobs.SelectionError, report.ReportError, compare.CompareError)
ERRORS += (ExecutionError, CacheError, SessionError, SourceError, SourceUnfit, PublishError, NewPaperError)


def _literal(text: str):
    """A parameter's value as typed on the command line: a Python literal, else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"true": True, "false": False, "null": None}.get(text, text)


def _snakemake(pending: list[jobs.Job], arguments: argparse.Namespace) -> int:
    """Run these jobs, whose executed copies are set aside; the exit status of Snakemake.

    Notebooks speak on stdout. What Snakemake says stays in ``runs/.engine.log``, and is shown when it fails without one.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--cores", str(arguments.jobs)]
    command += ["--nolock", "--keep-going", "--rerun-incomplete", "--quiet", "progress", "rules", "reason", "host"]
    command += ["--rerun-triggers", "code"]  # what is stale is known from the copies' own content hashes
    command += ["--profile", f"profiles/{arguments.cluster}"] if arguments.cluster else []
    command += ["--forceall"] if arguments.again else []
    command += [] if arguments.cluster else cards.bound(pending)
    told = {"profile": arguments.profile, "paper": arguments.paper or "", "notebook": arguments.notebook or ""}
    written = json.dumps(str(jobs.write_plan(pending)))  # quoted: Snakemake reads it as YAML
    command += ["--config", *(f"{key}={value}" for key, value in told.items()), f"plan={written}"]
    environment = os.environ | {"REPRISE_RUN_PID": f"{socket.gethostname()}:{os.getpid()}"}
    log = paths.RUNS / ".engine.log"
    with log.open("wb") as said:
        code = subprocess.run(command, cwd=paths.ROOT, env=environment, stderr=said).returncode
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    ends = {end for line in lines for end in re.findall(r"returned non-zero exit status (\d+)|died with", line)}
    if code and (not ends or ends - {"1", "2"}):  # a notebook that fails ends with one of these, and has said why
        print("Snakemake's last lines:", *lines[-12:], sep="\n", file=sys.stderr)
    return code


def _select(arguments: argparse.Namespace) -> list[jobs.Job]:
    """The notebooks that the command line chooses."""
    check_aliases(*papers.slugs())
    return jobs.select(arguments.profile, paper=arguments.paper, notebook=arguments.notebook)


def _check_run(arguments: argparse.Namespace) -> None:
    """Refuse what Snakemake would fail at, or misread."""
    if arguments.jobs < 1:
        raise jobs.SelectionError(f"--jobs is {arguments.jobs}; give 1 or more")
    if "{" in os.path.relpath(paths.RUNS, paths.ROOT):
        raise jobs.SelectionError(f"REPRISE_RUNS is {paths.RUNS}: a brace is a wildcard there; name another folder")
    if arguments.cluster and not (paths.ROOT / "profiles" / arguments.cluster).is_dir():
        raise jobs.SelectionError(f"there is no folder profiles/{arguments.cluster}; copy profiles/slurm and edit it")
    for path in (str(paths.ROOT), sys.executable) if arguments.cluster else ():
        if shlex.quote(path) != path:
            raise jobs.SelectionError(f"a cluster's job script cannot quote {path}; move it where no blank or quote is")


def run(arguments: argparse.Namespace) -> int:
    """Run what is not up to date, two notebooks at a time, then print its outcomes beside the committed ones."""
    from filelock import FileLock, Timeout

    chosen = _select(arguments)
    _check_run(arguments)
    late = [job for job in chosen if not job.is_finished()]
    expected = sum(job.minutes or 0.5 for job in chosen) / max(1, arguments.jobs)
    print(
        f"{len(chosen)} notebooks at the profile '{arguments.profile}'; about {expected:.0f} min if none is up to date.",
        flush=True,
    )
    paths.RUNS.mkdir(parents=True, exist_ok=True)
    _show_gallery()
    started, code = time.monotonic(), 0
    try:
        with FileLock(paths.RUNS / ".run.lock", timeout=0):
            for job in late:
                job.set_aside()
            if pending := chosen if arguments.again else late:  # else there is nothing to start it for
                code = _snakemake(pending, arguments)
    except Timeout:
        print("Another run is going on here (it holds runs/.run.lock); wait for it or stop it.", file=sys.stderr)
        return 1
    missing = [job.label for job in chosen if not job.output.is_file()]
    print(
        f"\n{len(chosen) - len(missing)} of {len(chosen)} notebooks are up to date, {time.monotonic() - started:.0f} s.\n"
    )
    ran = chosen if arguments.paper or arguments.notebook or arguments.again else late
    if told := summary.claims(ran, arguments.profile):
        print(f"{told}\n")
    print(report.terminal(chosen, arguments.profile))
    if arguments.publish and not code:
        return publish_run(arguments)
    if code:
        print(f"\nNot finished: {', '.join(missing) or 'see above'}.", file=sys.stderr)
    return 1 if code else 0


def _show_gallery() -> None:
    """Bring the gallery of the committed results up to date and say where it is; a damaged result hinders no run."""
    from lib.workflow import gallery

    try:
        print(f"To look at meanwhile: {paths.relative(gallery.current())}", flush=True)
    except report.ReportError as error:
        print(f"No gallery: {error}", flush=True)


def show_gallery(_: argparse.Namespace) -> int:
    """Write the gallery of the committed results below runs/."""
    from lib.workflow import gallery

    print(f"open in a browser: {paths.relative(gallery.build())}")
    return 0


def publish_run(arguments: argparse.Namespace) -> int:
    """Copy figures, results and notebook outputs of the finished run into the repository; rewrite the tables."""
    chosen = _select(arguments)
    changed = publish(chosen, arguments.profile)
    told = [f"published {paths.relative(path)}" for path in changed]
    print("\n".join(told) or "nothing to publish: all is as committed")
    return 0


def compare_run(arguments: argparse.Namespace) -> int:
    """Compare the last run with the committed results: the table, then every difference that is not allowed."""
    chosen = _select(arguments)
    print(report.terminal(chosen, arguments.profile) or "no paper's notebook among them")
    wrong = 0
    for job in chosen:
        found = compare.exhibit(job.slug, job.exhibit, job.profile, paths.run_root(job.profile))
        for problem in found.problems if found else []:
            print(f"{job.label}: {problem}")
            wrong += 1
    return 1 if wrong else 0


def new_paper(arguments: argparse.Namespace) -> int:
    """Write a new paper that runs, and say what comes next."""
    for path in create(arguments.slug):
        print(f"wrote {paths.relative(path)}")
    slug = arguments.slug
    print(f"It runs as it is: make run P={slug} PROFILE=smoke. Put your paper where it says TODO; then run, and")
    print(f"make publish P={slug}: until then `make lint` asks for outputs. lib/README.md, 'A new paper', goes on.")
    return 0


def show_arithmetic(_: argparse.Namespace) -> int:
    """This machine's arithmetic, operation by operation, beside the one of the committed results."""
    here, there = arithmetic.operations(), arithmetic.committed()
    print(f"{'operation':<24} {'here':<13} committed")
    for name in dict.fromkeys([*there, *here]):
        same = "" if here.get(name) == there.get(name) else "  <- differs"
        print(f"{name:<24} {here.get(name, '–'):<13} {there.get(name, '–')}{same if there else ''}")
    print(f"{'fingerprint':<24} {arithmetic.fingerprint():<13} {arithmetic.committed_fingerprint() if there else '–'}")
    if arithmetic.different() and there:
        print(f"Digits will differ from the committed ones: {arithmetic.why_different()}.")
    elif there:
        print("Equal: this machine gives the committed digits.")
    return 0


def lab(arguments: argparse.Namespace) -> int:
    """Open JupyterLab on copies of the notebooks (runs/lab), so that nothing in the repository changes."""
    from lib.workflow.lab import open_lab

    open_lab(arguments.options, in_place=arguments.in_place)
    return 0


def embed(arguments: argparse.Namespace) -> int:
    """Embed somebody's own volumes and reports by the one paper whose models take both."""
    model = importlib.import_module("papers.brgsa.embed")  # as a notebook is run: named, not known to lib
    folder = paths.RUNS / "embed" / arguments.folder.resolve().name
    output = arguments.output or Path(os.path.relpath(folder))
    how = {"reports": arguments.reports, "machine": Machine(device=arguments.device)}
    try:
        return model.embed_folder(arguments.folder, arguments.checkpoint, output, **how)
    except model.ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def data(arguments: argparse.Namespace) -> int:
    """What the papers read from outside, as it is here; with ``--fetch`` what may be fetched is brought first. Ends with 0
    when all of it is here, 1 when something is missing, 2 when something is damaged or could not be fetched."""
    from lib.workflow import inputs

    chosen = jobs.select(arguments.profile or paths.SHOWN_PROFILE, paper=arguments.paper)
    slugs = [slug for slug in dict.fromkeys(job.slug for job in chosen) if experiments.has(slug)]
    found = inputs.look(slugs, arguments.profile)
    if arguments.fetch:
        found = inputs.bring(found)
    elif arguments.sizes:
        found = [inputs.sized(one) for one in found]
    print(inputs.table(found) if found else f"the profile '{arguments.profile}' reads nothing from outside")
    lacking = inputs.problems(found)
    print(*lacking, sep="\n", file=sys.stderr, end="\n" * bool(lacking))
    states = {one.state for one in found}
    return 2 if states & {"damaged", "not fetched"} else int("missing" in states)


def examine(arguments: argparse.Namespace) -> int:
    """What the chosen notebooks need, beside what this machine has; 1 when something lacks."""
    from lib.workflow import doctor

    chosen = _select(arguments)
    told = {"at_a_time": arguments.jobs, "arms": not arguments.quick, "cells": arguments.cells}
    lacking = doctor.examine(chosen, arguments.profile, **told)
    print(*lacking, sep="\n", file=sys.stderr, end="\n" * bool(lacking))
    return int(bool(lacking))


def execute_one(arguments: argparse.Namespace) -> int:
    """Run one notebook, given as paper/name or as a path."""
    from lib.workflow.execute import _die_with_the_run

    target = Path(arguments.notebook)
    path = target.resolve() if target.suffix == ".ipynb" else paths.NOTEBOOKS / f"{arguments.notebook}.ipynb"
    given = {}
    for pair in arguments.parameter or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise notebooks.NotebookError(f"-p takes NAME=VALUE, not '{pair}'")
        if name in given:
            raise notebooks.NotebookError(f"-p sets '{name}' twice; leave one out")
        given[name] = _literal(value)
    check_aliases(path.parent.name)
    _die_with_the_run()
    started = time.monotonic()
    label = f"{path.parent.name}/{path.stem}"
    print(f"[{label}] started", flush=True)
    output = Path(arguments.output).resolve() if arguments.output else None
    with cards.one_for(jobs.Job(path.parent.name, path.stem, arguments.profile, None)):
        done = execute(path, profile=arguments.profile, given=given, output=output)
    print(f"[{label}] {time.monotonic() - started:.0f} s -> {paths.relative(done)}", flush=True)
    return 0
