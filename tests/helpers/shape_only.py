"""A step at its full size without its arithmetic: tensors that have shapes and places, and no values.

What a step of a profile needs on a card is known before anybody rents one; a tensor that was left on another device than
the model's is an error here as it is there.

>>> with tensors():
...     model = nn.Linear(1000, 1000)
...     need = step_memory(model, lambda: model(torch.zeros(64, 1000)).square().mean())
>>> need.weights, need.optimiser, need.passes >= need.weights   # bytes: float32; Adam's two moments; its gradients and more
(4004000, 8008000, True)
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lib.machine import Machine
from lib.training import sft
from lib.training.loop import recompute
from lib.workflow.experiments import Experiments

GIB = 2**30
CARD = 80 / 1.2  # GiB of a card, less the fifth by which a count from shapes may be off


def settings_of(plan: Experiments, profile: str) -> tuple[dict[str, Any], Machine]:
    """A copy of the profile's section, and its machine; tensors of shapes are on the CPU."""
    told = copy.deepcopy(plan.profiles[profile])
    return told, replace(Machine(**told["machine"]), device="cpu")


@contextmanager
def tensors():
    """Inside, every new tensor is without values. Not for code that looks at a value (``float(loss)``, ``.tolist()``)."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@dataclass(frozen=True)
class Need:
    """Bytes of one training step: all weights, Adam's moments of the trained ones, and the most that the forward and backward
    passes hold besides: activations, gradients, and what is computed on the way."""

    weights: int
    optimiser: int
    passes: int

    @property
    def gib(self) -> float:
        """All of it, in GiB."""
        return (self.weights + self.optimiser + self.passes) / GIB


class _Held(TorchDispatchMode):
    """Bytes of the storages that live: made since it was entered and not yet freed; ``peak``: the most at a time."""

    def __init__(self, known: Iterable[Tensor]):
        super().__init__()
        self.now = self.peak = 0
        self.seen = weakref.WeakSet(one.untyped_storage() for one in known)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in tree_iter(out):
            if isinstance(one, Tensor) and (storage := one.untyped_storage()) not in self.seen:
                self.seen.add(storage)
                size = storage.nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, size)
        return out

    def _free(self, size: int) -> None:
        self.now -= size


def step_memory(model: nn.Module, loss: Callable[[], Tensor | Iterable[Tensor]]) -> Need:
    """What one step of training ``model`` needs, called inside :func:`tensors`: ``loss()`` draws a batch and returns its loss,
    or the parts of it, each of which goes backwards before the next.

    Activations are those of a CPU's kernels (attention without stored weights, as on a card); read them as +-20 %.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    with _Held([*model.parameters(), *model.buffers()]) as held:
        made = loss()
        for part in [made] if isinstance(made, Tensor) else made:
            part.backward()
    return Need(_bytes(model.parameters()), 2 * _bytes(trained), held.peak)


class Caught(Exception):
    """What a fit would have trained: the module and the loss of a step (``args``), raised in the place of its training loop."""


def need_of_fit(model: nn.Module, loss_of_step: Callable[[nn.Module, int], Any], machine: Machine) -> Need:
    """What the first step of a fit needs in the machine's precision, its parts drawn as the training loop draws them."""
    assert machine.precision == "bf16"
    if machine.recompute:
        recompute(model)
    model.train()

    def parts() -> Iterator[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of_step(model, 0)
        if isinstance(loss, Tensor):
            yield loss
            return
        while True:
            with torch.autocast("cpu", torch.bfloat16):
                part = next(loss, None)
            if part is None:
                return
            yield part

    return step_memory(model, lambda: islice(parts(), 2))  # the rest hold what the second does


def _bytes(many: Iterable[Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in many)


def stray(model: nn.Module, call: Callable[[torch.device], Any]) -> str | None:
    """``None`` when ``call(device)``, a forward pass on a batch put on ``device``, computes on one device with ``model``; else
    what is wrong. ``model`` is moved to torch's device of shapes, ``meta``, whose tensors mix with no others.

    >>> stray(nn.Linear(2, 2), lambda device: torch.zeros(1, 2, device=device) + torch.zeros(2))
    'Tensor on device cpu is not on the expected device meta!'
    """
    model.to("meta")
    try:
        with torch.no_grad():
            call(torch.device("meta"))
    except RuntimeError as error:
        return " ".join(str(error).split())[:300]
    return None


def adapted(model: nn.Module, lora: dict[str, Any]) -> nn.Module:
    """``model`` with adapters in fp32; peft would move each to its layer's device and dtype, which shapes cannot follow."""
    from peft import get_peft_model

    with mock.patch.object(nn.Module, "to", lambda self, *_, **__: self):
        model = get_peft_model(model, sft._adapter(lora, model))
    sft.full_precision(model)
    return model
