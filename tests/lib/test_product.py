"""Products by numpy's library: torch's values and gradients, alone and under vmap."""

import pytest
import torch
import torch.nn.functional as F

from lib.models.product import linear, product


def _gradients(call, *tensors):
    leaves = [t.clone().requires_grad_() for t in tensors]
    out = call(*leaves)
    out.square().sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(
    "ours, theirs, shapes",
    [
        (linear, F.linear, ((2, 3, 4), (5, 4))),
        (product, torch.matmul, ((2, 3, 4, 6), (2, 3, 6, 5))),
        (torch.vmap(linear), torch.vmap(F.linear), ((7, 2, 3, 4), (7, 5, 4))),
        (torch.vmap(linear, in_dims=(0, None)), torch.vmap(F.linear, in_dims=(0, None)), ((7, 3, 4), (5, 4))),
        (torch.vmap(product), torch.vmap(torch.matmul), ((7, 2, 4, 6), (7, 2, 6, 5))),
    ],
)
def test_values_and_gradients_are_those_of_torch(ours, theirs, shapes):
    torch.manual_seed(0)
    tensors = [torch.randn(shape) for shape in shapes]
    for mine, its in zip(_gradients(ours, *tensors), _gradients(theirs, *tensors), strict=True):
        torch.testing.assert_close(mine, its)


def test_what_needs_no_gradient_gets_none_and_other_numbers_go_to_torch():
    x, weight = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    linear(x, weight).sum().backward()
    assert weight.grad.shape == (5, 4) and x.grad is None
    assert linear(x.double(), weight.double()).dtype == torch.float64
