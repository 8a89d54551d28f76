"""Reports of phantom radiographs, as a radiologist dictates them: synonyms, three styles of sentence, sides, negations.

Of every mention ``CANONICAL`` is in the words that the prompts use, so that a model of raw reports meets them too.

>>> from lib.streams import stream
>>> write_report([("mass", "left", "severe")], rng=stream(0, "report")).count(".") >= 1
True
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.carzero.findings import FINDINGS

CANONICAL = 0.15
NEGATED = 0.12  # share of the statements that deny a finding
SEVERITY = 0.6  # share of the mentions that say how severe
FIRST = 0.7  # share of the mentions by the first name of a finding that has several
STYLES = (
    "{severity}{word} {side}.",
    "There may be {severity}{word} {side}.",
    "The study shows {severity}{word} {side}, stable from prior.",
)
DENIALS = ("No evidence of {word}.", "Without {word}.", "No {word} is seen.")
NORMAL = ("The lungs are clear.", "Heart and lungs are normal.", "Normal chest.")


def _word(name: str, rng: np.random.Generator) -> str:
    finding = FINDINGS[name]
    rest = len(finding.names) - 1
    weights = [FIRST, *[(1 - FIRST) / rest] * rest] if rest else [1.0]
    said = finding.names[rng.choice(len(weights), p=weights)]
    return said if rng.random() < CANONICAL else finding.words[said][rng.integers(len(finding.words[said]))]


def write_report(shown: Sequence[tuple[str, str, str]], *, rng: np.random.Generator) -> str:
    """The impression of a picture that shows findings, each with its side ("" for none) and severity."""
    sentences = []
    for name, side, severity in shown:
        told = f"{severity} " if rng.random() < SEVERITY else ""
        where = f"on the {side}" if side else "centrally"
        text = STYLES[rng.integers(len(STYLES))].format(severity=told, word=_word(name, rng), side=where)
        sentences.append(text[0].upper() + text[1:])
    absent = sorted(set(FINDINGS) - {name for name, *_ in shown})
    for _ in range(rng.binomial(max(1, len(shown)), NEGATED / (1 - NEGATED))):
        word = _word(absent[rng.integers(len(absent))], rng)
        sentences.append(DENIALS[rng.integers(len(DENIALS))].format(word=word))
    if not shown:
        sentences.insert(0, NORMAL[rng.integers(len(NORMAL))])
    return " ".join(sentences[i] for i in rng.permutation(len(sentences)))
