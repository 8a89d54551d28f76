"""The losses of BrgSA (sheet 2.3) with negatives gathered across processes, gradients included.

>>> info_nce(torch.eye(4), torch.eye(4)).item() < info_nce(torch.eye(4), torch.eye(4).flip(0)).item()
True
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 10.0  # temp3 of the release: temperature 0.1, fixed


def gather_with_gradient(x: Tensor) -> Tensor:
    """Rows of every process, (B, d) -> (P B, d), differentiable with respect to all of them; ``x`` itself when alone."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x))


def info_nce(a: Tensor, b: Tensor) -> Tensor:
    """Sum (not mean) of the two directions of InfoNCE between rows of ``a`` and ``b`` (B, d); cosine similarity.

    Positives are the diagonal; two rows with the same text are still negatives of each other, as in the release.
    """
    logits = SCALE * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    target = torch.arange(len(a), device=a.device)
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def brgsa_loss(
    v: Tensor, t: Tensor, v_hat: Tensor, t_hat: Tensor, *, alpha: float = 0.5, beta: float = 1.0, gamma: float = 1.0
) -> Tensor:
    r""":math:`\alpha L_{MSE} + \beta NCE(v, t) + \gamma NCE(\hat v, \hat t)` over raw vectors (B, d), no stop-gradient.

    Defaults are the shipped YAML's; the paper's final weights were not found. A term with weight 0 is not computed.
    """
    v, t, v_hat, t_hat = (gather_with_gradient(x) for x in (v, t, v_hat, t_hat))
    loss = v.new_zeros(())
    if alpha:
        loss = loss + alpha * (F.mse_loss(v_hat, v) + F.mse_loss(t_hat, t))
    if beta:
        loss = loss + beta * info_nce(v, t)
    if gamma:
        loss = loss + gamma * info_nce(v_hat, t_hat)
    return loss
