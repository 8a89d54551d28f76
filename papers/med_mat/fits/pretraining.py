"""The general stage of the miniature: what stands for a released model's pre-training before it sees Med-MAT.

Three steps, as in LLaVA: an image encoder learns to tell what is where (CLIP's part), a language model learns to answer
by letter without pictures (Vicuna's part), and then both are joined on questions about pictures, the encoder frozen.
Each base has pictures, an encoder and a language model of its own; the small language models are trained side by side.
Used by :mod:`papers.med_mat.bases`; the data is what ``world.general.write_general`` wrote.

    pretrain_encoder(folder, general=data, encoder="convolution", steps=2500, batch=64, learning_rate=0.02, seed=0)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.evaluation.exam_prompts import LETTERS, OPTIONS
from lib.machine import CPU, Machine
from lib.models.multimodal_lm import ENCODERS, SIDE, MultimodalLM
from lib.streams import stream, stream_seed
from lib.training.loop import epoch_order, train, warmup_cosine
from lib.training.stacked import fit_stacked
from papers.med_mat.checkpoints import PAD, TinyCheckpoint, pieces
from papers.med_mat.fits.tuning import answer_loss
from papers.med_mat.world import general as mat_general

SIZE_EDGES = (1.8, 2.75, 3.95)  # pixels; between the four sizes of the general stage
WARMUP = 100  # steps


# ---------------------------------------------------------------------- image encoder
def _cells(objects: np.ndarray) -> np.ndarray:
    """What is in each cell of a 4 x 4 grid (N, 16, 14) 0/1: ten kinds (shape x tone) and four sizes."""
    side = 4
    there = np.zeros((len(objects), side * side, 14), np.float32)
    for slot in range(objects.shape[1]):
        rows = np.flatnonzero(objects[:, slot, 4] > 0)
        name, tone, x, y, radius = objects[rows, slot].T
        cell = (y // (SIDE / side)).astype(int) * side + (x // (SIDE / side)).astype(int)
        there[rows, cell, (2 * name + tone).astype(int)] = 1
        there[rows, cell, 10 + np.searchsorted(SIZE_EDGES, radius)] = 1
    return there


class _Teller(nn.Module):
    def __init__(self, encoder: str):
        super().__init__()
        self.encoder = ENCODERS[encoder]()
        self.head = nn.Linear(self.encoder.width, 14)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images[:, None] * 4 - 2))


def pretrain_encoder(
    folder: Path,
    *,
    general: Path,
    encoder: str,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    machine: Machine = CPU,
) -> None:
    """Train an image encoder to tell which shapes of which tone and size are in each cell; write ``encoder.safetensors``.

    Paper: CLIP, trained on image-caption pairs. Here: the objects themselves. Because: a caption's words would say the
    same, and a few thousand pictures are too few for a contrastive loss.
    """
    from safetensors.torch import save_file

    images, there = np.load(general / "images.npy"), _cells(np.load(general / "objects.npy"))
    torch.manual_seed(stream_seed(seed, "image encoder", encoder))
    model = _Teller(encoder)
    if encoder == "convolution":  # a third faster; attention between the convolutions and the loss makes it slower
        model = model.to(memory_format=torch.channels_last)

    def loss_of_step(called: nn.Module, step: int) -> Tensor:
        rows = epoch_order(count=len(images), batch=batch, seed=seed, step=step)
        told = called(torch.from_numpy(images[rows]).to(machine.device).float() / 255)
        return F.binary_cross_entropy_with_logits(told, torch.from_numpy(there[rows]).to(machine.device))

    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = warmup_cosine(steps, warmup=WARMUP)
    train(model, loss_of_step, steps=steps, optimiser=optimiser, clip=10.0, schedule=schedule, machine=machine)
    save_file({k: v.cpu().contiguous() for k, v in model.encoder.state_dict().items()}, folder / "encoder.safetensors")


# ---------------------------------------------------------------------- language model
def lettered(question: str, options: Sequence[str]) -> str:
    return " ".join([question, *(f"{letter} {option}" for letter, option in zip(LETTERS, options, strict=False))])


class Drill:
    """Kinds of questions about pictures whose answers are equally long, in one table; a batch takes some of each kind."""

    def __init__(self, checkpoint: TinyCheckpoint, **kinds: tuple[Sequence[str], Sequence[str], Sequence[int]]):
        """``kinds``: name -> prompts, answers and the pictures they are about (row numbers)."""
        prompts, answers, rows = (list(chain(*parts)) for parts in zip(*kinds.values(), strict=True))
        self.ids, self.mask, self.wanted = checkpoint.with_answers(prompts, answers)
        self.rows = torch.tensor(rows)
        self.counts = {kind: len(parts[0]) for kind, parts in kinds.items()}
        self.starts = dict(zip(kinds, accumulate(self.counts.values(), initial=0), strict=False))

    def batch(self, features: Tensor, sizes: Mapping[str, int], *, seed: int, step: int) -> dict[str, Tensor]:
        """``sizes[kind]`` questions of each kind with the ``features`` (P, V, C) of their pictures, for one pass."""
        orders = [
            self.starts[kind] + epoch_order(count=self.counts[kind], batch=size, seed=seed, step=step)
            for kind, size in sizes.items()
        ]
        drawn = torch.from_numpy(np.concatenate(orders))
        parts = {"ids": self.ids[drawn], "mask": self.mask[drawn], "wanted": self.wanted[drawn]}
        return {"features": features[self.rows[drawn]], **parts}


def _drills(
    checkpoint: TinyCheckpoint, asked: list[dict], *, names: list[str], seed: int
) -> tuple[Drill, Drill, Drill]:
    """Practice of three forms: one word (quoting an option's letter, answering by letter, by word), a box, an outline."""
    rng = stream(seed, "quoted words")
    choice = [row for row, one in enumerate(asked) if "options" in one]
    place = [row for row, one in enumerate(asked) if "mask" in one]
    shown = [[names[i] for i in rng.permutation(len(names))[:4]] for _ in asked]
    truth = rng.integers(0, 4, len(asked))
    quoted = [lettered(f"quote {options[k]}", options) for options, k in zip(shown, truth, strict=True)]
    by_letter = [lettered(asked[row]["question"], asked[row]["options"]) for row in choice]
    letters = [LETTERS[asked[row]["options"].index(asked[row]["answer"])] for row in choice]
    one_word = Drill(
        checkpoint,
        quote=(quoted, [LETTERS[k] for k in truth], range(len(asked))),
        letter=(by_letter, letters, choice),
        word=([asked[row]["question"] for row in choice], [asked[row]["answer"] for row in choice], choice),
    )
    box = ([asked[row]["question"] for row in place], [asked[row]["answer"] for row in place], place)
    mask = ([asked[row]["outline"] for row in place], [asked[row]["mask"] for row in place], place)
    return one_word, Drill(checkpoint, box=box), Drill(checkpoint, mask=mask)


def vocabulary() -> tuple[list[str], list[str]]:
    """All words of the general stage in a fixed order, the same for every base, and those of them that may be quoted."""
    names = sorted({word for text in mat_general.texts() for word in pieces(text)})
    steps = [f"<{i}>" for i in range(mat_general.BINS + 1)]
    return [PAD, *LETTERS[:OPTIONS], *steps, "quote", *names], names


@dataclass(frozen=True, kw_only=True)
class LanguageFit:
    """How long language models are trained: ``text_steps`` without pictures, then ``steps`` with, ``batch`` questions each."""

    text_steps: int
    steps: int
    batch: int
    learning_rate: float


class _Course:
    """What one base is taught, step by step: ``text`` without pictures, ``joint`` with them. Its encoder is frozen."""

    def __init__(self, checkpoint: TinyCheckpoint, general: Path, *, seed: int, batch: int, steps: int):
        self.seed, self.size, self.steps = seed, batch, steps
        asked = json.loads((general / "questions.json").read_text())
        self.features = checkpoint.see(np.load(general / "images.npy"))
        self.blank = torch.zeros_like(self.features[:1]).expand(len(self.features), -1, -1)
        self.one_word, self.boxes, self.outlines = _drills(checkpoint, asked, names=vocabulary()[1], seed=seed)

    def text(self, step: int) -> dict[str, Tensor]:
        return self.one_word.batch(self.blank, {"quote": self.size // 2}, seed=self.seed, step=step)

    def joint(self, step: int) -> dict[str, Tensor]:
        """Most of the questions answered by word at the start and a fifth at the end, boxes and outlines in between."""
        drawn = {"seed": self.seed, "step": step // 5}
        if step % 20 == 19:
            return self.outlines.batch(self.features, {"mask": self.size}, **drawn)
        if step % 5 == 4:
            return self.boxes.batch(self.features, {"box": self.size}, **drawn)
        told = 0.6 - 0.4 * step / self.steps
        shares = {"word": told, "quote": 0.1, "letter": 0.9 - told}
        sizes = {kind: max(1, round(share * self.size)) for kind, share in shares.items()}
        return self.one_word.batch(self.features, sizes, seed=self.seed, step=step)


def _untaught(encoder: str, weights: Path, start: Path | None, *, width: int, depth: int, seed: int) -> TinyCheckpoint:
    """A base before its language model is taught: the trained encoder, frozen, and a new language model or ``start``'s."""
    from safetensors.torch import load_file

    words, _ = vocabulary()
    torch.manual_seed(stream_seed(seed, "language model", encoder))
    settings = {"encoder": encoder, "vocabulary": len(words), "width": width, "depth": depth}
    checkpoint = TinyCheckpoint(MultimodalLM(**settings), words, settings)
    if start is not None:
        known = TinyCheckpoint.read(start).model.state_dict()
        kept = {name: value for name, value in known.items() if not name.startswith("encoder")}
        checkpoint.model.load_state_dict(kept, strict=False)
    checkpoint.model.encoder.load_state_dict(load_file(weights / "encoder.safetensors"))
    checkpoint.model.encoder.requires_grad_(False)
    return checkpoint


def base(folder: Path, number: int) -> Path:
    """The checkpoint of base ``number`` among those that :func:`pretrain_languages` wrote."""
    return folder / f"base_{number}"


def pretrain_languages(
    folder: Path,
    *,
    general: Sequence[Path],
    encoder: str,
    weights: Sequence[Path],
    seeds: Sequence[int],
    width: int,
    depth: int,
    start: Sequence[Path] = (),
    machine: Machine = CPU,
    **fit: Any,
) -> None:
    """Train projectors and language models around the frozen encoders of ``weights``; write a checkpoint a base.

    First without pictures, quoting the letter of a named option; then with pictures. With ``start`` the language models
    are those checkpoints' (another image encoder is joined to them), and they do without the first part. All bases go
    through one stacked pass, each with its own pictures, encoder, first weights and order (``seeds``). ``fit``: of
    :class:`LanguageFit`.
    """
    how, begun = LanguageFit(**fit), list(start) or [None] * len(seeds)
    told = {"width": width, "depth": depth}
    checkpoints = [
        _untaught(encoder, mine, known, seed=seed, **told)
        for mine, known, seed in zip(weights, begun, seeds, strict=True)
    ]
    courses = [
        _Course(checkpoint, data, seed=seed, batch=how.batch, steps=how.steps)
        for checkpoint, data, seed in zip(checkpoints, general, seeds, strict=True)
    ]
    models = [checkpoint.model.to(machine.device) for checkpoint in checkpoints]
    for lesson, count in ((_Course.text, 0 if start else how.text_steps), (_Course.joint, how.steps)):
        if count:
            told = {"learning_rate": how.learning_rate, "schedule": warmup_cosine(count, warmup=WARMUP)}
            fit_stacked(models, _together(courses, lesson, machine.device), answer_loss, steps=count, **told)
    for number, checkpoint in enumerate(checkpoints):
        checkpoint.model.cpu()
        base(folder, number).mkdir()
        checkpoint.save(base(folder, number))


def _together(
    courses: Sequence[_Course], lesson: Callable[[_Course, int], dict[str, Tensor]], device: str
) -> Callable[[int], dict[str, Tensor]]:
    """The batches (K, ...) of a step of all courses."""

    def batch_of_step(step: int) -> dict[str, Tensor]:
        parts = [lesson(course, step) for course in courses]
        return {name: torch.stack([part[name] for part in parts]).to(device) for name in parts[0]}

    return batch_of_step
