"""Reports rewritten into one sentence a finding, "There is moderate pleural effusion.": what the paper lets a language model do.

Here a rule that knows the generator's phrases does it, without an error and from the report's text alone; ``with_errors``
drops and exchanges sentences of any rewritten report, real ones too.

>>> rewrite("Severe bulky growth on the left. No evidence of broken rib.")
'There is severe pulmonary mass. There is no bone fracture.'
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lib.streams import stream
from papers.carzero.findings import FINDINGS, SEVERITIES

NOTHING = "There is no abnormality."
_NAMES = {
    phrase: name
    for finding in FINDINGS.values()
    for name, words in finding.words.items()
    for phrase in (name, *words)
}  # fmt: skip
_PHRASE = re.compile("|".join(sorted(map(re.escape, _NAMES), key=len, reverse=True)))
_DENIED = re.compile(r"\b(no|without)\b")


def rewrite(report: str) -> str:
    """ "There is [severity | no] [finding]." for each statement of a report; what names nothing says that nothing is there."""
    said = []
    for sentence in report.lower().split("."):
        match = _PHRASE.search(sentence)
        if match is None:
            continue
        name = _NAMES[match[0]]
        if _DENIED.search(sentence):
            said.append(f"There is no {name}.")
            continue
        degree = next((word for word in SEVERITIES if re.search(rf"\b{word}\b", sentence)), "")
        said.append(f"There is {degree + ' ' if degree else ''}{name}.")
    return " ".join(said or [NOTHING])


def with_errors(sentences: Sequence[Sequence[str]], *, drop: float, mislabel: float, seed: int) -> list[list[str]]:
    """The sentences of every study, of which a share is dropped and a share exchanged for a sentence of another study.

    A study keeps at least one sentence. ``drop`` and ``mislabel`` are shares in [0, 1] whose sum is 1 at most.
    """
    rng, pool = stream(seed, "errors of the rewriter"), [one for study in sentences for one in study]
    found = []
    for study in sentences:
        kept = []
        for sentence, fate in zip(study, rng.random(len(study)), strict=True):
            if fate >= drop:
                kept.append(pool[rng.integers(len(pool))] if fate < drop + mislabel else sentence)
        found.append(kept or [study[rng.integers(len(study))]])
    return found
