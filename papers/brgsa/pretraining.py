"""Pretrains the image encoder once, on volumes of its own: masked voxels and the words of the raw report.

Paper: both encoders start from M3AE, which reconstructs masked voxels and masked report words together. Here: the same
two targets, the words as a bag predicted from the class token. Because: voxels alone taught a tiny encoder nothing a
prompt could use within minutes on a CPU (papers/brgsa/README.md, "What we tried").

    pretrain_image_encoder(folder, prepared=volumes, pairs=raw_pairs, vit={...}, steps=1000, ...)
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lib.machine import CPU, Machine
from lib.models.masked_autoencoder import MaskedAutoencoder3D
from lib.models.product import use_products
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.streams import stream, stream_seed
from lib.training.loop import epoch_order, train, warmup_cosine


def crop_batch(volumes: np.ndarray, rows: Sequence[int], *, crop: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Random crops (B, 1, cx, cy, cz) float32 of the volumes (N, X, Y, Z) in ``rows`` (RandSpatialCrop of the release)."""
    out = np.empty((len(rows), 1, *crop), dtype=np.float32)
    for place, row in enumerate(rows):
        starts = [int(rng.integers(0, side - size + 1)) for side, size in zip(volumes.shape[1:], crop, strict=True)]
        window = tuple(slice(start, start + size) for start, size in zip(starts, crop, strict=True))
        out[place, 0] = volumes[(row, *window)]
    return torch.from_numpy(out)


def report_words(reports: list[str], *, least: float = 0.01, most: float = 0.5) -> tuple[list[str], np.ndarray]:
    """Words that stand in between ``least`` and ``most`` of the reports, and which report has which: (N, W) 0/1."""
    found = [set(re.findall(r"[a-z]+", report.lower())) for report in reports]
    counts = Counter(word for words in found for word in words)
    vocabulary = sorted(w for w, c in counts.items() if least * len(reports) <= c <= most * len(reports))
    table = np.array([[word in words for word in vocabulary] for words in found], dtype=np.float32)
    return vocabulary, table


@torch.no_grad()
def centre_tokens(vit: VisionTransformer3D, volumes: Tensor, *, spread: float) -> None:
    """Data-dependent start: patch tokens of ``volumes`` (N, 1, X, Y, Z) get mean 0 at each place and sd ``spread``.

    Chest-X-ray constants leave CT patches far from 0 (air is -6); without this, the embeddings of all volumes start
    with a cosine of 0.998 and a small encoder does not leave that point in any time we could give it.
    """
    scale = spread / vit.embed(volumes).std(dim=0).mean()
    vit.patch_embed.weight.mul_(scale)
    vit.patch_embed.bias.mul_(scale)
    content = vit.embed(volumes) - vit.positions.flatten(0, 2)
    vit.positions.sub_(content.mean(dim=0).view_as(vit.positions))


class _Pretraining(nn.Module):
    """Both targets in one forward, so that a distributed wrapper sees one module."""

    def __init__(self, autoencoder: MaskedAutoencoder3D, frequency: Tensor):
        super().__init__()
        self.autoencoder = autoencoder
        self.words = nn.Linear(autoencoder.vit.norm.normalized_shape[0], len(frequency))
        with torch.no_grad():  # start at the words' base rates
            self.words.weight.mul_(0.1)
            self.words.bias.copy_(torch.logit(frequency))

    def forward(
        self, volume: Tensor, present: Tensor, masked: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | float]:
        """Loss of the words of ``volume`` and of the voxels of ``masked``, each the mean of a volume; 0 where there is none."""
        vit = self.autoencoder.vit
        said = self.words(vit.class_feature(vit.with_class_token(vit.embed(volume))))
        words = F.binary_cross_entropy_with_logits(said, present, reduction="none").sum(dim=1).mean()
        return words, self.autoencoder(masked, generator=generator) if len(masked) else 0.0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How long is trained: ``steps`` of ``batch`` reports."""

    steps: int
    batch: int
    learning_rate: float
    seed: int = 0


def pretrain_image_encoder(
    folder: Path,
    *,
    prepared: Path,
    pairs: Path,
    vit: dict,
    decoder: dict,
    crop: list[int],
    spread: float,
    voxel_weight: float,
    voxel_batch: int,
    warmup: int,
    machine: Machine = CPU,
    **fit: Any,
) -> None:
    """Write ``vit.safetensors`` (the encoder) and ``losses.json``.

    ``pairs``: raw reports of the prepared volumes. Words are predicted for ``batch`` volumes a step, voxels for the first
    ``voxel_batch`` of them (the decoder is the expensive half), with weight ``voxel_weight``. ``fit``: of :class:`Fit`.
    """
    how = Fit(**fit)
    seed = how.seed
    volumes = np.load(prepared / "volumes.npy", mmap_mode="r")
    listed = json.loads((pairs / "pairs.json").read_text())
    _, table = report_words([" ".join(pair["statements"]) for pair in listed])
    torch.manual_seed(seed)
    encoder = VisionTransformer3D(**vit)
    first = range(0, len(volumes), max(1, len(volumes) // 256))
    centre_tokens(encoder, crop_batch(volumes, first, crop=crop, rng=stream(seed, "first crops")), spread=spread)
    model = _Pretraining(MaskedAutoencoder3D(encoder, **decoder), torch.from_numpy(table.mean(axis=0)))
    use_products(model)

    def loss_of_step(module: nn.Module, step: int) -> Iterator[Tensor]:
        """Part by part, each weighted by its share of the batch: a card holds the activations of one part."""
        rng = stream(seed, "volumes", step)
        chosen = epoch_order(count=len(listed), batch=how.batch, seed=seed, step=step)
        rows = [listed[i]["rows"][rng.integers(len(listed[i]["rows"]))] for i in chosen]
        volume, present = crop_batch(volumes, rows, crop=crop, rng=rng), torch.from_numpy(table[chosen])
        generator = torch.Generator().manual_seed(stream_seed(seed, "masks", step))
        masked = min(voxel_batch, len(rows)) if voxel_weight else 0
        for places in machine.parts(range(len(rows))):
            seen, present_here = volume[places].to(machine.device), present[places].to(machine.device)
            hidden = seen[: max(0, masked - places[0])]
            words, voxels = module(seen, present_here, hidden, generator)
            yield words * (len(seen) / len(rows)) + voxels * (voxel_weight * len(hidden) / max(1, masked))

    losses = train(
        model, loss_of_step, steps=how.steps, clip=1.0, schedule=warmup_cosine(how.steps, warmup=warmup), machine=machine,
        optimiser=torch.optim.AdamW(model.parameters(), lr=how.learning_rate, weight_decay=0.05),
        checkpoint=folder / "checkpoint" / "state.pt",
    )  # fmt: skip
    save_file(
        {name: value.contiguous().cpu() for name, value in encoder.state_dict().items()}, folder / "vit.safetensors"
    )
    (folder / "losses.json").write_text(json.dumps(losses))
