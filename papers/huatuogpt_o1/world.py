"""The generated medicine: diseases that share findings, and what is known of each, under two names a value.

Every disease has some of few findings, so that one finding fits many diseases and three fit one or two; of each its cause,
treatment and complication are known. A question names three findings and asks for one of these: the answer takes two
hops. Each value has two names, so that comparing words calls half of the right answers wrong, by construction of *language*.

>>> world = draw_world(Sizes(diseases=8, findings=6, each=3, shared=2, values=4), seed=0)
>>> len(world.diseases), len(world.diseases[0].findings), len(world.values["treatment"])
(8, 3, 4)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lib.streams import stream

ATTRIBUTES = ("cause", "treatment", "complication")
FINDINGS = (
    "fever", "cough", "rash", "nausea", "tremor", "edema", "fatigue", "pallor", "thirst", "vertigo", "jaundice", "anemia",
    "itching", "dyspnea", "weakness", "headache",
)  # fmt: skip
ASKED = 3  # findings that a question names
_ENDINGS = {"disease": "osis", "cause": "virus", "treatment": "mab", "complication": "emia"}
_ONSETS, _VOWELS = list("bdfgklmnprstvz"), list("aeiou")


@dataclass(frozen=True)
class Sizes:
    """``diseases``, each with ``each`` of the first ``findings``; two diseases share ``shared`` at most. ``values``: of an
    attribute."""

    diseases: int
    findings: int
    each: int
    shared: int
    values: int

    def __post_init__(self) -> None:
        if not ASKED <= self.each < self.findings <= len(FINDINGS) or self.values < 4 or self.diseases < 2:
            raise ValueError(
                f"{self}: a disease needs {ASKED} findings or more, fewer than there are; there are at most "
                f"{len(FINDINGS)}, and a question needs four values"
            )


@dataclass(frozen=True)
class Disease:
    """``findings`` in the world's order; ``known``: attribute -> number of its value."""

    name: str
    findings: tuple[str, ...]
    known: dict[str, int]


@dataclass(frozen=True)
class World:
    """``values``: attribute -> the two names of each value."""

    findings: tuple[str, ...]
    diseases: tuple[Disease, ...]
    values: dict[str, tuple[tuple[str, str], ...]]

    def fitting(self, findings: tuple[str, ...] | list[str]) -> list[int]:
        """The diseases that have all of ``findings``."""
        return [number for number, one in enumerate(self.diseases) if set(findings) <= set(one.findings)]

    def names(self, disease: int, attribute: str) -> tuple[str, str]:
        """Both names of what is known of a disease."""
        return self.values[attribute][self.diseases[disease].known[attribute]]

    def aliases(self) -> dict[str, tuple[str, str]]:
        """Each name of a value -> both names of it."""
        return {name: pair for pairs in self.values.values() for pair in pairs for name in pair}


@dataclass(frozen=True)
class Case:
    """A question of two hops: three findings of a disease, and what is asked of it. ``name``: which name its answer bears."""

    disease: int
    findings: tuple[str, str, str]
    attribute: str
    name: int = 0

    def text(self) -> str:
        first, second, third = self.findings
        return f"A patient has {first}, {second} and {third}. Which {self.attribute}?"


def _names(rng: np.random.Generator, count: int, ending: str, taken: set[str]) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        name = "".join(str(rng.choice(_ONSETS)) + str(rng.choice(_VOWELS)) for _ in range(2)) + ending
        if name not in taken:
            taken.add(name)
            found.append(name)
    return found


def draw_world(sizes: Sizes, *, seed: int) -> World:
    """The world of a seed. Raises ``ValueError`` when so many diseases do not fit so few findings."""
    rng, taken = stream(seed, "world"), set(FINDINGS)
    findings = FINDINGS[: sizes.findings]
    sets: list[frozenset[str]] = []
    for place in rng.permutation(list(combinations(range(len(findings)), sizes.each))):
        one = frozenset(findings[k] for k in place)
        if len(sets) < sizes.diseases and all(len(one & other) <= sizes.shared for other in sets):
            sets.append(one)
    if len(sets) < sizes.diseases:
        raise ValueError(f"{len(sets)} diseases fit {sizes}; allow more shared findings, or ask for fewer diseases")
    values = {}
    for attribute in ATTRIBUTES:
        names = _names(rng, 2 * sizes.values, _ENDINGS[attribute], taken)
        values[attribute] = tuple(zip(names[::2], names[1::2], strict=True))
    called = _names(rng, sizes.diseases, _ENDINGS["disease"], taken)
    diseases = tuple(
        Disease(
            name,
            tuple(f for f in findings if f in one),
            {attribute: int(rng.integers(sizes.values)) for attribute in ATTRIBUTES},
        )
        for name, one in zip(called, sets, strict=True)
    )
    return World(findings, diseases, values)


def cases(world: World) -> list[Case]:
    """Every question of two hops: disease x three of its findings x attribute, ambiguous ones among them."""
    return [
        Case(number, chosen, attribute)
        for number, one in enumerate(world.diseases)
        for chosen in combinations(one.findings, ASKED)
        for attribute in ATTRIBUTES
    ]


def answers(world: World, case: Case) -> set[int]:
    """The values that a question's findings allow: more than one, and the question is ambiguous."""
    return {world.diseases[one].known[case.attribute] for one in world.fitting(case.findings)}
