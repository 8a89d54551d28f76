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
from papers.e3d_gpt.study import Study

# Width and grid of the encoder (sheet 2.2), and a Llama of seven billion weights; the paper's own language model was not found.
CODE_LINE = {
    "grid": (14, 14, 14), "width": 768,
    "language": {"width": 4096, "depth": 32, "heads": 32, "inner": 11008, "vocabulary": 32000},
}  # fmt: skip


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


def of_study(study: Study, kind: str) -> list[Cost]:
    """Cost of a volume under a study's own sizes, by the length of its base's prompts and reports: one a seed."""
    from transformers import AutoConfig

    settings, run = study.settings, study.run
    vit, found = settings["vit"], []
    grid = [side // patch for side, patch in zip(settings["crop"], vit["patch"], strict=True)]
    for seed in run.seeds:
        base = study.bases[run.base_of(seed)]
        config = AutoConfig.from_pretrained(base.language)
        language = {
            "width": config.hidden_size, "depth": config.num_hidden_layers, "heads": config.num_attention_heads,
            "inner": config.intermediate_size, "vocabulary": config.vocab_size,
        }  # fmt: skip
        found.append(count(kind, grid=grid, width=vit["width"], language=language, words=round(study.words[base.seed])))
    return found
