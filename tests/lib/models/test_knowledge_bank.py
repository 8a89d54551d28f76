"""The knowledge bank: its closed form, each start, the convex hull, and the linear null."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.models import ModelError
from lib.models.knowledge_bank import INITIALISATIONS, KnowledgeBank


def bank_of(size=12, width=5, *, seed=0, **options):
    torch.manual_seed(seed)
    return KnowledgeBank(size, width, **options)


def vectors(count=6, width=5, *, length=1.0, seed=1):
    return length * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------- softmax(x K') K
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), width=st.integers(1, 16), length=st.floats(0, 30))
def test_closed_form(seed, size, width, length):
    bank = bank_of(size, width, seed=seed, initialisation="gaussian")
    x = vectors(4, width, length=length, seed=seed)
    reconstruction, weights = bank(x)
    keys, queries = bank.bank.detach().double().numpy(), x.double().numpy()
    logits = queries @ keys.T  # no temperature, no 1 / sqrt(d)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights.detach().numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(reconstruction.detach().numpy(), expected @ keys, atol=1e-3)
    np.testing.assert_allclose(weights.sum(dim=1).detach().numpy(), 1, atol=1e-5)


def test_the_reconstruction_stays_in_the_convex_hull_of_the_atoms():
    bank, x = bank_of(initialisation="gaussian"), vectors(200, length=20.0)
    reconstruction, weights = bank(x)
    assert (weights >= 0).all()
    directions = torch.randn(300, 5, generator=torch.Generator().manual_seed(2))
    reach = (bank.bank @ directions.T).max(dim=0).values  # support function of the hull
    assert (reconstruction @ directions.T <= reach + 1e-4).all()
    assert (x @ directions.T > reach).any()  # x itself does leave it


def test_a_long_vector_finds_its_nearest_atom_and_a_zero_vector_the_mean():
    bank = bank_of(initialisation="gaussian")
    x = vectors(length=1e4)
    nearest = bank.bank[(x @ bank.bank.T).argmax(dim=1)]
    torch.testing.assert_close(bank(x)[0], nearest, rtol=0, atol=1e-5)
    torch.testing.assert_close(bank(torch.zeros(1, 5))[0][0], bank.bank.mean(dim=0), rtol=0, atol=1e-6)


def test_the_order_of_the_atoms_does_not_matter():
    bank, x = bank_of(initialisation="gaussian"), vectors()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    other = bank_of()
    other.bank.data.copy_(bank.bank.detach()[order])
    torch.testing.assert_close(other(x)[0], bank(x)[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(other(x)[1], bank(x)[1][:, order], rtol=0, atol=1e-6)


def test_gradients_reach_the_bank_through_keys_and_values_and_the_input():
    bank, x = bank_of(4, 3, initialisation="gaussian").double(), vectors(2, 3).double().requires_grad_(True)
    keys = bank.bank.detach().clone().requires_grad_(True)

    def reconstruct(x, keys):
        return torch.func.functional_call(bank, {"bank": keys}, (x,))[0]

    assert torch.autograd.gradcheck(reconstruct, (x, keys))


# ---------------------------------------------------------------------- how it starts
def test_the_paper_s_bank_has_orthonormal_columns_and_short_rows():
    bank = bank_of(2048, 768).bank.detach()
    torch.testing.assert_close(bank.T @ bank, torch.eye(768), rtol=0, atol=1e-4)
    norms = bank.norm(dim=1)
    assert norms.square().mean().sqrt().item() == pytest.approx(math.sqrt(768 / 2048), abs=1e-4)  # 0.61
    assert (norms - math.sqrt(768 / 2048)).abs().max() < 0.08
    with torch.device("meta"):
        reconstruction, weights = KnowledgeBank(2048, 768)(torch.empty(64, 768))
    assert reconstruction.shape == (64, 768) and weights.shape == (64, 2048)


def test_a_bank_smaller_than_its_width_has_orthonormal_rows():
    bank = bank_of(3, 8).bank.detach()
    torch.testing.assert_close(bank @ bank.T, torch.eye(3), rtol=0, atol=1e-5)


def test_every_start_has_its_own_distribution():
    gaussian = bank_of(200, 100, initialisation="gaussian").bank.detach()
    assert gaussian.std().item() == pytest.approx(1, abs=0.02) and gaussian.abs().max() > 3
    for name, bound in (("xavier", math.sqrt(6 / 300)), ("uniform", 0.1)):
        values = bank_of(200, 100, initialisation=name).bank.detach()
        assert 0.99 * bound < values.abs().max() <= bound
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02) and abs(values.mean()) < 0.01


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_scale_makes_every_atom_longer(initialisation):
    options = {"initialisation": initialisation}
    plain, long = bank_of(**options).bank, bank_of(**options, scale=4.0).bank
    torch.testing.assert_close(long, 4 * plain, rtol=0, atol=0)


# ---------------------------------------------------------------------- the linear null
def test_the_linear_null_is_x_k_k_and_starts_as_the_identity():
    bank, x = bank_of(initialisation="gaussian", linear=True), vectors()
    reconstruction, weights = bank(x)
    torch.testing.assert_close(weights, x @ bank.bank.T, rtol=0, atol=1e-6)
    torch.testing.assert_close(reconstruction, x @ bank.bank.T @ bank.bank, rtol=0, atol=1e-5)
    torch.testing.assert_close(bank(3 * x)[0], 3 * reconstruction, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(bank_of(linear=True)(x)[0], x, rtol=0, atol=1e-5)  # orthonormal columns
    sizes = [sum(p.numel() for p in bank_of(linear=linear).parameters()) for linear in (True, False)]
    assert sizes[0] == sizes[1] == 12 * 5


# ---------------------------------------------------------------------- what is refused
def test_bad_arguments_are_told():
    with pytest.raises(ModelError, match=r"'kaiming' is not one of orthogonal, gaussian, xavier, uniform"):
        KnowledgeBank(4, 3, initialisation="kaiming")
