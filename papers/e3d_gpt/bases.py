"""What stands under the replicates of E3D-GPT: a world of volumes and instructions, pretrained encoders, a language model.

A base is everything that would differ had the authors started again, drawn by its seed. Where the profile's ``world`` names
``sources``, the files are those on every base. What is dear is built when it is asked for.

    base = make_base(run, seed=0); base.encoder("masked"), base.texts["train"], base.tests["ct_rate"].count
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.streams import stream_seed
from lib.workflow.session import Run
from papers.e3d_gpt import encoders, sets, tuning, world
from papers.e3d_gpt.findings import SHOWN
from papers.e3d_gpt.instructions import Item
from papers.e3d_gpt.prepare import prepare

ENCODERS = ("masked", "shuffled_voxels", "normalised", "contrastive", "untrained")


@dataclass(frozen=True)
class TestSet:
    """One test set: prepared volumes, instructions (each with its volume's row), findings (N, F) bool in the order of ``SHOWN``."""

    prepared: Path
    gathered: Path
    labels: np.ndarray
    reports: list[tuple[int, Item]]
    questions: list[tuple[int, Item]]

    @property
    def reported(self) -> np.ndarray:
        """(R, F) bool: findings of the volumes that have a report, in the reports' order."""
        return self.labels[[row for row, _ in self.reports]]

    @property
    def count(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Base:
    """One base. ``pool``: prepared volumes of the unlabelled pool; ``train``: of the sets, in their order."""

    seed: int
    run: Run
    pool: Path
    train: list[Path]
    gathered: Path
    tests: dict[str, TestSet]

    @property
    def eyes(self) -> dict[str, Any]:
        """What every encoder is told."""
        return {"vit": self.run.settings["vit"], "crop": self.run.settings["crop"]}

    def encoder_recipe(self, kind: str) -> tuple[Any, dict[str, Any]]:
        """Function and arguments of a pretrained encoder, one of ``ENCODERS``."""
        settings, own = self.run.settings, {**self.eyes, "seed": stream_seed(self.seed, "pretraining")}
        if kind == "untrained":
            return encoders.initialise, {**own, "prepared": self.train}
        if kind == "contrastive":
            told = {"reports": self.gathered, "text": self.text, "how": settings["contrastive"], "prepared": self.train}
            return encoders.pretrain_contrastive, {**own, **told}
        variant = {"shuffled": kind == "shuffled_voxels", "norm_pix_loss": kind == "normalised"}
        return encoders.pretrain_masked, {
            **own, **variant, "prepared": [self.pool, *self.train], "how": settings["masked"],
        }  # fmt: skip

    def encoder(self, kind: str) -> Path:
        """A pretrained encoder, built where missing."""
        function, recipe = self.encoder_recipe(kind)
        return self.run.build(function, **recipe)

    def tokens(self, kind: str, prepared: list[Path]) -> list[Path]:
        """Stored tokens of a frozen encoder for each folder; none at a profile that tunes the encoder."""
        if self.run.settings["vision"] == "tuned":
            return []
        recipes = [{**self.eyes, "prepared": [one], "encoder": self.encoder(kind)} for one in prepared]
        return self.run.build_all(encoders.encode, recipes)

    @cached_property
    def text(self) -> Path:
        """The BERT of the contrastive encoder: a source's, or a tiny one."""
        told = self.run.settings["text"]
        if "source" in told:
            return self.run.source(told["source"])
        return self.run.build(sets.make_text_encoder, gathered=self.gathered, **told)

    @cached_property
    def language(self) -> Path:
        """The language model: a source's, or a tiny one that has read the training texts."""
        told = self.run.settings["language"]
        if "source" in told:
            return self.run.source(told["source"])
        seed = stream_seed(self.seed, "language")
        return self.run.build(tuning.make_language_model, texts=self.gathered, seed=seed, **told)


@dataclass(frozen=True)
class _Places:
    """Where trees and instructions lie."""

    trees: dict[str, Path]
    instructions: Path


def _places(run: Run, seed: int) -> _Places:
    told = run.settings["world"]
    if "sources" in told:
        found = {name: run.source(source) for name, source in told["sources"].items()}
        return _Places(found, found["instructions"])
    root = run.build(world.write_world, seed=seed, **told)
    return _Places({name: root / name for name in ("pool", *world.SETS)}, root)


def _test_set(prepared: Path, gathered: Path) -> TestSet:
    read = tuning.read_texts(gathered)
    labels = np.load(gathered / "labels.npy").astype(bool)
    return TestSet(prepared, gathered, labels, read.reports, read.questions)


def make_base(run: Run, *, seed: int) -> Base:
    """The base of one seed, built where missing."""
    places, grid = _places(run, seed), run.settings["grid"]
    wanted = [("pool", "train"), *((name, split) for name in world.SETS for split in ("train", "valid"))]
    recipes = [{"tree": places.trees[name], "split": split, **grid} for name, split in wanted]
    prepared = dict(zip(wanted, run.build_all(prepare, recipes), strict=True))

    def source(name: str, split: str, named: str) -> dict[str, Any]:
        return {
            "tree": places.trees[name], "split": split, "named": named, "prepared": prepared[name, split],
            "reports": world.reports_json(places.instructions, name),
            "questions": world.questions_json(places.instructions, name, named),
        }  # fmt: skip

    groups = [[source(name, "train", "train") for name in world.SETS]]
    groups += [[source(name, "valid", "test")] for name in world.SETS]
    first, *others = run.build_all(sets.gather, [{"sources": one, "findings": list(SHOWN)} for one in groups])
    tests = {name: _test_set(prepared[name, "valid"], folder) for name, folder in zip(world.SETS, others, strict=True)}
    return Base(seed, run, prepared["pool", "train"], [prepared[name, "train"] for name in world.SETS], first, tests)
