"""Masked autoencoder over 3-D volumes with its parameters open: ratio, targets normalised or not, decoder, positions.

He et al. 2022 (arXiv:2111.06377) in three dimensions, as E3D-GPT pretrains its encoder (sheet 2.2): the encoder sees the
patches that were kept, the decoder the encoded ones and a mask token in the others' places, the loss is the mean squared error
of the masked patches. Beside it the position table of that paper, whose coordinates run from 0 to 1 on each axis.

>>> vit = with_unit_positions(VisionTransformer3D(patch=(4, 4, 4), base_grid=(2, 2, 2), width=12, depth=1, heads=2))
>>> loss = VolumeAutoencoder(vit, decoder={"width": 12, "depth": 1, "heads": 2}, ratio=0.5)(torch.zeros(2, 1, 8, 8, 8))
>>> tuple(loss.shape)
()
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.models import ModelError
from lib.models.vision_transformer_3d import (
    Block,
    Grid,
    VisionTransformer3D,
    interpolate_positions,
    sincos_position_table,
)


def unit_position_table(grid: Grid, width: int) -> Tensor:
    """Sin-cos table (gx, gy, gz, width) of coordinates ``linspace(0, 1, n)`` an axis (sheet 2.2): very low frequencies.

    ``width // 3`` channels an axis (rounded down to even): half sines, half cosines, of frequencies 10000^(-k / half); the
    rest is zero.
    """
    half = width // 3 // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    table = torch.zeros(*grid, width, dtype=torch.float64)
    for axis, size in enumerate(grid):
        angles = torch.linspace(0, 1, size, dtype=torch.float64)[:, None] * frequencies
        shape = [1, 1, 1, 2 * half]
        shape[axis] = size
        table[..., axis * 2 * half : (axis + 1) * 2 * half] = torch.cat([angles.sin(), angles.cos()], dim=1).view(shape)
    return table.float()


def with_unit_positions(vit: VisionTransformer3D) -> VisionTransformer3D:
    """``vit`` with the table above in the place of its own, trained with the rest."""
    grid, width = tuple(vit.positions.shape[:3]), vit.positions.shape[3]
    vit.positions = nn.Parameter(unit_position_table(grid, width))
    return vit


def normalise_patches(patches: Tensor) -> Tensor:
    """Each patch (..., P) with mean 0 and variance 1 over its voxels (``norm_pix_loss`` of He et al.)."""
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


class VolumeAutoencoder(nn.Module):
    """Encoder ``vit`` sees some of the patches; a small decoder predicts the voxels of the others.

    ``decoder``: width, depth and heads. ``ratio``: share of the patches that is masked. ``norm_pix_loss``: the targets are
    patches of mean 0 and variance 1. The decoder's position table is fixed; ``unit``: coordinates 0 to 1, else 0 to n - 1.
    """

    def __init__(
        self,
        vit: VisionTransformer3D,
        *,
        decoder: dict[str, int],
        ratio: float = 0.75,
        norm_pix_loss: bool = False,
        unit: bool = True,
    ):
        super().__init__()
        if not 0 < ratio < 1:
            raise ModelError(f"a mask ratio of {ratio} leaves nothing to see or nothing to predict; give 0 < ratio < 1")
        width = decoder["width"]
        self.vit, self.ratio, self.norm_pix_loss, self.recompute = vit, ratio, norm_pix_loss, False
        self.to_decoder = nn.Linear(vit.norm.normalized_shape[0], width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        table = (unit_position_table if unit else sincos_position_table)(tuple(vit.positions.shape[:3]), width)
        self.positions = nn.Parameter(table, requires_grad=False)
        self.decoder = nn.ModuleList(Block(width, decoder["heads"]) for _ in range(decoder["depth"]))
        self.norm = nn.LayerNorm(width)
        self.to_voxels = nn.Linear(width, vit.patch[0] * vit.patch[1] * vit.patch[2])
        nn.init.normal_(self.mask_token, std=0.02)

    def kept(self, tokens: int) -> int:
        """How many of so many patches the encoder sees."""
        return max(1, int(tokens * (1 - self.ratio)))

    def draw_order(self, batch: int, tokens: int, *, generator: torch.Generator | None) -> Tensor:
        """(B, T): a random order of the patches of each volume; the first :meth:`kept` are seen."""
        return torch.rand(batch, tokens, generator=generator).argsort(dim=1)

    def reconstruct(self, volume: Tensor, order: Tensor) -> Tensor:
        """Predicted patches (B, T, px py pz) of all places, from the first of ``order`` (B, T) alone."""
        tokens = self.vit.embed(volume)
        batch, count, width = tokens.shape
        visible = order[:, : self.kept(count)]
        seen = self.vit.with_class_token(tokens.gather(1, visible[..., None].expand(-1, -1, width)))
        known = self.to_decoder(self.vit.norm(self.vit.run_blocks(seen)))[:, 1:]  # (B, kept, decoder width)
        unknown = self.mask_token.expand(batch, count - known.shape[1], -1)
        back = order.argsort(dim=1)[..., None].expand(-1, -1, known.shape[-1])
        full = torch.cat([known, unknown], dim=1).gather(1, back)
        full = full + interpolate_positions(self.positions, self.vit.grid_of(volume)).flatten(0, 2)
        for block in self.decoder:
            again = self.recompute and torch.is_grad_enabled()
            full = checkpoint(block, full, use_reentrant=False) if again else block(full)
        return self.to_voxels(self.norm(full))

    def targets(self, volume: Tensor) -> Tensor:
        """What the decoder should predict, (B, T, px py pz)."""
        patches = self.vit.patches(volume)
        return normalise_patches(patches) if self.norm_pix_loss else patches

    def forward(self, volume: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Mean squared error of the masked patches of (B, 1, X, Y, Z); ``generator`` (of the CPU) draws the masks."""
        target = self.targets(volume)
        batch, count, voxels = target.shape
        order = self.draw_order(batch, count, generator=generator).to(volume.device)
        masked = order[:, self.kept(count) :, None].expand(-1, -1, voxels)
        return (self.reconstruct(volume, order).gather(1, masked) - target.gather(1, masked)).square().mean()
