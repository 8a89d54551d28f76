"""The plan of the generated sub-tasks: worlds, the two base models, what the small one is tuned on, and what each arm is worth.

A replicate is a seed on its base: world, initial weights and readings are the base's, the pairs drawn and their order are the
seed's. An arm answers the held items of every task: a base, models tuned on groups of tasks (a *tuning*), or no model. A tuning
takes as many updates as it has tasks times ``steps``, so that one model a task, one an action and one for all cost the same.

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
from lib.streams import stream
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run, SessionError
from papers.anytasktune import small_models, without_model, world
from papers.anytasktune.task_metrics import score, valid_rate
from papers.anytasktune.world_tasks import POOL, TASKS, find

SMALL, LARGE = "small", "large"
BASE, TUNED, SHUFFLED = "untuned_base", "task_tuned", "task_tuned_shuffled_outputs"
ZERO_SHOT, FEW_SHOT, LARGER = "larger_zero_shot", "larger_few_shot", "larger_general_model"
SHOTS = 3
LEAD = 0.1  # on the general suite, by which a model must lead on every base to be the more capable one


@dataclass(frozen=True)
class Tuning:
    """What one model is tuned on: the training pairs of ``tasks``, as many of each as the profile says.

    ``shuffled``: outputs dealt anew within a task. ``dealt``: of all rows, shuffled together, only every ``dealt[1]``-th from
    ``dealt[0]`` on, with as many times fewer updates.
    """

    tasks: tuple[str, ...]
    shuffled: bool = False
    dealt: tuple[int, int] | None = None


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
        found: dict[str, tuple[str, ...]] = {}
        for name in self.tasks:
            found[TASKS[name].domain] = (*found.get(TASKS[name].domain, ()), name)
        return found

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
            {"world": self.world(seed), "tasks": list(one.tasks), "each": each, "shuffled": one.shuffled,
             "dealt": one.dealt and list(one.dealt), "seed": seed}
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

    def _by_group(self, groups: Sequence[Sequence[tuple[Tuning, Sequence[str]]]], **how) -> list[dict[str, list[str]]]:
        """Replies a seed, of models that each answer some of the tasks: ``groups[seed]`` lists tunings with their tasks."""
        jobs = [
            (seed, one, tasks) for seed, listed in zip(self.run.seeds, groups, strict=True) for one, tasks in listed
        ]
        models = self.tuned([(seed, one) for seed, one, _ in jobs])
        said = self.replies([(seed, m, tasks) for (seed, _, tasks), m in zip(jobs, models, strict=True)], **how)
        merged: dict[int, dict[str, list[str]]] = {seed: {} for seed in self.run.seeds}
        for (seed, _, _), one in zip(jobs, said, strict=True):
            merged[seed] |= one
        return [merged[seed] for seed in self.run.seeds]

    def _replies_of(self, arm: str) -> list[dict[str, list[str]]]:
        tasks, seeds = self.tasks, self.run.seeds
        each = [(Tuning((name,)), [name]) for name in tasks]
        if arm in (BASE, ZERO_SHOT, FEW_SHOT):
            models = self.small if arm == BASE else self.large
            shots = {"shots": SHOTS} if arm == FEW_SHOT else {}
            return self.replies([(seed, models[self.run.base_of(seed)], tasks) for seed in seeds], **shots)
        if arm in without_model.WAYS:
            shared = {"tasks": tasks, "way": arm, "each": self.settings["tune"]["pairs"]}
            many = [
                {"world": self.world(seed), "seed": seed, "count": self.settings["world"]["held"]} | shared
                for seed in seeds
            ]
            return [_read(folder) for folder in self.run.build_all(without_model.answer_without_model, many)]
        if arm in (TUNED, "step_model"):
            return self._by_group([each] * len(seeds))
        if arm == SHUFFLED:
            return self._by_group([[(Tuning(one.tasks, shuffled=True), own) for one, own in each]] * len(seeds))
        if arm == "mixed_model":
            return self._by_group([[(Tuning(tuple(tasks)), tasks)]] * len(seeds))
        if arm == "action_model":
            return self._by_group([[(Tuning(steps), steps) for steps in self.actions().values()]] * len(seeds))
        if arm == "random_action_model":
            return self._by_group([[(Tuning(g), g) for g in self._random_actions(seed)] for seed in seeds])
        if arm == "random_step_model":
            dealt = [(Tuning(tuple(tasks), dealt=(k, len(tasks))), [name]) for k, name in enumerate(tasks)]
            return self._by_group([dealt] * len(seeds))
        raise SessionError(f"there is no arm '{arm}' among those that answer the generated tasks")

    def _random_actions(self, seed: int) -> list[tuple[str, ...]]:
        """Groups of as many sub-tasks as the actions have, dealt at random."""
        order, groups, start = stream(seed, "random actions").permutation(len(self.tasks)), [], 0
        for steps in self.actions().values():
            groups.append(
                tuple(sorted((self.tasks[i] for i in order[start : start + len(steps)]), key=self.tasks.index))
            )
            start += len(steps)
        return groups

    # ------------------------------------------------------------------ measures
    def _measure(self, arm: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        if arm not in self._measured:
            worths = [self.worth(seed, one) for seed, one in zip(self.run.seeds, self._replies_of(arm), strict=True)]
            self._measured[arm] = tuple(
                {name: [one[name][k] for one in worths] for name in self.tasks} for k in range(2)
            )
        return self._measured[arm]

    def scores(self, arm: str) -> dict[str, list[float]]:
        """Task -> the arm's metric on its held items, one value a seed."""
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

    def require_more_capable(self) -> tuple[list[float], list[float]]:
        """The general suite's scores of S and L, by base. Raises :class:`SessionError` unless L leads by :data:`LEAD` on every
        base: a comparison with a larger model that is hardly more capable says nothing (a profile without verdicts goes on)."""
        small, large = self.suite(SMALL), self.suite(LARGE)
        worse = [seed for seed, s, b in zip(self.worlds, small, large, strict=True) if b < s + LEAD]
        if worse and self.settings["verdicts"]:
            raise SessionError(
                f"the larger model does not lead by {LEAD} on the general suite (base {worse[0]}), so it is no model of higher "
                "general capability; train it longer (models: large in experiments.yml)"
            )
        return small, large

    # ------------------------------------------------------------------ outcome
    def judge(self, claim_id: str, tasks: Sequence[str] | None = None, *, suffix: str = "") -> None:
        """Judge a claim over the mean of tasks; ``suffix``: what its arms' names end with beside the names here."""
        claim = self.run.paper.claim(claim_id)
        both = (claim.arms, claim.counterpart.arms)
        arms = dict.fromkeys(arm for one in both for arm in (one.treatment, one.baseline))
        self.run.judge(claim_id, {arm: self.mean(arm.removesuffix(suffix), tasks) for arm in arms})


def _read(folder: Path) -> dict[str, list[str]]:
    return json.loads((folder / "answers.json").read_text(encoding="utf-8"))


def prepare(run: Run) -> Study:
    """Worlds of a run, one a base, written where missing."""
    settings = run.settings
    seeds = list(dict.fromkeys(run.bases))
    folders = run.build_all(world.write_world, [{**settings["world"], "seed": seed} for seed in seeds])
    return Study(run, settings, dict(zip(seeds, folders, strict=True)))
