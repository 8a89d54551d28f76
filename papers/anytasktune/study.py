"""The plan of the real tasks: splits of each task, who answers them, and what each item is worth in each arm.

A task's items are real and there is one set of them; a replicate is a split into what is trained on and what is asked. An item's
score in an arm is its mean over the splits that ask it, so that arms are compared item by item, and the items (in groups of near
duplicates) are what is resampled. Released answers of stronger models have one score an item.

    study = prepare(run); found = study.measure("2-4"); found.scores["linear"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.evaluation.cases import bootstrap_means, over_cases
from lib.models import causal_lm, checkpoints
from lib.training.sft import finetune
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run
from papers.anytasktune import character_model, linear, real_tasks
from papers.anytasktune.lawbench import ANSWERING, Answers, Items, read_answers, read_task
from papers.anytasktune.lawbench_tasks import ANSWERED

RESAMPLES = 5000
STRONGER = "GPT4"
BEST_WITHOUT = "best_without_labels"
CLAIMS = {
    task: f"N4{letter}" for task, letter in zip(ANSWERED, "abcdefghij", strict=True)
}  # linear model against GPT-4
READABLE = 0.75  # of a tuned model's answers, for it to count as one
CHAT, CHARACTER = "chat", "character"
MODEL_CLAIMS = {  # model -> claim -> its tasks
    CHAT: {"R1": ANSWERED, "R2": ANSWERED, "R3a": ("2-6",), "R3b": ("3-4", "3-5")},
    CHARACTER: {"R4": ANSWERED, "R5": ANSWERED},
}
BASE, TUNED, SHUFFLED = "untuned_base", "task_tuned", "task_tuned_shuffled_outputs"  # of either model


@dataclass(frozen=True)
class Measured:
    """A task measured: ``scores`` items x arms (NaN: not asked), ``valid`` the share of answers that could be read, ``member`` the
    group of near duplicates of each item."""

    items: Items
    scores: pd.DataFrame
    valid: pd.Series
    member: np.ndarray

    def means(self) -> pd.Series:
        """Mean of every arm over the items that all of them have."""
        return self.scores.dropna().mean()

    def ceiling(self) -> float:
        """What the gold answers themselves are worth, written as a tuned model would write them."""
        golds = [item.gold for item in self.items.items if item.gold is not None]
        return float(np.mean([self.items.score(self.items.task.text(gold), gold).score for gold in golds]))

    def difference(self, one: str, other: str) -> tuple[float, float, float]:
        """Mean difference of two arms over the items that both have, and its 95 % interval."""
        known = (self.scores[one] - self.scores[other]).dropna()
        return bootstrap_means(known.to_numpy()[:, None], self.member[known.index], resamples=RESAMPLES, seed=0)[0]


@dataclass(frozen=True)
class Study:
    """Tasks, splits and arms of one run; ``settings`` is the profile's ``real_tasks``."""

    run: Run
    settings: dict[str, Any]
    data: Path
    answers: Path

    @property
    def tasks(self) -> list[str]:
        return self.settings["tasks"]

    @property
    def chat_tasks(self) -> list[str]:
        """The tasks in which the profile has the small chat model tuned."""
        return self.settings["chat"]["tasks"]

    def items(self, task: str) -> Items:
        return read_task(self.data, task)

    def released(self, items: Items) -> dict[str, Answers]:
        return {model: read_answers(self.answers, model, items) for model in ANSWERING}

    # ------------------------------------------------------------------ splits and answers
    def _groups(self, task: str) -> Path:
        return self.run.build(real_tasks.write_groups, data=self.data, task=task)

    def splits(self, task: str, eligible: Sequence[int]) -> list[Path]:
        """The split of each seed."""
        shared = {"groups": self._groups(task), "eligible": list(eligible)}
        shared |= {name: self.settings[name] for name in ("train", "test")}
        return self.run.build_all(real_tasks.write_split, [{**shared, "seed": seed} for seed in self.run.seeds])

    def simply(self, task: str, splits: Sequence[Path], way: str) -> list[Path]:
        """The answers without a language model, one folder a seed."""
        many = [
            {"data": self.data, "task": task, "split": split, "way": way, "seed": seed}
            for split, seed in zip(splits, self.run.seeds, strict=True)
        ]
        return self.run.build_all(real_tasks.answer_simply, many)

    def _rows(self, model: str, task: str, splits: Sequence[Path], *, shuffled: bool) -> list[Path]:
        shared = {"data": self.data, "task": task, "shuffled": shuffled, **self.settings[model]["wording"]}
        if model == CHARACTER:
            shared["character_model"] = self.characters
        many = [{**shared, "split": split, "seed": seed} for split, seed in zip(splits, self.run.seeds, strict=True)]
        return [folder / "rows.jsonl" for folder in self.run.build_all(real_tasks.write_rows, many)]

    @cached_property
    def base(self) -> Path:
        """The small real chat model, untuned."""
        return checkpoints.place(self.run, self.settings["chat"]["checkpoint"])

    def chat(self, task: str, splits: Sequence[Path], arm: str) -> list[Path]:
        """The small chat model's answers, as it is or after tuning on a split's items, one folder a seed."""
        told = self.settings["chat"]
        adapters: list[Path | None] = [None] * len(splits)
        if arm != BASE:
            files = self._rows(CHAT, task, splits, shuffled=arm == SHUFFLED)
            fit = {"checkpoint": self.base, "lora": told["lora"], **told["loading"], **told["fit"]}
            fits = [{**fit, "rows": file, "seed": seed} for file, seed in zip(files, self.run.seeds, strict=True)]
            adapters = self.run.build_all(finetune, fits)
        how = {"base": self.base, "data": self.data, "task": task, **told["answer"], **told["loading"]}
        many = [{**how, "adapter": adapter, "split": split} for adapter, split in zip(adapters, splits, strict=True)]
        return self.run.build_all(real_tasks.answer_by_model, many)

    @cached_property
    def characters(self) -> Path:
        """The character model that has read legal texts of other tasks, untuned."""
        told = self.settings["character"]
        initial = self.run.build(character_model.write_initial, data=self.data, seed=0, **told["initial"])
        rows = self.run.build(
            character_model.write_readings,
            data=self.data,
            tasks=list(character_model.READ),
            model=initial,
            **told["reading"],
        )
        fitted = self.run.build(
            finetune_stacked, checkpoint=initial, rows=[rows / "rows.jsonl"], seeds=[0], **told["read"]
        )
        return member(fitted, 0)

    def character(self, task: str, splits: Sequence[Path]) -> dict[str, list[Path]]:
        """The character model's answers by arm, one folder a seed; what is tuned is tuned in one pass."""
        told = self.settings["character"]
        files = [file for arm in (False, True) for file in self._rows(CHARACTER, task, splits, shuffled=arm)]
        seeds = [*self.run.seeds, *self.run.seeds]
        fitted = self.run.build(finetune_stacked, checkpoint=self.characters, rows=files, seeds=seeds, **told["fit"])
        models = {BASE: [self.characters] * len(splits)}
        models |= {
            arm: [member(fitted, k * len(splits) + n) for n in range(len(splits))]
            for k, arm in enumerate((TUNED, SHUFFLED))
        }
        how = {"data": self.data, "task": task, "characters": True, **told["answer"]}
        return {
            arm: self.run.build_all(
                real_tasks.answer_by_model,
                [{**how, "base": model, "split": split} for model, split in zip(listed, splits, strict=True)],
            )
            for arm, listed in models.items()
        }

    def weights(self, model: str) -> int:
        """How many weights an untuned model has."""
        loaded, _ = causal_lm.load(self.base if model == CHAT else self.characters)
        return sum(one.numel() for one in loaded.parameters())

    # ------------------------------------------------------------------ measuring
    def measure(self, task: str, model: str | None = None) -> Measured:
        """Every arm's score of every item of a task: ways without a language model, released answers, and those of a ``model``
        (:data:`CHAT`, :data:`CHARACTER`), untuned, tuned and tuned on shuffled answers."""
        items = self.items(task)
        columns, valid = {}, {}
        for name, answers in self.released(items).items():
            columns[name] = answers.scores()
            valid[name] = 1 - answers.abstention()
        answered = np.isfinite(columns[STRONGER])  # the others cannot be compared
        splits = self.splits(task, np.flatnonzero(answered).tolist())
        folders = {way: self.simply(task, splits, way) for way in linear.WAYS}
        if model == CHAT:
            folders |= {arm: self.chat(task, splits, arm) for arm in (BASE, TUNED, SHUFFLED)}
        elif model == CHARACTER:
            folders |= self.character(task, splits)
        for arm, written in folders.items():
            columns[arm], valid[arm] = self._scored(items, written)
        scores = pd.DataFrame(columns)
        scores.loc[~answered] = np.nan
        member = np.array(json.loads((self._groups(task) / "groups.json").read_text()))
        return Measured(items, scores, pd.Series(valid), member)

    @staticmethod
    def _scored(items: Items, folders: Sequence[Path]) -> tuple[np.ndarray, float]:
        """Mean score of each item over the folders that answer it, and the share of answers that could be read."""
        total, count, readable = np.zeros(len(items.items)), np.zeros(len(items.items)), []
        for folder in folders:
            told = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
            for position, text in zip(told["items"], told["texts"], strict=True):
                scored = items.score(text, items.items[position].gold)
                total[position] += scored.score
                count[position] += 1
                readable.append(scored.answered)
        return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0), float(np.mean(readable))

    # ------------------------------------------------------------------ outcome
    def judge(self, task: str, measured: Measured) -> None:
        """Judge the claim that a linear model trained on a task's items beats GPT-4 on it."""
        self._judge(CLAIMS[task], measured.scores, measured.member, without="shuffled")

    def judge_model(self, found: Mapping[str, Measured], model: str) -> None:
        """Judge the claims about a model, on the items of all their tasks in which it is measured.

        A claim is left unjudged that has no such task, or whose tuned model still writes answers of which less than
        :data:`READABLE` can be read: it has not been tuned, whatever its score.
        """
        for claim_id, tasks in MODEL_CLAIMS[model].items():
            there = [found[task] for task in tasks if task in found]
            if not there:
                self.run.decline(claim_id, "at this profile the model is tuned in none of its tasks")
                continue
            readable = float(np.mean([one.valid[TUNED] for one in there]))
            if readable < READABLE and self.run.settings["verdicts"]:
                told = f"{readable:.0%} of the tuned model's answers can be read and {READABLE:.0%} are asked"
                self.run.decline(claim_id, f"{told}, so it has not been tuned")
                continue
            scores = pd.concat([one.scores for one in there], ignore_index=True)
            groups = [f"{one.items.task.id}/{group}" for one in there for group in one.member]
            self._judge(claim_id, scores, np.array(groups), without=SHUFFLED)

    def _judge(self, claim_id: str, scores: pd.DataFrame, member: np.ndarray, *, without: str) -> None:
        """Judge a claim over the items that its arms, columns of ``scores``, have; ``member``: what is resampled together.

        ``best_without_labels`` is the best, by its mean, of the model ``without`` labels of its own (trained on shuffled answers),
        of the constant answer and of GPT-4.
        """
        rivals = scores[[without, "constant", STRONGER]].dropna().mean()
        scores = scores.assign(**{BEST_WITHOUT: scores[rivals.idxmax()]})
        claim = self.run.paper.claim(claim_id)
        both = (claim.arms, claim.counterpart.arms)
        needed = list(dict.fromkeys(arm for arms in both for arm in (arms.treatment, arms.baseline)))
        known = scores[needed].dropna()
        self.run.record(claim.quantity, {arm: known[arm].tolist() for arm in needed})
        effect, control = ((known[arms.treatment] - known[arms.baseline]).to_numpy() for arms in both)
        clusters = member[known.index].tolist()
        self.run.judge_cases(claim_id, **over_cases(effect, control, clusters=clusters, resamples=RESAMPLES))


def prepare(run: Run) -> Study:
    return Study(run, run.settings["real_tasks"], run.source("lawbench"), run.source("lawbench_answers"))
