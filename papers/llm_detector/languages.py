"""Does a detector need training in the language it judges? One base that read both, taught by labels in one of them.

The arms are trained on as many updates, from the same base, and asked of the same texts in language A: *same* on A's labels,
*other* on B's. Both languages have documents of the same make and no word in common.

    found = detect(study); found.judge("C4", measure="balanced accuracy")
"""

from __future__ import annotations

import numpy as np

from lib.streams import stream_seed
from papers.llm_detector import baselines, bases, split
from papers.llm_detector.found import Found
from papers.llm_detector.study import LLM, SHUFFLED, Study
from papers.llm_detector.texts import HUMAN, Text, read_texts
from papers.llm_detector.writers import LATE

SAME, OTHER = "same_language", "other_language"
TRAINED = "_training"


def named(language: str, *, shuffle: bool) -> str:
    """An arm's name in the claims.

    >>> named(SAME, shuffle=False), named(OTHER, shuffle=True)
    ('same_language_training', 'other_language_shuffled_labels')
    """
    return language + (SHUFFLED if shuffle else TRAINED)


def detect(study: Study) -> Found:
    """The detector and the bag of words, taught in either language; the detector also on shuffled labels."""
    found = study.detect(["bag_of_words", LLM], shuffled=[LLM])
    for shuffle in (False, True):
        found.scores[named(SAME, shuffle=shuffle)] = found.scores.pop(LLM + SHUFFLED * shuffle)
    found.scores[f"bag_of_words_{SAME}"] = found.scores.pop("bag_of_words")
    jobs, bags = [], {}
    for case in study.dear:
        ground = study.ground(case.seed)
        texts = read_texts(ground.other / "texts.jsonl")
        train, _ = split.by_source(texts, share=ground.share, seed=study.run.base_of(case.seed))
        places = bases.balanced(texts, train, split.Holdout((), LATE), seed=stream_seed(case.seed, OTHER))
        own = _labels(texts, places)
        said = [*(one.text for one in case.texts), *(texts[place].text for place in places)]
        bags[case] = baselines.bag_of_words(said, range(len(case.texts), len(said)), own)[: len(case.texts)]
        for shuffle in (False, True):
            seed = stream_seed(case.seed, "shuffle", OTHER)
            labels = split.shuffled_labels(texts, places, seed=seed) if shuffle else own
            file = ground.other / "texts.jsonl"
            jobs.append((case, shuffle, (ground.base, file, places, [[int(one)] for one in labels], case.seed)))
    models = study.tuned([job for _, _, job in jobs])
    answers = study.answers(
        [(model, study.ground(case.seed).corpus / "texts.jsonl", study.asked(case), case.seed)
         for (case, *_), model in zip(jobs, models, strict=True)]
    )  # fmt: skip
    for (case, shuffle, _), one in zip(jobs, answers, strict=True):
        scores = np.full(len(case.texts), np.nan)
        scores[study.asked(case)] = [float(value[0]) for value in one.scores]
        found.scores.setdefault(named(OTHER, shuffle=shuffle), {})[case] = scores
    found.scores[f"bag_of_words_{OTHER}"] = bags
    return found


def _labels(texts: list[Text], places: list[int]) -> np.ndarray:
    return np.array([int(texts[place].generator != HUMAN) for place in places])
