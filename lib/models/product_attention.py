"""Attention by the products of :mod:`lib.models.product`, for any Hugging Face model: ``attn_implementation="products"``.

Both of the library's own kinds of attention go through torch's slow kernels in the one arithmetic of the CPU; forwards and
backwards this one takes less than half of the time of either on the batches of a miniature.

    register()
    language, tokenizer = causal_lm.load(folder, attention=PRODUCTS)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.models.product import product

PRODUCTS = "products"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, Tensor]:
    """Softmax of ``query`` (B, heads, Q, d) times ``key`` (B, groups, K, d), times ``value``: (B, Q, heads, d), and the weights.

    ``attention_mask`` (B, 1, Q, K) is added, as the library's eager attention adds it.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(groups, dim=1) if groups > 1 else one for one in (key, value))
    scores = product(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(-1, -2))
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return product(weights, value).transpose(1, 2).contiguous(), weights


def register() -> None:
    """Make the library know it by its name; again does no harm."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(PRODUCTS, attend)
    AttentionMaskInterface.register(PRODUCTS, eager_mask)
