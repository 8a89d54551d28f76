"""Products of matrices by numpy's library instead of torch's: the one arithmetic leaves torch's no fast kernels.

MKL computes the same on every make of processor only in a branch without AVX2 (:mod:`lib`); OpenBLAS has fixed AVX2
kernels, which are two and a half times as fast on the small matrices of stacked fits. Runs under ``torch.vmap``.

>>> linear(torch.ones(2, 3, 4), torch.ones(5, 4)).shape
torch.Size([2, 3, 5])
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x`` (..., I) times ``weight`` (O, I) transposed: (..., O)."""
    return product(x.reshape(-1, x.shape[-1]), weight.mT).reshape(*x.shape[:-1], weight.shape[0])


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a`` (..., N, I) times ``b`` (..., I, O), the same leading dimensions in both: (..., N, O)."""
    plain = type(a) in (Tensor, Parameter)  # not a tensor without values (lib.training.shape_only)
    return _Product.apply(a, b) if plain and a.device.type == "cpu" and a.dtype == torch.float32 else a @ b


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
