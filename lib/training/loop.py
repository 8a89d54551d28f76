"""The one training loop: steps on accelerate, resumable to the bit, stopping at the first loss that is not finite.

A batch is a function of the step number alone, so a run resumed from step n draws what an uninterrupted one would.

>>> model = nn.Linear(1, 1)
>>> losses = train(model, lambda m, step: m(torch.ones(4, 1)).square().mean(), steps=3,
...               optimiser=torch.optim.Adam(model.parameters(), lr=0.1), clip=0.25)
>>> len(losses)
3
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib.machine import CPU, Machine
from lib.streams import stream


class TrainingError(RuntimeError):
    """What the training room raises: rows, settings or a checkpoint it cannot use, a loss that is not finite."""


def epoch_order(*, count: int, batch: int, seed: int, step: int) -> np.ndarray:
    """Which items step ``step`` takes: each epoch is a fresh permutation, the last incomplete batch is dropped."""
    per_epoch = count // batch
    if per_epoch == 0:
        raise TrainingError(f"{count} items do not fill one batch of {batch}; use a smaller batch or more data")
    epoch, place = divmod(step, per_epoch)
    return stream(seed, "epoch", epoch).permutation(count)[place * batch : (place + 1) * batch]


def warmup_cosine(steps: int, *, warmup: int) -> Callable[[int], float]:
    """Factor of the learning rate: linear over ``warmup`` steps, then half a cosine down to 0 at ``steps``."""
    return lambda step: min(1.0, (step + 1) / max(1, warmup)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _save(path: Path, state: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _restore(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, list[float]]:
    try:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        return state["step"], state["losses"]
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise TrainingError(f"{path} is not a checkpoint of this model ({reason}); delete it to start again") from None


def recompute(model: nn.Module) -> None:
    """Let every part of ``model`` that can do so compute its activations again in the backward pass: one layer's are kept.

    Those of transformers by their own switch, ours by an attribute ``recompute``. The gradients are the same.
    """
    for module in model.modules():
        if getattr(module, "supports_gradient_checkpointing", False):
            module.activation_checkpointing_enable()
        elif hasattr(module, "recompute"):
            module.recompute = True


def _parts(loss: Tensor | Sequence[Tensor] | Iterator[Tensor], accelerator) -> Iterator[Tensor]:
    """What goes backwards, one after the other; their sum is the loss of the step."""
    if isinstance(loss, Tensor):
        yield loss
    elif isinstance(loss, Sequence):
        yield from (part / len(loss) for part in loss)
    else:
        while True:
            with accelerator.autocast():  # the forward pass of a part happens here
                part = next(loss, None)
            if part is None:
                return
            yield part


def train(
    model: nn.Module,
    loss_of_step: Callable[[nn.Module, int], Tensor | Sequence[Tensor] | Iterator[Tensor] | None],
    *,
    steps: int,
    optimiser: torch.optim.Optimizer,
    clip: float | Callable[[Sequence[Tensor]], None],
    schedule: Callable[[int], float] | None = None,
    machine: Machine = CPU,
    checkpoint: Path | None = None,
) -> list[float]:
    """Run at most ``steps`` optimiser steps and return the losses; ``model`` is changed in place and left in eval mode.

    ``loss_of_step(model, step)`` draws the batch of that step and returns its loss, several losses whose mean counts (one
    pass backwards each), an iterator of the parts of a loss (:meth:`Machine.parts`; each goes backwards before the next is
    computed, so that the activations of one are held), or ``None``, which ends the training. ``clip`` bounds the gradient
    norm, or is a function that bounds the gradients of the parameters it is given; ``schedule(step)`` multiplies the learning
    rate. With ``checkpoint`` the state is saved as often as ``machine`` says and an existing file is continued from.
    Raises :class:`TrainingError` naming the step when a loss is not finite.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=machine.device == "cpu", mixed_precision=machine.precision)
    if machine.recompute:
        recompute(model)
    start, losses = 0, []
    rates = [group["lr"] for group in optimiser.param_groups]
    model.to(accelerator.device)
    if checkpoint is not None and checkpoint.exists():
        start, losses = _restore(checkpoint, model, optimiser)
    prepared, optimiser = accelerator.prepare(model, optimiser)
    prepared.train()
    for step in range(start, steps):
        factor = schedule(step) if schedule else 1.0
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        with accelerator.autocast():
            loss = loss_of_step(prepared, step)
        if loss is None:
            break
        optimiser.zero_grad()
        value = 0.0
        for part in _parts(loss, accelerator):
            value += float(part.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {step} of {steps}; lower the learning rate or check the data"
                )
            accelerator.backward(part)
        if callable(clip):
            clip(list(prepared.parameters()))
        else:
            accelerator.clip_grad_norm_(prepared.parameters(), clip)
        optimiser.step()
        losses.append(value)
        due = checkpoint is not None and machine.checkpoint_every and (step + 1) % machine.checkpoint_every == 0
        if due and accelerator.is_main_process:
            state = {"model": accelerator.unwrap_model(prepared).state_dict(), "optimiser": optimiser.state_dict()}
            _save(checkpoint, {**state, "step": step + 1, "losses": losses, "random": torch.get_rng_state()})
    model.eval()
    return losses
