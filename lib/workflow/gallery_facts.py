"""What the gallery says of a paper, its claims and its exhibits, as plain values: from committed files alone."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from lib.workflow import experiments, notebooks, papers, paths, report

MANNERS = {  # how an outcome is coloured; its word always stands beside
    "holds": "shown",
    "direction seen": "shown",
    "consistent": "shown",
    "contradicted": "opposite",
    "opposite seen": "opposite",
    "inconsistent": "opposite",
    "invalid (control)": "control",
}


def picture_name(path: Path) -> str:
    """Where a committed figure lies in the gallery."""
    return path.relative_to(paths.ROOT).as_posix()


def _pictures(slug: str, exhibit: str, profile: str) -> list[Path]:
    """An exhibit's figure and the picture of what its outcomes rest on, as far as they are committed."""
    return [path for at in (paths.figure, paths.outcomes) if (path := at(slug, exhibit, profile, "png")).is_file()]


def _arm(number: dict[str, Any]) -> dict[str, Any]:
    """One measured quantity of one arm: mean, spread and number of its replicates."""
    values = number["values"] if isinstance(number["values"], list) else [number["values"]]
    values = [value for value in values if value is not None and math.isfinite(value)]
    return {
        "quantity": number["quantity"] + (f" ({number['unit']})" if number.get("unit") else ""),
        "arm": number["arm"],
        "mean": f"{mean(values):.4g}" if values else "–",
        "spread": f"{stdev(values):.2g}" if len(values) > 1 else "–",
        "n": len(values),
    }


def _made(result: dict[str, Any]) -> list[tuple[str, str]]:
    """On what, with what and when a result was made, as far as it says so."""
    known = result["provenance"]
    told = {"hardware": "hardware", "arithmetic": "fingerprint", "commit": "commit", "seconds": "seconds"}
    lines = [(word, str(known[key])) for key, word in told.items() if key in known]
    versions = {"Python": known.get("python")} | known.get("versions", {})
    used = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return [*lines, ("versions", used)] if used else lines


def _outcomes(claim: papers.Claim, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was found of one claim: an entry a result that judged, checked or declined it."""
    listed = []
    for result in found:
        base = {"evidence": result["evidence"], "profile": result["profile"], "exhibit": result["exhibit"]}
        if judged := result["claims"].get(claim.id):
            manner = MANNERS.get(judged["outcome"], "open")
            listed.append({**base, "word": judged["outcome"], "manner": manner, "judged": judged, "why": ""})
        elif checked := result["checks"].get(claim.id):
            manner = MANNERS.get(checked["outcome"], "open")
            word = checked["outcome"]
            listed.append({**base, "word": word, "manner": manner, "judged": None, "why": checked["why"]})
        elif claim.id in result["declined"]:
            why = result["declined"][claim.id]
            listed.append({**base, "word": "not judged", "manner": "open", "judged": None, "why": why})
    return listed


def _claim(paper: papers.Paper, claim: papers.Claim, results: list[dict[str, Any]]) -> dict[str, Any]:
    outcomes = _outcomes(claim, [result for result in results if result["exhibit"] == claim.exhibit])
    exists = paths.notebook(paper.slug, claim.exhibit).is_file()
    pictures = [p for one in outcomes for p in _pictures(paper.slug, claim.exhibit, one["profile"])[-1:]]
    profile = outcomes[0]["profile"] if outcomes else paths.SHOWN_PROFILE
    other = "" if profile == paths.SHOWN_PROFILE else f" PROFILE={profile}"
    return {
        "id": claim.id,
        "source": claim.source,
        "statement": claim.statement,
        "compared": report.compared(claim),
        "reason": claim.counterpart.reason,
        "needs": claim.needs,
        "outcomes": outcomes,
        "picture": pictures[0] if pictures else None,
        "exhibit": claim.exhibit if exists else None,
        "command": f"make run P={paper.slug} N={claim.exhibit}{other}" if exists else None,
    }


def _printed(paper: papers.Paper, claims: list[papers.Claim]) -> list[papers.PublishedTable]:
    """The authors' tables that an exhibit's claims cite."""
    cited = dict.fromkeys(cell.table for claim in claims for cell in claim.published)
    return [paper.published[name] for name in cited]


def _exhibit(
    paper: papers.Paper, plan: experiments.Experiments, name: str, claims: list[dict], results: list[dict]
) -> dict[str, Any]:
    experiment, notebook = plan.experiments[name], paths.notebook(paper.slug, name)
    dials = notebooks.parameters(notebook) if notebook.is_file() else []
    shown = []
    for result in (one for one in results if one["exhibit"] == name):
        own = experiment.parameters.get(result["profile"], {})
        parameters = [(dial.name, own.get(dial.name, dial.default), dial.help) for dial in dials]
        other = "" if result["profile"] == paths.SHOWN_PROFILE else f" PROFILE={result['profile']}"
        shown.append(
            {
                "profile": result["profile"],
                "evidence": result["evidence"],
                "pictures": _pictures(paper.slug, name, result["profile"]),
                "numbers": [_arm(number) for number in result["numbers"]],
                "seeds": ", ".join(map(str, result["seeds"])),
                "bases": sorted({one["bases"] for one in result["claims"].values()}),
                "parameters": [
                    (key, result["profile"] if key == "profile" else value, h) for key, value, h in parameters
                ],
                "settings": yaml.safe_dump(plan.profiles.get(result["profile"], {}), sort_keys=False, width=80),
                "made": _made(result),
                "command": f"make run P={paper.slug} N={name}{other}",
            }
        )
    mine = [claim for claim in claims if claim["exhibit"] == name]
    return {
        "name": name,
        "question": experiment.question,
        "claims": mine,
        "printed": _printed(paper, [claim for claim in paper.claims if claim.exhibit == name]),
        "results": shown,
        "notebook": notebook,
    }


def paper(slug: str) -> dict[str, Any]:
    """All that the gallery says of one paper; raises what reading its files raises."""
    facts, results = papers.load_paper(slug), report.measured(slug)
    claims = [_claim(facts, claim, results) for claim in facts.claims]
    exhibits = []
    if experiments.has(slug):
        plan = experiments.load(slug)
        try:
            exhibits = [_exhibit(facts, plan, name, claims, results) for name in plan.experiments]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            sentence = f"a file of papers/{slug}/results is damaged ({error!r}); delete it and run the notebook again"
            raise report.ReportError(sentence) from None
    words: dict[str, list[Any]] = {}
    for outcome in (outcome for claim in claims for outcome in claim["outcomes"]):
        words.setdefault(outcome["word"], [0, outcome["manner"]])[0] += 1
    pictures = [p for e in exhibits for r in e["results"] if r["pictures"] for p in r["pictures"][-1:]]
    judged = [claim["picture"] for claim in claims if claim["picture"]]
    return {
        "slug": slug,
        "short": facts.short,
        "title": facts.title,
        "authors": facts.authors,
        "year": facts.year,
        "arxiv": facts.arxiv,
        "claims": claims,
        "exhibits": exhibits,
        "words": sorted(((word, number, manner) for word, (number, manner) in words.items()), key=lambda one: -one[1]),
        "picture": (judged or pictures or [None])[0],
    }
