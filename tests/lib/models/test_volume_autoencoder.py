"""The masked autoencoder with its parameters open: sizes of the paper, positions by a closed form, what the loss sees."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lib.models import ModelError
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.models.volume_autoencoder import (
    VolumeAutoencoder,
    normalise_patches,
    unit_position_table,
    with_unit_positions,
)


def autoencoder(**told):
    torch.manual_seed(0)
    vit = VisionTransformer3D(patch=(4, 4, 2), base_grid=(2, 2, 4), width=12, depth=1, heads=2)
    return VolumeAutoencoder(with_unit_positions(vit), decoder={"width": 18, "depth": 1, "heads": 3}, **told)


@pytest.mark.parametrize(("width", "decoder", "millions"), [(768, 512, (88.7, 28.1)), (1536, 1024, (347.3, 107.3))])
def test_it_has_the_sizes_of_the_paper(width, decoder, millions):
    """Sheet 2.2: encoder and decoder at both widths."""
    with FakeTensorMode():  # shapes without values; torch.device("meta") misses constructors that a library has wrapped
        vit = with_unit_positions(
            VisionTransformer3D(patch=(16, 16, 8), base_grid=(14, 14, 14), width=width, depth=12, heads=12)
        )
        net = VolumeAutoencoder(vit, decoder={"width": decoder, "depth": 8, "heads": 16})
    counts = [sum(p.numel() for p in one.parameters()) for one in (vit, net)]
    assert round(counts[0] / 1e6, 1) == pytest.approx(millions[0], abs=0.11)
    assert round((counts[1] - counts[0]) / 1e6, 1) == pytest.approx(millions[1], abs=0.11)
    assert vit.positions.requires_grad and not net.positions.requires_grad
    assert net.kept(14**3) == 686


def test_positions_run_from_zero_to_one_on_each_axis():
    table = unit_position_table((3, 2, 5), 14)  # 2 sines and 2 cosines an axis, 2 channels left
    x, z = 0.5, 0.75
    assert table[1, 0, 0, :4].tolist() == pytest.approx(
        [math.sin(x), math.sin(x / 100), math.cos(x), math.cos(x / 100)]
    )
    assert table[0, 0, 3, 8:12].tolist() == pytest.approx(
        [math.sin(z), math.sin(z / 100), math.cos(z), math.cos(z / 100)]
    )
    assert table[2, 1, 4, 12:].tolist() == [0, 0]
    assert torch.equal(table[0, 1, 0, :4], table[0, 0, 4, :4])


def test_the_loss_is_that_of_the_masked_patches_alone():
    net, volume = autoencoder(ratio=0.75), torch.randn(2, 1, 8, 8, 8)
    order = net.draw_order(2, 16, generator=torch.Generator().manual_seed(3))
    loss = net(volume, generator=torch.Generator().manual_seed(3))
    predicted, target = net.reconstruct(volume, order), net.targets(volume)
    own = [(predicted[b, t] - target[b, t]).square().mean() for b in range(2) for t in order[b, 4:]]
    assert torch.allclose(loss, torch.stack(own).mean(), rtol=1e-5)


def test_what_is_masked_does_not_reach_the_prediction():
    net, volume = autoencoder(ratio=0.5), torch.randn(1, 1, 8, 8, 8)
    order = net.draw_order(1, 16, generator=None)
    patches = net.vit.patches(volume)
    hidden, seen = order[0, 8:], order[0, :8]
    changed = patches.clone()
    changed[0, hidden] += 5
    before, after = (net.reconstruct(_volume(one), order) for one in (patches, changed))
    assert torch.equal(before, after)
    changed = patches.clone()
    changed[0, seen[0]] += 5
    assert not torch.allclose(before, net.reconstruct(_volume(changed), order))


def _volume(patches):
    """The inverse of the encoder's cutting, for a grid of 2 x 2 x 4 patches of 4 x 4 x 2."""
    cut = patches.reshape(-1, 2, 2, 4, 4, 4, 2).permute(0, 1, 4, 2, 5, 3, 6)
    return cut.reshape(-1, 1, 8, 8, 8)


def test_normalised_targets_have_mean_zero_and_variance_one():
    found = normalise_patches(torch.randn(3, 5, 32) * 7 + 2)
    assert found.mean(dim=-1).abs().max() < 1e-5
    assert found.var(dim=-1).sub(1).abs().max() < 1e-4
    volume = torch.randn(2, 1, 8, 8, 8)
    raw, normalised = autoencoder(), autoencoder(norm_pix_loss=True)
    assert torch.allclose(normalised.targets(volume), normalise_patches(raw.targets(volume)))


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_ratio_that_leaves_nothing_is_refused(ratio):
    with pytest.raises(ModelError, match="mask ratio"):
        autoencoder(ratio=ratio)
