"""What the generated volumes show, how their short reports say it, and the labeller that reads findings out of any report.

Six of CT-RATE's labels, each as :mod:`lib.data.chest_ct` draws it, but more frequent and in the upper half of its severity:
a miniature of 15 mm voxels shows nothing smaller. A report has one sentence a finding, always in this order.

>>> label_report("Lung nodule not seen. Consolidation in the left lower lobe.", ["Lung nodule", "Consolidation"])
[False, True]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lib.data.chest_ct.findings import FINDINGS, LEXICON, LOCATION_WORDS

SHOWN = (
    "Lung opacity",
    "Consolidation",
    "Atelectasis",
    "Pleural effusion",
    "Cardiomegaly",
    "Medical material",
)
RATE = 0.35  # of each finding, independently
LEAST_SEVERITY = 0.5
_DENIAL = re.compile(r"\b(no|not|without|neither|nor|free of|absence|absent|negative for|ruled out)\b", re.IGNORECASE)


def place_words(zone: str) -> str:
    """Where a zone is, in the first of its phrases: ``in the right upper lobe``."""
    return LOCATION_WORDS[zone][0]


def side_of(name: str, zone: str) -> str | None:
    """``right`` or ``left``, of findings that have a side."""
    sides = {word for one in FINDINGS[name].zones for word in ("right", "left") if one.startswith(word)}
    return next((side for side in ("right", "left") if len(sides) == 2 and zone.startswith(side)), None)


def level_of(name: str, zone: str) -> str | None:
    """``upper`` or ``lower``, of findings that can be in either lobe."""
    levels = {word for one in FINDINGS[name].zones for word in ("upper", "lower") if word in one}
    return next((level for level in ("upper", "lower") if len(levels) == 2 and level in zone), None)


def write_report(observed: Mapping[str, str]) -> str:
    """The report of ``observed`` (finding -> zone): each finding with its place, or denied."""
    said = [f"{name} {place_words(observed[name]) if name in observed else 'not seen'}." for name in SHOWN]
    return " ".join(said)


def label_report(report: str, names: Sequence[str], lexicon: Mapping[str, Sequence[str]] = LEXICON) -> list[bool]:
    """Which of ``names`` a report affirms: a sentence names it by any of its phrases, and denies nothing before it."""
    found = set()
    for sentence in re.split(r"(?<=[.!?;])\s+|\n", report.lower()):
        denial = _DENIAL.search(sentence)
        for name in names:
            for phrase in (name.lower(), *lexicon.get(name, ())):
                at = re.search(rf"\b{re.escape(phrase.lower())}\b", sentence)
                if at and not (denial and _denied(sentence, denial, at)):
                    found.add(name)
    return [name in found for name in names]


def _denied(sentence: str, denial: re.Match, at: re.Match) -> bool:
    """Whether a denial reaches a mention: no turn ("but", "however") between them; one after the mention denies it too."""
    low, high = sorted((denial.start(), at.start()))
    turned = re.search(r"\b(but|however|although)\b|,.*\b(is|are)\b", sentence[low:high])
    without_after = denial.group(1) == "without" and at.start() < denial.start()
    return not turned and not without_after
