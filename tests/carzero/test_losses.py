"""The loss of CARZero: the sheet's number, and what it must not depend on."""

import pytest
import torch

from papers.carzero.losses import alignment_loss, symmetric_cross_entropy

SCORES = torch.tensor([[2, 0.5, -1], [0.1, 1, 0.3], [-0.7, 0.2, 0.4]], dtype=torch.float64)


def test_the_official_value():
    assert symmetric_cross_entropy(SCORES).item() == pytest.approx(0.5556781606, abs=1e-10)


def test_it_does_not_matter_who_asks():
    assert torch.allclose(symmetric_cross_entropy(SCORES), symmetric_cross_entropy(SCORES.T))


def test_two_matrices_are_summed_and_pairs_on_the_diagonal_are_rewarded():
    assert torch.allclose(alignment_loss([SCORES, SCORES.T]), 2 * symmetric_cross_entropy(SCORES))
    assert symmetric_cross_entropy(10 * torch.eye(3)) < symmetric_cross_entropy(10 * torch.eye(3).roll(1, 0))
