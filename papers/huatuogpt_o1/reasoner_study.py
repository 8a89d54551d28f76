"""What the notebooks on reasoning ask for: SFT arms of all replicates, RL stages from them, and their marks.

study = prepare(run); study.marks("complex"); study.reinforced("complex", pay={"wrong": 0.0}).marks
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.streams import stream_seed
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run
from papers.huatuogpt_o1.material import ARMS, read_part, write_arms
from papers.huatuogpt_o1.reasoners import exam, pretrain, read_marks
from papers.huatuogpt_o1.reinforcing import read_history, reinforce

BASE = "base"
STABLE_FORMAT = 0.95  # of the replies of a stable policy, at the least
Marks = dict[str, list[float]]  # what -> one value a replicate


def gathered(many: list[dict[str, float]]) -> Marks:
    return {name: [one[name] for one in many] for name in many[0]}


@dataclass(frozen=True)
class Stage:
    """An RL stage of every replicate: ``marks`` after it and ``histories`` of its updates."""

    marks: Marks
    histories: list[list[dict[str, float]]]

    def curve(self, name: str) -> np.ndarray:
        """(points, replicates) of what the history says of ``name``, where it says it."""
        return np.array([[line[name] for line in history if name in line] for history in self.histories]).T

    def at(self, name: str) -> list[int]:
        """The updates, from 1, of the points of :meth:`curve`."""
        return [place + 1 for place, line in enumerate(self.histories[0]) if name in line]

    def largest(self, name: str) -> list[float]:
        """Of each replicate the largest value of its history."""
        return [max(line[name] for line in history if name in line) for history in self.histories]

    def stable(self, *, most_kl: float) -> list[bool]:
        """Of each replicate whether replies to the test keep their format at the end, and the KL of a rollout never was above
        ``most_kl`` nats a reply."""
        both = zip(self.marks["format"], self.largest("kl"), strict=True)
        return [kept >= STABLE_FORMAT and far <= most_kl for kept, far in both]


class Study:
    """Seeds go round ``bases`` worlds, each with its base; the teacher's words, the order of tuning and RL are the seed's own."""

    def __init__(self, run: Run):
        self.run, self.told = run, run.settings["reasoner"]
        self.bases = [run.seeds[k % self.told["bases"]] for k in range(len(run.seeds))]

    @cached_property
    def _pretrained(self) -> dict[int, Path]:
        known = sorted(set(self.bases))
        folder = self.run.build(pretrain, sizes=self.told["world"], seeds=known, **self.told["base"])
        return {base: member(folder, k) for k, base in enumerate(known)}

    @cached_property
    def data(self) -> list[Path]:
        """The rows and problems of each replicate (:func:`write_arms`)."""
        told = {"sizes": self.told["world"], "shares": self.told["shares"]}
        return self.run.build_all(
            write_arms, [{**told, "base": b, "seed": s} for s, b in zip(self.run.seeds, self.bases, strict=True)]
        )

    def checkpoints(self, arm: str) -> list[Path]:
        """The SFT model of each replicate, or its base."""
        starts = [self._pretrained[base] for base in self.bases]
        if arm == BASE:
            return starts
        if arm not in ARMS:
            raise ValueError(f"there is no arm '{arm}'; choose from {', '.join((BASE, *ARMS))}")
        folder = self.run.build(
            finetune_stacked, checkpoint=starts, rows=[one / f"{arm}.jsonl" for one in self.data],
            seeds=[stream_seed(seed, "sft") for seed in self.run.seeds], **self.told["sft"],
        )  # fmt: skip
        return [member(folder, k) for k in range(len(starts))]

    def marks(self, arm: str) -> Marks:
        """:func:`reasoners.marks` of an SFT arm, or of the base."""
        told = {"formatted": arm != "none", "longest": self.told["longest"]}
        plan = [
            {"checkpoint": one, "data": data, **told}
            for one, data in zip(self.checkpoints(arm), self.data, strict=True)
        ]
        return gathered([read_marks(folder) for folder in self.run.build_all(exam, plan)])

    def about(self) -> str:
        """How many problems and bases there are, in a line."""
        parts = {part: len(read_part(self.data[0], part).questions) for part in ("rl", "test")}
        sizes = {arm: len((self.data[0] / f"{arm}.jsonl").read_text().splitlines()) for arm in ("complex", "first")}
        return (
            f"{len(self.run.seeds)} replicates on {len(set(self.bases))} bases; of the first, {sizes['complex']} problems for SFT "
            f"({sizes['first']} with a right first guess), {parts['rl']} for RL, {parts['test']} for the test"
        )

    def reinforced(
        self, arm: str, *, method: str = "ppo", pay: dict[str, Any] | None = None, again: int = 0, **changed: Any
    ) -> Stage:
        """The RL stage from an SFT arm. ``pay``: of :func:`reinforcing.reward_of`; ``changed``: of the profile's settings of the
        method; ``again``: the same with other rollouts."""
        told = {"method": method, "how": {**self.told[method], **changed}, "pay": pay or {}, "formatted": arm != "none"}
        plan = [
            {"checkpoint": one, "data": data, "longest": self.told["longest"], "every": self.told["every"],
             "seed": seed if not again else stream_seed(seed, "again", again), **told}
            for one, data, seed in zip(self.checkpoints(arm), self.data, self.run.seeds, strict=True)
        ]  # fmt: skip
        folders = self.run.build_all(reinforce, plan)
        return Stage(gathered([read_marks(one) for one in folders]), [read_history(one) for one in folders])

    def judge(self, claim: str, measured: dict[str, list[float]]) -> None:
        """Judge a claim on accuracy, or on another quantity, over the replicates on their bases."""
        self.run.judge(claim, measured, bases=self.bases)


def prepare(run: Run) -> Study:
    """The study of a run at its profile."""
    return Study(run)
