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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.masked_autoencoder import MaskedAutoencoder3D
from lib.models.onednn import use_onednn
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.streams import stream, stream_seed
from lib.training.loop import epoch_order, train, warmup_cosine

# Layers of the tiny encoders that go through oneDNN, and multiplications of a product from which it is ahead.
WIDE = {"narrowest": 32, "least": 2**23}


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
        self, volume: Tensor, present: Tensor, masked: Tensor, weight: float, generator: torch.Generator
    ) -> Tensor:
        vit = self.autoencoder.vit
        said = self.words(vit.class_feature(vit.with_class_token(vit.embed(volume))))
        loss = F.binary_cross_entropy_with_logits(said, present, reduction="none").sum(dim=1).mean()
        if weight:
            loss = loss + weight * self.autoencoder(masked, generator=generator)
        return loss


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How long and where is trained: ``steps`` of ``batch`` reports.

    ``precision``: no, fp16 or bf16 (autocast). With ``checkpoint_every`` a killed fit resumes.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int = 0
    device: str = "cpu"
    precision: str = "no"
    checkpoint_every: int = 0


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
    **fit: Any,
) -> None:
    """Write ``vit.safetensors`` (the encoder) and ``losses.json``.

    ``pairs``: raw reports of the prepared volumes. Words are predicted for ``batch`` volumes a step, voxels for the first
    ``voxel_batch`` of them (the decoder is the expensive half), with weight ``voxel_weight``. ``fit``: of :class:`Fit`.
    """
    how = Fit(**fit)
    seed, device = how.seed, how.device
    volumes = np.load(prepared / "volumes.npy", mmap_mode="r")
    listed = json.loads((pairs / "pairs.json").read_text())
    _, table = report_words([" ".join(pair["statements"]) for pair in listed])
    torch.manual_seed(seed)
    encoder = VisionTransformer3D(**vit)
    first = range(0, len(volumes), max(1, len(volumes) // 256))
    centre_tokens(encoder, crop_batch(volumes, first, crop=crop, rng=stream(seed, "first crops")), spread=spread)
    model = _Pretraining(MaskedAutoencoder3D(encoder, **decoder), torch.from_numpy(table.mean(axis=0)))
    use_onednn(model, **WIDE)

    def loss_of_step(module: nn.Module, step: int) -> Tensor:
        rng = stream(seed, "volumes", step)
        chosen = epoch_order(count=len(listed), batch=how.batch, seed=seed, step=step)
        rows = [listed[i]["rows"][rng.integers(len(listed[i]["rows"]))] for i in chosen]
        volume = crop_batch(volumes, rows, crop=crop, rng=rng).to(device)
        generator = torch.Generator().manual_seed(stream_seed(seed, "masks", step))
        present = torch.from_numpy(table[chosen]).to(device)
        return module(volume, present, volume[:voxel_batch], voxel_weight, generator)

    losses = train(
        model, loss_of_step, steps=how.steps, clip=1.0, schedule=warmup_cosine(how.steps, warmup=warmup), device=device,
        precision=how.precision, optimiser=torch.optim.AdamW(model.parameters(), lr=how.learning_rate, weight_decay=0.05),
        checkpoint=folder / "checkpoint" / "state.pt", checkpoint_every=how.checkpoint_every,
    )  # fmt: skip
    save_file(
        {name: value.contiguous().cpu() for name, value in encoder.state_dict().items()}, folder / "vit.safetensors"
    )
    (folder / "losses.json").write_text(json.dumps(losses))
