"""The plan of the document experiments: which detector learns from what, what each says of every text, and what that comes to.

Everything trained is a cached artefact. A *case* is one hold-out of one replicate: a generated world has one a replicate, real
texts have every domain times every generator. An arm gives each case a score for every text, larger where a machine is more
likely. Replicates are judged as such; of real texts, sources (and hold-outs) are resampled.

    study = prepare(run); found = study.detect(["bag_of_words", "llm_detector"]); found.table("in domain")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.streams import stream_seed
from lib.training import sft
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run
from papers.llm_detector import baselines, bases, detector, encoder, split
from papers.llm_detector.bases import Ground
from papers.llm_detector.found import SHUFFLED, Case, Found
from papers.llm_detector.split import shuffled_labels
from papers.llm_detector.texts import HUMAN

LLM, ENCODER = "llm_detector", "encoder_detector"
ZERO_SHOT = ("log_probability", "log_rank", "curvature")
CHEAP = ("bag_of_words", *ZERO_SHOT, "embeddings", "sniffer")


def spoken(arm: str) -> str:
    """An arm's name as a table and a figure write it.

    >>> spoken("llm_detector_shuffled_labels"), spoken("bag_of_words")
    ('LLM-Detector, shuffled labels', 'TF-IDF words')
    """
    known = {LLM: "LLM-Detector", ENCODER: "encoder", "bag_of_words": "TF-IDF words", "log_probability": "log-probability",
             "log_rank": "log-rank", "embeddings": "sentence embeddings", "sniffer": "Sniffer"}  # fmt: skip
    name = arm.removesuffix(SHUFFLED)
    return known.get(name, name.replace("_", " ")) + (", shuffled labels" if name != arm else "")


@dataclass
class Study:
    """The grounds and settings of one run; ``settings`` is the profile's section of ``experiments.yml``."""

    run: Run
    settings: dict[str, Any]
    grounds: dict[int, Ground]

    def ground(self, seed: int) -> Ground:
        """What stands under the replicate ``seed``."""
        return self.grounds[self.run.base_of(seed)]

    @cached_property
    def cases(self) -> list[Case]:
        """Every hold-out of every replicate, with its texts that train (balanced) and that test."""
        found = []
        for seed in self.run.seeds:
            ground = self.ground(seed)
            train, test = ground.sides(self.run.base_of(seed))
            for held in ground.holdouts:
                places = bases.balanced(ground.texts, train, held, seed=stream_seed(seed, str(held)))
                found.append(Case(seed, held, ground.texts, tuple(places), tuple(test)))
        return found

    def about(self) -> str:
        """Texts, sources, split and hold-outs in a few words."""
        case, ground = self.cases[0], self.ground(self.run.seeds[0])
        sources = len({one.source for one in ground.texts})
        return (
            f"{len(ground.texts)} texts of {sources} sources, {len({o.domain for o in ground.texts})} domains and "
            f"{len({o.generator for o in ground.texts} - {HUMAN})} generators; {len(self.cases)} cases; the first holds out "
            f"{case.held}, trains on {len(case.train)} texts and tests on {len(case.test)}; no source on both sides: "
            f"{not {ground.texts[k].source for k in case.train} & {ground.texts[k].source for k in case.test}}"
        )

    @property
    def dear(self) -> list[Case]:
        """The cases of the detectors that are dear to train: of each replicate each domain and generator held out once."""
        chosen: list[Case] = []
        for seed in self.run.seeds:
            own = [case for case in self.cases if case.seed == seed]
            few = split.diagonal([case.held for case in own])
            chosen += [case for case in own if case.held in few]
        return chosen

    # ------------------------------------------------------------------ arms
    def detect(self, arms: Sequence[str], *, shuffled: Sequence[str] = ()) -> Found:
        """The scores of ``arms``, and of those of ``shuffled`` once more with shuffled training labels."""
        found = Found(self.run, self.cases)
        wanted = [(arm, False) for arm in arms] + [(arm, True) for arm in shuffled]
        tuned = {LLM: self._llm, ENCODER: self._encoder}
        for arm in tuned:  # both sides in one call, so that they are trained in one pass
            sides = [shuffle for name, shuffle in wanted if name == arm]
            if sides:
                tuned[arm](found, sides)
        for arm, shuffle in wanted:
            if arm not in tuned:
                name = arm + SHUFFLED * shuffle
                found.scores[name] = {case: self._cheap(arm, case, self.labels(case, shuffle)) for case in self.cases}
        return found

    def labels(self, case: Case, shuffle: bool) -> np.ndarray:
        """Of the texts that train, 1: machine; shuffled anew in each case."""
        if shuffle:
            return shuffled_labels(case.texts, case.train, seed=stream_seed(case.seed, "shuffle", str(case.held)))
        return np.array([int(case.texts[place].generator != HUMAN) for place in case.train])

    def _cheap(self, arm: str, case: Case, labels: np.ndarray) -> np.ndarray:
        ground, train = self.ground(case.seed), case.train
        said = [one.text for one in case.texts]
        if arm == "bag_of_words":
            return baselines.bag_of_words(said, train, labels)
        if arm == "embeddings":
            return baselines.embeddings(ground.scores["embedding"], train, labels)
        if arm == "sniffer":
            humans = [said[place] for place, label in zip(train, labels, strict=True) if not label]
            counted = baselines.count_models(said, humans)
            features = baselines.contrasts([ground.scores["log_probability"], *counted])
            return baselines.sniffer(features, train, labels, seed=case.seed)
        return baselines.threshold(ground.scores[arm], train, labels)

    # ------------------------------------------------------------------ detectors that are trained
    def _some(self, case: Case) -> list[int]:
        """The texts that train the dear detectors: whole pairs, as many as the settings say."""
        most = self.settings["detector"].get("pairs")
        sources = list(dict.fromkeys(case.texts[place].source for place in case.train))
        order = np.random.default_rng(stream_seed(case.seed, "pairs", str(case.held))).permutation(len(sources))
        kept = {sources[k] for k in order[:most]}
        return [place for place in case.train if case.texts[place].source in kept]

    def asked(self, case: Case) -> list[int]:
        """The texts that the dear detectors are asked of: as many sources of each domain and generator as the settings say."""
        most = self.settings["detector"].get("asked")
        taken: dict[tuple[str, str], list[str]] = {}
        for place in case.test:
            one = case.texts[place]
            if one.generator != HUMAN:
                taken.setdefault((one.domain, one.generator), []).append(one.source)
        kept = {(key, source) for key, listed in taken.items() for source in list(dict.fromkeys(listed))[:most]}
        humans = {source for _, source in kept}
        return [
            place for place in case.test
            if ((one := case.texts[place]).generator == HUMAN and one.source in humans)
            or ((one.domain, one.generator), one.source) in kept
        ]  # fmt: skip

    def _own_labels(self, case: Case, places: Sequence[int], shuffle: bool) -> list[list[int]]:
        given = dict(zip(case.train, self.labels(case, shuffle).tolist(), strict=True))
        return [[given[place]] for place in places]

    def _llm(self, found: Found, sides: Sequence[bool]) -> None:
        jobs = [(case, shuffle) for case in self.dear for shuffle in sides]
        models = self.tuned(
            [
                (self.ground(case.seed).base, self.ground(case.seed).corpus / "texts.jsonl", self._some(case),
                 self._own_labels(case, self._some(case), shuffle), case.seed)
                for case, shuffle in jobs
            ]
        )  # fmt: skip
        answers = self.answers(
            [(model, self.ground(case.seed).corpus / "texts.jsonl", self.asked(case), case.seed)
             for (case, _), model in zip(jobs, models, strict=True)]
        )  # fmt: skip
        for (case, shuffle), one in zip(jobs, answers, strict=True):
            name = LLM + SHUFFLED * shuffle
            scores = np.full(len(case.texts), np.nan)
            scores[self.asked(case)] = [float(value[0]) for value in one.scores]
            found.scores.setdefault(name, {})[case] = scores
            written = [own[0] if own else None for own in one.written]
            found.written.setdefault(name, {})[case] = dict(zip(self.asked(case), written, strict=True))

    def tuned(self, jobs: Sequence[tuple[Path, Path, list[int], list[list[int]], int]]) -> list[Path]:
        """The detector tuned from a base on the labels of places in a file, of each job (base, file, places, labels, seed)."""
        told = self.settings["detector"]
        rows = self.run.build_all(
            detector.write_rows,
            [
                {"texts": file, "places": places, "labels": labels, "wording": told["wording"]}
                for _, file, places, labels, _ in jobs
            ],
        )
        files = [folder / "rows.jsonl" for folder in rows]
        if told["engine"] == "stacked":
            folder = self.run.build(
                finetune_stacked, checkpoint=[base for base, *_ in jobs], rows=files, seeds=[job[-1] for job in jobs],
                **told["fit"],
            )  # fmt: skip
            return [member(folder, k) for k in range(len(jobs))]
        plan = [
            {"checkpoint": base, "rows": file, "seed": seed, "lora": told["lora"], **told["fit"]}
            for (base, *_, seed), file in zip(jobs, files, strict=True)
        ]
        return self.run.build_all(sft.finetune, plan)

    def answers(self, jobs: Sequence[tuple[Path, Path, list[int], int]]) -> list[detector.Answers]:
        """What a tuned detector says of places in a file, of each job (model, file, places, seed)."""
        told = self.settings["detector"]
        fit = {key: told["fit"][key] for key in ("chat_template", "dtype", "quantisation") if key in told["fit"]}
        plan = []
        for model, file, places, seed in jobs:
            loaded = {"checkpoint": model}
            if told["engine"] != "stacked":
                loaded = {"checkpoint": self.ground(seed).base, "adapter": model}
            plan.append(
                {"texts": file, "places": places, "wording": told["wording"], "batch": told["batch"], **loaded, **fit}
            )
        return [detector.read_answers(folder) for folder in self.run.build_all(detector.ask, plan)]

    def _encoder(self, found: Found, sides: Sequence[bool]) -> None:
        jobs = [(case, shuffle) for case in self.dear for shuffle in sides]
        scores = self.classified(
            [
                (self.ground(case.seed).corpus / "texts.jsonl", self._some(case),
                 self._own_labels(case, self._some(case), shuffle), self.asked(case), case.seed)
                for case, shuffle in jobs
            ]
        )  # fmt: skip
        for (case, shuffle), one in zip(jobs, scores, strict=True):
            whole = np.full(len(case.texts), np.nan)
            whole[self.asked(case)] = [float(value[0]) for value in one]
            found.scores.setdefault(ENCODER + SHUFFLED * shuffle, {})[case] = whole

    def classified(
        self, jobs: Sequence[tuple[Path, list[int], list[list[int]], list[int], int]]
    ) -> list[list[np.ndarray]]:
        """Scores of the encoder, of each job (file, places that train, their labels, places that test, seed)."""
        fit = {key: self.settings["detector"]["fit"][key] for key in ("steps", "batch", "learning_rate")}
        folder = self.run.build(
            encoder.tune_encoders, checkpoints=[self.ground(job[-1]).encoder_base for job in jobs],
            texts=[job[0] for job in jobs], places=[job[1] for job in jobs], labels=[job[2] for job in jobs],
            seeds=[job[-1] for job in jobs], **fit,
        )  # fmt: skip
        plan = [
            {
                "checkpoint": member(folder, k),
                "texts": job[0],
                "places": job[3],
                "batch": self.settings["detector"]["batch"],
            }
            for k, job in enumerate(jobs)
        ]
        return [encoder.read_classified(one) for one in self.run.build_all(encoder.classify, plan)]

    @property
    def arms(self) -> list[str]:
        """The detectors of this profile: those fitted in seconds, the encoder where it is trained, the paper's."""
        trained = [ENCODER] if self.ground(self.run.seeds[0]).encoder_base else []
        return [*CHEAP, *trained, LLM]

    @property
    def rival(self) -> str:
        """What has the place of a BERT-type detector: the trained encoder, or the embeddings of the real model."""
        return ENCODER if ENCODER in self.arms else "embeddings"


def prepare(run: Run) -> Study:
    """The grounds of a run, built where missing."""
    return Study(run, run.settings, bases.prepare(run))
