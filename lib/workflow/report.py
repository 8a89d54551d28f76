"""The claims tables: of the README, of each paper's page, and of the terminal. Numbers come from ``results/*.json`` only.

>>> update()            # rewrites what stands between the markers in README.md and papers/<slug>/README.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib.workflow import papers, paths
from lib.workflow.papers import Claim, Paper

README = ("<!-- claims:begin -->", "<!-- claims:end -->")
PAGE = ("<!-- verdicts:begin -->", "<!-- verdicts:end -->")


class ReportError(ValueError):
    """A page without its markers, or a result file that cannot be read."""


def _results(slug: str) -> list[dict[str, Any]]:
    found = []
    for path in sorted(paths.paper(slug).glob("results/*.json")):
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
    order = {profile: i for i, profile in enumerate(paths.COMMITTED_PROFILES)}
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
    from lib.workflow.session import write_text

    begin, end = markers
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ReportError(f"{paths.relative(path)} needs the markers {begin} and {end}, once each and in that order")
    new = f"{text[: text.index(begin)]}{begin}\n{body}\n{text[text.index(end) :]}"
    if new != text:
        write_text(path, new)
    return new != text


def readme_table() -> str:
    columns = {"paper": "paper", "claim": "claim", "statement": "statement", "published": "published"}
    columns |= {
        "recomputed": "recomputed",
        "rerun": "rerun: paired difference [95 %]",
        "verdict": "verdict",
        "command": "command",
    }
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


def terminal(slugs: list[str], *, width: int = 150) -> str:
    """The table a run ends with: every claim of the given papers, one line each."""
    lines = []
    for slug in slugs:
        table = rows(slug)
        waiting = [row for row in table if row["verdict"] == "no notebook yet"]
        if len(waiting) == len(table):
            lines.append(f"{table[0]['paper']:<16} {len(table)} claims, no notebook yet (papers/{slug}/README.md)")
            continue
        for row in table:
            rerun = row["rerun"].split("<br>")[0]
            verdict = row["verdict"].split("<br>")[0].strip("*")
            outcome = (
                f"{rerun}"
                if rerun != "–"
                else "recomputed " + row["recomputed"].replace("<br>", ": ")
                if row["recomputed"] != "–"
                else ""
            )
            statement = row["statement"]
            room = width - 16 - 5 - 18 - 42
            statement = statement if len(statement) <= room else statement[: room - 3] + "..."
            lines.append(f"{row['paper']:<16} {row['claim']:<4} {verdict:<17} {outcome:<41} {statement}")
    return "\n".join(lines)
