"""The loss of CARZero: symmetric cross-entropy over a batch's scores, without temperature or cosine (sheet 2.2).

>>> scores = torch.tensor([[2, 0.5, -1], [0.1, 1, 0.3], [-0.7, 0.2, 0.4]])
>>> round(symmetric_cross_entropy(scores).item(), 4)
0.5557
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def symmetric_cross_entropy(scores: Tensor) -> Tensor:
    """Mean over both directions of the cross-entropy of logits (B images, B texts), whose diagonal are the pairs.

    Two rows with the same sentence are negatives of each other, as in the release.
    """
    target = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def alignment_loss(matrices: Sequence[Tensor]) -> Tensor:
    """The sum over score matrices: of SimR there are two (text asks image, image asks text), of a cosine one."""
    return torch.stack([symmetric_cross_entropy(one) for one in matrices]).sum()
