"""Masked autoencoder over 3-D volumes: the self-supervised start of the image encoder.

BrgSA starts from an M3AE-pretrained 3-D ViT; the loss is that of He et al. 2022 (mean squared error on masked patches).

>>> vit = VisionTransformer3D(patch=(4, 4, 4), base_grid=(2, 2, 2), width=12, depth=1, heads=2)
>>> loss = MaskedAutoencoder3D(vit, decoder_width=12, decoder_depth=1)(torch.zeros(2, 1, 8, 8, 8))
>>> tuple(loss.shape)
()
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.models.vision_transformer_3d import Block, VisionTransformer3D, interpolate_positions, sincos_position_table

MASKED = 0.75  # share of the patches that the encoder does not see (He et al. 2022)


class MaskedAutoencoder3D(nn.Module):
    """Encoder ``vit`` sees a quarter of the patches; a small decoder predicts the voxels of the others."""

    def __init__(self, vit: VisionTransformer3D, *, decoder_width: int, decoder_depth: int):
        super().__init__()
        width = vit.norm.normalized_shape[0]
        self.vit, self.recompute = vit, False
        self.to_decoder = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        base_grid = tuple(vit.positions.shape[:3])
        self.positions = nn.Parameter(sincos_position_table(base_grid, decoder_width), requires_grad=False)
        self.decoder = nn.ModuleList(Block(decoder_width, 4) for _ in range(decoder_depth))
        self.norm = nn.LayerNorm(decoder_width)
        self.to_voxels = nn.Linear(decoder_width, vit.patch[0] * vit.patch[1] * vit.patch[2])
        nn.init.normal_(self.mask_token, std=0.02)

    def patches(self, volume: Tensor) -> Tensor:
        """Voxels of each patch, in token order: (B, 1, X, Y, Z) -> (B, T, px py pz)."""
        return self.vit.patches(volume)

    def forward(self, volume: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Mean squared error of the masked patches; ``generator`` draws the mask."""
        tokens = self.vit.embed(volume)
        batch, count, width = tokens.shape
        kept = max(1, int(count * (1 - MASKED)))
        order = torch.rand(batch, count, generator=generator).argsort(dim=1).to(volume.device)
        visible, masked = order[:, :kept], order[:, kept:]
        seen = self.vit.with_class_token(tokens.gather(1, visible[..., None].expand(-1, -1, width)))
        encoded = self.vit.norm(self.vit.run_blocks(seen))
        known = self.to_decoder(encoded)  # (B, 1 + kept, decoder_width)
        unknown = self.mask_token.expand(batch, count - kept, -1)
        back = order.argsort(dim=1)[..., None].expand(-1, -1, known.shape[-1])
        full = torch.cat([known[:, 1:], unknown], dim=1).gather(1, back)
        full = full + interpolate_positions(self.positions, self.vit.grid_of(volume)).flatten(0, 2)
        for block in self.decoder:
            full = checkpoint(block, full, use_reentrant=False) if self.recompute else block(full)
        predicted = self.to_voxels(self.norm(full))
        pick = masked[..., None].expand(-1, -1, predicted.shape[-1])
        return (predicted.gather(1, pick) - self.patches(volume).gather(1, pick)).square().mean()
