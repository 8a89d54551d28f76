"""The tables of outcomes: of the README, of each paper's page, and of the terminal. Numbers come from ``results/*.json`` only.

In use:

    update()            # rewrites what stands between the markers in README.md and papers/<slug>/README.md
    beside(jobs.select("mini"), "mini")     # the reader's own run beside the committed one
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.workflow import compare, experiments, papers, paths, verdicts
from lib.workflow.jobs import Job
from lib.workflow.papers import Claim, Paper

README = ("<!-- claims:begin -->", "<!-- claims:end -->")
PAGE = ("<!-- verdicts:begin -->", "<!-- verdicts:end -->")


class ReportError(ValueError):
    """A page without its markers, or a result file that cannot be read."""


def measured(slug: str, root: Path | None = None) -> list[dict[str, Any]]:
    """The committed results of a paper, or those of a run below ``root``."""
    found = []
    for path in sorted(paths.results(slug, root=root).glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["exhibit"], content["profile"], content["evidence"], content["seeds"]
            for judged in content["claims"].values():
                judged["outcome"], judged["p"], judged["bases"], judged["same"], judged["effect"]["n"]
                interval(judged["effect"]), interval(judged["control"]), interval(judged["excess"])
            for checked in content["checks"].values():
                checked["outcome"], checked["why"]
            content["declined"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            sentence = f"{paths.relative(path)} is damaged ({reason}); delete it and run the notebook again"
            raise ReportError(sentence) from None
        found.append(content)
    order = {profile: i for i, profile in enumerate(paths.PUBLISHED_PROFILES)}
    return sorted(found, key=lambda r: order.get(r["profile"], len(order)))


def interval(difference: dict[str, float | None] | None) -> str:
    """A mean with its 95 % interval, in the claim's own unit; one replicate has none.

    >>> interval({"mean": 0.5, "low": 0.25, "high": 0.75}), interval({"mean": 0.5, "low": None, "high": None}), interval(None)
    ('+0.500 [+0.250, +0.750]', '+0.500 [no interval]', '–')
    """
    if difference is None:
        return "–"
    if difference["low"] is None or difference["high"] is None:
        return f"{difference['mean']:+.3f} [no interval]"
    return f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"


def _published(paper: Paper, claim: Claim) -> str:
    found = [(cell.row, paper.number(cell.table, cell.row, cell.column)) for cell in claim.published]
    numbers = [f"{row} {'not found' if number is None else number}" for row, number in found]
    return "; ".join(numbers[:4]) + (" ..." if len(numbers) > 4 else "") if numbers else "not found"


def compared(claim: Claim) -> str:
    """What a claim compares, and its control, in a line: quantity, arms, direction, margin."""
    kind = "positive control" if claim.direction == "equal" else "control"
    one, other = claim.arms, claim.counterpart.arms
    margin = f" by more than {claim.margin:g}" if claim.margin and claim.direction != "equal" else ""
    within = f" within {claim.margin:g}" if claim.direction == "equal" else ""
    return (
        f"{claim.quantity}: {one.treatment} − {one.baseline} {claim.direction}{margin}{within}; "
        f"{kind}: {other.treatment} − {other.baseline}"
    )


def _profile(slug: str, exhibit: str, judged: Sequence[tuple[dict[str, Any], Any]]) -> str:
    """What a command adds for a claim that was judged, or an exhibit that is, at other profiles than the one of no word."""
    shown = judged[0][0]["profile"] if judged else experiments.load(slug).shown(exhibit)
    return "" if shown == paths.SHOWN_PROFILE else f" PROFILE={shown}"


def rows(slug: str) -> list[dict[str, str]]:
    """One row a claim: who says it, what was compared, effect, effect minus control, bases, outcome, command."""
    paper, results, table = papers.load_paper(slug), measured(slug), []
    for claim in paper.claims:
        mine = [r for r in results if r["exhibit"] == claim.exhibit]
        judged = [(r, r["claims"][claim.id]) for r in mine if claim.id in r["claims"]]
        checked = [r["checks"][claim.id] for r in mine if claim.id in r["checks"]]
        exists = paths.notebook(slug, claim.exhibit).is_file()
        untested = "not run yet" if exists and not claim.needs else f"not tested: {claim.needs or 'no notebook yet'}"
        outcomes = [f"**{one['outcome']}** ({r['evidence']}, {r['profile']})" for r, one in judged]
        outcomes += [f"{one['outcome']} (printed): {one['why']}" for one in checked]
        outcomes += [
            f"not judged ({r['profile']}): {r['declined'][claim.id]}" for r in mine if claim.id in r["declined"]
        ]
        table.append(
            {
                "paper": paper.short,
                "claim": f"{claim.id} ({claim.source})",
                "statement": claim.statement,
                "compared": compared(claim),
                "published": _published(paper, claim),
                "effect": "<br>".join(f"{interval(one['effect'])}, n={one['effect']['n']}" for _, one in judged) or "–",
                "excess": "<br>".join(interval(one["excess"]) for _, one in judged) or "–",
                "bases": "<br>".join(f"{one['same']} of {one['bases']}" for _, one in judged) or "–",
                "outcome": "<br>".join(outcomes) or untested,
                "command": f"`make run P={slug} N={claim.exhibit}{_profile(slug, claim.exhibit, judged)}`"
                if exists
                else "–",
            }
        )
    return table


def counts(evidence: str) -> list[dict[str, Any]]:
    """One row a paper: how many claims it has, how many were tested by this evidence, and how many came out how."""
    table = []
    for slug in papers.slugs():
        paper = papers.load_paper(slug)
        results = measured(slug)
        found = [(key, one) for r in results if r["evidence"] == evidence for key, one in r["claims"].items()]
        row = {"paper": f"[{paper.short}](papers/{slug}/README.md)", "claims": len(paper.claims), "tests": len(found)}
        for word in verdicts.WORDS[evidence].values():
            row[word] = sum(one["outcome"] == word for _, one in found)
        table.append({**row, "p": [one["p"] for _, one in found]})
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


def _table_of(evidence: str) -> str:
    """The claims that were tested by this evidence, one row each; a sentence when there are none."""
    columns = {"paper": "paper", "claim": "claim", "statement": "statement", "effect": "effect [95 %]"}
    columns |= {"excess": "effect − control", "outcome": "outcome", "command": "command"}
    tested = {
        (slug, key)
        for slug in papers.slugs()
        for r in measured(slug)
        if r["evidence"] == evidence
        for key in r["claims"]
    }
    found = [row for slug in papers.slugs() for row in rows(slug) if (slug, row["claim"].split()[0]) in tested]
    return _markdown(found, columns) if found else "None yet."


def replications() -> Path:
    """The file that ``tests/helpers/replicate.py`` writes: what other seeds and another arithmetic did to the outcomes."""
    return paths.ROOT / "papers" / "replications.json"


def _replicated() -> str:
    """How many outcomes of miniatures came out otherwise with other seeds, or in another arithmetic; '' when never tried."""
    if not replications().is_file():
        return ""
    found = json.loads(replications().read_text(encoding="utf-8"))
    what = {"arithmetic": "In another arithmetic (the kernels of an old processor)", "seeds": "With ten other seeds"}
    opposite = {verdicts.WORDS["miniature"][key] for key in (verdicts.SHOWN, verdicts.OPPOSITE)}
    sentences = []
    for kind in (kind for kind in what if kind in found):
        words = [pair for one in found[kind].values() for pair in one["changed"].values()]
        tests, turned = sum(one["tests"] for one in found[kind].values()), sum(set(pair) == opposite for pair in words)
        sentences.append(f"{what[kind]} {len(words)} of {tests} came out otherwise, {turned} of them as the opposite.")
    return " ".join(sentences)


def _miniatures() -> str:
    table = counts("miniature")
    p_values = [p for row in table for p in row.pop("p")]
    total = {key: sum(row[key] for row in table) for key in table[0] if key != "paper"}
    shown = [{key: str(value) for key, value in row.items()} for row in [*table, {"paper": "all", **total}]]
    kept = verdicts.survivors(p_values)
    return _markdown(shown, {key: key for key in shown[0]}) + (
        f"\n\nOf {len(p_values)} tests {kept} would still be beyond chance if at most one in twenty of those that are may be "
        "false (Benjamini and Hochberg, 5 %). "
        + _replicated()
        + "\n\nEach claim with its effect and control stands on its "
        "paper's page."
    )


def readme_tables() -> str:
    """The README's three: what released files show, what real weights and data show, and the miniatures counted."""
    return "\n\n".join(
        [
            "### Released files\nComputed here from files that the authors released.\n\n" + _table_of("released"),
            "### Real weights, real data\nOur own runs.\n\n" + _table_of("real"),
            "### Miniatures\nOur own runs on generated worlds. They show a direction and certify nothing: no data set, no "
            "benchmark, no product.\n\n" + _miniatures(),
        ]
    )


def page_table(slug: str) -> str:
    """What stands between a page's markers: its claims, then its data and weights."""
    columns = {"claim": "claim", "statement": "statement", "compared": "compared here", "published": "published"}
    columns |= {"effect": "effect [95 %]", "excess": "effect − control", "bases": "same on bases"}
    claims = _markdown(rows(slug), {**columns, "outcome": "outcome", "command": "command"})
    found = sources_of(slug)
    if not found:
        return claims
    heads = {"name": "source", "origin": "from", "licence": "licence", "note": "what is known of it"}
    return f"{claims}\n\n### Data and weights\n\n{_markdown(found, heads)}"


def sources_of(slug: str) -> list[dict[str, str]]:
    """One row a source of a paper: where it comes from, its licence, what is known of it."""
    table = []
    for name, source in experiments.load(slug).sources.items() if experiments.has(slug) else ():
        origins = [source.github, source.hub, source.folder, ", ".join(source.packages or ()) or None]
        origin = next(one for one in origins if one)
        table.append(
            {
                "name": name,
                "origin": f"{origin} at {source.revision[:8]}" if source.revision else origin,
                "licence": source.licence or "not found",
                "note": source.note or "–",
            }
        )
    return table


def update() -> list[Path]:
    """Rewrite the tables of the README and of every paper's page; returns the files that changed."""
    changed = [paths.ROOT / "README.md"] if _insert(paths.ROOT / "README.md", README, readme_tables()) else []
    for slug in papers.slugs():
        page = paths.paper(slug) / "README.md"
        if _insert(page, PAGE, page_table(slug)):
            changed.append(page)
    return changed


def _outcome(result: dict[str, Any] | None, claim_id: str) -> str:
    judged = (result or {}).get("claims", {}).get(claim_id)
    return f"{judged['outcome']} {interval(judged['effect'])}" if judged else "–"


def beside(chosen: Sequence[Job], profile: str) -> list[dict[str, str]]:
    """One row a claim that was judged, and one an exhibit without claims: the committed outcome, the one of the run
    below ``runs/<profile>``, and how the exhibits compare (:mod:`lib.workflow.compare`)."""
    table = []
    for slug in dict.fromkeys(job.slug for job in chosen if job.slug in papers.slugs()):
        ours = {r["exhibit"]: r for r in measured(slug) if r["profile"] == profile}
        here = {r["exhibit"]: r for r in measured(slug, paths.run_root(profile)) if r["profile"] == profile}
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
