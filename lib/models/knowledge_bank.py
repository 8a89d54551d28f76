"""The cross-modal knowledge bank of BrgSA (CMKB) and its interaction (CMKI): one matrix shared by both modalities.

>>> reconstructed, weights = KnowledgeBank(size=64, width=8)(torch.ones(2, 8))      # (B, 8), not normalised
>>> tuple(reconstructed.shape), tuple(weights.shape)
((2, 8), (2, 64))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

INITIALISATIONS = ("orthogonal", "gaussian", "xavier", "uniform", "kmeans")


class KnowledgeBank(nn.Module):
    r"""Bank :math:`K \in R^{M \times d}`: :math:`w(x) = softmax(x K^T)`, :math:`\hat x = w(x) K` (sheet 2.2).

    As shipped: no query, key or value projection, no temperature, no :math:`1/\sqrt d`, no residual. ``linear=True``
    leaves the softmax out, a plain linear map of the same size: the null of the interaction.
    """

    def __init__(
        self,
        size: int,
        width: int,
        *,
        initialisation: str = "orthogonal",
        scale: float = 1.0,
        centres: Tensor | None = None,
        linear: bool = False,
    ):
        super().__init__()
        if initialisation not in INITIALISATIONS:
            raise ValueError(f"bank initialisation '{initialisation}' is not one of {', '.join(INITIALISATIONS)}")
        if (initialisation == "kmeans") != (centres is not None):
            raise ValueError("bank initialisation 'kmeans' needs centres (M, d), and only it takes them")
        self.linear = linear
        self.bank = nn.Parameter(torch.empty(size, width))
        with torch.no_grad():
            if initialisation == "orthogonal":
                nn.init.orthogonal_(self.bank)  # M > d: orthonormal columns, row norm about sqrt(d / M)
            elif initialisation == "gaussian":
                nn.init.normal_(self.bank)
            elif initialisation == "xavier":
                nn.init.xavier_uniform_(self.bank)
            elif initialisation == "uniform":
                nn.init.uniform_(self.bank, -0.1, 0.1)
            else:
                if tuple(centres.shape) != (size, width):
                    raise ValueError(f"k-means centres are {tuple(centres.shape)}, the bank is {(size, width)}")
                self.bank.copy_(centres)
            self.bank.mul_(scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, d) -> reconstruction (B, d) and weights (B, M); the weights of a row sum to 1 unless ``linear``."""
        weights = x @ self.bank.T
        if not self.linear:
            weights = weights.softmax(dim=-1)
        return weights @ self.bank, weights
