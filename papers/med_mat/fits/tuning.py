"""Tuning copies of one multimodal model on many small sets of questions, side by side, and scoring option letters.

The image encoder stays frozen (as in LLaVA's own recipe), so its features are computed once for all fits; projector and
language model are tuned. Fits that take the same number of steps run as one stacked pass (:mod:`lib.training.stacked`).
Used by :mod:`papers.med_mat.fits.arms`.

    losses = tune(models, features, questions, draws, steps=80, batch=16, learning_rate=3e-3, seeds=[0, 1])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.multimodal_lm import MultimodalLM
from lib.training.loop import epoch_order, warmup_cosine
from lib.training.stacked import fit_stacked

WARMUP = 0.1  # share of the steps
TOGETHER = 12  # most members of one stacked pass; more are no faster (notebooks/performance/stacked_training)


@dataclass(frozen=True)
class Questions:
    """Prompts as tensors: ids and mask (N, T), padded on the left, and the tokens of the answers (N, A)."""

    ids: Tensor
    mask: Tensor
    wanted: Tensor


def passes(count: int) -> list[list[int]]:
    """Which of ``count`` fits go side by side: as few passes as :data:`TOGETHER` allows, as even as can be."""
    return [part.tolist() for part in np.array_split(np.arange(count), -(-count // TOGETHER))] if count else []


def _loss(call: Callable, batch: dict[str, Tensor]) -> Tensor:
    wanted = batch["wanted"]
    logits = call(batch["features"], batch["ids"], batch["mask"], wanted.shape[-1])
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def tune(
    models: Sequence[MultimodalLM],
    features: Tensor,
    questions: Questions,
    draws: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seeds: Sequence[int],
    device: str = "cpu",
) -> np.ndarray:
    """Tune each model in place on its own rows and return the losses (steps, K).

    ``draws``: for each model the rows of ``features`` (P, V, C) and of ``questions`` it is trained on, in pairs of equal
    length; the two differ where a control exchanges images. Small sets are gone through again epoch by epoch.
    """

    def batch_of_step(step: int) -> dict[str, Tensor]:
        seen, asked = [], []
        for (pictures, rows), seed in zip(draws, seeds, strict=True):
            size = min(batch, len(rows))
            order = epoch_order(count=len(rows), batch=size, seed=seed, step=step)
            order = np.resize(order, batch)  # a set smaller than a batch fills it by repetition
            seen.append(pictures[order])
            asked.append(rows[order])
        rows = torch.from_numpy(np.stack(asked))
        parts = {"features": features[torch.from_numpy(np.stack(seen))]}
        parts |= {"ids": questions.ids[rows], "mask": questions.mask[rows], "wanted": questions.wanted[rows]}
        return {name: part.to(device) for name, part in parts.items()}

    for model in models:
        model.to(device).encoder.requires_grad_(False)
    schedule = warmup_cosine(steps, warmup=max(1, round(WARMUP * steps)))
    losses = fit_stacked(models, batch_of_step, _loss, steps=steps, learning_rate=learning_rate, schedule=schedule)
    for model in models:
        model.cpu()
    return losses


@torch.no_grad()
def letter_scores(model: nn.Module, features: Tensor, questions: Questions, *, letters: Sequence[int]) -> np.ndarray:
    """Log-likelihood (N, len(letters)) of each letter (a token number) after each prompt."""
    scores = model(features, questions.ids, questions.mask)[:, 0].log_softmax(-1)
    return scores[:, list(letters)].numpy()
