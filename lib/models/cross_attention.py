"""Cross-attention alignment of CARZero: a query asks the tokens of the other modality, and a head scores what it heard.

One module serves both directions (a text asks an image, an image asks a text). Queries do not see each other, there are no
positions and no mask of keys. Names and shapes of the state dict are those of the released checkpoint (85 keys with the MLP
head), weights that nothing reads included. Source: Lai et al., CVPR 2024, and its code (``dqn_wo_self_atten_mlp``).

>>> module = CrossAttentionAlignment(width=8, layers=1, feedforward=16, head="linear").eval()
>>> text, image = torch.ones(3, 8), torch.ones(2, 5, 8)        # 3 sentences ask 2 images of 5 tokens
>>> module(text, image).shape, module.similarity(text, image).shape, module.attention(text, image).shape
(torch.Size([2, 3]), torch.Size([2, 3, 8]), torch.Size([2, 3, 5]))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.models import ModelError
from lib.models.dropout import Dropout, dropout
from lib.models.product import linear, product

HEAD_WIDTHS = (1024, 512, 256)  # of the released MLP head ("v3" among the eight in the code)
HEADS = ("linear", "mlp")
MEMORIES = ("local", "global", "both")


def memory_of(whole: Tensor, parts: Tensor, which: str) -> Tensor:
    """What is attended to: the vector of the whole (N, d), its parts (N, T, d), or both, the whole first (N, 1 + T, d)."""
    if which not in MEMORIES:
        raise ModelError(f"'{which}' is no memory; choose one of {', '.join(MEMORIES)}.")
    chosen = {"local": [parts], "global": [whole[:, None]], "both": [whole[:, None], parts]}[which]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)


class CrossAttentionLayer(nn.Module):
    """Pre-norm cross-attention and feed-forward. ``self_attn`` and ``norm1`` are in the release's weights and in no product."""

    def __init__(self, width: int, *, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.self_attn = nn.MultiheadAttention(width, heads)
        self.multihead_attn = nn.MultiheadAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def _by_head(self, x: Tensor) -> Tensor:  # (N, T, d) -> (N, heads, T, d / heads)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (N, heads, T, d / heads) of a normed memory (N, T, d): the same for every query."""
        width = memory.shape[-1]
        weight, bias = self.multihead_attn.in_proj_weight[width:], self.multihead_attn.in_proj_bias[width:]
        keys, values = linear(memory, weight, bias).chunk(2, dim=-1)
        return self._by_head(keys), self._by_head(values)

    def weights(self, x: Tensor, keys: Tensor) -> Tensor:
        """Attention (N, heads, Q, T) of queries (N or 1, Q, d)."""
        width = x.shape[-1]
        asked = linear(
            self.norm2(x), self.multihead_attn.in_proj_weight[:width], self.multihead_attn.in_proj_bias[:width]
        )
        asked = self._by_head(asked) / math.sqrt(width / self.heads)
        return product(asked.expand(len(keys), -1, -1, -1), keys.transpose(-2, -1)).softmax(dim=-1)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries (N or 1, Q, d) after one layer: (N, Q, d)."""
        weights = self._drop(self.weights(x, keys))
        heard = product(weights, values).transpose(1, 2).flatten(2)  # (N, Q, d)
        out = self.multihead_attn.out_proj
        x = x + self._drop(linear(heard, out.weight, out.bias))
        hidden = self._drop(linear(self.norm3(x), self.linear1.weight, self.linear1.bias).relu())
        return x + self._drop(linear(hidden, self.linear2.weight, self.linear2.bias))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class Decoder(nn.Module):
    """A stack of layers and their final norm."""

    def __init__(self, layers: Sequence[nn.Module], norm: nn.LayerNorm):
        super().__init__()
        self.layers, self.norm = nn.ModuleList(layers), norm


def _head(kind: str, width: int, widths: Sequence[int], rate: float) -> nn.Sequential:
    if kind not in HEADS:
        raise ModelError(f"'{kind}' is no head; choose one of {', '.join(HEADS)}.")
    if kind == "linear":
        return nn.Sequential(nn.Linear(width, 1))
    parts: list[nn.Module] = []
    for size in widths:
        parts += [nn.Linear(width, size), nn.ReLU(), Dropout(rate)]
        width = size
    return nn.Sequential(*parts, nn.Linear(width, 1))


class CrossAttentionAlignment(nn.Module):
    """Scores of every query with every memory through their similarity representation (SimR).

    One LayerNorm is used three times, on memories, on queries and at the end; the state dict holds it twice
    (``decoder_norm``, ``decoder.norm``). ``head``: ``linear`` as the paper draws it, ``mlp`` as the checkpoint has it.
    ``initial_sd``: of all weights but norms and biases; a narrower module than the released one needs a larger one to answer at
    all before its first step.
    """

    def __init__(
        self,
        *,
        width: int = 768,
        layers: int = 4,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        head: str = "mlp",
        head_widths: Sequence[int] = HEAD_WIDTHS,
        initial_sd: float = 0.02,
    ):
        super().__init__()
        self.recompute, self.dropout = False, dropout
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # saved by the release, read by nothing
        self.decoder_norm = nn.LayerNorm(width)
        made = [
            CrossAttentionLayer(width, heads=heads, feedforward=feedforward, dropout=dropout) for _ in range(layers)
        ]
        self.decoder = Decoder(made, self.decoder_norm)
        self.mlp_head = _head(head, width, head_widths, dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=initial_sd)
            elif isinstance(module, nn.MultiheadAttention):
                nn.init.normal_(module.in_proj_weight, std=initial_sd)

    @property
    def layers(self) -> nn.ModuleList:
        return self.decoder.layers

    def project(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of a memory (N, T, d) in every layer: what all queries share."""
        normed = self.decoder_norm(memory)
        return [layer.project(normed) for layer in self.layers]

    def heard(self, queries: Tensor, projected: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """SimR (N, Q, d) of queries (Q, d) over memories whose keys and values are known."""
        x = self.decoder_norm(queries)[None]  # (1, Q, d): until the first layer all memories have the same
        for layer, (keys, values) in zip(self.layers, projected, strict=True):
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, keys, values, use_reentrant=False)
            else:
                x = layer(x, keys, values)
        return dropout(self.decoder.norm(x), self.dropout, self.training)

    def score(self, similarity: Tensor) -> Tensor:
        """The head: SimR (..., d) -> (...)."""
        return self.mlp_head(similarity)[..., 0]

    def similarity(self, queries: Tensor, memory: Tensor) -> Tensor:
        """SimR (N, Q, d) of queries (Q, d), each asked of every memory (N, T, d)."""
        return self.heard(queries, self.project(memory))

    def attention(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Weights (N, Q, T) of the last layer, the mean of its heads: where a query looks."""
        projected = self.project(memory)
        x = self.decoder_norm(queries)[None]
        for layer, (keys, values) in zip(self.layers[:-1], projected[:-1], strict=True):
            x = layer(x, keys, values)
        found = self.layers[-1].weights(x, projected[-1][0]).mean(dim=1)
        return found.expand(len(memory), -1, -1)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Scores (N, Q), without scale or bound, of queries (Q, d) asked of memories (N, T, d)."""
        return self.score(self.similarity(queries, memory))
