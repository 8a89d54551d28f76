"""Generated cases: what a client of a domain tells, as slots with values, and the many ways of saying it.

A case has a problem and perhaps a thing, a time and a level. Problems have a canonical word and an everyday one, levels one
canonical and three everyday words each; the everyday words stand in the text, the canonical ones in what a sub-task should answer.
Frames (the words around a value) and values are split into those of the training pairs and the *held* ones; which values are held
is drawn anew for each world. English words where the paper has Chinese ones, because a word is one token.

>>> case = Case("health", {"problem": "cough", "time": "weeks"}); sorted(case.missing)
['level', 'thing']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lib.data.files import DataError
from lib.streams import stream

SLOTS = ("problem", "thing", "time", "level")
PRESENT = 0.75  # how often a slot other than the problem is told
EVERYDAY = 0.5  # how often a problem is told in its everyday word
HELD_VALUES = 2  # of the six problems and of the six things of a domain

# canonical problem/everyday word, six a domain; six things
_VALUES = {
    "health": (
        "cough/hacking fever/burning nausea/queasiness migraine/headache rash/spots insomnia/sleeplessness",
        "aspirin inhaler bandage syrup antibiotic insulin",
    ),
    "law": (
        "theft/stealing fraud/cheating eviction/ousting divorce/separation defamation/slander trespass/intrusion",
        "contract deed will invoice permit lease",
    ),
    "finance": (
        "debt/owing inflation/dearness loss/shortfall volatility/swings bankruptcy/ruin overdraft/minus",
        "bond fund mortgage share pension loan",
    ),
    "staffing": (
        "programming/coding negotiation/bargaining accounting/bookkeeping "
        "leadership/leading translation/interpreting design/drawing",
        "diploma certificate licence portfolio award patent",
    ),
    "service": (
        "delay/lateness queue/waiting damage/scratches noise/racket overcharge/overpricing dirt/filth",
        "refund parcel ward meal charger jacket",
    ),
    "mind": (
        "anxiety/worry grief/sorrow panic/fright loneliness/solitude anger/rage burnout/exhaustion",
        "diary therapist pills meditation hotline exercise",
    ),
    "travel": (
        "cancellation/scrapping detour/roundabout robbery/mugging storm/gale strike/walkout jetlag/grogginess",
        "visa ticket suitcase map hotel ferry",
    ),
    "school": (
        "absence/skipping plagiarism/copying bullying/teasing "
        "truancy/wandering failure/flunking distraction/daydreaming",
        "essay laptop textbook exam locker uniform",
    ),
}
DOMAINS = ("health", "law", "finance", "staffing", "service", "mind")  # the paper's six
GENERAL = ("travel", "school")  # of the general instruction pool
TIMES = ("days", "weeks", "months", "years")
LONG = ("months", "years")
GRADES = {  # canonical level, from least to most -> everyday words, the last one held
    "mild": ("slight", "faint", "gentle"),
    "moderate": ("medium", "fair", "middling"),
    "severe": ("strong", "heavy", "terrible"),
}
FRAMES = {  # the last one of each is held
    "problem": ("i have {}", "it is {}", "there was {}", "troubled by {}"),
    "thing": ("about my {}", "involving {}", "i got {}", "concerning {}"),
    "time": ("for {}", "since {}", "lasting {}", "over {}"),
    "level": ("quite {}", "really {}", "feels {}", "seems {}"),
}
FILLERS = ("hello", "please", "well", "you know", "thanks")


@dataclass(frozen=True)
class Case:
    """Domain and canonical value of each slot that is told."""

    domain: str
    values: Mapping[str, str]

    @property
    def missing(self) -> set[str]:
        return set(SLOTS) - set(self.values)


def problems(domain: str) -> dict[str, str]:
    """Canonical problem -> everyday word."""
    return dict(pair.split("/") for pair in _VALUES[domain][0].split())


def things(domain: str) -> list[str]:
    return _VALUES[domain][1].split()


@lru_cache(maxsize=256)
def known(domain: str, *, held: bool | None, world: int) -> dict[str, list[str]]:
    """Values of each open slot of a domain that training pairs may use (``held`` false), or only the tests (true), or both
    (``None``); ``world``: the seed that says which."""
    if domain not in _VALUES:
        raise DataError(f"there is no domain '{domain}'; there are {', '.join(_VALUES)}.")
    found = {}
    for slot, values in (("problem", list(problems(domain))), ("thing", things(domain))):
        order = stream(world, "held values", domain, slot).permutation(len(values))
        chosen = order if held is None else order[:HELD_VALUES] if held else order[HELD_VALUES:]
        found[slot] = [values[i] for i in sorted(chosen)]
    return found


def draw_case(domain: str, draw: np.random.Generator, *, held: bool | None, world: int) -> Case:
    """A case with a problem, and each other slot with the probability :data:`PRESENT`."""
    values = {**known(domain, held=held, world=world), "time": TIMES, "level": tuple(GRADES)}
    told = [slot for slot in SLOTS if slot == "problem" or draw.random() < PRESENT]
    return Case(domain, {slot: values[slot][draw.integers(len(values[slot]))] for slot in told})


def _of(choices: Sequence[str], held: bool | None, draw: np.random.Generator) -> str:
    """One of the choices: any, the last (held), or any but the last."""
    if held:
        return choices[-1]
    return choices[draw.integers(len(choices) - (held is not None))]


def say(case: Case, slot: str, draw: np.random.Generator, *, held: bool | None, canonical: bool = False) -> str:
    """A slot in a frame, its value as people say it, or as the canonical word."""
    value = case.values[slot]
    if not canonical and slot == "problem" and draw.random() < EVERYDAY:
        value = problems(case.domain)[value]
    elif not canonical and slot == "level":
        value = _of(GRADES[value], held, draw)
    return _of(FRAMES[slot], held, draw).format(value)


def tell(case: Case, draw: np.random.Generator, *, held: bool | None, canonical: bool = False) -> str:
    """The case as a text: slots in any order, a filler before it as often as not."""
    told = [slot for slot in SLOTS if slot in case.values]
    said = [say(case, told[i], draw, held=held, canonical=canonical) for i in draw.permutation(len(told))]
    filler = [FILLERS[draw.integers(len(FILLERS))]] if draw.random() < 0.5 else []
    return " ".join([*filler, *said])


def words() -> list[str]:
    """Every word that a case can be told with, each once."""
    texts = [*FILLERS, *TIMES, *GRADES, *(one for listed in GRADES.values() for one in listed)]
    texts += [frame.format("") for frames in FRAMES.values() for frame in frames]
    for domain in _VALUES:
        texts += [domain, *things(domain), *problems(domain), *problems(domain).values()]
    return sorted({word for text in texts for word in text.split()})
