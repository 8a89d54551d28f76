"""The plan of the Aurora experiments: one two-language world, one mixture of experts, and what is tuned on which rows.

Everything is a cached artefact: world, initial weights, pretrained base, rows of an arm, its adapter, its replies and
answers. Two notebooks that need one arm tune it once. An arm is a dictionary of how it departs from ``TUNED``.

>>> study = prepare(run); arms = study.tune({"tuned_on_chinese_chat": {}}); study.rate(arms["tuned_on_chinese_chat"])
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.data import instruction_cleaning
from lib.data.instructions import Row, dialogue, read_alpaca, read_sharegpt, turns_of, write_messages
from lib.data.synthetic import two_language_files as files
from lib.data.synthetic.two_language_world import World, make_world
from lib.models import causal_lm
from lib.studies import aurora_measures as measures
from lib.training.pretraining import pretrain
from lib.training.sft import finetune

BASE = "untuned_base"
CHINESE, ENGLISH = "tuned_on_chinese_chat", "tuned_on_english_chat"
SHUFFLED = "tuned_on_shuffled_answers"
# Paper: no load-balancing loss is added in tuning. TRL adds it whenever the configuration has a coefficient.
FROZEN_ROUTER = {"output_router_logits": False, "router_aux_loss_coef": 0.0}
ARMS = {BASE: None, CHINESE: {}, ENGLISH: {"language": "A"}, SHUFFLED: {"shuffle": True}}


# ---------------------------------------------------------------------------------------------------------- artefacts
def write_world(folder: Path, *, world: dict[str, Any], chat: int, replies_in_a: float) -> None:
    """Pretraining rows and exams of ``make_world(**world)``."""
    made = make_world(**world)
    files.write_pretraining(folder, made, chat=chat, replies_in_a=replies_in_a, seed=made.seed)
    files.write_exams(folder / "exams", made, seed=made.seed)


def write_initial(folder: Path, *, world: dict[str, Any], architecture: dict[str, Any]) -> None:
    """The mixture of experts before pretraining; it knows exactly the world's words."""
    causal_lm.write_checkpoint(
        folder, texts=files.vocabulary(make_world(**world)), chat_template="mistral", architecture="mixtral",
        **architecture,
    )  # fmt: skip


def write_sets(folder: Path, *, world: dict[str, Any], language: str, dialogues: int, seed: int) -> None:
    """The three tuning sets of one seed in one language, in their real formats, and ``faults.json``."""
    counts = files.write_tuning_sets(folder, make_world(**world), language=language, dialogues=dialogues, seed=seed)
    (folder / "faults.json").write_text(json.dumps(counts))


def read_sets(folder: Path) -> dict[str, list[Row]]:
    """The three sets as canonical rows, by the readers of the real files."""
    return {
        name: (read_sharegpt if file.endswith(".jsonl") else read_alpaca)(folder / file)
        for name, (file, _) in files.SETS.items()
    }


def write_rows(
    folder: Path, *, sets: Path, use: Sequence[str], rules: dict[str, Any], shuffle: bool, share: float, seed: int
) -> None:
    """``rows.jsonl`` of an arm: the sets of ``use``, cleaned by ``rules``, merged, perhaps with answers shuffled.

    ``shuffle`` gives each prompt the answer of another prompt of its style. ``share`` keeps so much of the merged rows.
    """
    known = read_sets(sets)
    rows = instruction_cleaning.clean(
        {name: known[name] for name in use}, rules=instruction_cleaning.Rules(**rules)
    ).rows
    rng = np.random.default_rng([seed, 5])
    if shuffle:
        rows = _shuffled(rows, rng)
    kept = rng.permutation(len(rows))[: max(1, round(share * len(rows)))]
    write_messages(folder / "rows.jsonl", [rows[i] for i in sorted(kept)])


def _shuffled(rows: list[Row], rng: np.random.Generator) -> list[Row]:
    """Answers moved among the prompts whose answers are about as long: the language stays, the facts go."""
    listed = [turns_of(row)[1] for row in rows]
    answers = [(len(a) < 6, r, t) for r, turns in enumerate(listed) for t, (_, a) in enumerate(turns)]
    drawn = {}
    for short in (True, False):
        places = [(r, t) for is_short, r, t in answers if is_short == short]
        for place, other in zip(places, rng.permutation(len(places)), strict=True):
            drawn[place] = listed[places[other][0]][places[other][1]][1]
    return [dialogue([(q, drawn[r, t]) for t, (q, _) in enumerate(turns)]) for r, turns in enumerate(listed)]


# -------------------------------------------------------------------------------------------------------------- study
@dataclass(frozen=True)
class Arm:
    """One tuned (or untuned) model of one seed: its adapter, and what was measured of it."""

    seed: int
    adapter: Path | None
    measured: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.measured[name]


@dataclass
class Study:
    """World, base and arms of one run; ``settings`` is the profile's section of ``experiments.yml``."""

    run: Any
    settings: dict[str, Any]
    world: World
    folder: Path
    base: Path

    def sets(self, language: str, seed: int) -> Path:
        """Folder of the three tuning sets of one seed."""
        return self.run.build(
            write_sets, world=self.settings["world"], language=language, dialogues=self.settings["dialogues"], seed=seed
        )

    def _rows(self, arm: dict[str, Any]) -> list[Path]:
        language, rules = arm.get("language", "B"), dict(self.settings["rules"])
        if language == "A":
            rules["least_cjk"] = None
        if not arm.get("clean", True):  # the release drops only what it cannot encode
            rules = {"complete_after": None, "least_cjk": None, "exact": False, "near": None}
        options = {
            "use": arm.get("sets", list(files.SETS)),
            "rules": rules,
            "shuffle": arm.get("shuffle", False),
            "share": arm.get("share", 1.0),
        }
        many = [{"sets": self.sets(language, seed), "seed": seed, **options} for seed in self.run.seeds]
        return [folder / "rows.jsonl" for folder in self.run.build_all(write_rows, many)]

    def fits(self, arm: dict[str, Any], *, keep: Sequence[int] = ()) -> list[Path]:
        """The adapter of an arm at every seed. ``arm``: language, sets, clean, shuffle, share, lora, steps, fit."""
        lora = {**self.settings["lora"], **arm.get("lora", {})}
        fit = {**self.settings["fit"], "device": self.run.device, **arm.get("fit", {})}
        many = [
            {"checkpoint": self.base, "rows": rows, "lora": lora, "seed": seed, "keep": list(keep), **fit}
            for rows, seed in zip(self._rows(arm), self.run.seeds, strict=True)
        ]
        return self.run.build_all(finetune, many)

    def measure(self, adapters: Sequence[Path | None]) -> list[Arm]:
        """Replies, exam answers and expert usage of adapters on the base, one a seed (``None``: the base alone)."""
        many = [
            {
                "base": self.base,
                "adapter": adapter,
                "files": self.folder,
                "world": self.settings["world"],
                "quantisation": self.settings["fit"].get("quantisation"),
                "device": self.run.device,
                **self.settings["measure"],
            }
            for adapter in adapters
        ]
        folders = self.run.build_all(measures.measure_model, many)
        read = [json.loads((folder / "measured.json").read_text()) for folder in folders]
        return [Arm(s, a, m) for s, a, m in zip(self.run.seeds, adapters, read, strict=True)]

    def tune(self, arms: dict[str, dict[str, Any] | None]) -> dict[str, list[Arm]]:
        """Every arm at every seed, measured: name -> arms in seed order. ``None`` is the untuned base."""
        return {
            name: self.measure([None] * len(self.run.seeds) if arm is None else self.fits(arm))
            for name, arm in arms.items()
        }


def prepare(run: Any) -> Study:
    """World and base of a run, built where missing. At `full` the base is a real checkpoint and no world is made."""
    settings = run.settings
    world = settings["world"]
    folder = run.build(write_world, world=world, **settings["pretraining_rows"])
    initial = run.build(write_initial, world=world, architecture=settings["architecture"])
    pretraining = dict(settings["pretraining"])
    batches = pretraining.pop("batches")
    sources = [{"rows": folder / f"{name}.jsonl", "batch": batch} for name, batch in batches.items()]
    base = run.build(
        pretrain, checkpoint=initial, sources=sources, config=FROZEN_ROUTER, device=run.device,
        **pretraining,
    )  # fmt: skip
    return Study(run, settings, make_world(**world), folder, base)
