"""Zero-shot scores of many images and prompts by cross-attention, in blocks: the same numbers in a bounded memory.

Image by image, as the release scores, the word tokens of every prompt are projected again for every image: in one layer that
is most of the work. Here keys and values of a memory are projected once a layer, and every query meets them.

>>> from lib.models.cross_attention import CrossAttentionAlignment
>>> module = CrossAttentionAlignment(width=8, layers=2, feedforward=16).eval()
>>> images, texts = Tokens(torch.randn(5, 8), torch.randn(5, 4, 8)), Tokens(torch.randn(3, 8), torch.randn(3, 6, 8))
>>> torch.allclose(score_blocks(module, images, texts), score_one_by_one(module, images, texts), atol=1e-5)
True
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.models import ModelError
from lib.models.cross_attention import CrossAttentionAlignment, memory_of

BUDGET = 256 * 2**20  # bytes that blocks may hold besides the features and the scores
MOST_PAIRS = 4096  # of a block: more go no faster


@dataclass(frozen=True)
class Tokens:
    """Features of N images or texts: ``whole`` (N, d), the class token or the sentence; ``parts`` (N, T, d)."""

    whole: Tensor
    parts: Tensor

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, rows) -> Tokens:
        return Tokens(self.whole[rows], self.parts[rows])

    def to(self, *where) -> Tokens:
        return Tokens(self.whole.to(*where), self.parts.to(*where))


def block_sizes(module: CrossAttentionAlignment, tokens: int, *, bytes_each: int, budget: int) -> tuple[int, int]:
    """Memories and queries of a block: half of ``budget`` for keys and values, half for what a pair needs on the way.

    Raises :class:`ModelError` when not even one memory and one query fit.
    """
    layer = module.layers[0]
    width, hidden = layer.linear1.in_features, layer.linear1.out_features
    memory = 2 * len(module.layers) * tokens * width * bytes_each + 2 * tokens * width * bytes_each
    pair = bytes_each * (6 * width + 2 * max(hidden, 1024) + 3 * layer.heads * tokens)
    if memory > budget / 2 or pair > budget / 2:
        raise ModelError(f"one memory of {tokens} tokens does not fit a budget of {budget} bytes; raise the budget.")
    memories = min(int(budget / 2 // memory), 64)
    pairs = min(int(budget / 2 // pair), MOST_PAIRS)
    memories = min(memories, pairs)
    return memories, max(1, pairs // memories)


@torch.no_grad()
def ask_blocks(
    module: CrossAttentionAlignment, queries: Tensor, tokens: Tokens, *, memory: str, budget: int = BUDGET
) -> Tensor:
    """Scores (N, Q) of queries (Q, d) asked of the memories of N images or texts."""
    count = {"local": 0, "global": 1, "both": 1}[memory] + (0 if memory == "global" else tokens.parts.shape[1])
    many, asked = block_sizes(module, count, bytes_each=queries.element_size(), budget=budget)
    scores = queries.new_empty(len(tokens), len(queries))
    for start in range(0, len(tokens), many):
        rows = slice(start, start + many)
        projected = module.project(memory_of(tokens.whole[rows], tokens.parts[rows], memory))
        for first in range(0, len(queries), asked):
            columns = slice(first, first + asked)
            scores[rows, columns] = module.score(module.heard(queries[columns], projected))
    return scores


def score_blocks(
    module: CrossAttentionAlignment, images: Tokens, texts: Tokens, *, memory: str = "both", budget: int = BUDGET
) -> Tensor:
    """Zero-shot scores (N images, M texts): the mean of both directions, which the release ranks by. ``module`` in eval mode."""
    asked_of_images = ask_blocks(module, texts.whole, images, memory=memory, budget=budget)
    asked_of_texts = ask_blocks(module, images.whole, texts, memory=memory, budget=budget)
    return asked_of_images.add_(asked_of_texts.T).div_(2)


@torch.no_grad()
def score_one_by_one(module: CrossAttentionAlignment, images: Tokens, texts: Tokens, *, memory: str = "both") -> Tensor:
    """The same scores as the release computes them: one image at a time, every prompt projected again for it."""
    rows, said = [], memory_of(texts.whole, texts.parts, memory)
    for i in range(len(images)):
        one = images[i : i + 1]
        asked_of_image = module(texts.whole, memory_of(one.whole, one.parts, memory))[0]
        rows.append((asked_of_image + module(one.whole, said)[:, 0]) / 2)
    return torch.stack(rows)
