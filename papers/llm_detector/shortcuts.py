"""What tells human and machine texts apart without reading: one detector a shortcut, on the corpus as it is and as it is used.

*As it is*: read, duplicates and form kept, lengths not matched. *As used*: as the profile's ``corpus`` says. *Without marks*: as
used, less all punctuation. A shortcut above chance in the first is what a detector would have learnt there; one above chance as
used is named, because every detector that reads the texts has it.

    audit = prepare(run); audit.found["as used"].nulls(list(SHORTCUTS))
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.streams import stream_seed
from lib.workflow.session import Run
from papers.llm_detector import audit, baselines, bases, measures, split
from papers.llm_detector.found import SHUFFLED, Case, Found
from papers.llm_detector.split import IN_DOMAIN, Holdout
from papers.llm_detector.texts import HUMAN, Text, read_texts

AS_IT_IS, AS_USED, UNMARKED = "as it is", "as used", "without marks"
SHORTCUTS = ("length", "punctuation", "typos", "form", "question_only")
BEFORE = {"rules": {"duplicates": False, "near_duplicates": False, "refusals": False, "form": False}, "lengths": "free"}


@dataclass
class Audit:
    """``counts``: what was left out of the corpus as it is used; ``form``: version -> generator -> share of texts with a mark of
    form; ``found``: version -> what each shortcut, and the bag of words, scores."""

    run: Run
    counts: dict[str, Any]
    form: dict[str, dict[str, dict[str, float]]]
    found: dict[str, Found]

    def judge(self, claim_id: str) -> None:
        """Judge a claim whose arms are named ``<shortcut>_as_it_is`` and ``<shortcut>_as_used``: sources are resampled, those of
        the two versions apart."""
        claim, sides = self.run.paper.claim(claim_id), {}
        for side, arms in {"effect": claim.arms, "control": claim.counterpart.arms}.items():
            one, other = (self._samples(name) for name in (arms.treatment, arms.baseline))
            sides[side] = one - other
            self.run.record(claim.quantity, {arms.treatment: [one[0]], arms.baseline: [other[0]]})
        sides["excess"] = sides["effect"] - sides["control"]
        case = self.found[AS_USED].cases[0]
        tested = len({case.texts[k].source for k in case.test})
        self.run.judge_cases(claim_id, **{name: measures.interval(values) for name, values in sides.items()}, n=tested)

    def _samples(self, name: str) -> np.ndarray:
        version = AS_IT_IS if name.endswith("_as_it_is") else AS_USED
        return self.found[version].samples(name.removesuffix(f"_{version.replace(' ', '_')}"), IN_DOMAIN)


def _texts(run: Run, **given: Any) -> tuple[dict[int, list[Text]], dict[str, Any]]:
    """The corpus of each base, with other rules where ``given``; and the counts of the first."""
    read: dict[int, list[Text]] = {}
    counts: dict[str, Any] = {}
    for seed, source in _sources(run).items():
        folder = bases.corpus(run, "corpus", source, seed=seed, **given)
        read[seed] = read_texts(folder / "texts.jsonl")
        counts = counts or bases.read_counts(folder)
    return read, counts


def _sources(run: Run) -> dict[int, Path]:
    if "checkpoint" in run.settings:
        return dict.fromkeys(dict.fromkeys(run.bases), run.source(run.settings["corpus"]["source"]))
    return bases.world_sources(run)


def prepare(run: Run) -> Audit:
    """Both versions of the corpus, split by source with nothing held out, and every shortcut fitted on them."""
    form, found, kept = {}, {}, {}
    for version, given in {AS_IT_IS: BEFORE, AS_USED: {}, UNMARKED: {}}.items():
        texts, kept = _texts(run, **given)
        if version == UNMARKED:
            texts = {seed: [replace(one, text=unmarked(one.text)) for one in own] for seed, own in texts.items()}
        form[version] = audit.count(texts[run.base_of(run.seeds[0])])
        found[version] = _detect(run, texts)
    return Audit(run, kept, form, found)


def unmarked(text: str) -> str:
    """``text`` in words alone.

    >>> unmarked("It rose, he said: twice!")
    'It rose he said twice'
    """
    return " ".join(re.findall(r"[^\W_]+", text)) or "?"


def _features(texts: list[Text], name: str) -> np.ndarray:
    """Of length the words alone: how many letters a word has is how a writer writes, and no accident of the corpus."""
    found = audit.shortcut_features(texts, name)
    return found[:, :1] if name == "length" else found


def _detect(run: Run, texts: dict[int, list[Text]]) -> Found:
    held, cases = Holdout((), ()), []
    for seed in run.seeds:
        own = texts[run.base_of(seed)]
        train, test = split.by_source(own, share=run.settings["share"], seed=seed)
        places = bases.balanced(own, train, held, seed=stream_seed(seed, "shortcuts"))
        cases.append(Case(seed, held, own, tuple(places), tuple(test)))
    found = Found(run, cases)
    for case in cases:
        labels = np.array([int(case.texts[place].generator != HUMAN) for place in case.train])
        shuffled = split.shuffled_labels(case.texts, case.train, seed=stream_seed(case.seed, "shuffled shortcuts"))
        asked = [replace(one, text=one.question or "?") for one in case.texts]
        for name in SHORTCUTS:
            if name == "question_only":
                scores = [
                    baselines.bag_of_words([one.text for one in asked], case.train, y) for y in (labels, shuffled)
                ]
            else:
                features = _features(case.texts, name)
                scores = [baselines.shortcut(features, case.train, y) for y in (labels, shuffled)]
            for ending, one in zip(("", SHUFFLED), scores, strict=True):
                found.scores.setdefault(name + ending, {})[case] = one
        words = baselines.bag_of_words([one.text for one in case.texts], case.train, labels)
        found.scores.setdefault("bag_of_words", {})[case] = words
    return found
