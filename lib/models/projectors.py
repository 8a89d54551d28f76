"""From the patch tokens of a volume to the tokens that a language model reads: the ways in which 3-D models aggregate them.

``convolution`` is E3D-GPT's (kernel and stride 2, GELU, linear; sheet 2.3), ``average`` M3D's, ``max`` its like, ``queries`` a
one-layer Q-former, ``mixer`` an MLP over the tokens: all give an eighth of the tokens. ``shuffled`` is the convolution over
tokens at permuted places, a control. ``linear`` and ``mlp`` keep every token.

>>> tuple(build_projector("convolution", grid=(4, 4, 2), width=6, out=10)(torch.zeros(3, 32, 6)).shape)
(3, 4, 10)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.models import ModelError
from lib.models.product import linear

Grid = tuple[int, int, int]
STRIDE = 2  # of the aggregation on each axis
AGGREGATING = ("convolution", "average", "max", "queries", "mixer", "shuffled")
KINDS = (*AGGREGATING, "linear", "mlp")


def cubes(tokens: Tensor, grid: Grid) -> Tensor:
    """Neighbours together: (B, gx gy gz, d) -> (B, T / 8, 8, d), cubes of 2 x 2 x 2 in the order of the coarse grid."""
    batch, _, width = tokens.shape
    x, y, z = (side // STRIDE for side in grid)
    cut = tokens.reshape(batch, x, STRIDE, y, STRIDE, z, STRIDE, width).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return cut.reshape(batch, x * y * z, STRIDE**3, width)


def _two_layers(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, out), nn.GELU(), nn.Linear(out, out))


class SpatialConvolution(nn.Module):
    """Conv3d of kernel and stride 2, GELU, linear. ``order`` (T,): a fixed permutation of the places before it."""

    def __init__(self, grid: Grid, width: int, out: int, *, order: Tensor | None = None):
        super().__init__()
        self.grid = grid
        self.convolution = nn.Conv3d(width, out, kernel_size=STRIDE, stride=STRIDE)
        self.after = nn.Sequential(nn.GELU(), nn.Linear(out, out))
        self.register_buffer("order", order)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens if self.order is None else tokens[:, self.order]
        joined = cubes(tokens, self.grid).flatten(2)  # (B, T / 8, 8 d): the convolution as one product
        kernel = self.convolution.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return self.after(linear(joined, kernel, self.convolution.bias))


class Pooling(nn.Module):
    """Mean or maximum of eight neighbours, then two layers with a GELU between."""

    def __init__(self, grid: Grid, width: int, out: int, *, maximum: bool):
        super().__init__()
        self.grid, self.maximum, self.after = grid, maximum, _two_layers(width, out)

    def forward(self, tokens: Tensor) -> Tensor:
        near = cubes(tokens, self.grid)
        return self.after(near.amax(dim=2) if self.maximum else near.mean(dim=2))


class LearnedQueries(nn.Module):
    """T / 8 learned queries that attend to all tokens (4 heads), then two layers. A token knows its place from the encoder."""

    heads = 4

    def __init__(self, grid: Grid, width: int, out: int):
        super().__init__()
        count = grid[0] * grid[1] * grid[2] // STRIDE**3
        self.queries = nn.Parameter(torch.randn(1, count, width) * width**-0.5)
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, self.heads, batch_first=True)
        self.after = _two_layers(width, out)

    def forward(self, tokens: Tensor) -> Tensor:
        known = self.norm(tokens)
        asked = self.queries.expand(len(tokens), -1, -1)
        return self.after(asked + self.attention(asked, known, known, need_weights=False)[0])


class Mixer(nn.Module):
    """A linear map from all T places to T / 8, GELU, then a linear map of the channels."""

    def __init__(self, grid: Grid, width: int, out: int):
        super().__init__()
        count = grid[0] * grid[1] * grid[2]
        self.mix, self.after = nn.Linear(count, count // STRIDE**3), nn.Sequential(nn.GELU(), nn.Linear(width, out))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.after(self.mix(tokens.transpose(1, 2)).transpose(1, 2))


def build_projector(kind: str, *, grid: Grid, width: int, out: int, seed: int = 0) -> nn.Module:
    """The projector ``kind`` from tokens (B, gx gy gz, ``width``) to (B, T / 8 or T, ``out``).

    ``seed``: of the permutation of ``shuffled``. Raises :class:`ModelError` for another kind, and for a grid with an odd side
    where neighbours are merged.
    """
    grid = tuple(grid)
    if kind not in KINDS:
        raise ModelError(f"there is no projector '{kind}'; give one of {', '.join(KINDS)}")
    if kind in AGGREGATING and any(side % STRIDE for side in grid):
        raise ModelError(f"a grid of {grid} patches cannot be merged two by two; crop to an even number on each axis")
    if kind == "shuffled":
        order = torch.randperm(grid[0] * grid[1] * grid[2], generator=torch.Generator().manual_seed(seed))
        return SpatialConvolution(grid, width, out, order=order)
    if kind == "linear":
        return nn.Linear(width, out)
    if kind == "mlp":
        return _two_layers(width, out)
    if kind in ("average", "max"):
        return Pooling(grid, width, out, maximum=kind == "max")
    return {"convolution": SpatialConvolution, "queries": LearnedQueries, "mixer": Mixer}[kind](grid, width, out)


def tokens_of(kind: str, grid: Grid) -> int:
    """How many tokens a projector gives."""
    count = grid[0] * grid[1] * grid[2]
    return count // STRIDE**3 if kind in AGGREGATING else count
