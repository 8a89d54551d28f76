"""The plan of the Machine Mindset experiments: bases without a pole, and what is tuned on which of the released texts, in phases.

An arm (:mod:`arms`) is a tuple of phases, ``()`` the base itself; each phase begins where the one before it ended, so two arms
that begin alike share their models. Bases are tiny and trained here on both poles, or a real chat
model that the profile names. The split into what is trained on and what is asked is drawn anew for each base.

    study = prepare(run); weighed = study.weigh(pole_arms("energy", "I"), axis="energy")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.cases import over_cases
from lib.models import checkpoints
from lib.training.dpo import prefer
from lib.training.sft import finetune
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run, SessionError
from papers.machine_mindset import bases, material, measures
from papers.machine_mindset.arms import Arm, Phase, learn
from papers.machine_mindset.personality import AXES
from papers.machine_mindset.questionnaire import Item, read_items, write_items
from papers.machine_mindset.released_sets import behaviour_path
from papers.machine_mindset.stacked_dpo import prefer_stacked

RESAMPLES = 5000


@dataclass(frozen=True)
class Model:
    """A tuned model: a checkpoint, and perhaps an adapter on it."""

    checkpoint: Path
    adapter: Path | None = None


@dataclass(frozen=True)
class Study:
    """Bases, data and arms of one run in one language; ``data`` and ``bases`` by the seed of a base."""

    run: Run
    settings: dict[str, Any]
    language: str
    data: dict[int, dict[str, Any]]
    bases: dict[int, Path]
    words: Path | None

    # ------------------------------------------------------------------ what there is
    @property
    def by_cases(self) -> bool:
        """Whether there is one base, and one set of cases, so that intervals are over cases and not over replicates."""
        return len(self.bases) == 1 and "checkpoints" in self.settings

    def _data(self, seed: int) -> dict[str, Any]:
        return self.data[self.run.base_of(seed)]

    def _split(self, seed: int) -> dict[str, Any]:
        return {"seed": self.run.base_of(seed), "share": self.settings["held"]}

    def axes(self, *, pairs: bool = False) -> list[str]:
        """The axes whose behaviour files (or preference pairs) are among the released ones in this language."""
        folder = next(iter(self.data.values()))["folder"]
        if pairs:
            return [axis for axis in AXES if any((folder / "datasets" / "dpo").glob(f"dpo_{axis}_*.json"))]
        return [
            axis
            for axis in AXES
            if behaviour_path(folder, language=self.language, axis=axis, pole=AXES[axis][0]).is_file()
        ]

    def about(self, axis: str) -> str:
        """Bases, cases and rows in one line."""
        cases = [len(json.loads(path.read_text(encoding="utf-8"))) for path in self.held(axis)]
        rows = {kind: one["steps"] * one["batch"] for kind, one in self.settings["phases"].items()}
        return (
            f"{len(self.bases)} base(s); {min(cases)} to {max(cases)} held-out pairs of {axis}; rows of a fit: "
            f"{rows['behaviour']} answers, {rows['self_awareness']} of a type about itself, {rows['preference']} preference pairs"
        )

    # ------------------------------------------------------------------ training
    def rows(self, phase: Phase) -> list[Path]:
        """The rows (or pairs) of a phase, one file a seed."""
        recipe, settings = self.settings["phases"][phase.kind], self.settings
        many = [
            {
                "data": self._data(seed), "mix": [list(one) for one in phase.mix], "count": recipe["steps"] * recipe["batch"],
                "texts": settings["texts"], "words": self.words, "split": self._split(seed), "shortest": settings["shortest"],
                "seed": seed,
            }
            for seed in self.run.seeds
        ]  # fmt: skip
        if phase.kind == "preference":
            return [folder / "pairs.jsonl" for folder in self.run.build_all(material.draw_pairs, many)]
        longest = {"longest_question": settings["exam"].get("longest")}
        return [
            folder / "rows.jsonl" for folder in self.run.build_all(material.draw_rows, [one | longest for one in many])
        ]

    def models(self, arm: Arm) -> list[Model]:
        """The model of an arm at every seed, trained where missing."""
        if not arm:
            return [Model(self.bases[self.run.base_of(seed)]) for seed in self.run.seeds]
        starts, rows = self.models(arm[:-1]), self.rows(arm[-1])
        recipe = dict(self.settings["phases"][arm[-1].kind])
        preferring = arm[-1].kind == "preference"
        if "lora" not in self.settings:
            told = {"checkpoint": [one.checkpoint for one in starts], "rows": rows, "seeds": self.run.seeds, **recipe}
            folder = self.run.build(prefer_stacked if preferring else finetune_stacked, **told)
            return [Model(member(folder, k)) for k in range(len(starts))]
        many = [
            {"checkpoint": one.checkpoint, "adapter": one.adapter, "rows": file, "seed": seed, **self.settings["loading"], **recipe,
             "lora": None if one.adapter else self.settings["lora"]}
            for one, file, seed in zip(starts, rows, self.run.seeds, strict=True)
        ]  # fmt: skip
        folders = self.run.build_all(prefer if preferring else finetune, many)
        return [Model(one.checkpoint, folder) for one, folder in zip(starts, folders, strict=True)]

    def taught(self, axis: str) -> Arm:
        """What a base goes through first where it is to sit the exam: nothing, where the profile has no ``lessons``."""
        return (learn(axis),) if "lessons" in self.settings["phases"] else ()

    # ------------------------------------------------------------------ asking
    def _ask(
        self, function, file: str, arms: Mapping[str, Arm], told: Sequence[dict[str, Any]]
    ) -> dict[str, list[Any]]:
        """What a measure finds of every arm: name -> what it wrote, in seed order; ``told`` by seed."""
        found = {}
        for name, arm in arms.items():
            shared = {
                "how": self.settings["loading"],
                **{key: self.settings["asked"][key] for key in ("batch", "apart")},
            }
            many = [
                {"base": one.checkpoint, "adapter": one.adapter, **shared, **more}
                for one, more in zip(self.models(arm), told, strict=True)
            ]
            folders = self.run.build_all(function, many)
            found[name] = [json.loads((folder / file).read_text(encoding="utf-8")) for folder in folders]
        return found

    def held(self, axis: str) -> list[Path]:
        """Held-out instructions of an axis with both answers, a file a seed."""
        settings = self.settings
        many = [
            {"data": self._data(seed), "axis": axis, "count": settings["asked"]["pairs"], "texts": settings["texts"],
             "words": self.words, "split": self._split(seed), "shortest": settings["shortest"]}
            for seed in self.run.seeds
        ]  # fmt: skip
        return [folder / "held.json" for folder in self.run.build_all(material.hold_pairs, many)]

    def weigh(self, arms: Mapping[str, Arm], *, axis: str) -> dict[str, list[np.ndarray]]:
        """Mean log-likelihood a token (nats) of both poles' answers: name -> (cases, 2) a seed, poles in the order of ``AXES``."""
        found = self._ask(measures.weigh_pairs, "weighed.json", arms, [{"held": one} for one in self.held(axis)])
        return {
            name: [np.array([[case[pole] for pole in AXES[axis]] for case in seed]) for seed in listed]
            for name, listed in found.items()
        }

    def name(self, arms: Mapping[str, Arm]) -> dict[str, list[list[dict[str, Any]]]]:
        """Replies to held-out questions after the own type: name -> seed -> a question's codes and their log-likelihoods."""
        told = self.settings["naming"]
        many = [
            {"data": self._data(seed), "split": self._split(seed), "least": told["least"]} for seed in self.run.seeds
        ]
        questions = [folder / "questions.json" for folder in self.run.build_all(material.hold_questions, many)]
        shared = {"words": self.words, "lead": told["lead"], "longest": told["longest"]}
        return self._ask(measures.name_type, "named.json", arms, [{"questions": one, **shared} for one in questions])

    def items(self) -> list[Item]:
        return read_items(self.run.facts)

    def answer(self, arms: Mapping[str, Arm], *, persona: str | None = None) -> dict[str, list[list]]:
        """The questionnaire: name -> seed -> log-likelihoods (items, 2 orders, 2 options); ``persona``: whom it is told to be."""
        items = self.run.build(write_items, items=[asdict(item) for item in self.items()]) / "items.json"
        one = {"items": items, "words": self.words, "wording": self.settings["wording"], "persona": persona}
        return self._ask(measures.answer_items, "answers.json", arms, [one] * len(self.run.seeds))

    def sit(self, arms: Mapping[str, Arm]) -> dict[str, list[dict[str, list]]]:
        """The exam: name -> seed -> right letters and those that each way of scoring gives."""
        told, asked = self.settings["exam"], self.settings["asked"]
        shared = {
            "count": asked["questions"], "longest_question": told.get("longest"), "words": self.words, "longest": asked["reply"],
            "by_words": told["by_words"],
        }  # fmt: skip
        return self._ask(
            measures.sit_exam, "sat.json", arms, [{"exam": self._data(s)["exam"], **shared} for s in self.run.seeds]
        )

    # ------------------------------------------------------------------ outcome
    def judge(self, claim_id: str, cases: Mapping[str, Sequence]) -> None:
        """Judge a claim from its arms' cases, name -> seed -> (cases,): over replicates or over cases."""
        claim = self.run.paper.claim(claim_id)
        if not self.by_cases:
            self.run.judge(claim_id, {name: [float(np.mean(one)) for one in seeds] for name, seeds in cases.items()})
            return
        mean = {name: np.mean(seeds, axis=0) for name, seeds in cases.items()}
        needed = {arm for arms in (claim.arms, claim.counterpart.arms) for arm in (arms.treatment, arms.baseline)}
        self.run.record(claim.quantity, {name: mean[name].tolist() for name in mean if name in needed})
        effect, control = (mean[arms.treatment] - mean[arms.baseline] for arms in (claim.arms, claim.counterpart.arms))
        self.run.judge_cases(claim_id, **over_cases(effect, control, resamples=RESAMPLES))

    def judge_ability(self, claim_id: str, right: Mapping[str, Sequence]) -> None:
        """:meth:`judge` on an exam, or leave the claim unjudged: a base not knowing the exam (``known``) has nothing to lose."""
        least, knows = self.settings["exam"]["known"], min(float(np.mean(one)) for one in right["untuned_base"])
        if knows >= least or not self.settings["verdicts"]:
            self.judge(claim_id, right)
            return
        quantity = self.run.paper.claim(claim_id).quantity
        self.run.record(quantity, {arm: [float(np.mean(one)) for one in seeds] for arm, seeds in right.items()})
        why = f"a base gives {knows:.2f} of the replies right, less than {least}: no ability to lose"
        self.run.decline(claim_id, why)


def prepare(run: Run, *, language: str = "en") -> Study:
    """Bases and data of a run, built where missing: trained on both poles, or the profile's ``checkpoints``."""
    settings = run.settings
    if language not in settings["languages"]:
        raise SessionError(f"this profile has no base for '{language}'; it has {', '.join(settings['languages'])}")
    data = bases.data_of(run, language)
    if "checkpoints" in settings:
        place = checkpoints.place(run, settings["checkpoints"][language])
        return Study(run, settings, language, data, dict.fromkeys(data, place), None)
    words, trained = bases.pretrained(run, language, data)
    return Study(run, settings, language, data, trained, words)
