"""Dropout whose masks are the same on every processor.

torch draws masks on a CPU by MKL's generator where MKL says that the processor is Intel's, and by its own elsewhere, so one seed
gives two trainings. Uniform numbers it draws alike everywhere, and a mask is those above ``p``.

>>> model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
>>> own_masks(model), type(model[1]).__module__
(1, 'lib.models.dropout')
>>> dropout(torch.ones(100_000), 0.25, training=True).unique().tolist()
[0.0, 1.3333333730697632]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``x`` with a share ``p`` (0 to 1) of its values set to 0 and the others divided by 1 - p; in evaluation ``x`` itself."""
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or p == 1.0:
        return F.dropout(x, p, training)
    kept = torch.rand(x.shape) >= p  # always in single precision: one draw, whatever the precision of x
    return x * (kept / (1.0 - p)).to(x.dtype)


class Dropout(nn.Dropout):
    """``nn.Dropout`` by :func:`dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)


def own_masks(model: nn.Module) -> int:
    """Make every plain dropout layer of ``model``, also those of adapters, a :class:`Dropout`, and return how many there were."""
    layers = [module for module in model.modules() if type(module) is nn.Dropout]
    for layer in layers:
        layer.__class__ = Dropout
    return len(layers)
