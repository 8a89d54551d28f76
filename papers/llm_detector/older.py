"""Older generators: detectors taught on the pairs, asked of the documents of SeqXGPT, which they have never seen the like of.

Nothing of these documents trains, so that nothing can leak: domain, corpus and generators are all new. The recall of each
generator stands beside the share of human documents taken for a machine's.

    recall = detect(study)                                                   # detector -> generator -> share called machine
"""

from __future__ import annotations

import json

import numpy as np

from papers.llm_detector import baselines, bases, scoring
from papers.llm_detector.study import ZERO_SHOT, Study
from papers.llm_detector.texts import HUMAN, read_texts

ARMS = ("bag_of_words", *ZERO_SHOT, "embeddings")


def detect(study: Study) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """(detector -> generator -> share of its documents with a score above 0, and ``AUROC``; documents by generator). Both empty
    where the profile has no older documents."""
    told = study.settings.get("older")
    if told is None:
        return {}, {}
    run, seed = study.run, study.run.seeds[0]
    folder = bases.corpus(run, "older", run.source(told["source"]), seed=seed)
    ground = study.ground(seed)
    plan = {"texts": folder / "texts.jsonl", "model": ground.base, **study.settings["scoring"]}
    older, scores = read_texts(folder / "texts.jsonl"), scoring.read_scores(run.build(scoring.score, **plan))
    train, _ = ground.sides(run.base_of(seed))
    labels = np.array([int(ground.texts[place].generator != HUMAN) for place in train])
    count = len(ground.texts)
    machine = np.array([one.generator != HUMAN for one in older])
    found: dict[str, dict[str, float]] = {}
    for arm in ARMS:
        if arm == "bag_of_words":
            both = baselines.bag_of_words([one.text for one in (*ground.texts, *older)], train, labels)
        elif arm == "embeddings":
            states = np.concatenate([ground.scores["embedding"], scores["embedding"]])
            both = baselines.embeddings(states, train, labels)
        else:
            both = baselines.threshold(np.concatenate([ground.scores[arm], scores[arm]]), train, labels)
        own = both[count:]
        beats = (own[machine][:, None] > own[~machine]) + 0.5 * (own[machine][:, None] == own[~machine])
        found[arm] = {"AUROC": float(beats.mean())}
        for generator in sorted({one.generator for one in older}):
            inside = [k for k, one in enumerate(older) if one.generator == generator]
            found[arm][generator] = float((own[inside] > 0).mean())
    counts = {name: sum(one.generator == name for one in older) for name in sorted({one.generator for one in older})}
    return found, counts


def told(counts: dict[str, int]) -> str:
    """The documents in one line."""
    return json.dumps(counts) if counts else "no older documents at this profile"
