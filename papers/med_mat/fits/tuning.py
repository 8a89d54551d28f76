"""Tuning copies of small multimodal models on many small sets of questions, side by side, and scoring option letters.

The image encoder stays frozen (as in LLaVA's own recipe), so its features are computed once for all fits; projector and
language model are tuned. Fits that take the same number of steps run as one stacked pass (:mod:`lib.training.stacked`).
The copies may be of different bases, each with its own pictures. Used by :mod:`papers.med_mat.fits.arms`.

    losses = tune(models, material, draws, steps=80, batch=16, learning_rate=3e-3, seeds=[0, 1])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.machine import CPU, Machine
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

    def padded(self, length: int) -> Questions:
        """The same prompts with ``length`` places: positions are counted from the first word, so padding says nothing."""
        more = (length - self.ids.shape[1], 0)
        return self if not more[0] else Questions(F.pad(self.ids, more), F.pad(self.mask, more), self.wanted)


def equally_long(many: Sequence[Questions]) -> list[Questions]:
    """Prompts of several bases, padded to the longest of all: a stacked pass takes one length."""
    longest = max(one.ids.shape[1] for one in many)
    return [one.padded(longest) for one in many]


def passes(count: int) -> list[list[int]]:
    """Which of ``count`` fits go side by side: as few passes as :data:`TOGETHER` allows, as even as can be."""
    return [part.tolist() for part in np.array_split(np.arange(count), -(-count // TOGETHER))] if count else []


def answer_loss(call: Callable, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of the answers' tokens: one member of a stacked pass on its ``features``, ``ids``, ``mask``, ``wanted``."""
    wanted = batch["wanted"]
    logits = call(batch["features"], batch["ids"], batch["mask"], wanted.shape[-1])
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def tune(
    models: Sequence[MultimodalLM],
    material: Sequence[tuple[Tensor, Questions]],
    draws: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seeds: Sequence[int],
    machine: Machine = CPU,
) -> np.ndarray:
    """Tune each model in place on its own rows, left on the machine's device, and return the losses (steps, K).

    ``material``: for each model the features (P, V, C) and the questions of its base. ``draws``: for each model the rows
    of them it is trained on, in pairs of equal length; the two differ where a control exchanges images. Small sets are
    gone through again epoch by epoch.
    """

    def batch_of_step(step: int) -> dict[str, Tensor]:
        made: dict[str, list[Tensor]] = {"features": [], "ids": [], "mask": [], "wanted": []}
        for (features, questions), (pictures, rows), seed in zip(material, draws, seeds, strict=True):
            size = min(batch, len(rows))
            order = epoch_order(count=len(rows), batch=size, seed=seed, step=step)
            order = np.resize(order, batch)  # a set smaller than a batch fills it by repetition
            asked = torch.from_numpy(rows[order])
            made["features"].append(features[torch.from_numpy(pictures[order])])
            for name in ("ids", "mask", "wanted"):
                made[name].append(getattr(questions, name)[asked])
        return {name: torch.stack(parts).to(machine.device) for name, parts in made.items()}

    for model in models:
        model.to(machine.device).encoder.requires_grad_(False)
    schedule = warmup_cosine(steps, warmup=max(1, round(WARMUP * steps)))
    losses = fit_stacked(
        models, batch_of_step, answer_loss, steps=steps, learning_rate=learning_rate, schedule=schedule
    )
    return losses


@torch.no_grad()
def letter_scores(model: nn.Module, features: Tensor, questions: Questions, *, letters: Sequence[int]) -> np.ndarray:
    """Log-likelihood (N, len(letters)) of each letter (a token number) after each prompt."""
    given = (one.to(next(model.parameters()).device) for one in (features, questions.ids, questions.mask))
    return model(*given)[:, 0].log_softmax(-1)[:, list(letters)].cpu().numpy()
