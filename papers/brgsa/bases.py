"""The bases under the BrgSA experiments: each a world of its own and an image encoder pretrained on scans of its own.

A base is everything that would differ had the authors started again: the scans for pretraining, the pretrained encoder,
the training tree, and both test sets, all drawn by the base's seed. Where the profile's settings name a ``source``, the
tree is that one on every base, and the encoders alone differ.

    base = make_base(run, seed=0); base.valid.labels, base.pairs("raw")
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lib.data import ct_rate
from lib.data.chest_ct import world as chest_ct_world
from lib.workflow.session import Run
from papers.brgsa import data
from papers.brgsa import prepare as prepared
from papers.brgsa import pretraining as masked_pretraining
from papers.brgsa import training as alignment
from papers.brgsa.prompts import ABSENT_PROMPT, OWN_WORDS, PROMPT, REPORT_PROMPT


@dataclass(frozen=True)
class Base:
    """One base. ``sources``: set -> stored outputs of the frozen blocks (empty when every block is trained)."""

    seed: int
    run: Run
    valid: data.TestSet
    external: data.TestSet
    train_folder: Path
    train_tree: Path
    encoder: Path
    text: Path
    sources: dict[str, Path]

    def pairs(self, style: str) -> Path:
        """Report-volume pairs of the training split; ``style``: summary, quoted, noisy, or raw."""
        return data.report_pairs(self.run, self.train_tree, self.train_folder, style, self.run.settings)

    @property
    def shared(self) -> dict[str, Any]:
        """What every arm on this base starts from."""
        return {"encoder": self.encoder, "model": self.run.settings["model"], "text": self.text}

    @property
    def images(self) -> dict[str, Path]:
        """What the arms embed of each test set: its prepared volumes, or the frozen blocks' outputs."""
        folders = {"valid": self.valid.folder, "external": self.external.folder}
        return {name: self.sources.get(name, folder) for name, folder in folders.items()}

    @cached_property
    def _listed(self) -> list[list[str]]:
        folder = data.summarise(self.run, self.valid.tree, "valid", "summary", self.run.settings)
        listed = ct_rate.read_training_json(folder / "training.json")["val"]
        found = {image: e["processed_report"] for e in listed.values() for image in e["images"]}
        return [found[name] for name in self.valid.names]

    @property
    def summaries(self) -> list[str]:
        """The summary of each test volume's report, statements joined."""
        return [" ".join(statements) for statements in self._listed]

    @property
    def statements(self) -> list[str]:
        """One statement of each test volume's summary, the first: text of the length the arms were trained on."""
        return [statements[0] for statements in self._listed]

    @property
    def texts(self) -> dict[str, list[str]]:
        """Every text that is embedded, by the name of its set."""
        frequent, tail, shared = list(self.valid.labels), list(self.valid.long_tail), list(self.external.labels)
        return {
            "reports": [" ".join(prepared.sentences(report)) for report in self.valid.reports],
            "summaries": self.summaries,
            "statements": self.statements,
            "frequent": [PROMPT.format(name) for name in frequent],
            "frequent_absent": [ABSENT_PROMPT.format(name) for name in frequent],
            "frequent_as_report": [REPORT_PROMPT.format(name) for name in frequent],
            "frequent_own_words": [PROMPT.format(OWN_WORDS[name]) for name in frequent],
            "tail": [PROMPT.format(name) for name in tail],
            "shared": [PROMPT.format(name) for name in shared],
            "shared_absent": [ABSENT_PROMPT.format(name) for name in shared],
        }


def make_base(run: Run, *, seed: int) -> Base:
    """The base of one seed, built where missing."""
    settings = run.settings
    trees, grid = data.trees(run, settings, seed=seed), settings["grid"]
    splits = {"pretrain": "train", "train": "train", "valid": "valid"}
    recipes = [{"tree": trees[name], "split": split, **grid} for name, split in splits.items()]
    before, train, valid = run.build_all(prepared.prepare_ct_rate, recipes)
    tail = settings["trees"]["valid"].get("long_tail", chest_ct_world.lt_labels_path(trees["valid"], "valid"))
    tail = data.label_file(run, trees["valid"], tail)
    labels = data.label_file(run, trees["external"], settings["external"]["labels"])
    spacing = settings["external"]["spacing"]
    outside = run.build(prepared.prepare_rad_chestct, tree=trees["external"], labels=labels, spacing=spacing, **grid)
    raw = data.report_pairs(run, trees["pretrain"], before, "raw", settings)
    encoder = run.build(
        masked_pretraining.pretrain_image_encoder, prepared=before, pairs=raw, vit=settings["model"]["vit"],
        crop=settings["crop"], seed=seed, **settings["pretraining"],
    )  # fmt: skip
    statements = [data.report_pairs(run, trees["train"], train, style, settings) for style in ("summary", "raw")]
    return Base(
        seed=seed, run=run, valid=data.internal_test(trees["valid"], valid, tail),
        external=data.external_test(trees["external"], outside, labels), train_folder=train, train_tree=trees["train"],
        encoder=encoder, text=_text_checkpoint(run, statements, settings["text"]),
        sources=_frozen(run, encoder, {"train": train, "valid": valid, "external": outside}),
    )  # fmt: skip


def _frozen(run: Run, encoder: Path, folders: dict[str, Path]) -> dict[str, Path]:
    """Outputs of the frozen blocks of every set, computed once; none when the profile freezes none."""
    model = run.settings["model"]
    if not model["frozen_blocks"]:
        return {}
    shared = {"encoder": encoder, "vit": model["vit"], "blocks": model["frozen_blocks"]}
    recipes = [{"prepared": folder, **shared} for folder in folders.values()]
    return dict(zip(folders, run.build_all(alignment.compute_frozen_tokens, recipes), strict=True))


def _text_checkpoint(run: Run, statements: list[Path], settings: dict[str, Any]) -> Path:
    """That of a ``source``, else a tiny one whose tokenizer has seen the statements."""
    if "source" in settings:
        return run.source(settings["source"])
    return run.build(alignment.make_text_checkpoint, pairs=statements, **settings)
