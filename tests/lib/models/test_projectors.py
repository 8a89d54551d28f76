"""Projectors: token counts, the convolution as torch has it, what each keeps of the layout, sizes of the paper."""

import pytest
import torch
from torch import nn

from lib.models import ModelError
from lib.models.projectors import AGGREGATING, KINDS, build_projector, cubes, tokens_of

GRID = (4, 2, 6)
COUNT = 48


def built(kind, **more):
    torch.manual_seed(0)
    return build_projector(kind, grid=GRID, width=8, out=10, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_each_gives_its_number_of_tokens_and_trains_all_its_weights(kind):
    projector = built(kind)
    out = projector(torch.randn(3, COUNT, 8))
    assert out.shape == (3, tokens_of(kind, GRID), 10)
    assert tokens_of(kind, GRID) == (COUNT // 8 if kind in AGGREGATING else COUNT)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in projector.parameters())


def test_the_convolution_is_torchs():
    projector, tokens = built("convolution"), torch.randn(2, COUNT, 8)
    cells = tokens.transpose(1, 2).reshape(2, 8, *GRID)
    wanted = projector.after(projector.convolution(cells).flatten(2).transpose(1, 2))
    assert torch.allclose(projector(tokens), wanted, atol=1e-5)


def test_pooling_is_torchs():
    tokens = torch.randn(2, COUNT, 8)
    cells = tokens.transpose(1, 2).reshape(2, 8, *GRID)
    for kind, pool in (("average", nn.AvgPool3d(2)), ("max", nn.MaxPool3d(2))):
        projector = built(kind)
        assert torch.allclose(projector(tokens), projector.after(pool(cells).flatten(2).transpose(1, 2)), atol=1e-5)


def test_averaging_is_a_convolution_with_equal_weights():
    """Sheet 2.3: the convolution contains it."""
    projector, tokens = built("convolution"), torch.randn(2, COUNT, 8)
    with torch.no_grad():
        projector.convolution.weight.copy_(
            projector.convolution.weight.mean(dim=(2, 3, 4), keepdim=True).expand(-1, -1, 2, 2, 2)
        )
    mean = nn.functional.linear(cubes(tokens, GRID).mean(dim=2), projector.convolution.weight.sum(dim=(2, 3, 4)))
    assert torch.allclose(projector(tokens), projector.after(mean + projector.convolution.bias), atol=1e-5)


def test_order_among_eight_neighbours_is_seen_by_the_convolution_and_not_by_the_mean():
    tokens = torch.randn(1, COUNT, 8)
    swapped = tokens.clone()
    swapped[:, [0, 1]] = tokens[:, [1, 0]]  # neighbours along z, in the same cube
    assert not torch.allclose(built("convolution")(tokens), built("convolution")(swapped))
    assert torch.allclose(built("average")(tokens), built("average")(swapped), atol=1e-6)


def test_the_shuffled_convolution_is_the_convolution_at_other_places():
    shuffled, tokens = built("shuffled", seed=4), torch.randn(2, COUNT, 8)
    plain = built("convolution")
    plain.load_state_dict({name: value for name, value in shuffled.state_dict().items() if name != "order"})
    assert torch.allclose(shuffled(tokens), plain(tokens[:, shuffled.order]))
    assert shuffled.order.sort().values.tolist() == list(range(COUNT))
    assert not torch.equal(shuffled.order, built("shuffled", seed=5).order)


def test_the_convolution_has_the_sizes_of_the_paper():
    with torch.device("meta"):
        projector = build_projector("convolution", grid=(14, 14, 14), width=768, out=4096)
    sizes = [sum(p.numel() for p in one.parameters()) / 1e6 for one in (projector.convolution, projector.after)]
    assert sizes == pytest.approx([25.2, 16.8], abs=0.05)
    assert tokens_of("convolution", (14, 14, 14)) == 343


def test_what_cannot_be_built_is_one_sentence():
    with pytest.raises(ModelError, match="no projector 'konv'; give one of convolution"):
        built("konv")
    with pytest.raises(ModelError, match="even number on each axis"):
        build_projector("average", grid=(3, 4, 4), width=8, out=10)
