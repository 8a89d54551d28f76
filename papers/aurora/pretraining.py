"""Pretraining of a tiny causal LM from scratch: every step takes one batch of each source of rows.

Short rows of one source make even batches, and a source whose rows hold few trained tokens still weighs as much as the
others.

    run.build(pretrain, checkpoint=initial, sources=[{"rows": documents, "batch": 64}, ...], steps=400, learning_rate=6e-3)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream, stream_seed
from lib.training.chat_encoding import IGNORED, Encoded, check_positions, encode_file
from lib.training.loop import TrainingError, train, warmup_cosine


def _batch(rows: Encoded, chosen: np.ndarray, pad: int, device: str) -> dict[str, Any]:
    """input_ids, labels and attention_mask (B, T) of some rows, padded on the right."""
    shape = (len(chosen), max(len(rows.input_ids[i]) for i in chosen))
    ids, labels, mask = np.full(shape, pad), np.full(shape, IGNORED), np.zeros(shape, dtype=np.int64)
    for place, i in enumerate(chosen):
        length = len(rows.input_ids[i])
        ids[place, :length], labels[place, :length], mask[place, :length] = rows.input_ids[i], rows.labels[i], 1
    listed = {"input_ids": ids, "labels": labels, "attention_mask": mask}
    return {name: torch.from_numpy(value).to(device) for name, value in listed.items()}


def pretrain(
    folder: Path,
    *,
    checkpoint: Path | str,
    sources: Sequence[dict[str, Any]],
    steps: int,
    learning_rate: float,
    warmup: int,
    max_length: int,
    config: dict[str, Any] | None = None,
    seed: int = 0,
    machine: Machine = CPU,
) -> None:
    """Write the trained checkpoint and ``losses.json`` (steps, sources).

    ``sources``: each ``{"rows": JSONL of dialogues or documents, "batch": rows a step}``; their mean losses are averaged.
    A mixture of experts whose configuration has ``output_router_logits`` adds its load-balancing loss. AdamW, warm-up,
    cosine to 0. ``config`` is set on the saved configuration, e.g. to switch that loss off for tuning.
    Raises :class:`TrainingError` at the first loss that is not finite.
    """
    model, tokenizer = causal_lm.load(checkpoint, device=machine.device)
    check_positions(model, max_length)
    rows = [encode_file(Path(one["rows"]), tokenizer, max_length=max_length) for one in sources]
    torch.manual_seed(stream_seed(seed, "dropout"))
    rng, history = stream(seed, "pretraining rows"), []

    def losses_of_step(module: nn.Module, step: int) -> list[Tensor]:
        found = []
        for one, encoded in zip(sources, rows, strict=True):
            chosen = rng.integers(len(encoded.labels), size=one["batch"])
            loss = module(**_batch(encoded, chosen, tokenizer.pad_token_id, machine.device), use_cache=False).loss
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss of {one['rows']} is {loss.item()} at step {step}; lower the learning rate"
                )
            found.append(loss)
        history.append([round(loss.item(), 5) for loss in found])
        return found

    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = warmup_cosine(steps, warmup=warmup)
    train(model, losses_of_step, steps=steps, optimiser=optimiser, clip=1.0, schedule=schedule, machine=machine)
    for name, value in (config or {}).items():
        setattr(model.config, name, value)
    causal_lm.save(folder, model, tokenizer)
    (Path(folder) / "losses.json").write_text(json.dumps(history))
