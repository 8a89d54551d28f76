"""What stands under the replicates of CARZero: a world of data, an image encoder, and the texts of its training studies.

A base is everything that would differ had the authors started again: training pictures and reports, test sets, and the
encoder's pretraining, all drawn by the base's seed. Where the profile's ``world`` names a ``source``, the files are those on
every base, and where ``image_weights`` names one, so is the encoder.

    base = make_base(run, seed=0); base.tests["open_i"].labels, base.texts("aligned")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.streams import stream_seed
from lib.workflow.session import Run
from papers.carzero import images, mimic, pretraining, released_model, sets, texts, training, world

STYLES = ("raw", "aligned", "noisy")


@dataclass(frozen=True)
class Base:
    """One base. ``pictures``: set (and "train") -> prepared squares, or the frozen blocks' tokens of them."""

    seed: int
    run: Run
    root: Path
    tests: dict[str, sets.TestSet]
    encoder: Path
    text: Path
    squares: dict[str, Path]
    pictures: dict[str, Path]

    def texts(self, style: str) -> Path:
        """Sentences of the training studies: raw, aligned (rewritten), or noisy (rewritten with errors)."""
        return texts_of(self.run, self.root, style)

    @property
    def shared(self) -> dict[str, Any]:
        """What every arm on this base starts from."""
        return {"text": self.text, "model": self.run.settings["model"]}


def texts_of(run: Run, root: Path, style: str) -> Path:
    """Sentences of a training table; what the rewriter gets wrong is the same on every base."""
    return run.build(texts.make_texts, root=root, style=style, noise=run.settings["noise"], seed=0)


def _prepared(run: Run, root: Path, files: list[str]) -> dict[str, Any]:
    return {"root": root, "files": files, "size": run.settings["size"]}


def _encoder(run: Run, seed: int, image: dict[str, Any]) -> Path:
    """Released weights, converted once, or a tiny encoder pretrained on a world of its own."""
    settings = run.settings
    if "image_weights" in settings:
        told = settings["image_weights"]
        return run.build(released_model.convert_image_encoder, checkpoint=run.source(told["source"]) / told["file"])
    told = dict(settings["pretraining"])
    own = {**settings["world"], "train": told.pop("studies"), "test": 1}
    root = run.build(world.write_world, seed=stream_seed(seed, "pretraining"), **own)
    raw = texts_of(run, root, "raw")
    squares = run.build(images.prepare, **_prepared(run, root / mimic.FOLDER, texts.read_texts(raw)["files"]))
    return run.build(
        pretraining.pretrain, squares=squares, texts=raw, image=image, crop=settings["model"]["image"]["size"], seed=seed,
        **told,
    )  # fmt: skip


def make_base(run: Run, *, seed: int) -> Base:
    """The base of one seed, built where missing."""
    settings, model = run.settings, run.settings["model"]
    told = settings["world"]
    root = run.source(told["source"]) if "source" in told else run.build(world.write_world, seed=seed, **told)
    tests = {name: sets.read_set(name, root) for name in sets.LAYOUT}
    raw = texts_of(run, root, "raw")
    files = {name: [str(path.relative_to(root)) for path in test.paths] for name, test in tests.items()}
    recipes = [_prepared(run, root, listed) for listed in files.values()]
    recipes.append(_prepared(run, root / mimic.FOLDER, texts.read_texts(raw)["files"]))
    squares = dict(zip([*files, "train"], run.build_all(images.prepare, recipes), strict=True))
    if "source" in settings["text"]:
        text = run.source(settings["text"]["source"])
    else:
        both = [raw, texts_of(run, root, "aligned")]
        text = run.build(texts.make_text_checkpoint, texts=both, **settings["text"])
    encoder, pictures = _encoder(run, seed, model["image"]), squares
    if model["frozen_blocks"]:
        shared = {"encoder": encoder, "text": text, "model": model, "crop": model["image"]["size"]}
        recipes = [{"squares": folder, **shared} for folder in squares.values()]
        pictures = dict(zip(squares, run.build_all(training.compute_tokens, recipes), strict=True))
    return Base(seed, run, root, tests, encoder, text, squares, pictures)
