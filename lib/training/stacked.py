"""Many small fits in one pass: the weights of K models of one architecture are stacked and trained by one batched step.

A tiny model spends its time between operations, not in them; K of them in one pass pay for that once. Each member ends
with the weights it would have got alone. Worth it while one member's work is small (performance/stacked_training).

    losses = fit_stacked(models, batch_of_step, language_loss, steps=150, learning_rate=1e-3)      # (150, K)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.training.batches import epoch_order
from lib.training.chat_encoding import IGNORED, Encoded
from lib.training.loop import TrainingError

Batch = Mapping[str, Tensor]


def _clip(parameters: Sequence[Tensor], limit: float) -> None:
    """Bound the gradient norm of each member, as ``clip_grad_norm_`` bounds that of one model."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()  # (K,)
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))


def fit_stacked(
    models: Sequence[nn.Module],
    batch_of_step: Callable[[int], Batch],
    loss: Callable[[Callable, Batch], Tensor],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    clip: float = 1.0,
    schedule: Callable[[int], float] | None = None,
) -> np.ndarray:
    """Train K models side by side, in place, and return their losses (steps, K).

    ``models``: one architecture, any weights, the same parameters frozen (``requires_grad_(False)``) in each.
    ``batch_of_step(step)``: tensors (K, ...), one slice a member. ``loss(call, batch)``: loss of one member on its slice;
    ``call(...)`` runs that member's model. AdamW, ``schedule(step)`` multiplies the learning rate, ``clip`` bounds each
    member's gradient norm. No dropout: every member would draw the same mask.
    Raises :class:`TrainingError` naming step and member at the first loss that is not finite.
    """
    from torch.func import functional_call, stack_module_state

    skeleton = models[0]
    trained = {name for name, p in skeleton.named_parameters() if p.requires_grad}
    parameters, buffers = stack_module_state(list(models))
    parameters = {name: p.detach().requires_grad_(name in trained) for name, p in parameters.items()}
    leaves = [parameters[name] for name in sorted(trained)]
    optimiser = torch.optim.AdamW(leaves, lr=learning_rate, weight_decay=weight_decay, fused=True)

    def member_loss(weights: dict, state: dict, batch: Batch) -> Tensor:
        return loss(lambda *args, **kwargs: functional_call(skeleton, (weights, state), args, kwargs), batch)

    every_loss, seen = torch.vmap(member_loss), []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (schedule(step) if schedule else 1.0)
        losses = every_loss(parameters, buffers, dict(batch_of_step(step)))  # (K,)
        if not bool(torch.isfinite(losses).all()):
            member = int((~torch.isfinite(losses)).nonzero()[0])
            raise TrainingError(
                f"the loss of member {member} is {losses[member].item()} at step {step} of {steps}; "
                "lower the learning rate or check the data"
            )
        optimiser.zero_grad()
        losses.sum().backward()  # each member's gradient is that of its own loss
        _clip(leaves, clip)
        optimiser.step()
        seen.append(losses.detach().cpu().numpy())
    with torch.no_grad():
        for member, model in enumerate(models):
            for name, p in model.named_parameters():
                p.copy_(parameters[name][member])
    return np.stack(seen)


def language_loss(call: Callable, batch: Batch, *, window: int | None = None) -> Tensor:
    """Mean next-token loss of ``labels`` (B, T) on ``input_ids`` (B, T), padded on the right.

    Padding needs no mask: a token attends to the left only, and the labels of padding are not counted. ``window``: of
    the sliding layers of a model that has some.
    """
    ids, labels = batch["input_ids"], batch["labels"]
    length = ids.shape[-1]
    future = torch.full((length, length), torch.finfo(torch.float32).min, device=ids.device).triu(1)
    positions = torch.arange(length, device=ids.device)[None]
    # given whole, because the library's own masks look at values, which a batched pass cannot
    mask = future[None, None]
    if window is not None:
        outside = torch.full_like(future, torch.finfo(torch.float32).min).tril(-window)
        mask = {"full_attention": mask, "sliding_attention": mask + outside[None, None]}
    logits = call(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    flat, wanted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    total = F.cross_entropy(flat, wanted, ignore_index=IGNORED, reduction="sum")
    return total / (wanted != IGNORED).sum()


def language_batches(
    members: Sequence[Encoded], *, batch: int, seeds: Sequence[int], pad: int, device: str = "cpu"
) -> Callable[[int], Batch]:
    """Batches of K members, each from its own rows in its own order, epoch after epoch: (K, ``batch``, T) a step."""

    def batch_of_step(step: int) -> Batch:
        drawn = [
            epoch_order(count=len(rows.labels), batch=batch, seed=seed, step=step)
            for rows, seed in zip(members, seeds, strict=True)
        ]
        length = max(len(rows.input_ids[i]) for rows, chosen in zip(members, drawn, strict=True) for i in chosen)
        shape = (len(members), batch, length)
        ids, labels = np.full(shape, pad, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
        for k, (rows, chosen) in enumerate(zip(members, drawn, strict=True)):
            for b, i in enumerate(chosen):
                ids[k, b, : len(rows.input_ids[i])] = rows.input_ids[i]
                labels[k, b, : len(rows.labels[i])] = rows.labels[i]
        return {"input_ids": torch.from_numpy(ids).to(device), "labels": torch.from_numpy(labels).to(device)}

    return batch_of_step
