"""The plan of the Aurora experiments: two-language worlds, a mixture of experts for each, and what is tuned on which rows.

Everything is a cached artefact: world, initial weights, pretrained base, rows of an arm, its adapter, its replies and
answers; two notebooks that need one arm tune it once. World, initial weights and pretraining are drawn anew for each
base; the replicates stand on the bases in turn. An arm is a dictionary of how it departs from tuning on the three
cleaned Chinese sets, which is ``{}``.

    study = prepare(run); arms = study.tune(ARMS); arms[CHINESE][0]["match"]["B"]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.models import checkpoints
from lib.training.dpo import prefer
from lib.training.sft import finetune
from lib.workflow.session import Run
from papers.aurora import letters as aurora_letters
from papers.aurora import measures
from papers.aurora.artefacts import write_initial
from papers.aurora.material import Files, Generated, of
from papers.aurora.pretraining import pretrain

BASE = "untuned_base"
CHINESE, ENGLISH = "tuned_on_chinese_chat", "tuned_on_english_chat"
# Paper: no load-balancing loss is added in tuning. TRL adds it whenever the configuration has a coefficient.
FROZEN_ROUTER = {"output_router_logits": False, "router_aux_loss_coef": 0.0}
# Resumed for DPO: tuned on rows of an extraverted speaker, or on the introverted speaker's that the pairs of `real` prefer.
SPEAKERS = {"extraverted": {}, "introverted": {"sets": ["introverted"]}}
ARMS = {BASE: None, CHINESE: {}, ENGLISH: {"language": "A"}}
VARIANTS = {  # how the Chinese arm could have been tuned otherwise
    "rank 1": {"lora": {"rank": 1, "alpha": 2}},
    "rank 4": {"lora": {"rank": 4, "alpha": 8}},
    "rank 16": {"lora": {"rank": 16, "alpha": 32}},
    "k and o projections": {"lora": {"targets": ["k_proj", "o_proj"]}},
    "terse set alone": {"sets": ["alpaca_zh"]},
    "full set alone": {"sets": ["alpaca_gpt4_zh"]},
    "dialogues alone": {"sets": ["sharegpt"]},
    "not cleaned": {"clean": False},
    "answers shuffled": {"shuffle": True},
    "0.14 of an epoch": {"fit": {"epochs": 0.14}},  # where checkpoint-3000, which Table 3 scores, stood
}
CHECKPOINTS = (6, 8, 10, 12)  # thousands of the README's last checkpoint, 14


def spoken(arm: str) -> str:
    """An arm's name as a figure writes it.

    >>> spoken(CHINESE), spoken("prompts in A")
    ('Chinese', 'prompts in A')
    """
    return {BASE: "base", CHINESE: "Chinese", ENGLISH: "English"}.get(arm, arm)


# -------------------------------------------------------------------------------------------------------------- study
@dataclass(frozen=True)
class Base:
    """A language model before tuning, and the material its replicates are tuned on and asked."""

    checkpoint: Path
    material: Generated | Files


@dataclass(frozen=True)
class Tuned:
    """What an arm gave at one seed: its adapter (``None``: the base), and what was measured of it."""

    seed: int
    adapter: Path | None
    measured: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.measured[name]


@dataclass
class Study:
    """Bases and arms of one run; ``settings`` is the profile's section of ``experiments.yml``."""

    run: Run
    settings: dict[str, Any]
    bases: dict[int, Base]

    def at(self, seed: int) -> Base:
        """The base under the replicate `seed`."""
        return self.bases[self.run.base_of(seed)]

    def rows(self, arm: dict[str, Any]) -> list[Path]:
        """The training rows of an arm, one file a seed."""
        return [self.at(seed).material.rows(arm, seed) for seed in self.run.seeds]

    def about(self) -> str:
        """Bases and prompts in one line."""
        return f"{len(self.bases)} base(s); {self.at(self.run.seeds[0]).material.about()}"

    def fits(self, arm: dict[str, Any]) -> list[Path]:
        """The adapter of an arm at every seed. ``arm``: language, sets, clean, shuffle, lora, fit.

        The arm that departs in nothing also keeps its checkpoints.
        """
        lora = {**self.settings["lora"], **arm.get("lora", {})}
        fit = {**self.settings["fit"], **arm.get("fit", {})}
        many = [
            {
                "checkpoint": self.at(seed).checkpoint,
                "rows": file,
                "lora": lora,
                "seed": seed,
                "keep": [] if arm else self._marks(file),
                **fit,
            }
            for file, seed in zip(self.rows(arm), self.run.seeds, strict=True)
        ]
        return self.run.build_all(finetune, many)

    def _marks(self, rows: Path) -> list[int]:
        """Steps of the kept checkpoints: at 6, 8, 10 and 12 fourteenths of the fit."""
        fit, batch = self.settings["fit"], self.settings["fit"]["batch"]
        an_epoch = -(-len(rows.read_text(encoding="utf-8").splitlines()) // batch)
        steps = fit["steps"] if "steps" in fit else an_epoch * fit["epochs"]
        return [max(1, round(steps * mark / 14)) for mark in CHECKPOINTS]

    def checkpoints(self) -> dict[str, list[Tuned]]:
        """The Chinese arm along its tuning: name -> tuned models in seed order; the last is the whole fit."""
        adapters, rows = self.fits({}), self.rows({})
        marks = [self._marks(file) for file in rows]
        found = {
            f"{mark}/14": self.measure([a / f"step_{steps[k]}" for a, steps in zip(adapters, marks, strict=True)])
            for k, mark in enumerate(CHECKPOINTS)
        }
        return found | {"14/14": self.measure(adapters)}

    def measure(self, adapters: Sequence[Path | None]) -> list[Tuned]:
        """Replies and expert usage of one adapter a seed, on its base (``None``: the base alone)."""
        shared = {**self._loading, **self.settings["measure"]}
        under = [self.at(seed) for seed in self.run.seeds]
        asked = {seed: base.material.prompts() for seed, base in self.bases.items()}
        many = [
            {
                "base": base.checkpoint,
                "prompts": asked[self.run.base_of(seed)],
                "adapter": adapter,
                **shared,
            }
            for seed, base, adapter in zip(self.run.seeds, under, adapters, strict=True)
        ]
        folders = self.run.build_all(measures.measure_model, many)
        read = [json.loads((folder / "measured.json").read_text()) for folder in folders]
        return [Tuned(*one) for one in zip(self.run.seeds, adapters, read, strict=True)]

    @property
    def _loading(self) -> dict[str, Any]:
        return {key: self.settings["fit"][key] for key in ("quantisation", "dtype") if key in self.settings["fit"]}

    def _adapters(self, arm: dict[str, Any] | None) -> list[Path | None]:
        return [None] * len(self.run.seeds) if arm is None else self.fits(arm)

    def tune(self, arms: dict[str, dict[str, Any] | None]) -> dict[str, list[Tuned]]:
        """Every arm at every seed, measured: name -> tuned models in seed order. ``None`` is the untuned base."""
        return {name: self.measure(self._adapters(arm)) for name, arm in arms.items()}

    def sit(self, arms: dict[str, dict[str, Any] | None]) -> dict[str, list[dict[str, list[bool]]]]:
        """The exams, sat by every arm at every seed: name -> seed -> exam -> right or wrong, a question each."""
        shared, found = {**self._loading, **self.settings["sitting"]}, {}
        for name, arm in arms.items():
            many = [
                {"base": self.at(seed).checkpoint, "exams": self.at(seed).material.exams, "adapter": adapter, **shared}
                for seed, adapter in zip(self.run.seeds, self._adapters(arm), strict=True)
            ]
            folders = self.run.build_all(measures.answer_exams, many)
            found[name] = [json.loads((folder / "exams.json").read_text()) for folder in folders]
        return found

    def prefer(self, reference: str) -> list[tuple[Tuned, list[dict[str, float]]]]:
        """The Chinese arm after DPO against `reference` (base, or start: the tuned arm): measured arm and history, a seed each."""
        seeds = self.run.seeds
        pairs = [self.at(seed).material.pairs(seed) for seed in seeds]
        shared = {
            "reference": reference,
            **self._loading,
            **self.settings["preference"],
        }
        many = [
            {
                "checkpoint": self.at(seed).checkpoint,
                "adapter": adapter,
                "rows": file,
                "seed": seed,
                **shared,
            }
            for adapter, file, seed in zip(self.fits({}), pairs, seeds, strict=True)
        ]
        folders = self.run.build_all(prefer, many)
        history = [json.loads((folder / "history.json").read_text()) for folder in folders]
        return list(zip(self.measure(folders), history, strict=True))

    def starts(self, arm: dict[str, Any]) -> dict[str, float]:
        """Where DPO begins that resumes an arm against the base: pair -> reward margin of chosen over rejected, beta times
        nats, mean over the seeds that drew the pair. Against the arm itself every margin begins at 0."""
        shared = {**self._loading, "batch": self.settings["preference"]["batch"]}
        pairs = [self.at(seed).material.pairs(seed) for seed in self.run.seeds]
        weighed = [
            self.run.build_all(measures.weigh_answers, [
                {"base": self.at(seed).checkpoint, "adapter": one, "pairs": file, **shared}
                for one, file, seed in zip(adapters, pairs, self.run.seeds, strict=True)
            ])
            for adapters in (self.fits(arm), self._adapters(None))
        ]  # fmt: skip
        found: dict[str, list[float]] = {}
        for file, *folders in zip(pairs, *weighed, strict=True):
            resumed, base = (np.array(json.loads((folder / "answers.json").read_text())) for folder in folders)
            margins = self.settings["preference"]["beta"] * ((resumed - base) @ [1.0, -1.0])
            for pair, margin in zip(file.read_text(encoding="utf-8").splitlines(), margins, strict=True):
                found.setdefault(pair, []).append(float(margin))
        return {pair: float(np.mean(margins)) for pair, margins in found.items()}


def by_letters(run: Run, *, exams: Path | None) -> dict[str, list[dict[str, list]]]:
    """Base and tuned model by the released protocol, each once a seed: exam -> [subject, right] pairs.

    ``exams``: folder of real exams, or ``None`` for those of each base's material. Checkpoint and adapter are the settings'
    ``harness``, or where it names none the miniature's own.
    """
    harness, seeds = dict(run.settings["harness"]), run.seeds
    checkpoint, adapter = (harness.pop(key) for key in ("checkpoint", "adapter"))
    if checkpoint is None:
        study = prepare(run)
        adapters = study.fits({})
        places = [(study.at(seed).checkpoint, exams or study.at(seed).material.exams) for seed in seeds]
    else:
        released = [checkpoints.place(run, one) for one in (checkpoint, adapter)]
        adapters, places = [released[1]] * len(seeds), [(released[0], exams)] * len(seeds)
    found = {}
    for name, used in {BASE: [None] * len(seeds), CHINESE: adapters}.items():
        many = [
            {"checkpoint": model, "exams": asked, "adapter": one, "seed": seed, **harness}
            for (model, asked), one, seed in zip(places, used, seeds, strict=True)
        ]
        folders = run.build_all(aurora_letters.score_letters, many)
        found[name] = [json.loads((folder / "letters.json").read_text()) for folder in folders]
    return found


def by_words(run: Run) -> dict[str, list[dict[str, list[bool]]]]:
    """The same models by the likelihood of the options' own words: exam -> right or wrong, each once a seed; empty where
    ``harness`` names models of its own."""
    if run.settings["harness"]["checkpoint"] is not None:
        return {}
    return prepare(run).sit({BASE: None, CHINESE: {}})


def prepare(run: Run) -> Study:
    """The bases of a run and their material, built where missing: pretrained on a world, or the profile's ``checkpoint``."""
    material = of(run)
    if "checkpoint" in run.settings:
        checkpoint = checkpoints.place(run, run.settings["checkpoint"])
        return Study(run, run.settings, {seed: Base(checkpoint, one) for seed, one in material.items()})
    pretrained = _pretrained(run, material)
    return Study(run, run.settings, {seed: Base(pretrained[seed], one) for seed, one in material.items()})


def _pretrained(run: Run, material: dict[int, Generated]) -> dict[int, Path]:
    """The mixture of experts of each base, trained from scratch on its world."""
    settings, pretraining = run.settings, dict(run.settings["pretraining"])
    told = [{"world": one.told, "architecture": settings["architecture"]} for one in material.values()]
    batches = pretraining.pop("batches")
    many = [
        {
            "checkpoint": start,
            "sources": [{"rows": one.folder / f"{name}.jsonl", "batch": batch} for name, batch in batches.items()],
            "config": FROZEN_ROUTER,
            "seed": seed,
            **pretraining,
        }
        for (seed, one), start in zip(material.items(), run.build_all(write_initial, told), strict=True)
    ]
    return dict(zip(material, run.build_all(pretrain, many), strict=True))
