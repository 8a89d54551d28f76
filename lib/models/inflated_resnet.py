"""ResNet over volumes, its kernels inflated from 2-D ones (I3D ResNet): the image tower of Merlin and Astra.

Parameter names are those of the released checkpoints, so that they load with ``strict=True``. Source: Merlin
(arXiv:2406.06512), section "Methods"; He et al. (arXiv:1512.03385) for the bottleneck, its stride in the 3 x 3 x 3.

>>> tower = InflatedResNet(blocks=(1, 1, 1, 1)).eval()
>>> [tuple(stage.shape) for stage in tower.stages(torch.zeros(1, 1, 32, 32, 16))]
[(1, 256, 8, 8, 8), (1, 512, 4, 4, 4), (1, 1024, 2, 2, 2), (1, 2048, 1, 1, 1)]
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.models import ModelError

RESNET_152 = (3, 8, 36, 3)
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1 x 1, 3 x 3 x 3 (strided), 1 x 1 x 1, added to the input, which ``downsample`` brings to the same shape."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, downsample: bool = False):
        super().__init__()
        out = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv3d(channels, width, 1, bias=False), nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3, self.bn3 = nn.Conv3d(width, out, 1, bias=False), nn.BatchNorm3d(out)
        shortcut = nn.Conv3d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm3d(out)
        self.downsample = nn.Sequential(*shortcut) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x)).relu()
        inner = self.bn2(self.conv2(inner)).relu()
        return (self.bn3(self.conv3(inner)) + self.downsample(x)).relu()


class InflatedResNet(nn.Module):
    """Features of volumes; ``blocks``: bottlenecks a stage, ResNet-152 by default."""

    def __init__(self, blocks: Sequence[int] = RESNET_152):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.bn1, self.maxpool = nn.BatchNorm3d(64), nn.MaxPool3d(3, stride=2, padding=1)
        channels = 64
        for number, (count, width) in enumerate(zip(blocks, WIDTHS, strict=True), start=1):
            first = Bottleneck(channels, width, stride=1 if number == 1 else 2, downsample=True)
            channels = width * EXPANSION
            stage = nn.Sequential(first, *(Bottleneck(channels, width) for _ in range(count - 1)))
            self.add_module(f"layer{number}", stage)

    def stages(self, volumes: Tensor) -> list[Tensor]:
        """Four maps (B, 256 to 2048, X', Y', Z') of ``volumes`` (B, 1, X, Y, Z), values in [0, 1], axes right, anterior,
        superior. The tower counts slices first; its maps are given back in the volume's own order."""
        slices_first = volumes.permute(0, 1, 4, 2, 3).expand(-1, 3, -1, -1, -1)
        x = self.maxpool(self.bn1(self.conv1(slices_first)).relu())
        found = []
        for number in range(1, len(WIDTHS) + 1):
            x = getattr(self, f"layer{number}")(x)
            found.append(x.permute(0, 1, 3, 4, 2))
        return found


def load_shards(shards: Sequence[Path]) -> InflatedResNet:
    """ResNet-152 in eval mode, float32, from a released state dict that was cut into ``shards``; nothing is unpickled but
    tensors. Raises :class:`ModelError` when they do not join to one."""
    try:
        content = torch.load(
            io.BytesIO(b"".join(Path(one).read_bytes() for one in shards)), map_location="cpu", weights_only=True
        )
        tower = InflatedResNet()
        tower.load_state_dict(content["state_dict"])
    except Exception as error:  # the pickle's, the zip's and torch's own errors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{', '.join(map(str, shards))} do not join to a ResNet-152 over volumes ({reason})"
        ) from error
    return tower.float().eval()
