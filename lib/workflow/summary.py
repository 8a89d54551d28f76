"""What a run ends with: each claim of what it ran, with its numbers and its figure.

print(claims(jobs.select("mini", paper="brgsa"), "mini"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.workflow import papers, paths, report
from lib.workflow.jobs import Job


def _found(result: dict[str, Any], claim_id: str) -> list[str]:
    """What a run found of one claim, in lines; none when it says nothing of it."""
    if judged := result["claims"].get(claim_id):
        effect, control, excess = (report.interval(judged[key]) for key in ("effect", "control", "excess"))
        numbers = f"effect {effect}, control {control}, effect - control {excess}, n={judged['effect']['n']}"
        return [f"{judged['outcome']} ({result['evidence']})", numbers]
    if checked := result["checks"].get(claim_id):
        return [f"{checked['outcome']} (printed numbers)", checked["why"]]
    if claim_id in result["declined"]:
        return ["not judged", result["declined"][claim_id]]
    return []


def _figures(job: Job, root: Path) -> list[str]:
    """The figures of a job below ``root``, as somebody at the terminal opens them."""
    places = [at(job.slug, job.exhibit, job.profile, "png", root=root) for at in (paths.figure, paths.outcomes)]
    return [paths.relative(place) for place in places if place.is_file()]


def claims(chosen: Sequence[Job], profile: str) -> str:
    """The claims of the finished among ``chosen``, each with effect, control and 95 % intervals; then the figures' paths."""
    root, lines = paths.run_root(profile), []
    for slug in dict.fromkeys(job.slug for job in chosen if job.slug in papers.slugs()):
        paper = papers.load_paper(slug)
        here = {result["exhibit"]: result for result in report.measured(slug, root) if result["profile"] == profile}
        for job in (job for job in chosen if job.slug == slug and job.exhibit in here):
            lines.append(job.label)
            for claim in paper.claims:
                if told := _found(here[job.exhibit], claim.id):
                    lines += [f"  {claim.id}  {told[0]}: {claim.statement}", f"      {told[1]}"]
            lines += [f"  figure: {place}" for place in _figures(job, root)]
    return "\n".join(lines)
