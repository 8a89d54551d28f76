"""Where the image encoder looked for one prompt: gradient rollout of its attention onto the patch grid.

In use:

    maps = gradient_rollout(model, volume, prompt)                # (B, 1, X, Y, Z), (d,) -> (B, gx, gy, gz)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.brgsa.model import BrgSA


def gradient_rollout(model: BrgSA, volume: Tensor, prompt: Tensor) -> Tensor:
    """Relevance of each patch to the cosine between image and prompt embedding; non-negative, a map sums to 1.

    Attention weighted by its own gradient, rolled through the blocks (Chefer et al. 2021); BrgSA's heat maps come from
    attention and gradient rollout (sheet 6, item 14).
    """
    vit = model.image
    weights: list[Tensor] = []
    x = vit.with_class_token(vit.embed(volume)).detach().requires_grad_(True)
    with torch.enable_grad():
        for block in vit.blocks:
            attention = block.attention(x)  # (B, heads, 1 + T, 1 + T)
            weights.append(attention)
            x = block.apply_attention(x, attention)
        v = model.global_embedder(vit.norm(x)[:, 0])
        score = F.cosine_similarity(v, prompt[None], dim=-1).sum()
        gradients = torch.autograd.grad(score, weights)
    flow = torch.eye(x.shape[1], device=x.device).expand(len(volume), -1, -1)
    for attention, gradient in zip(weights, gradients, strict=True):
        flow = flow + (attention * gradient).clamp(min=0).mean(dim=1).detach() @ flow
    relevance = flow[:, 0, 1:]
    relevance = relevance / relevance.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return relevance.view(len(volume), *vit.grid_of(volume))
