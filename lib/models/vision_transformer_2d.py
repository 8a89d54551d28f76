"""2-D vision transformer over square pictures, with the parameter names of MAE and timm, so that their weights load as they are.

Used by the image encoder of CARZero (ViT-B/16 at ``full``: 224 x 224, 14 x 14 patches, width 768).

>>> vit = VisionTransformer2D(size=32, patch=8, width=24, depth=1, heads=2)
>>> tuple(vit(torch.zeros(3, 3, 32, 32)).shape)                # a class token and 16 patches
(3, 17, 24)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lib.models import ModelError
from lib.models.product import linear, product

SHORT = 128  # tokens
EPSILON = 1e-6  # of the norms, in MAE and in the release


def sincos_position_table(side: int, width: int) -> Tensor:
    """Fixed sin-cos table (1, 1 + side * side, width) of MAE, float32: half the channels an axis, zeros for the class token."""
    quarter = width // 4
    if width != 4 * quarter:
        raise ModelError(f"a width of {width} cannot be cut into sines and cosines of two axes; take a multiple of 4.")
    frequencies = 1.0 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    across = waves[None].expand(side, -1, -1)  # MAE: the column's half comes first
    down = waves[:, None].expand(-1, side, -1)
    table = torch.cat([across, down], dim=-1).flatten(0, 1)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), table])[None].float()


class PatchEmbed(nn.Module):
    """Patches of a picture as tokens; ``proj`` is a convolution by name and one product in effect."""

    def __init__(self, patch: int, channels: int, width: int):
        super().__init__()
        self.patch, self.proj = patch, nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, picture: Tensor) -> Tensor:  # (B, C, H, W) -> (B, T, d)
        batch, channels, height, width = picture.shape
        rows, columns = height // self.patch, width // self.patch
        cut = picture.reshape(batch, channels, rows, self.patch, columns, self.patch).permute(0, 2, 4, 1, 3, 5)
        return linear(cut.reshape(batch, rows * columns, -1), self.proj.weight.flatten(1), self.proj.bias)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if x.device.type == "cpu" and q.shape[-2] <= SHORT:  # of short rows the fused kernel takes ten times as long
            mixed = product(product(q * q.shape[-1] ** -0.5, k.transpose(-2, -1)).softmax(dim=-1), v)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block with MAE's names."""

    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=EPSILON), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=EPSILON), FeedForward(width, ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer2D(nn.Module):
    """Pictures (B, C, size, size) -> normed tokens (B, 1 + T, width), class token first, patches row by row.

    The position table is never trained. Raises :class:`ModelError` for pictures of another size.
    """

    def __init__(self, *, size: int, patch: int, width: int, depth: int, heads: int, ratio: int = 4, channels: int = 3):
        super().__init__()
        if size % patch:
            raise ModelError(f"a picture of {size} pixels is not a whole number of patches of {patch}.")
        self.size, self.channels, self.recompute = size, channels, False
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(sincos_position_table(size // patch, width), requires_grad=False)
        self.patch_embed = PatchEmbed(patch, channels, width)
        self.blocks = nn.ModuleList(Block(width, heads, ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        nn.init.normal_(self.cls_token, std=0.02)

    @property
    def side(self) -> int:
        """Patches a side."""
        return self.size // self.patch_embed.patch

    def embed(self, picture: Tensor) -> Tensor:
        """Tokens before the first block: (B, C, size, size) -> (B, 1 + T, width)."""
        if picture.shape[1:] != (self.channels, self.size, self.size):
            raise ModelError(
                f"pictures of {tuple(picture.shape[1:])} where {(self.channels, self.size, self.size)} is read; prepare them."
            )
        x = self.patch_embed(picture) + self.pos_embed[:, 1:]
        return torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1), x], dim=1)

    def run_blocks(self, x: Tensor, *, first: int = 0, last: int | None = None) -> Tensor:
        """Blocks ``first`` to ``last`` (exclusive) over tokens, without the final norm."""
        for block in self.blocks[first:last]:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else block(x)
        return x

    def forward(self, picture: Tensor) -> Tensor:
        return self.norm(self.run_blocks(self.embed(picture)))
