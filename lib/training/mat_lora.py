"""Fine-tuning a released image-text model on pictures, questions and answers: LoRA or all weights, answers only.

The loss is next-token cross-entropy on the answer, as in the paper (section 2.2). Used by
:mod:`lib.studies.med_mat_released`.

>>> losses = finetune(checkpoint, draw_batch, steps=470, learning_rate=5e-6, lora={"rank": 16, "targets": "..."})
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.multimodal_checkpoint import ReleasedCheckpoint
from lib.training.loop import train, warmup_cosine

IGNORED = -100
WARMUP = 0.03  # share of the steps; the paper's is not found, LLaVA's own recipe has it
Batch = tuple[Sequence[np.ndarray], Sequence[str], Sequence[str]]  # images, questions, answers


def labelled(checkpoint: ReleasedCheckpoint, batch: Batch) -> dict[str, Tensor]:
    """Model inputs of a batch with ``labels``: the tokens after each prompt; prompt and padding are not counted."""
    images, questions, answers = batch
    whole = checkpoint.inputs(images, questions, answers)
    prompt = checkpoint.inputs(images, questions)["attention_mask"].sum(dim=1)
    seen = whole["attention_mask"].cumsum(dim=1)  # 1, 2, ... from the first token after the padding
    counted = (whole["attention_mask"] == 1) & (seen > prompt[:, None])
    return {**whole, "labels": torch.where(counted, whole["input_ids"], IGNORED)}


def adapted(model: nn.Module, lora: dict[str, Any] | None) -> nn.Module:
    """``model`` with LoRA adapters (``rank``, ``targets``: names or a pattern, ``alpha``: 2 x rank), or as it is."""
    if lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    rank = lora["rank"]
    config = LoraConfig(r=rank, lora_alpha=lora.get("alpha", 2 * rank), target_modules=lora["targets"])
    return get_peft_model(model, config)


def finetune(
    checkpoint: ReleasedCheckpoint,
    draw_batch: Callable[[int], Batch],
    *,
    steps: int,
    learning_rate: float,
    lora: dict[str, Any] | None = None,
    clip: float = 1.0,
    precision: str = "no",
    device: str = "cpu",
    seed: int = 0,
) -> list[float]:
    """Tune the checkpoint in place and return the losses. ``draw_batch(step)``: the batch of a step.

    Raises :class:`lib.training.loop.TrainingError` at the first loss that is not finite.
    """
    torch.manual_seed(seed)  # the adapters' start
    checkpoint.model = adapted(checkpoint.model, lora)
    checkpoint.model.config.use_cache = False
    trained = [p for p in checkpoint.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)

    def loss_of_step(model: nn.Module, step: int) -> Tensor:
        return model(**labelled(checkpoint, draw_batch(step))).loss

    schedule = warmup_cosine(steps, warmup=max(1, round(WARMUP * steps)))
    told = {"steps": steps, "optimiser": optimiser, "clip": clip, "schedule": schedule}
    losses = train(checkpoint.model, loss_of_step, **told, precision=precision, device=device)
    checkpoint.model.config.use_cache = True
    return losses
