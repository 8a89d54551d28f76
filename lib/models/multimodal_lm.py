"""The multimodal language model of the project: image encoder -> projector -> small causal language model.

A prompt is ``[visual tokens; question words; options]`` and the model goes on with the answer: one letter, or the tokens
of a box. The language model is a Llama (RMS norms, rotary positions, SwiGLU; the numbers of ``LlamaForCausalLM``, which
a test checks), written out here because the last block need only be computed where an answer is read, and because every
line of it must run under ``torch.func.vmap``. Its paper opens it and LLaVA and its like
by the same call.

    model = MultimodalLM(encoder="convolution", vocabulary=120)
    logits = model(model.see(images), ids, mask)          # (B, 1, vocabulary): the word that follows the prompt
"""

from __future__ import annotations

import math
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.product import linear, product

SIDE = 32  # pixels of an image side
GRID = 2  # visual tokens a side: neighbouring features are merged into GRID x GRID tokens, as Qwen2-VL merges 2 x 2

HEADS = 4  # of the language model


class Convolutions(nn.Module):
    """(B, 1, 32, 32) -> (B, 16, 64): four convolutions with batch normalisation, one feature for 8 x 8 pixels."""

    width, cells = 64, 16

    def __init__(self):
        super().__init__()
        self.stack = _convolutions((1, 16, 5, 2), (16, 32, 3, 2), (32, 64, 3, 1), (64, 64, 3, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.stack(images).flatten(2).transpose(1, 2)


class Transformer(nn.Module):
    """(B, 1, 32, 32) -> (B, 16, 64): a transformer layer over 8 x 8 tokens; each 2 x 2 of them becomes a feature.

    The tokens come from three convolutions instead of cut-out patches ("Early Convolutions Help Transformers See
    Better", Xiao et al. 2021): from patches, two layers learn to see less in three times the time.
    """

    width, cells, inner = 64, 16, 32

    def __init__(self):
        super().__init__()
        inner = self.inner
        self.stack = _convolutions((1, 16, 5, 2), (16, 32, 3, 2), (32, inner, 3, 1))
        self.position = nn.Parameter(0.02 * torch.randn(1, 64, inner))
        self.layer = nn.TransformerEncoderLayer(
            inner, 4, 2 * inner, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.merge = nn.Linear(4 * inner, self.width)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer(self.stack(images).flatten(2).transpose(1, 2) + self.position)
        batch, _, inner = x.shape
        x = x.reshape(batch, 4, 2, 4, 2, inner).permute(0, 1, 3, 2, 4, 5).reshape(batch, 16, 4 * inner)
        return F.relu(self.merge(x))


def _convolutions(*layers: tuple[int, int, int, int]) -> nn.Sequential:
    """Convolutions (channels in and out, kernel, stride), each with batch normalisation and a rectifier."""
    parts = [(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o, k, s in layers]
    return nn.Sequential(*chain(*parts))


ENCODERS = {"convolution": Convolutions, "transformer": Transformer}


class Block(nn.Module):
    """A Llama decoder layer. With ``answers`` set, only that many last positions are computed and returned."""

    def __init__(self, width: int, *, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], bias: Tensor, answers: int | None = None) -> Tensor:
        batch, length, width = x.shape
        split = linear(rms_norm(x, self.attention_norm), self.qkv.weight)
        split = split.reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        both, (v,) = split.split((2, 1))  # (2, B, H, T, d) and (1, ...): two slices would cost more backwards
        q, k = rotate(both, turn)
        if answers is not None:
            q, x, bias = q[:, :, -answers:], x[:, -answers:], bias[:, :, -answers:]
        weights = (product(q, k.mT) / math.sqrt(width // self.heads) + bias).softmax(-1)
        x = x + linear(product(weights, v).transpose(1, 2).reshape(batch, -1, width), self.out.weight)
        gate, up = linear(rms_norm(x, self.mlp_norm), self.gate_up.weight).chunk(2, dim=-1)
        return x + linear(F.silu(gate) * up, self.down.weight)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-6)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (the half-split form of Llama): x (..., H, T, d), turn two of (B, 1, T, d)."""
    first, second = x.chunk(2, dim=-1)
    return x * turn[0] + torch.cat([-second, first], dim=-1) * turn[1]


class MultimodalLM(nn.Module):
    """See the module's docstring. ``width`` and ``depth`` are the two dials; all else is derived."""

    def __init__(self, *, encoder: str, vocabulary: int, width: int = 48, depth: int = 2):
        super().__init__()
        self.encoder = ENCODERS[encoder]()
        features = self.encoder.width * self.encoder.cells // GRID**2
        self.projector = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Linear(width, width))
        self.words = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads=HEADS, hidden=2 * width) for _ in range(depth))
        self.norm = nn.Parameter(torch.ones(width))
        self.head_width = width // HEADS
        nn.init.normal_(self.words.weight, std=0.3)

    def see(self, images: Tensor) -> Tensor:
        """Visual features (B, 4, 4 * C) of images (B, 32, 32) with grey levels 0..1; the encoder's part of the work."""
        x = self.encoder(images[:, None] * 4 - 2)
        batch, cells, width = x.shape
        each = math.isqrt(cells) // GRID
        x = x.reshape(batch, GRID, each, GRID, each, width).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, GRID * GRID, each * each * width)
        return F.layer_norm(x, x.shape[-1:])

    def project(self, features: Tensor) -> Tensor:
        """Visual tokens (B, V, width) of ``features`` (B, V, C)."""
        first, between, last = self.projector
        hidden = between(linear(features, first.weight) + first.bias)
        return linear(hidden, last.weight) + last.bias

    def forward(self, features: Tensor, ids: Tensor, mask: Tensor, answers: int = 1) -> Tensor:
        """Logits (B, answers, vocabulary) at the last ``answers`` positions of ``ids`` (B, T), padded on the left.

        ``features`` (B, V, C): what :meth:`see` returned, one image's tokens or several images' one after the other.
        """
        return self.answer(torch.cat([self.project(features), self.words(ids)], dim=1), mask, answers)

    def answer(self, x: Tensor, mask: Tensor, answers: int) -> Tensor:
        """Logits at the last positions of embedded tokens ``x`` (B, V + T, width); ``mask`` (B, T) of the last T."""
        seen = torch.cat([torch.ones_like(mask[:, :1]).expand(-1, x.shape[1] - mask.shape[1]), mask], dim=1)
        turn, bias = self.layout(seen)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, turn, bias, answers if number == len(self.blocks) else None)
        return linear(rms_norm(x, self.norm), self.words.weight)

    def layout(self, seen: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Rotary factors (B, 1, T, d) and attention bias (B, 1, T, T) of positions ``seen`` (B, T): 1 real, 0 padding."""
        position = (seen.cumsum(1) - 1).clamp(min=0).to(torch.float32)
        rate = 10_000 ** (-torch.arange(0, self.head_width, 2, device=seen.device) / self.head_width)
        angle = (position[..., None] * rate).repeat(1, 1, 2)[:, None]
        causal = torch.ones(seen.shape[1], seen.shape[1], device=seen.device).tril()
        allowed = causal * seen[:, None, None, :].to(torch.float32)
        return (angle.cos(), angle.sin()), (allowed - 1) * 1e9
