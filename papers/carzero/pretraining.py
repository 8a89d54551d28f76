"""Pretrains the image encoder of a miniature: the words of the raw report, from the class token and from the patches' mean.

It stands for the masked image-text autoencoder (M3AE) that the paper starts from: an encoder that has met reports of its
pictures, and no rewritten sentence, prompt, label or box.

    pretrain(folder, squares=squares, texts=raw, image={...}, steps=400, batch=64, learning_rate=2e-3, crop=48, spread=1.0, seed=0)
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lib.machine import CPU, Machine
from lib.models.product import use_products
from lib.models.vision_transformer_2d import VisionTransformer2D
from lib.streams import stream_seed
from lib.training.loop import epoch_order, train, warmup_cosine
from papers.carzero.images import batch as crop_batch
from papers.carzero.texts import read_texts

RAREST = 10  # studies that use a word which is predicted


@torch.no_grad()
def centre_tokens(vit: VisionTransformer2D, pictures: Tensor, *, spread: float) -> None:
    """Take the mean picture out of the patch tokens, and scale what is left to the standard deviation ``spread``.

    What all chests share is most of a token; an encoder from scratch else begins with the same vector for every picture.
    """
    tokens = vit.patch_embed(pictures)  # (N, T, d)
    vit.patch_embed.proj.weight.mul_(spread / (tokens - tokens.mean(dim=0)).std())
    vit.patch_embed.proj.bias.zero_()
    vit.pos_embed[:, 1:] -= vit.patch_embed(pictures).mean(dim=0)


def words_present(sentences: list[list[str]]) -> np.ndarray:
    """(N, W) float32: which of the words that ``RAREST`` studies or more use stand in each study."""
    sets = [{word for sentence in study for word in sentence.split()} for study in sentences]
    counts = Counter(word for one in sets for word in one)
    kept = sorted(word for word, count in counts.items() if RAREST <= count < len(sets))
    return np.array([[word in one for word in kept] for one in sets], dtype=np.float32)


class _Reader(nn.Module):
    """Log-odds (2, B, W) of the words: from the class token, and from the mean of the patches."""

    def __init__(self, vit: VisionTransformer2D, share: Tensor):
        super().__init__()
        self.vit, width = vit, vit.norm.normalized_shape[0]
        self.whole, self.parts = nn.Linear(width, len(share)), nn.Linear(width, len(share))
        with torch.no_grad():  # start at the words' base rates
            for head in (self.whole, self.parts):
                head.weight.mul_(0.1)
                head.bias.copy_(torch.logit(share))

    @staticmethod
    def _most(found: Tensor) -> Tensor:
        """Smooth maximum over patches (B, T, W) -> (B, W), the mean for equal ones."""
        return found.logsumexp(dim=1) - math.log(found.shape[1])

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.vit(pictures)
        return torch.stack([self.whole(tokens[:, 0]), self._most(self.parts(tokens[:, 1:]))])


def pretrain(
    folder: Path,
    *,
    squares: Path,
    texts: Path,
    image: dict[str, Any],
    steps: int,
    batch: int,
    learning_rate: float,
    warmup: int,
    crop: int,
    spread: float,
    seed: int,
    machine: Machine = CPU,
) -> None:
    """Write ``image.safetensors`` and ``losses.json``. ``texts``: sentences of the raw reports."""
    images = np.load(squares / "images.npy", mmap_mode="r")
    present = torch.from_numpy(words_present(read_texts(texts)["sentences"]))
    torch.manual_seed(stream_seed(seed, "image encoder"))
    vit = VisionTransformer2D(**image)
    centre_tokens(vit, crop_batch(images[:512], crop=crop, rng=None), spread=spread)
    net = _Reader(vit, present.mean(dim=0))
    use_products(net)

    def loss_of_step(module: nn.Module, step: int) -> Tensor:
        rows = epoch_order(count=len(images), batch=batch, seed=seed, step=step)
        found = module(crop_batch(images[np.sort(rows)], crop=crop, rng=None).to(machine.device))
        wanted = present[np.sort(rows)].to(machine.device).expand_as(found)
        return F.binary_cross_entropy_with_logits(found, wanted)

    losses = train(
        net, loss_of_step, steps=steps, clip=1.0, machine=machine, schedule=warmup_cosine(steps, warmup=warmup),
        optimiser=torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=learning_rate, weight_decay=0.05),
        checkpoint=folder / "checkpoint" / "state.pt",
    )  # fmt: skip
    save_file(
        {name: value.contiguous().clone().cpu() for name, value in vit.state_dict().items()},
        folder / "image.safetensors",
    )
    (folder / "losses.json").write_text(json.dumps(losses))
