"""The least folder of a new paper that every check accepts: facts, profiles, page and code, each to be filled.

>>> refusal("Not a name")
"'Not a name' is no name for a paper; take a word of small letters, digits and _ that begins with a letter"
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from lib.workflow import experiments, paths

PAPER_YML = """\
# Facts of the paper: what it claims, how each claim is tested, and every number its authors printed.
# null = not found. Numbers measured by this project are in results/*.json, never here.
slug: {slug}
short: {slug}
title: TODO the title
authors: [TODO the first author]
year: 2000
venue: null
arxiv: null

code: {{name: TODO the released code, url: null, revision: null, licence: null}}
data: []
models: []

claims:
  - id: C1
    statement: TODO what the paper claims, in one sentence that can fail.
    source: paper
    evidence: [miniature, real]
    quantity: TODO what is measured
    direction: higher
    margin: 0.0
    arms: {{treatment: treatment, baseline: baseline}}
    control:
      arms: {{treatment: shuffled, baseline: baseline}}
      reason: TODO why this arm shares everything with the treatment but the cause
    exhibit: tab_first
    published: []

published: {{}}
"""
EXPERIMENTS_YML = """\
# The settings of each profile, shared by the paper's notebooks; then each notebook with its claims and minutes:
#   tab_first: {question: "...", claims: [C1], minutes: {smoke: 0.1, mini: 1}, parameters: {smoke: {seeds: 1}}}
stands_on: {smoke: miniature, mini: miniature}
profiles:
  smoke: {machine: {device: cpu}, verdicts: false}
  mini: {machine: {device: cpu}}

experiments: {}
"""
README_MD = """\
# TODO the title

TODO authors, venue, links. Citation, licences, claims and every published number: [`paper.yml`](paper.yml).

## What the paper says

## Method in brief

## Deviations

## Outcomes
<!-- verdicts:begin -->
<!-- verdicts:end -->
"""
STUDY_PY = '''"""What the study of {slug} builds from what: generated data, arms, measures.

Functions ``build(folder, **arguments)`` each fill one artefact of the cache; ``prepare(run)`` hands a notebook its arms.
"""
'''


class NewPaperError(ValueError):
    """A name that cannot be a paper's, or that is one already."""


def refusal(slug: str) -> str | None:
    """Why there can be no new paper of this name, in one sentence; ``None`` when there can."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug) or keyword.iskeyword(slug):
        return f"'{slug}' is no name for a paper; take a word of small letters, digits and _ that begins with a letter"
    if paths.paper(slug).exists():
        return f"{paths.relative(paths.paper(slug))} exists already; work there, or take another name"
    return None


def create(slug: str) -> list[Path]:
    """Write ``papers/<slug>``; returns its files. Raises :class:`NewPaperError` and writes nothing for a wrong name."""
    if reason := refusal(slug):
        raise NewPaperError(reason)
    contents = {
        "paper.yml": PAPER_YML.format(slug=slug),
        "experiments.yml": EXPERIMENTS_YML,
        "README.md": README_MD,
        "__init__.py": "",
        "study.py": STUDY_PY.format(slug=slug),
    }
    for name, content in contents.items():
        paths.write(paths.paper(slug) / name, content)
    experiments.load(slug)  # what is written passes the schema
    return [paths.paper(slug) / name for name in contents]
