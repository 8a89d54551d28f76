"""What a volume costs by the number of its tokens: multiply-accumulates of projector and language model, counted by torch.

count(kind="convolution", grid=(14, 14, 14), width=768, language={"width": 4096, "depth": 32, ...}, words=64)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lib.models.projectors import build_projector, tokens_of


@dataclass(frozen=True)
class Cost:
    """Of one volume: visual tokens, multiply-accumulates, trainable parameters of the projector."""

    tokens: int
    projector: int
    language: int
    parameters: int

    total = property(lambda self: self.projector + self.language)


def count(kind: str, *, grid: Sequence[int], width: int, language: dict[str, Any], words: int) -> Cost:
    """Cost of a prompt and answer of ``words`` tokens on one volume whose encoder gives ``grid`` tokens of ``width``.

    ``language``: width, depth, heads and inner (of the MLP) of a Llama. Counted on tensors without values; attention is that
    of all pairs.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    grid = tuple(grid)
    tokens = tokens_of(kind, grid)
    config = LlamaConfig(
        hidden_size=language["width"], num_hidden_layers=1, num_attention_heads=language["heads"],
        num_key_value_heads=language["heads"], intermediate_size=language["inner"], vocab_size=language["vocabulary"],
        attn_implementation="eager",
    )  # fmt: skip
    with torch.device("meta"):
        projector = build_projector(
            kind if kind != "shuffled" else "convolution", grid=grid, width=width, out=language["width"]
        )
        model = LlamaForCausalLM(config).model
        features = torch.zeros(1, grid[0] * grid[1] * grid[2], width)
        embedded = torch.zeros(1, tokens + words, language["width"])
        with FlopCounterMode(display=False) as first:
            projector(features)
        mask = torch.zeros(1, 1, tokens + words, tokens + words)
        with FlopCounterMode(display=False) as second:
            model(inputs_embeds=embedded, attention_mask=mask, use_cache=False)
    layers = second.get_total_flops() // 2 * language["depth"]  # a multiply and an addition are two
    return Cost(tokens, first.get_total_flops() // 2, layers, sum(p.numel() for p in projector.parameters()))
