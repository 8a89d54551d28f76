"""Batches of volumes and sentences, each a function of (seed, step) alone.

>>> len(epoch_order(count=800, batch=64, seed=0, step=17))                  # row numbers of step 17
64
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def epoch_order(*, count: int, batch: int, seed: int, step: int) -> np.ndarray:
    """Which items step ``step`` takes: each epoch is a fresh permutation, the last incomplete batch is dropped."""
    per_epoch = count // batch
    if per_epoch == 0:
        raise ValueError(f"{count} items do not fill one batch of {batch}; use a smaller batch or more data")
    epoch, place = divmod(step, per_epoch)
    return np.random.default_rng([seed, 1, epoch]).permutation(count)[place * batch : (place + 1) * batch]


def crop_batch(volumes: np.ndarray, rows: Sequence[int], *, crop: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Random crops (B, 1, cx, cy, cz) float32 of the volumes (N, X, Y, Z) in ``rows`` (RandSpatialCrop of the release)."""
    out = np.empty((len(rows), 1, *crop), dtype=np.float32)
    for place, row in enumerate(rows):
        starts = [int(rng.integers(0, side - size + 1)) for side, size in zip(volumes.shape[1:], crop, strict=True)]
        window = tuple(slice(start, start + size) for start, size in zip(starts, crop, strict=True))
        out[place, 0] = volumes[(row, *window)]
    return torch.from_numpy(out)


def merged_statements(statements: Sequence[str], *, merge: int, rng: np.random.Generator) -> str:
    """Up to ``merge`` statements without replacement, joined by spaces (sheet 2.4)."""
    chosen = rng.permutation(len(statements))[:merge]
    return " ".join(statements[i] for i in chosen)
