"""3-D vision transformer over volumes (X, Y, Z), with position tables interpolated to the actual grid.

Used by the image encoder of BrgSA and by the masked autoencoder that pretrains it.

>>> vit = VisionTransformer3D(patch=(16, 16, 8), base_grid=(2, 2, 2), width=24, depth=1, heads=2)
>>> tuple(vit(torch.zeros(3, 1, 32, 32, 16))[:, 0].shape)                  # one class token a volume
(3, 24)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lib.models import ModelError
from lib.models.product import linear

Grid = tuple[int, int, int]


def sincos_position_table(grid: Grid, width: int) -> Tensor:
    """Fixed sin-cos table (gx, gy, gz, width): ``width // 3`` channels an axis (rounded down to even), the rest zero.

    Source: BrgSA release, 3-axis table with ``dim // 3`` an axis and a zero remainder.
    """
    per_axis = width // 3 // 2 * 2
    frequencies = 1.0 / 10000 ** (torch.arange(per_axis // 2, dtype=torch.float64) / (per_axis / 2))
    table = torch.zeros(*grid, width, dtype=torch.float64)
    for axis, size in enumerate(grid):
        angles = torch.arange(size, dtype=torch.float64)[:, None] * frequencies  # (size, per_axis / 2)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        shape = [1, 1, 1, per_axis]
        shape[axis] = size
        table[..., axis * per_axis : (axis + 1) * per_axis] = waves.view(shape)
    return table.float()


def interpolate_positions(table: Tensor, grid: Grid) -> Tensor:
    """Trilinear interpolation of a table (gx, gy, gz, d) to ``grid``; axes keep their names, so no two can be mixed up."""
    if tuple(table.shape[:3]) == tuple(grid):
        return table
    channels_first = table.permute(3, 0, 1, 2)[None]  # (1, d, gx, gy, gz)
    resized = F.interpolate(channels_first, size=grid, mode="trilinear", align_corners=False)
    return resized[0].permute(1, 2, 3, 0)


class Block(nn.Module):
    """Pre-norm transformer block. ``queries=1`` computes the class token only, which is all a last block is asked for."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, *, queries: int | None = None) -> Tensor:  # (B, T, d) -> (B, T or queries, d)
        batch, tokens, width = x.shape
        normed = self.norm1(x)
        if queries == 1:
            mixed = self._class_attention(normed)
        else:
            q, k, v = self.qkv(normed).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q[:, :, :queries], k, v)  # (B, heads, asked, d / heads)
            mixed = mixed.transpose(1, 2).reshape(batch, -1, width)
        x = x[:, :queries] + self.proj(mixed)
        return x + self.mlp(self.norm2(x))

    def _class_attention(self, normed: Tensor) -> Tensor:
        """Attention of the first token over all, (B, T, d) -> (B, 1, d), without a key or a value of any token.

        q . (K x) = (K' q) . x, and the mean of V x is V times the mean of x: products of (B, heads, d) with (B, T, d) in
        the place of (B T, d) with (d, 2 d). The keys' bias adds the same to every token and falls out of the softmax.
        """
        batch, _, width = normed.shape
        by_head = self.qkv.weight.view(3, self.heads, -1, width)  # (3, heads, d / heads, d)
        bias_q, _, bias_v = self.qkv.bias.view(3, self.heads, -1)
        q = F.linear(normed[:, 0], self.qkv.weight[:width]).view(batch, self.heads, -1) + bias_q
        asked = torch.einsum("bhe,hed->bhd", q, by_head[1]) / q.shape[-1] ** 0.5
        pooled = (asked @ normed.transpose(1, 2)).softmax(dim=-1) @ normed  # (B, heads, d)
        return (torch.einsum("bhd,hed->bhe", pooled, by_head[2]) + bias_v).reshape(batch, 1, width)

    def attention(self, x: Tensor) -> Tensor:
        """Attention weights (B, heads, T, T) of this block for its input (B, T, d)."""
        batch, tokens, _ = x.shape
        q, k, _ = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)

    def apply_attention(self, x: Tensor, attention: Tensor) -> Tensor:
        """The block's output for given attention weights; with ``self.attention(x)`` the same as ``self(x)``."""
        batch, tokens, width = x.shape
        v = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)[2]
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.mlp(self.norm2(x))


class VisionTransformer3D(nn.Module):
    """Patches of a volume (B, 1, X, Y, Z) -> tokens (B, 1 + T, width), class token first.

    The position table is a parameter that never receives a gradient: BrgSA interpolates it without one, so it stays at
    its initial value (sheet 2.1). Any grid of whole patches is accepted; the table is interpolated to it.
    """

    def __init__(self, *, patch: Grid, base_grid: Grid, width: int, depth: int, heads: int):
        super().__init__()
        self.patch, self.recompute = tuple(patch), False
        self.patch_embed = nn.Conv3d(1, width, kernel_size=self.patch, stride=self.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(sincos_position_table(tuple(base_grid), width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.cls_token, std=0.02)

    def grid_of(self, volume: Tensor) -> Grid:
        """Patches an axis; raises ``ModelError`` when a side is not a whole number of patches."""
        sides = tuple(volume.shape[-3:])
        if any(side % size for side, size in zip(sides, self.patch, strict=True)):
            raise ModelError(f"a volume of {sides} voxels is not a whole number of patches of {self.patch}")
        return tuple(side // size for side, size in zip(sides, self.patch, strict=True))

    def embed(self, volume: Tensor) -> Tensor:
        """Patch tokens with positions, without the class token: (B, 1, X, Y, Z) -> (B, T, width)."""
        positions = interpolate_positions(self.positions, self.grid_of(volume))
        kernel = self.patch_embed.weight.flatten(1)  # the convolution as one product: its backward pass takes a tenth
        return linear(self.patches(volume), kernel, self.patch_embed.bias) + positions.flatten(0, 2)

    def patches(self, volume: Tensor) -> Tensor:
        """The voxels of each patch: (B, 1, X, Y, Z) -> (B, T, px py pz), T = gx gy gz, z fastest."""
        (gx, gy, gz), (px, py, pz) = self.grid_of(volume), self.patch
        cut = volume.reshape(len(volume), gx, px, gy, py, gz, pz).permute(0, 1, 3, 5, 2, 4, 6)
        return cut.reshape(len(volume), gx * gy * gz, px * py * pz)

    def with_class_token(self, tokens: Tensor) -> Tensor:
        """(B, T, width) -> (B, 1 + T, width), class token first."""
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)

    def run_blocks(self, x: Tensor, *, first: int = 0, last: int | None = None) -> Tensor:
        """Blocks ``first`` to ``last`` (exclusive) over tokens (B, 1 + T, width), without the final norm."""
        for block in self.blocks[first:last]:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else block(x)
        return x

    def class_feature(self, x: Tensor, *, first: int = 0) -> Tensor:
        """Normed class token (B, width) after blocks ``first`` to the end, computing only what it needs of the last."""
        x = self.run_blocks(x, first=first, last=len(self.blocks) - 1)
        return self.norm(self.blocks[-1](x, queries=1))[:, 0]

    def forward(self, volume: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) -> normed tokens (B, 1 + T, width)."""
        return self.norm(self.run_blocks(self.with_class_token(self.embed(volume))))
