"""The masked autoencoder against itself written out, and what its loss counts."""

import pytest
import torch

from lib.models.masked_autoencoder import MaskedAutoencoder3D
from lib.models.vision_transformer_3d import VisionTransformer3D, interpolate_positions

PATCH, GRID = (2, 3, 4), (4, 3, 2)
SIDES = (8, 9, 8)


def make(*, depth=1, grid=GRID, seed=0):
    torch.manual_seed(seed)
    vit = VisionTransformer3D(patch=PATCH, base_grid=grid, width=24, depth=2, heads=4)
    return MaskedAutoencoder3D(vit, decoder_width=16, decoder_depth=depth).eval()


def volume_of(batch=2, seed=1):
    return torch.randn(batch, 1, *SIDES, generator=torch.Generator().manual_seed(seed))


def generator(seed=5):
    return torch.Generator().manual_seed(seed)


def split(kept, *, batch=2, count=24, seed=5):
    """Visible and masked patches of a mask drawn by ``generator(seed)``: uniform noise, the lowest are kept (MAE)."""
    order = torch.rand(batch, count, generator=generator(seed)).argsort(dim=1)
    return order[:, :kept].tolist(), order[:, kept:].tolist()


def corners():
    return [(2 * i, 3 * j, 4 * k) for i in range(4) for j in range(3) for k in range(2)]


# ---------------------------------------------------------------------- patches
def test_patches_are_cut_in_token_order_and_can_be_put_back():
    model, volume = make(), volume_of()
    patches = model.patches(volume)
    assert patches.shape == (2, 24, 24)
    back = torch.empty_like(volume)
    for token, (x, y, z) in enumerate(corners()):
        back[:, 0, x : x + 2, y : y + 3, z : z + 4] = patches[:, token].view(2, 2, 3, 4)
    torch.testing.assert_close(back, volume, rtol=0, atol=0)
    kernel = model.vit.patch_embed
    content = patches @ kernel.weight.flatten(1).T + kernel.bias  # the encoder's tokens are those patches
    expected = model.vit.embed(volume) - model.vit.positions.flatten(0, 2)
    torch.testing.assert_close(content, expected, rtol=0, atol=1e-5)


# ---------------------------------------------------------------------- the loss
@pytest.mark.parametrize("base_grid", [GRID, (3, 2, 4)])
def test_the_forward_is_the_masked_autoencoder_written_out(base_grid):
    model, volume = make(grid=base_grid), volume_of()
    vit, (visible, masked) = model.vit, split(6)
    positions = interpolate_positions(model.positions, GRID).flatten(0, 2)
    errors = []
    for number in range(2):
        tokens = vit.embed(volume[number : number + 1])[0]
        seen = torch.stack([vit.cls_token[0, 0]] + [tokens[t] for t in visible[number]])[None]
        known = model.to_decoder(vit.norm(vit.run_blocks(seen)))[0, 1:]
        full = model.mask_token[0, 0].repeat(24, 1)
        for place, token in enumerate(visible[number]):
            full[token] = known[place]
        predicted = model.to_voxels(model.norm(model.decoder[0]((full + positions)[None])))[0]
        for token in masked[number]:
            x, y, z = corners()[token]
            patch = volume[number, 0, x : x + 2, y : y + 3, z : z + 4].flatten()
            errors.append((predicted[token] - patch).square().mean())
    torch.testing.assert_close(model(volume, generator=generator()), torch.stack(errors).mean(), rtol=1e-5, atol=1e-6)


def test_a_decoder_that_predicts_exactly_has_no_loss():
    model = make()
    patch = torch.randn(24)
    volume = patch.view(1, 1, 1, 2, 1, 3, 1, 4).expand(2, 1, 4, 2, 3, 3, 2, 4).reshape(2, 1, *SIDES)
    with torch.no_grad():
        model.to_voxels.weight.zero_()
        model.to_voxels.bias.copy_(patch)
        assert model(volume, generator=generator()).item() == 0
        model.to_voxels.bias.add_(3.0)
        assert model(volume, generator=generator()).item() == pytest.approx(9.0, rel=1e-5)


def test_only_masked_patches_count_as_target_and_only_visible_ones_are_seen():
    model, volume = make(), volume_of()
    visible, masked = split(6)

    def changed(tokens):
        other = volume.clone()
        for number in range(2):
            for x, y, z in (corners()[token] for token in tokens[number]):
                other[number, 0, x : x + 2, y : y + 3, z : z + 4] += 1.0
        return other

    def loss(x):
        return model(x, generator=generator()).item()

    targets = model.patches
    model.patches = lambda _: torch.zeros(2, 24, 24)  # the prediction alone
    assert loss(changed(masked)) == loss(volume) != loss(changed(visible))
    model.patches = targets
    with torch.no_grad():
        model.to_voxels.weight.zero_()  # the target alone
    assert loss(changed(visible)) == loss(volume) != loss(changed(masked))


def test_the_encoder_sees_a_quarter_of_the_patches(monkeypatch):
    model, seen, kept = make(), [], 6
    run_blocks = model.vit.run_blocks
    monkeypatch.setattr(model.vit, "run_blocks", lambda x: seen.append(x) or run_blocks(x))
    model(volume_of(), generator=generator())
    assert seen[0].shape == (2, 1 + kept, 24)
    tokens, (visible, _) = model.vit.embed(volume_of()), split(kept)
    expected = torch.stack([tokens[n, visible[n]] for n in range(2)])
    torch.testing.assert_close(seen[0][:, 1:], expected, rtol=0, atol=0)
    assert set(visible[0]) != set(visible[1])  # every volume has a mask of its own


def test_the_generator_alone_draws_the_mask():
    model, volume = make(), volume_of()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = model(volume, generator=generator())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert model(volume, generator=generator()).item() == first.item()
    assert model(volume, generator=generator(6)).item() != first.item()


def test_the_paper_s_encoder_fits_in():
    with torch.device("meta"):
        vit = VisionTransformer3D(patch=(16, 16, 8), base_grid=(14, 14, 14), width=768, depth=12, heads=12)
        model = MaskedAutoencoder3D(vit, decoder_width=384, decoder_depth=8)
        volume = torch.empty(2, 1, 224, 224, 112)
    assert model.patches(volume).shape == (2, 2744, 2048)
    assert model(volume, generator=generator()).shape == ()
