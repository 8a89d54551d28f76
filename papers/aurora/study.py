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

from lib.training.sft import finetune
from lib.workflow.session import Run
from papers.aurora import letters as aurora_letters
from papers.aurora import measures
from papers.aurora import world_files as files
from papers.aurora.artefacts import write_initial, write_pairs, write_rows, write_sets, write_world
from papers.aurora.preference import prefer
from papers.aurora.pretraining import pretrain
from papers.aurora.world import World, make_world

BASE = "untuned_base"
CHINESE, ENGLISH = "tuned_on_chinese_chat", "tuned_on_english_chat"
# Paper: no load-balancing loss is added in tuning. TRL adds it whenever the configuration has a coefficient.
FROZEN_ROUTER = {"output_router_logits": False, "router_aux_loss_coef": 0.0}
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
    """A pretrained mixture of experts and the world it was told; ``told``: how that world is made."""

    told: dict[str, Any]
    world: World
    files: Path  # pretraining rows, and the exams below ``exams``
    checkpoint: Path


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

    def sets(self, language: str, seed: int) -> Path:
        """Folder of the three tuning sets of one seed, about the world of its base."""
        told, dialogues = self.at(seed).told, self.settings["dialogues"]
        return self.run.build(write_sets, world=told, language=language, dialogues=dialogues, seed=seed)

    def rows(self, arm: dict[str, Any]) -> list[Path]:
        """The training rows of an arm, one file a seed; those in A are the cleaned rows in B, translated."""
        rules = dict(self.settings["rules"])
        if not arm.get("clean", True):  # the release drops only what it cannot encode
            rules = {"complete_after": None, "least_cjk": None, "exact": False, "near": None}
        options = {"use": arm.get("sets", list(files.SETS)), "rules": rules, "shuffle": arm.get("shuffle", False)}
        many = [
            {
                "sets": self.sets("B", seed),
                "translated": self.sets("A", seed) if arm.get("language", "B") == "A" else None,
                "seed": seed,
                **options,
            }
            for seed in self.run.seeds
        ]
        return [folder / "rows.jsonl" for folder in self.run.build_all(write_rows, many)]

    def fits(self, arm: dict[str, Any]) -> list[Path]:
        """The adapter of an arm at every seed. ``arm``: language, sets, clean, shuffle, lora, fit.

        The arm that departs in nothing also keeps its checkpoints.
        """
        lora = {**self.settings["lora"], **arm.get("lora", {})}
        fit = {**self.settings["fit"], "device": self.run.device, **arm.get("fit", {})}
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
        fit = self.settings["fit"]
        an_epoch = -(-len(rows.read_text(encoding="utf-8").splitlines()) // fit["batch"])
        return [max(1, round(an_epoch * fit["epochs"] * mark / 14)) for mark in CHECKPOINTS]

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
        """Replies, exam answers and expert usage of one adapter a seed, on its base (``None``: the base alone)."""
        shared = {
            "quantisation": self.settings["fit"].get("quantisation"),
            "device": self.run.device,
            **self.settings["measure"],
        }
        under = [self.at(seed) for seed in self.run.seeds]
        many = [
            {"base": base.checkpoint, "files": base.files, "world": base.told, "adapter": adapter, **shared}
            for base, adapter in zip(under, adapters, strict=True)
        ]
        folders = self.run.build_all(measures.measure_model, many)
        read = [json.loads((folder / "measured.json").read_text()) for folder in folders]
        return [Tuned(*one) for one in zip(self.run.seeds, adapters, read, strict=True)]

    def tune(self, arms: dict[str, dict[str, Any] | None]) -> dict[str, list[Tuned]]:
        """Every arm at every seed, measured: name -> tuned models in seed order. ``None`` is the untuned base."""
        return {
            name: self.measure([None] * len(self.run.seeds) if arm is None else self.fits(arm))
            for name, arm in arms.items()
        }

    def prefer(self, reference: str) -> list[tuple[Tuned, list[dict[str, float]]]]:
        """The Chinese arm after DPO against `reference` (base or tuned): measured arm and history, a seed each."""
        seeds = self.run.seeds
        pairs = self.run.build_all(write_pairs, [{"world": self.at(seed).told, "seed": seed} for seed in seeds])
        shared = {
            "reference": reference,
            "quantisation": self.settings["fit"].get("quantisation"),
            "device": self.run.device,
            **self.settings["preference"],
        }
        many = [
            {
                "checkpoint": self.at(seed).checkpoint,
                "adapter": adapter,
                "rows": folder / "pairs.jsonl",
                "seed": seed,
                **shared,
            }
            for adapter, folder, seed in zip(self.fits({}), pairs, seeds, strict=True)
        ]
        folders = self.run.build_all(prefer, many)
        history = [json.loads((folder / "history.json").read_text()) for folder in folders]
        return list(zip(self.measure(folders), history, strict=True))


def by_letters(run: Run, *, exams: Path | None) -> dict[str, list[dict[str, list]]]:
    """Base and tuned model by the released protocol, each once a seed: exam -> [subject, right] pairs.

    ``exams``: folder of real exams, or ``None`` for those of each base's world. Checkpoint and adapter are the settings'
    ``harness``, or where it names none the miniature's own.
    """
    harness, seeds = dict(run.settings["harness"]), run.seeds
    checkpoint, adapter = (harness.pop(key) for key in ("checkpoint", "adapter"))
    if checkpoint is None:
        study = prepare(run)
        adapters = study.fits({})
        places = [(study.at(seed).checkpoint, exams or study.at(seed).files / "exams") for seed in seeds]
    else:
        adapters, places = [adapter] * len(seeds), [(checkpoint, exams)] * len(seeds)
    shared = {"device": run.device, **harness}
    found = {}
    for name, used in {BASE: [None] * len(seeds), CHINESE: adapters}.items():
        many = [
            {"checkpoint": model, "exams": asked, "adapter": one, "seed": seed, **shared}
            for (model, asked), one, seed in zip(places, used, seeds, strict=True)
        ]
        folders = run.build_all(aurora_letters.score_letters, many)
        found[name] = [json.loads((folder / "letters.json").read_text()) for folder in folders]
    return found


def prepare(run: Run) -> Study:
    """The worlds and bases of a run, built where missing."""
    settings, seeds = run.settings, list(dict.fromkeys(run.bases))
    told = [{**settings["world"], "seed": seed} for seed in seeds]
    folders = run.build_all(write_world, [{"world": world, **settings["pretraining_rows"]} for world in told])
    initial = run.build_all(
        write_initial, [{"world": world, "architecture": settings["architecture"]} for world in told]
    )
    pretraining = dict(settings["pretraining"])
    batches = pretraining.pop("batches")
    many = [
        {
            "checkpoint": start,
            "sources": [{"rows": folder / f"{name}.jsonl", "batch": batch} for name, batch in batches.items()],
            "config": FROZEN_ROUTER,
            "seed": seed,
            "device": run.device,
            **pretraining,
        }
        for seed, folder, start in zip(seeds, folders, initial, strict=True)
    ]
    checkpoints = run.build_all(pretrain, many)
    made = zip(told, [make_world(**world) for world in told], folders, checkpoints, strict=True)
    return Study(run, settings, {seed: Base(*one) for seed, one in zip(seeds, made, strict=True)})
