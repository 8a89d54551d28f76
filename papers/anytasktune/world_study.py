"""The plan of the generated sub-tasks: worlds, the two base models, what the small one is tuned on, and what each arm is worth.

A replicate is a seed on its base: world, initial weights and readings are the base's, the pairs drawn and their order are the
seed's. An arm answers the held items of every task: a base, models tuned on groups of tasks (:mod:`world_arms`), or no model.

    study = prepare(run); study.scores("task_tuned")["legal_split_cases"]        # one value a seed
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.evaluation.statistics import paired_difference
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run
from papers.anytasktune import small_models, without_model, world
from papers.anytasktune.task_metrics import score, valid_rate
from papers.anytasktune.world_arms import Tuning, actions, at, prompt_in_use, tunings
from papers.anytasktune.world_tasks import POOL, find

SMALL, LARGE = "small", "large"
BASE = "untuned_base"
ZERO_SHOT, FEW_SHOT, LARGER = "larger_zero_shot", "larger_few_shot", "larger_general_model"
SHOTS = 3
LEAD = 0.1  # on the general suite, by which a model must lead on every base to be the more capable one


@dataclass(frozen=True)
class Study:
    """Worlds and bases of a run by the seed of a base; what an arm is worth is measured once."""

    run: Run
    settings: dict[str, Any]
    worlds: dict[int, Path]
    _measured: dict[str, tuple[dict[str, list[float]], dict[str, list[float]]]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        return self.settings["tasks"]

    def actions(self) -> dict[str, tuple[str, ...]]:
        """Domain -> its sub-tasks: the steps of one consultation."""
        return actions(self.tasks)

    def world(self, seed: int) -> Path:
        return self.worlds[self.run.base_of(seed)]

    # ------------------------------------------------------------------ models
    def _pretrained(self, size: str) -> dict[int, Path]:
        told, seeds = self.settings["models"][size], list(self.worlds)
        models = self.run.build_all(
            small_models.write_initial, [{"architecture": told["architecture"], "seed": seed} for seed in seeds]
        )
        for phase in told["phases"]:
            fit = {name: value for name, value in phase.items() if name != "reading"}
            many = [{"world": self.worlds[seed], "seed": seed, **phase["reading"]} for seed in seeds]
            files = [folder / "rows.jsonl" for folder in self.run.build_all(world.write_readings, many)]
            folder = self.run.build(finetune_stacked, checkpoint=models, rows=files, seeds=seeds, **fit)
            models = [member(folder, k) for k in range(len(seeds))]
        return dict(zip(seeds, models, strict=True))

    @cached_property
    def small(self) -> dict[int, Path]:
        return self._pretrained(SMALL)

    @cached_property
    def large(self) -> dict[int, Path]:
        return self._pretrained(LARGE)

    def weights(self, size: str) -> int:
        """How many weights a base has."""
        from lib.models import causal_lm

        model, _ = causal_lm.load(next(iter((self.small if size == SMALL else self.large).values())))
        return sum(one.numel() for one in model.parameters())

    def tuned(self, jobs: Sequence[tuple[int, Tuning]]) -> list[Path]:
        """The small model after each (seed, tuning), in order; those that take as many updates are trained in one pass."""
        recipe = dict(self.settings["tune"])
        each, steps = recipe.pop("pairs"), recipe.pop("steps")
        told = [
            {"world": self.world(seed), "tasks": list(one.tasks), "each": one.pairs or each, "shuffled": one.shuffled,
             "dealt": one.dealt and list(one.dealt), "prompt": one.prompt, "seed": seed}
            for seed, one in jobs
        ]  # fmt: skip
        files = [folder / "rows.jsonl" for folder in self.run.build_all(small_models.write_rows, told)]
        updates = [steps * len(one.tasks) // (one.dealt[1] if one.dealt else 1) for _, one in jobs]
        found: list[Path] = [Path()] * len(jobs)
        for count in sorted(set(updates)):
            places = [k for k, own in enumerate(updates) if own == count]
            folder = self.run.build(
                finetune_stacked, checkpoint=[self.small[self.run.base_of(jobs[k][0])] for k in places],
                rows=[files[k] for k in places], seeds=[jobs[k][0] for k in places], steps=count, **recipe,
            )  # fmt: skip
            for number, k in enumerate(places):
                found[k] = member(folder, number)
        return found

    # ------------------------------------------------------------------ answers
    def replies(self, jobs: Sequence[tuple[int, Path, Sequence[str]]], *, part: str = "held", **how) -> list[dict]:
        """What each (seed, model) replies to the items of its tasks: task -> texts."""
        asked = self.settings["asked"]
        count = self.settings["world"]["suite" if part == "suite" else "held"]
        shared = {"part": part, "count": count, "longest": asked["longest"], "batch": asked["batch"], **how}
        many = [
            {"base": model, "world": self.world(seed), "tasks": list(tasks), **shared} for seed, model, tasks in jobs
        ]
        return [_read(folder) for folder in self.run.build_all(small_models.answer_tasks, many)]

    def worth(self, seed: int, replies: dict[str, list[str]], *, part: str = "held") -> dict[str, tuple[float, float]]:
        """Task -> its metric, and the share of replies that have its form."""
        found = {}
        for name, texts in replies.items():
            golds = [pair.output for pair in world.read_pairs(self.world(seed), part, name)][: len(texts)]
            found[name] = (score(find(name), texts, golds), valid_rate(find(name), texts))
        return found

    def _replies_of(self, arm: str) -> list[dict[str, list[str]]]:
        """The arm's replies at each seed: task -> texts."""
        tasks, seeds = self.tasks, self.run.seeds
        name, pairs, part = at(arm)
        if name in (BASE, ZERO_SHOT, FEW_SHOT):
            models = self.small if name == BASE else self.large
            shots = {"shots": SHOTS} if name == FEW_SHOT else {}
            asked = [(seed, models[self.run.base_of(seed)], tasks) for seed in seeds]
            return self.replies(asked, part=part, **shots)
        if name in without_model.WAYS:
            shared = {"tasks": tasks, "way": name, "each": pairs or self.settings["tune"]["pairs"]}
            shared |= {"part": part, "count": self.settings["world"]["held"]}
            many = [{"world": self.world(seed), "seed": seed} | shared for seed in seeds]
            return [_read(folder) for folder in self.run.build_all(without_model.answer_without_model, many)]
        jobs = [(seed, one, own) for seed in seeds for one, own in tunings(arm, tasks, seed=seed)]
        models = self.tuned([(seed, one) for seed, one, _ in jobs])
        asked = [(seed, model, own) for (seed, _, own), model in zip(jobs, models, strict=True)]
        said = self.replies(asked, part=part, prompt=prompt_in_use(arm))
        merged: dict[int, dict[str, list[str]]] = {seed: {} for seed in seeds}
        for (seed, _, _), one in zip(jobs, said, strict=True):
            merged[seed] |= one
        return [merged[seed] for seed in seeds]

    # ------------------------------------------------------------------ measures
    def _measure(self, arm: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        if arm not in self._measured:
            said, part = self._replies_of(arm), at(arm)[2]
            worths = [self.worth(seed, one, part=part) for seed, one in zip(self.run.seeds, said, strict=True)]
            self._measured[arm] = tuple(
                {name: [one[name][k] for one in worths] for name in self.tasks} for k in range(2)
            )
        return self._measured[arm]

    def scores(self, arm: str) -> dict[str, list[float]]:
        """Task -> the arm's metric on its held items (or another part's, :func:`world_arms.at`), one value a seed."""
        if arm != LARGER:
            return self._measure(arm)[0]
        both = [self.scores(ZERO_SHOT), self.scores(FEW_SHOT)]
        return {name: max((one[name] for one in both), key=np.mean) for name in self.tasks}

    def valid(self, arm: str) -> dict[str, list[float]]:
        """Task -> the share of the arm's answers that have the task's form, one value a seed."""
        return self._measure(arm)[1]

    def mean(self, arm: str, tasks: Sequence[str] | None = None) -> list[float]:
        """Mean of the scores over tasks (by default all), one value a seed."""
        found = self.scores(arm)
        return np.mean([found[name] for name in tasks or self.tasks], axis=0).tolist()

    def table(self, arms: Sequence[str]) -> pd.DataFrame:
        """Tasks x arms: mean over the seeds."""
        return pd.DataFrame({arm: {name: np.mean(v) for name, v in self.scores(arm).items()} for arm in arms})

    def gap(self, one: str, other: str) -> dict[str, tuple[float, float, float]]:
        """Task -> mean difference of two arms over the seeds, and its 95 % interval."""
        first, second = self.scores(one), self.scores(other)
        found = {name: paired_difference(first[name], second[name]) for name in self.tasks}
        return {name: (d.mean, d.low, d.high) for name, d in found.items()}

    def worst_domain(self, one: str, other: str) -> str:
        """The domain in whose sub-tasks one arm gains least over another, by the mean over the seeds."""
        gain = {
            domain: np.mean(self.mean(one, steps)) - np.mean(self.mean(other, steps))
            for domain, steps in self.actions().items()
        }
        return min(gain, key=gain.get)

    def suite(self, size: str) -> list[float]:
        """Mean score of a base on the general suite, one value a base: held items of the pooled tasks, zero-shot."""
        models = self.small if size == SMALL else self.large
        said = self.replies([(seed, model, list(POOL)) for seed, model in models.items()], part="suite")
        return [
            float(np.mean([one for one, _ in self.worth(seed, replies, part="suite").values()]))
            for seed, replies in zip(models, said, strict=True)
        ]

    def lead(self) -> list[float]:
        """By how much the larger model leads on the general suite, one value a base."""
        return [b - s for s, b in zip(self.suite(SMALL), self.suite(LARGE), strict=True)]

    # ------------------------------------------------------------------ outcome
    def judge(self, claim_id: str, tasks: Sequence[str] | None = None, *, suffix: str = "") -> None:
        """Judge a claim over the mean of tasks; ``suffix``: what its arms' names end with beside the names here."""
        claim = self.run.paper.claim(claim_id)
        both = (claim.arms, claim.counterpart.arms)
        arms = dict.fromkeys(arm for one in both for arm in (one.treatment, one.baseline))
        self.run.judge(claim_id, {arm: self.mean(arm.removesuffix(suffix), tasks) for arm in arms})

    def judge_against_larger(self, claim_id: str) -> None:
        """Judge a claim in which the larger model is the opponent; leave it unjudged unless that one leads by :data:`LEAD` on
        the general suite on every base: to beat a model that is hardly more capable says nothing."""
        if (least := min(self.lead())) < LEAD and self.settings["verdicts"]:
            self.run.decline(
                claim_id,
                f"the larger model's lead on the general suite is {least:.3f} on its worst base and {LEAD} is asked, so it is no "
                "model of higher general capability",
            )
        else:
            self.judge(claim_id)


def _read(folder: Path) -> dict[str, list[str]]:
    return json.loads((folder / "answers.json").read_text(encoding="utf-8"))


def prepare(run: Run) -> Study:
    """Worlds of a run, one a base, written where missing."""
    settings = run.settings
    seeds = list(dict.fromkeys(run.bases))
    folders = run.build_all(world.write_world, [{**settings["world"], "seed": seed} for seed in seeds])
    return Study(run, settings, dict(zip(seeds, folders, strict=True)))
