"""Linear layers on a CPU through oneDNN instead of MKL.

MKL's branches differ between the makes of processors, and the one that is the same on all (``lib/__init__.py``) is its
slowest; oneDNN, limited to AVX2, is three to four times faster on the products of a real language model and keeps to
one arithmetic too. Tiny layers gain nothing and are left alone.

>>> model = nn.Sequential(nn.Linear(64, 512), nn.Linear(512, 64))
>>> use_onednn(model), type(model[1]).__module__
(1, 'lib.models.onednn')
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NARROWEST = 256  # inputs of a layer from which oneDNN is ahead by more than its overhead


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """``a @ b.T + bias`` of matrices (N, K) and (M, K)."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        wanted, gradient = ctx.needs_input_grad, gradient.contiguous()
        return (
            _product(gradient, weight.T.contiguous()) if wanted[0] else None,
            _product(gradient.T, x.T) if wanted[1] else None,
            gradient.sum(dim=0) if wanted[2] else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, least: int = 0) -> Tensor:
    """``F.linear``, whose product of float32 tensors on the CPU, and its gradient, are computed by oneDNN.

    Under autocast, on another device, in another precision, where torch is built without oneDNN and for products of fewer
    than ``least`` multiplications, it is ``F.linear``. No second derivatives, no ``vmap``.
    """
    small = x.numel() * len(weight) < least
    alike = not small and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.numel()
    alike = alike and type(x) in (Tensor, nn.Parameter)  # not a tensor without values (lib.training.shape_only)
    if not alike or torch.is_autocast_enabled("cpu") or not torch.backends.mkldnn.is_available():
        return F.linear(x, weight, bias)
    return _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    least = 0

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, least=self.least)


def use_onednn(model: nn.Module, *, narrowest: int = NARROWEST, least: int = 0) -> int:
    """Make every plain linear layer of ``model`` in float32 on the CPU, with at least ``narrowest`` inputs, a :class:`Linear`,
    in place, and return how many there were: none where torch is built without oneDNN. Weights and names stay. ``least``:
    products of fewer multiplications stay with torch."""
    if not torch.backends.mkldnn.is_available():
        return 0
    plain = [m for m in model.modules() if type(m) is nn.Linear and m.in_features >= narrowest]
    layers = [m for m in plain if m.weight.device.type == "cpu" and m.weight.dtype == torch.float32]
    for layer in layers:
        layer.__class__ = Linear
        layer.least = least
    return len(layers)
