"""LawBench's metrics, written from their definition: what a free text answers, and how far that is the gold answer.

All scores are 0 to 1. Texts are read as the benchmark reads them: a label counts as answered when it stands anywhere in the
text. So a text that names every option answers with all of them, and one with none has abstained.

accuracy       1 when the one label named is the right one and no other label is named
F1             of the set of labels named against the gold set
soft-F1        entities by type: the character F1 of each type that both have, summed; F1 over the numbers of types
rc-F1          F1 of the characters of two texts (letters and digits, lower case), as bags
log-distance   1 - |ln(gold + 1) - ln(months + 1)| / ln 216; an abstention is at distance ln 216 (LawBench, section 3.3)

>>> f1({"盗窃"}, {"盗窃", "诈骗"})
0.6666666666666666
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

FARTHEST = math.log(216)  # of an abstention: 18 years, in months
NOTHING = ("无", "未提及")  # "none", "not mentioned": an entity that a model says is not there

_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_NUMERAL = re.compile(f"[{''.join([*_DIGITS, *_UNITS])}]+(?=个?月|年)")


@dataclass(frozen=True)
class Scored:
    """The score of an answer (0 to 1), and whether there was an answer at all."""

    score: float
    answered: bool


def named(text: str, labels: Collection[str]) -> set[str]:
    """The labels that stand somewhere in a text."""
    return {label for label in labels if label in text}


def f1(found: Collection[str], gold: Collection[str]) -> float:
    """F1 of two sets; 0 when they share nothing, also when both are empty."""
    shared = len(set(found) & set(gold))
    return 2 * shared / (len(set(found)) + len(set(gold))) if shared else 0.0


def choose_one(text: str, labels: Collection[str], gold: str) -> Scored:
    """Accuracy of a single choice among labels."""
    found = named(text, labels)
    return Scored(float(found == {gold}), bool(found))


def choose_some(text: str, labels: Collection[str], gold: Collection[str]) -> Scored:
    """F1 of a choice of several labels."""
    found = named(text, labels)
    return Scored(f1(found, gold), bool(found))


def character_f1(first: str, second: str) -> float:
    """F1 of the letters and digits of two texts as bags; 1 when both have none.

    >>> character_f1("现金1500元", "1500元")
    0.8333333333333334
    """
    bags = [Counter(c for c in text.lower() if c.isdigit() or c.isalpha()) for text in (first, second)]
    if not all(bags):
        return float(bags[0] == bags[1])
    shared = (bags[0] & bags[1]).total()
    return 2 * shared / (bags[0].total() + bags[1].total())


def entities(text: str, types: Collection[str]) -> dict[str, str]:
    """What a text gives for each type: behind ``type:`` or ``type：``, up to a blank or the end of the line; the last one counts.

    A single last character of the text is not read, nor are the words for nothing.
    """
    found = {}
    for kind in types:
        for match in re.finditer(re.escape(kind) + "[:：]", text):
            if match.end() >= len(text) - 1:
                continue
            entity = re.split("[\n ]", text[match.end() :].strip())[0].strip()
            if entity not in NOTHING:
                found[kind] = entity
    return found


def extract(text: str, types: Collection[str], gold: Mapping[str, str]) -> Scored:
    """soft-F1 of the entities in a text. Where nothing is to be found, finding nothing is right."""
    found = entities(text, types)
    if not gold:
        return Scored(float(not found), True)
    shared = sum(character_f1(gold[kind], entity) for kind, entity in found.items() if kind in gold)
    return Scored(2 * shared / (len(found) + len(gold)), bool(found))


def numeral(text: str) -> int:
    """The number that Chinese numerals below ten thousand say, with units or digit by digit.

    >>> numeral("一百二十"), numeral("十八"), numeral("二〇")
    (120, 18, 20)
    """
    if not any(character in _UNITS for character in text):
        return int("".join(str(_DIGITS[character]) for character in text))
    total, digit = 0, None
    for character in text:
        if character in _UNITS:
            total, digit = total + (1 if digit is None else digit) * _UNITS[character], None
        else:
            digit = _DIGITS[character]
    return total + (digit or 0)


def months(text: str) -> int | None:
    """The prison term that a text says: its first number of months (``个月`` before ``月``), else of years; ``None``: neither.

    >>> months("判处有期徒刑三年"), months("[刑期]3年6个月<eoa>"), months("死刑")
    (36, 6, None)
    """
    text = _NUMERAL.sub(lambda match: str(numeral(match[0])), text)
    for pattern, length in (("([0-9]+)个月", 1), ("([0-9]+)月", 1), ("([0-9]+)年", 12)):
        if match := re.search(pattern, text):
            return int(match[1]) * length
    return None


def closeness(found: int | None, gold: int) -> float:
    """Normalised log-distance of two prison terms in months, 1 when they are equal; below 0 for terms beyond all measure."""
    return 0.0 if found is None else 1 - abs(math.log(gold + 1) - math.log(found + 1)) / FARTHEST


def sentence(text: str, gold: int) -> Scored:
    """Normalised log-distance of the prison term in a text."""
    found = months(text)
    return Scored(closeness(found, gold), found is not None)
