"""The claims tables: of the README, of each paper's page, and of the terminal. Numbers come from ``results/*.json`` only.

In use:

    update()            # rewrites what stands between the markers in README.md and papers/<slug>/README.md
    beside(jobs.select("mini"), "mini")     # the reader's own run beside the committed one
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.workflow import compare, papers, paths
from lib.workflow.jobs import Job
from lib.workflow.papers import Claim, Paper

README = ("<!-- claims:begin -->", "<!-- claims:end -->")
PAGE = ("<!-- verdicts:begin -->", "<!-- verdicts:end -->")


class ReportError(ValueError):
    """A page without its markers, or a result file that cannot be read."""


def _results(slug: str, root: Path | None = None) -> list[dict[str, Any]]:
    """The committed results of a paper, or those of a run below ``root``."""
    found = []
    for path in sorted(paths.results(slug, root=root).glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["exhibit"], content["profile"], content["recomputed"].items(), content["seeds"]
            for judged in content["claims"].values():
                judged["verdict"], judged["difference"]["n"], _interval(judged["difference"]), _interval(judged["null"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            sentence = f"{paths.relative(path)} is damaged ({reason}); delete it and run the notebook again"
            raise ReportError(sentence) from None
        found.append(content)
    order = {profile: i for i, profile in enumerate(paths.PUBLISHED_PROFILES)}
    return sorted(found, key=lambda r: order.get(r["profile"], len(order)))


def _published(paper: Paper, claim: Claim) -> str:
    found = [(cell.row, paper.number(cell.table, cell.row, cell.column)) for cell in claim.published]
    numbers = [f"{row} {'not found' if number is None else number}" for row, number in found]
    return "; ".join(numbers[:4]) + (" ..." if len(numbers) > 4 else "") if numbers else "not found"


def _interval(difference: dict[str, float | None]) -> str:
    if difference["low"] is None or difference["high"] is None:
        return f"{difference['mean']:+.3f} [no interval]"
    return f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"


def _rerun(result: dict[str, Any]) -> bool:
    """Whether a result is from our own training; otherwise it was recomputed from released files."""
    return result.get("kind", "rerun") == "rerun"


def _measured(result: dict[str, Any], claim: Claim) -> str:
    difference = result["claims"][claim.id]["difference"]
    return f"{_interval(difference)}, n={difference['n']}"


def rows(slug: str) -> list[dict[str, str]]:
    """One row a claim: id, statement, published, recomputed, rerun (difference, null), verdict, command."""
    paper, results, table = papers.load_paper(slug), _results(slug), []
    for claim in paper.claims:
        mine = [r for r in results if r["exhibit"] == claim.exhibit]
        judged = [r for r in mine if claim.id in r["claims"]]
        recomputed = [r["recomputed"][claim.id] for r in mine if claim.id in r["recomputed"]]
        exists = paths.notebook(slug, claim.exhibit).is_file()
        table.append(
            {
                "paper": paper.short,
                "claim": claim.id,
                "statement": claim.statement,
                "test": f"{claim.quantity}: {claim.arms.treatment} − {claim.arms.baseline} {claim.direction}",
                "published": _published(paper, claim),
                "recomputed": "<br>".join(
                    [f"{value:.4g}" for value in recomputed] + [_measured(r, claim) for r in judged if not _rerun(r)]
                )
                or "–",
                "rerun": "<br>".join(f"{_measured(r, claim)} ({r['profile']})" for r in judged if _rerun(r)) or "–",
                "null": "<br>".join(_interval(r["claims"][claim.id]["null"]) for r in judged) or "–",
                "verdict": "<br>".join(f"**{r['claims'][claim.id]['verdict']}**" for r in judged)
                or ("recomputed" if recomputed else "not run yet" if exists else "no notebook yet"),
                "command": f"`make run P={slug} N={claim.exhibit}`" if exists else "–",
            }
        )
    return table


def _markdown(table: list[dict[str, str]], columns: dict[str, str]) -> str:
    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row[key]) for key in columns) + " |" for row in table]
    return "\n".join(lines)


def _insert(path: Path, markers: tuple[str, str], body: str) -> bool:
    begin, end = markers
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ReportError(f"{paths.relative(path)} needs the markers {begin} and {end}, once each and in that order")
    new = f"{text[: text.index(begin)]}{begin}\n{body}\n{text[text.index(end) :]}"
    if new != text:
        paths.write(path, new)
    return new != text


def readme_table() -> str:
    columns = {name: name for name in ("paper", "claim", "statement", "published", "recomputed")}
    columns |= {"rerun": "rerun: paired difference [95 %]", "verdict": "verdict", "command": "command"}
    return _markdown([row for slug in papers.slugs() for row in rows(slug)], columns)


def page_table(slug: str) -> str:
    columns = {"claim": "claim", "test": "test", "published": "published", "recomputed": "recomputed"}
    columns |= {"rerun": "rerun [95 %]", "null": "null [95 %]", "verdict": "verdict", "command": "command"}
    return _markdown(rows(slug), columns)


def update() -> list[Path]:
    """Rewrite the tables of the README and of every paper's page; returns the files that changed."""
    changed = [paths.ROOT / "README.md"] if _insert(paths.ROOT / "README.md", README, readme_table()) else []
    for slug in papers.slugs():
        page = paths.paper(slug) / "README.md"
        if _insert(page, PAGE, page_table(slug)):
            changed.append(page)
    return changed


def _outcome(result: dict[str, Any] | None, claim_id: str) -> str:
    judged = (result or {}).get("claims", {}).get(claim_id)
    return f"{judged['verdict']} {_interval(judged['difference'])}" if judged else "–"


def beside(chosen: Sequence[Job], profile: str) -> list[dict[str, str]]:
    """One row a claim that was judged, and one an exhibit without claims: the committed outcome, the one of the run
    below ``runs/<profile>``, and how the exhibits compare (:mod:`lib.workflow.compare`)."""
    table = []
    for slug in dict.fromkeys(job.slug for job in chosen if job.slug in papers.slugs()):
        ours = {r["exhibit"]: r for r in _results(slug) if r["profile"] == profile}
        here = {r["exhibit"]: r for r in _results(slug, paths.run_root(profile)) if r["profile"] == profile}
        for job in (job for job in chosen if job.slug == slug):
            found = compare.exhibit(slug, job.exhibit, profile, paths.run_root(profile))
            word = found.word if found else ("not run here" if job.exhibit not in here else "nothing to compare with")
            results = [side.get(job.exhibit) for side in (ours, here)]
            claims = dict.fromkeys(claim for result in results if result for claim in result["claims"])
            for claim in claims or [""]:
                outcomes = [_outcome(result, claim) for result in results]
                row = {"exhibit": job.label, "claim": claim, "ours": outcomes[0], "here": outcomes[1], "same": word}
                table.append(row)
    return table


def terminal(chosen: Sequence[Job], profile: str) -> str:
    """The table a run ends with: the reader's numbers beside the committed ones, and what it means when they differ."""
    table = beside(chosen, profile)
    if not table:
        return ""
    heads = {"exhibit": "exhibit", "claim": "claim", "ours": "committed", "here": "here", "same": "exhibit compared"}
    wide = {key: max(len(row[key]) for row in [heads, *table]) for key in heads}
    lines = ["  ".join(row[key].ljust(wide[key]) for key in heads).rstrip() for row in [heads, *table]]
    words = {row["same"] for row in table}
    why = "same meaning: this machine computes otherwise than the one of the committed results (python -m lib.workflow "
    why = f"{why}arithmetic), and means lie within their spread. " if "same meaning" in words else ""
    if words & {"same meaning", "differs"}:
        lines += ["", f"{why}differs: python -m lib.workflow compare tells what."]
    return "\n".join(lines)
