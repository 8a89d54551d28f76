"""Packed beside padded batches on the same rows: the same loss, measured tokens a second.

Used by ``notebooks/performance/packed_sft.ipynb`` and by the tests.

    measure_packing(checkpoint, rows, batch=16, max_length=256)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.models import causal_lm
from lib.training.chat_encoding import IGNORED
from lib.training.sft import collate, encoded_dataset


@dataclass(frozen=True)
class PackingTiming:
    """Tokens of dialogue a second in full training steps, and the mean loss of all counted tokens, both ways."""

    rows: int
    tokens: int
    padded_length: int  # places computed, padding included
    sequences: int
    padded: float
    packed: float
    padded_loss: float
    packed_loss: float

    @property
    def ratio(self) -> float:
        return self.packed / self.padded

    @property
    def loss_difference(self) -> float:
        return abs(self.packed_loss - self.padded_loss)


def _batches(dataset, tokenizer, *, batch: int) -> Iterator[dict]:
    """What the trainer feeds the model in one epoch, in file order."""
    for start in range(0, len(dataset), batch):
        rows = [dataset[i] for i in range(start, min(start + batch, len(dataset)))]
        yield collate(rows, pad=tokenizer.pad_token_id)


def _epoch(model, batches: list[dict]) -> tuple[float, float]:
    """(seconds, mean loss of the counted tokens) of one epoch of training steps that leave the weights as they are."""
    import torch
    import torch.nn.functional as F

    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    total = counted = 0.0
    started = time.perf_counter()
    for batch in batches:
        labels = batch["labels"][:, 1:]
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        logits = model(**inputs, use_cache=False).logits[:, :-1]
        # the rows' own loss: a mixture of experts would add one that depends on how rows are put together
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        count = int((labels != IGNORED).sum())
        total, counted = total + loss.item() * count, counted + count
    return time.perf_counter() - started, total / counted


def measure_packing(
    checkpoint: Path | str, rows: Path, *, batch: int, max_length: int, repeats: int = 3
) -> PackingTiming:
    """Time one epoch padded (``batch`` rows a step) and packed (about as many tokens a step), the best of ``repeats``.

    Both compute forward, backward and an optimiser step; the learning rate is 0, so every epoch sees the same weights.
    """
    model, tokenizer = causal_lm.load(checkpoint)
    options = {"max_length": max_length, "seed": 0}
    plain, counts = encoded_dataset(rows, tokenizer, packing=False, **options)
    packed, packed_counts = encoded_dataset(rows, tokenizer, packing=True, **options)
    plain = plain.shuffle(seed=0)
    together = max(1, round(batch * len(packed) / len(plain)))
    listed = {
        "padded": list(_batches(plain, tokenizer, batch=batch)),
        "packed": list(_batches(packed, tokenizer, batch=together)),
    }
    measured = {name: [] for name in listed}
    for _ in range(repeats):  # in turn, so that whatever else the machine does befalls both
        for name, batches in listed.items():
            measured[name].append(_epoch(model, batches))
    seconds = {name: min(took for took, _ in epochs) for name, epochs in measured.items()}
    return PackingTiming(
        rows=counts["rows"],
        tokens=counts["tokens"],
        padded_length=sum(one["input_ids"].numel() for one in listed["padded"]),
        sequences=packed_counts["sequences"],
        padded=counts["tokens"] / seconds["padded"],
        packed=counts["tokens"] / seconds["packed"],
        padded_loss=measured["padded"][0][1],
        packed_loss=measured["packed"][0][1],
    )
