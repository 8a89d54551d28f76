"""From a finished run into the repository: figures, results, the outputs of the notebooks, the tables. Only when asked.

A run leaves all it makes under ``runs/``; ``make publish`` (``--publish``) copies what is up to date from there. What
differs from the committed file only in when and at which commit it was made stays as it is.

    publish(jobs.select("mini"), "mini")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.workflow import arithmetic, jobs, notebooks, paths, report
from lib.workflow.jobs import Job

_MOMENT = ("seconds", "commit")


class PublishError(RuntimeError):
    """A run that may not replace the committed one; the message says why and what to do."""


def _lasting(result: dict[str, Any]) -> dict[str, Any]:
    """A result without the moment it was made at."""
    kept = {key: value for key, value in result["provenance"].items() if key not in _MOMENT}
    return {**result, "provenance": kept}


def _take(source: Path, target: Path) -> bool:
    """Copy one figure, picture or result; ``False`` when nothing that lasts changed."""
    if not source.is_file():
        return False
    content = source.read_bytes()
    if target.is_file():
        old = target.read_bytes()
        if old == content:
            return False
        results = [json.loads(text) for text in (old, content)] if source.parent.name == "results" else []
        if results and _lasting(results[0]) == _lasting(results[1]):
            return False
    paths.write(target, content)
    return True


def _check_arithmetic(chosen: Sequence[Job], profile: str) -> None:
    """Committed results have one arithmetic: another one comes in with all notebooks of the profile, or not at all."""
    used = {notebooks.recorded_arithmetic(job.output) for job in chosen}
    if len(used) > 1:
        raise PublishError(
            f"these notebooks were run under {len(used)} arithmetics ({', '.join(sorted(map(str, used)))}); "
            f"run them on one machine: make run AGAIN=1"
        )
    is_everything = {job.label for job in chosen} == {job.label for job in jobs.every(profile)}
    if arithmetic.committed() and used != {arithmetic.committed_fingerprint()} and not is_everything:
        raise PublishError(
            f"this machine computes otherwise ({used.pop()}) than the committed results were made "
            f"({arithmetic.committed_fingerprint()}); publish all notebooks at once, or run on such a machine "
            f"(python -m lib.workflow arithmetic)"
        )


def publish(chosen: Sequence[Job], profile: str) -> list[Path]:
    """Copy what the finished jobs made into the repository and rewrite the tables; returns the files that changed.

    Raises :class:`PublishError` for a profile whose results are not committed, when a chosen job is not finished or
    not up to date, and when committed results would come from two arithmetics.
    """
    if profile not in paths.PUBLISHED_PROFILES:
        raise PublishError(f"'{profile}' is not published; only {', '.join(paths.PUBLISHED_PROFILES)} are")
    if late := [job.label for job in chosen if not job.is_finished()]:
        raise PublishError(f"not up to date: {', '.join(late)}; run first (make run), then publish")
    carried = {job.notebook: job for job in jobs.shown()}
    shown = [job for job in chosen if carried[job.notebook].profile == profile]
    if shown:
        _check_arithmetic(chosen, profile)
    root, changed = paths.run_root(profile), []
    for job in chosen:
        name = (job.slug, job.exhibit, profile)
        places = [at(*name, kind, root=root) for at in (paths.figure, paths.outcomes) for kind in ("png", "json")]
        places.append(paths.result(job.slug, job.exhibit, profile, root=root))
        changed += [target for source in places if _take(source, target := paths.ROOT / source.relative_to(root))]
        if job in shown and notebooks.publish(job.notebook, job.output):
            changed.append(job.notebook)
    if profile == paths.SHOWN_PROFILE and arithmetic.publish():
        changed.append(arithmetic.COMMITTED)
    return changed + report.update()
