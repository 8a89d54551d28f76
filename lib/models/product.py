"""Products of matrices on a CPU by numpy's library instead of torch's: the one arithmetic leaves torch's no fast kernels.

MKL's branches differ between the makes of processors, and the one that is the same on all (:mod:`lib`) is its slowest; OpenBLAS
has fixed AVX2 kernels, two to three times as fast forwards and backwards. The same products up to rounding, also under
``torch.vmap``.

>>> linear(torch.ones(2, 300, 40), torch.ones(50, 40)).shape
torch.Size([2, 300, 50])
>>> model = nn.Sequential(nn.Linear(64, 512), nn.GELU(), nn.Linear(512, 64))
>>> use_products(model), type(model[0]).__module__
(2, 'lib.models.product')
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEAST = 2**17  # multiplications of a product below which the way to numpy costs more than it saves


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``: ``x`` (..., I) times ``weight`` (O, I) transposed, plus ``bias`` (O,): (..., O)."""
    if not _ours(x, weight, x.numel() * weight.shape[0]):
        return F.linear(x, weight, bias)
    out = _Product.apply(x.reshape(-1, x.shape[-1]), weight.mT).reshape(*x.shape[:-1], weight.shape[0])
    return out if bias is None else out + bias


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a`` (..., N, I) times ``b`` (..., I, O), the same leading dimensions in both: (..., N, O)."""
    return _Product.apply(a, b) if _ours(a, b, a.numel() * b.shape[-1]) else a @ b


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def use_products(model: nn.Module) -> int:
    """Make every plain linear layer of ``model`` a :class:`Linear`, in place, and return how many there were. Weights and
    names stay; on another device, in another precision and under autocast such a layer computes as it did."""
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    for layer in layers:
        layer.__class__ = Linear
    return len(layers)


def _ours(a: Tensor, b: Tensor, multiplications: int) -> bool:
    """Single precision on the CPU, with values (fake tensors have none), and enough of it."""
    alike = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32 and type(a) in (Tensor, nn.Parameter)
    return alike and multiplications >= LEAST and not torch.is_autocast_enabled("cpu")


def _times(a: Tensor, b: Tensor) -> Tensor:
    return torch.from_numpy(np.matmul(a.detach().numpy(), b.detach().numpy()))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return _times(a, b)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        left, right = ctx.needs_input_grad
        return _times(gradient, b.mT) if left else None, _times(a.mT, gradient) if right else None

    @staticmethod
    def vmap(info, in_dims: tuple[int | None, int | None], a: Tensor, b: Tensor) -> tuple[Tensor, int]:
        stacked = (
            one.expand(info.batch_size, *one.shape) if place is None else one.movedim(place, 0)
            for one, place in zip((a, b), in_dims, strict=True)
        )
        return _Product.apply(*stacked), 0
