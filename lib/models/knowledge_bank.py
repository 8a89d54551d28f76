"""The knowledge bank of BrgSA (CMKB) and how features interact with it (CMKI, sheet 2.2).

>>> reconstruction, weights = KnowledgeBank(8, 4)(torch.zeros(2, 4))
>>> tuple(reconstruction.shape), tuple(weights.shape)
((2, 4), (2, 8))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.models import ModelError

INITIALISATIONS = ("orthogonal", "gaussian", "xavier", "uniform")


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
        linear: bool = False,
    ):
        super().__init__()
        if initialisation not in INITIALISATIONS:
            raise ModelError(f"bank initialisation '{initialisation}' is not one of {', '.join(INITIALISATIONS)}")
        self.linear = linear
        self.bank = nn.Parameter(torch.empty(size, width))
        with torch.no_grad():
            if initialisation == "orthogonal":
                nn.init.orthogonal_(self.bank)  # M > d: orthonormal columns, row norm about sqrt(d / M)
            elif initialisation == "gaussian":
                nn.init.normal_(self.bank)
            elif initialisation == "xavier":
                nn.init.xavier_uniform_(self.bank)
            else:
                nn.init.uniform_(self.bank, -0.1, 0.1)
            self.bank.mul_(scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, d) -> reconstruction (B, d) and weights (B, M); the weights of a row sum to 1 unless ``linear``."""
        weights = x @ self.bank.T
        if not self.linear:
            weights = weights.softmax(dim=-1)
        return weights @ self.bank, weights
