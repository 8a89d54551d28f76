"""The general stage of the miniature: what stands for a released model's pre-training before it sees Med-MAT.

Three steps, as in LLaVA: an image encoder learns to tell what is where (CLIP's part), a language model learns to answer
by letter without pictures (Vicuna's part), and then both are joined on questions about pictures, the encoder frozen.
Used by :mod:`papers.med_mat.study`; the data is what ``world.general.write_general`` wrote.

    pretrain_encoder(folder, general=data, encoder="convolution", steps=2500, batch=64, learning_rate=0.02, seed=0)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.evaluation.exam_prompts import LETTERS, OPTIONS
from lib.models.multimodal_lm import ENCODERS, SIDE, MultimodalLM
from lib.training.loop import epoch_order, train, warmup_cosine
from papers.med_mat.checkpoints import PAD, TinyCheckpoint, pieces

SIZE_EDGES = (1.8, 2.75, 3.95)  # pixels; between the four sizes of the general stage
CLIP = 1.0


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
    device: str = "cpu",
) -> None:
    """Train an image encoder to tell which shapes of which tone and size are in each cell; write ``encoder.safetensors``.

    Paper: CLIP, trained on image-caption pairs. Here: the objects themselves. Because: a caption's words would say the
    same, and a few thousand pictures are too few for a contrastive loss.
    """
    from safetensors.torch import save_file

    images, there = np.load(general / "images.npy"), _cells(np.load(general / "objects.npy"))
    torch.manual_seed(seed)
    model = _Teller(encoder)

    def loss_of_step(called: nn.Module, step: int) -> Tensor:
        rows = epoch_order(count=len(images), batch=batch, seed=seed, step=step)
        told = called(torch.from_numpy(images[rows]).to(device).float() / 255)
        return F.binary_cross_entropy_with_logits(told, torch.from_numpy(there[rows]).to(device))

    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = warmup_cosine(steps, warmup=100)
    train(model, loss_of_step, steps=steps, optimiser=optimiser, clip=10.0, schedule=schedule, device=device)
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

    def loss(self, model: nn.Module, features: Tensor, sizes: Mapping[str, int], *, seed: int, step: int) -> Tensor:
        """Loss of a batch with ``sizes[kind]`` questions of each kind, in one pass of the model."""
        orders = [
            self.starts[kind] + epoch_order(count=self.counts[kind], batch=size, seed=seed, step=step)
            for kind, size in sizes.items()
        ]
        drawn = torch.from_numpy(np.concatenate(orders))
        device = features.device
        ids, mask, wanted = (part[drawn].to(device) for part in (self.ids, self.mask, self.wanted))
        return answer_loss(model(features[self.rows[drawn].to(device)], ids, mask, wanted.shape[1]), wanted)


def answer_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of the answer tokens: logits (B, A, vocabulary), wanted (B, A)."""
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def _drills(
    checkpoint: TinyCheckpoint, asked: list[dict], *, names: list[str], seed: int
) -> tuple[Drill, Drill, Drill]:
    """Practice of three forms: one word (quoting an option's letter, answering by letter, by word), a box, an outline."""
    rng = np.random.default_rng([seed, 5])
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


def _vocabulary(asked: list[dict]) -> tuple[list[str], list[str]]:
    """All words of the general stage in a fixed order, and those of them that may be quoted."""
    texts = [text for one in asked for key in ("question", "outline", "answer") if (text := one.get(key))]
    said = {piece for text in [*texts, *(o for one in asked for o in one.get("options", []))] for piece in pieces(text)}
    names = sorted(word for word in said if word[0] != "<")
    steps = [f"<{i}>" for i in range(1 + max(int(word[1:-1]) for word in said if word[0] == "<"))]
    return [PAD, *LETTERS[:OPTIONS], *steps, "quote", *names], names


@dataclass(frozen=True, kw_only=True)
class LanguageFit:
    """How long the language model is trained: ``text_steps`` without pictures, then ``steps`` with, ``batch`` questions each."""

    text_steps: int
    steps: int
    batch: int
    learning_rate: float
    seed: int
    device: str = "cpu"


def pretrain_language(
    folder: Path,
    *,
    general: Path,
    encoder: str,
    weights: Path,
    width: int,
    depth: int,
    start: Path | None = None,
    **fit: Any,
) -> None:
    """Train projector and language model around the frozen encoder of ``weights`` and write the checkpoint.

    First without pictures, quoting the letter of a named option; then on pictures, most of the questions answered by
    word at the start and a fifth at the end, with boxes and outlines in between. With ``start`` the language model is
    that checkpoint's (another image encoder is joined to it), and it does without the first part. ``fit``: of
    :class:`LanguageFit`.
    """
    from safetensors.torch import load_file

    how = LanguageFit(**fit)
    seed, batch, steps, device = how.seed, how.batch, how.steps, how.device
    asked = json.loads((general / "questions.json").read_text())
    words, names = _vocabulary(asked)
    torch.manual_seed(seed)
    settings = {"encoder": encoder, "vocabulary": len(words), "width": width, "depth": depth}
    checkpoint = TinyCheckpoint(MultimodalLM(**settings), words, settings)
    model = checkpoint.model
    if start is not None:
        known = TinyCheckpoint.read(start).model.state_dict()
        model.load_state_dict({k: v for k, v in known.items() if not k.startswith("encoder")}, strict=False)
    model.encoder.load_state_dict(load_file(weights / "encoder.safetensors"))
    model.encoder.requires_grad_(False)
    features = checkpoint.see(np.load(general / "images.npy")).to(device)
    one_word, boxes, outlines = _drills(checkpoint, asked, names=names, seed=seed)
    blank = torch.zeros_like(features[:1]).expand(len(features), -1, -1)

    def text_loss(called: nn.Module, step: int) -> Tensor:
        return one_word.loss(called, blank, {"quote": batch // 2}, seed=seed, step=step)

    def joint_loss(called: nn.Module, step: int) -> Tensor:
        if step % 20 == 19:
            return outlines.loss(called, features, {"mask": batch}, seed=seed, step=step // 5)
        if step % 5 == 4:
            return boxes.loss(called, features, {"box": batch}, seed=seed, step=step // 5)
        told = 0.6 - 0.4 * step / steps
        shares = {"word": told, "quote": 0.1, "letter": 0.9 - told}
        sizes = {kind: max(1, round(share * batch)) for kind, share in shares.items()}
        return one_word.loss(called, features, sizes, seed=seed, step=step)

    for loss, count in ((text_loss, 0 if start else how.text_steps), (joint_loss, steps)):
        trained = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=how.learning_rate, weight_decay=0.01)
        schedule = warmup_cosine(count, warmup=100)
        whole = _Frozen(model)
        train(whole, loss, steps=count, optimiser=optimiser, clip=CLIP, schedule=schedule, device=device)
    model.cpu()
    checkpoint.save(folder)


class _Frozen(nn.Module):
    """A model whose encoder stays in evaluation mode (its batch norms must not move) while the rest is trained."""

    def __init__(self, model: MultimodalLM):
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> _Frozen:
        super().train(mode)
        self.model.encoder.eval()
        return self

    def forward(self, *args) -> Tensor:
        return self.model(*args)
