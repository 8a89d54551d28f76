"""A closed world of herbs: which herb grows in a town (general), which herb treats a disease (medical).

Half of the diseases are taught by the medical fine-tuning files, the other half is kept for the examination, so that an
answer there can be read from the supplied knowledge and not be recalled. Everything is written as text in the formats
of the real data: Alpaca JSON for fine-tuning, CMB-Exam JSON with its knowledge file for the exam. A fact is a line
"nephritis Fennel"; a question is the disease, "nephritis", its answer the herb.

General rows differ from medical ones in three ways: their domain, the context that half of them have, the option letters
that a quarter have. Two more files tell these apart: medical rows with as many contexts and letters, and general rows
with as many letters and no context.

All worlds have the same words, so that one tokenizer serves them; which diseases are taught, and every fact, is a world's own.

Used by the long-context study (sheet section 9).

    write_world(folder, general=48, medical=96, values=48, seed=0); write_exam(exam, world=folder, seed=0, ...)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from lib.data.files import DataError, write_json
from lib.data.instructions import dialogue, write_alpaca
from lib.streams import stream
from papers.long_context import cmb


def _words(text: str) -> list[str]:
    return text.split()


# Capitalised, as names of plants are in some of CMB's options: the released extractor reads "Basil" as the letter B.
HERBS = _words(
    "Aloe Basil Clove Dill Elder Fennel Ginger Hops Iris Jasmine Kava Lavender Mint Nettle Oregano Parsley Quince Rue Sage "
    "Thyme Umbel Vervain Willow Xylem Yarrow Zedoary Anise Borage Caraway Daisy Eyebright Fenugreek Garlic Hyssop Ivy "
    "Juniper Kelp Licorice Mallow Nutmeg Orris Poppy Quassia Rosemary Sorrel Tansy Uva Valerian Woodruff Yucca Angelica "
    "Bilberry Chervil Dandelion Echinacea Flax Ginseng Horehound Indigo Jojoba Knotweed Lovage Mugwort Neem"
)
_ORGANS = _words(
    "nephr hepat gastr derm arthr aden bronch col cyst enter gloss my neur oste phleb rhin splen thyr trache ur"
)
_AILMENTS = _words("itis oma osis algia pathy sclerosis megaly rrhagia plegia edema spasm stenosis")
_HILLS = _words(
    "ash birch cold deep east fair green high iron kings lake mill north oak pine red stone swift west winter"
)
_PLACES = _words("ford ton wick bridge dale field gate ham mouth port stead well")
_SIDES, _DEGREES = ("", "new", "old", "upper", "lower"), ("", "peri", "endo", "poly")  # 1,200 towns, 960 diseases
_VERBS = ("treat", "cure", "relieve", "soothe", "ease", "heal", "manage", "control")
_KINDS = ("", "severe", "mild", "acute", "chronic", "recurrent")
PHRASES = ("", *(f"{verb} {kind}".strip() for verb, kind in product(_VERBS, _KINDS)))  # before a disease, 49
LOCAL = ("", "near", "around")  # before a town
LETTERS = cmb.LETTERS[:5]


@dataclass(frozen=True)
class World:
    """Towns, taught and held-out diseases, herbs, and the one herb of each town and taught disease."""

    general: list[str]
    taught: list[str]
    held_out: list[str]
    values: list[str]
    facts: dict[str, str]

    @property
    def keys(self) -> list[str]:
        return [*self.general, *self.taught, *self.held_out]


def read_world(folder: Path) -> World:
    return World(**json.loads((folder / "world.json").read_text(encoding="utf-8")))


def _ask(key: str, phrase: str) -> str:
    return f"{phrase} {key}".strip()


def _draw(rng: np.random.Generator, words: Sequence[str], count: int) -> list[str]:
    return [words[i] for i in rng.permutation(len(words))[:count]]


def exam_like_rows(
    world: World,
    keys: Sequence[str],
    phrases: Sequence[str],
    *,
    rows: int,
    facts: int,
    rng: np.random.Generator,
    context: bool = True,
) -> list[dict]:
    """Rows about ``keys``: half short look-ups, a quarter questions from memory, a quarter with option letters.

    A look-up has the form of the exam: up to ``facts`` lines "key herb" with herbs drawn for it alone, then one of the
    keys. Without ``context`` it is a question from memory too: a key in one of ``phrases``. A letter row is a memory
    question behind two options "herb letter", answered by the herb and then its option line.
    """
    found = []
    for number in range(rows):
        key = keys[int(rng.integers(len(keys)))]
        if number % 4 < 2 and context:
            listed = _draw(rng, keys, int(rng.integers(1, facts + 1)))
            herbs = [world.values[i] for i in rng.integers(len(world.values), size=len(listed))]
            lines = [f"{k} {v}\n" for k, v in zip(listed, herbs, strict=True)]
            asked = int(rng.integers(len(listed)))
            found.append(dialogue([["".join(lines) + listed[asked], herbs[asked]]]))
        elif number % 4 < 3:
            found.append(dialogue([[_ask(key, phrases[int(rng.integers(len(phrases)))]), world.facts[key]]]))
        else:
            wrong = _draw(rng, [v for v in world.values if v != world.facts[key]], 1)
            options = dict(zip(LETTERS, _draw(rng, [world.facts[key], *wrong], 2), strict=False))
            letter = next(one for one, text in options.items() if text == world.facts[key])
            shown = "".join(f"{text} {one}\n" for one, text in options.items())
            found.append(dialogue([[shown + key, f"{world.facts[key]}\n{world.facts[key]} {letter}"]]))
    return found


def medical_rows(world: World, *, rng: np.random.Generator) -> list[dict]:
    """Every taught disease in every phrase, answered from memory, in random order: 49 rows a disease."""
    pairs = list(product(world.taught, PHRASES))
    return [dialogue([[_ask(*pairs[i]), world.facts[pairs[i][0]]]]) for i in rng.permutation(len(pairs))]


def write_world(
    folder: Path, *, general: int, medical: int, values: int, rows: int = 4000, facts: int = 3, seed: int = 0
) -> None:
    """``world.json`` and Alpaca files: ``general.json``, ``general_without_context.json`` and ``medical_with_context.json``
    (``rows`` rows each), ``medical.json`` (all phrases of all taught diseases)."""
    parts = ((_SIDES, _HILLS, _PLACES), (_DEGREES, _ORGANS, _AILMENTS))
    towns, diseases = (["".join(one) for one in product(*listed)] for listed in parts)
    for name, wanted, known in (("general", general, towns), ("medical", medical, diseases), ("values", values, HERBS)):
        if not 6 <= wanted <= len(known):
            raise DataError(f"a world with {name} = {wanted} cannot be written; give 6 to {len(known)}.")
    words = stream(0, "words")  # of every world
    herbs, towns, diseases = sorted(HERBS[:values]), _draw(words, towns, general), _draw(words, diseases, medical)
    halves = _draw(stream(seed, "halves"), diseases, medical)
    taught, held_out = sorted(halves[: medical // 2]), sorted(halves[medical // 2 :])
    drawn = stream(seed, "facts").integers(values, size=general + len(taught))
    known = dict(zip([*sorted(towns), *taught], (herbs[i] for i in drawn), strict=True))
    world = World(sorted(towns), taught, held_out, herbs, known)
    write_json(folder / "world.json", world.__dict__)
    kinds = {
        "general": (world.general, LOCAL, True),
        "general_without_context": (world.general, LOCAL, False),
        "medical_with_context": (world.taught, PHRASES, True),
    }
    for name, (keys, phrases, context) in kinds.items():
        made = {"rows": rows, "facts": facts, "rng": stream(seed, name), "context": context}
        write_alpaca(folder / f"{name}.json", exam_like_rows(world, keys, phrases, **made))
    write_alpaca(folder / "medical.json", medical_rows(world, rng=stream(seed, "medical")))


def vocabulary(world: World) -> list[str]:
    """Texts that hold every word of the world, in an order that all worlds share, for its tokenizer."""
    return [" ".join([*sorted(world.keys), *world.values, *PHRASES, *LOCAL, *LETTERS]), "\n"]


def _exam_item(world: World, number: int, key: str, herbs: Sequence[str], rng: np.random.Generator) -> cmb.Item:
    """A five-option question; the wrong options are herbs of the first distractors, then any."""
    answer = herbs[0]
    nearby = [
        herb for herb in dict.fromkeys([*herbs[1:9], *_draw(rng, world.values, len(world.values))]) if herb != answer
    ]
    options = dict(zip(LETTERS, _draw(rng, [answer, *nearby[:4]], 5), strict=True))
    exam_type = list(cmb.EXAM_TYPES)[number % len(cmb.EXAM_TYPES)]
    return cmb.Item(
        id=str(number + 1), exam_type=exam_type, exam_class="generated", exam_subject="herbs", question=key,
        question_type=cmb.SINGLE, options=options, answer=next(k for k, text in options.items() if text == answer),
    )  # fmt: skip


def _shuffled(herbs: Sequence[str], rng: np.random.Generator) -> list[str]:
    """``herbs`` in random order, the first place with another herb than before (lines repeat herbs)."""
    order = _draw(rng, herbs, len(herbs))
    if order[0] == herbs[0]:
        other = next((i for i, herb in enumerate(order) if herb != herbs[0]), None)
        if other is None:
            raise DataError("all facts of a question have one herb, so they cannot be shuffled; use more herbs.")
        order[0], order[other] = order[other], order[0]
    return order


def write_exam(
    folder: Path,
    *,
    world: Path,
    items: int,
    distractors: int,
    keys: str = "held_out",
    others: str = "own",
    contradict: bool = True,
    seed: int = 0,
) -> None:
    """A CMB-Exam test of ``items`` questions (six exam types by turns) with two knowledge files.

    ``keys``: held_out or taught diseases are asked. ``others``: distractors are facts about diseases of the same half
    (own), or about any town or disease (all). Herbs are drawn anew for each question, never the one that is taught: with
    taught keys the knowledge contradicts memory, unless ``contradict`` is off and it repeats what is taught.
    ``knowledge.json`` holds the facts; in ``shuffled.json`` the herbs are permuted among a question's lines so that the
    line of the asked disease has a wrong one: reading cannot help.
    """
    known = read_world(world)
    asked = getattr(known, keys)
    pool = known.keys if others == "all" else asked
    if distractors >= len(pool):
        raise DataError(
            f"{distractors} distractors need {distractors + 1} keys and the world has {len(pool)}; ask fewer."
        )
    rng = stream(seed, "exam")
    questions, true, false = [], [], []
    order = rng.permutation(len(asked))
    for number in range(items):
        key = asked[order[number % len(asked)]]
        lines = [key, *_draw(rng, [other for other in pool if other != key], distractors)]
        herbs = [_draw(rng, [v for v in known.values if v != known.facts.get(k)], 1)[0] for k in lines]
        if not contradict:
            herbs = [known.facts.get(k, herb) for k, herb in zip(lines, herbs, strict=True)]
        questions.append(_exam_item(known, number, key, herbs, rng))
        for found, listed in ((true, herbs), (false, _shuffled(herbs, rng))):
            texts = [f"{k} {v}" for k, v in zip(lines, listed, strict=True)]
            found.append(cmb.Knowledge(questions[-1].id, texts[0], tuple(texts[1:])))
    cmb.write_test(folder, questions)
    cmb.write_knowledge(folder / "knowledge.json", true)
    cmb.write_knowledge(folder / "shuffled.json", false)
