"""The masked autoencoder against itself written out, what its loss counts, and the pretraining that uses it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib.models.masked_autoencoder import MaskedAutoencoder3D
from lib.models.vision_transformer_3d import VisionTransformer3D, interpolate_positions
from lib.training.loop import TrainingError
from papers.brgsa.pretraining import centre_tokens, pretrain_image_encoder, report_words

PATCH, GRID = (2, 3, 4), (4, 3, 2)
SIDES = (8, 9, 8)


def make(*, depth=1, mask_ratio=0.75, grid=GRID, seed=0):
    torch.manual_seed(seed)
    vit = VisionTransformer3D(patch=PATCH, base_grid=grid, width=24, depth=2, heads=4)
    return MaskedAutoencoder3D(vit, decoder_width=16, decoder_depth=depth, mask_ratio=mask_ratio).eval()


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


@pytest.mark.parametrize("ratio, kept", [(0.75, 6), (0.5, 12), (0.99, 1), (0.25, 18)])
def test_the_mask_ratio_is_what_the_encoder_does_not_see(ratio, kept, monkeypatch):
    model, seen = make(mask_ratio=ratio), []
    run_blocks = model.vit.run_blocks
    monkeypatch.setattr(model.vit, "run_blocks", lambda x: seen.append(x) or run_blocks(x))
    model(volume_of(), generator=generator())
    assert seen[0].shape == (2, 1 + kept, 24)
    tokens, (visible, _) = model.vit.embed(volume_of()), split(kept)
    expected = torch.stack([tokens[n, visible[n]] for n in range(2)])
    torch.testing.assert_close(seen[0][:, 1:], expected, rtol=0, atol=0)
    assert kept in (1, 24) or set(visible[0]) != set(visible[1])  # every volume has a mask of its own


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


# ---------------------------------------------------------------------- pretraining
def test_the_words_are_those_neither_rare_nor_everywhere():
    reports = (
        ["Effusion is seen."] * 30 + ["The heart, effusion; EFFUSION is large."] * 20 + ["No nodule is seen."] * 50
    )
    reports[0] += " Unique."
    vocabulary, table = report_words(reports, least=0.02, most=0.6)
    assert vocabulary == ["effusion", "heart", "large", "no", "nodule", "the"]  # not unique, is (all), seen (80 %)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table.sum(axis=0), [50, 20, 20, 50, 50, 20])  # a word said twice counts once
    np.testing.assert_array_equal(table[0], [1, 0, 0, 0, 0, 0])
    vocabulary, _ = report_words(reports, least=0.2, most=0.5)
    assert vocabulary == ["effusion", "heart", "large", "no", "nodule", "the"]  # both bounds are inside


def test_centred_tokens_have_mean_0_beside_their_position_and_the_wanted_spread():
    model = make()
    vit, volumes = model.vit, 3 + 0.5 * volume_of(batch=40)
    before = vit.positions.clone()
    centre_tokens(vit, volumes, spread=5.0)
    tokens = vit.embed(volumes)
    torch.testing.assert_close(tokens.mean(dim=0), before.flatten(0, 2), rtol=0, atol=1e-4)
    assert tokens.std(dim=0).mean().item() == pytest.approx(5.0, rel=1e-4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    np.save(root / "volumes.npy", rng.normal(size=(16, 10, 9, 8)).astype(np.float16))
    words = ("effusion", "nodule", "cyst", "opacity")
    pairs = [{"rows": [2 * n, 2 * n + 1], "statements": [f"{words[n % 4]} is seen", "heart"]} for n in range(8)]
    (root / "pairs.json").write_text(json.dumps(pairs))
    return root


def pretrain(folder, data, **changes):
    folder.mkdir(exist_ok=True)
    options = {
        "vit": {"patch": PATCH, "base_grid": GRID, "width": 24, "depth": 2, "heads": 4},
        "decoder": {"decoder_width": 16, "decoder_depth": 1}, "crop": list(SIDES), "spread": 5.0, "voxel_weight": 0.1,
        "voxel_batch": 2, "steps": 6, "batch": 4, "learning_rate": 1e-3, "warmup": 2,
    }  # fmt: skip
    pretrain_image_encoder(folder, prepared=data, pairs=data, **{**options, **changes})
    return (folder / "vit.safetensors").read_bytes(), json.loads((folder / "losses.json").read_text())


def test_pretraining_is_a_function_of_its_seed(data, tmp_path):
    first = pretrain(tmp_path / "a", data)
    torch.rand(3)
    assert pretrain(tmp_path / "b", data) == first
    other = pretrain(tmp_path / "c", data, seed=1)
    assert other[0] != first[0] and other[1] != first[1] and len(first[1]) == 6
    assert set(load_file(tmp_path / "a" / "vit.safetensors")) == set(make().vit.state_dict())


def test_the_voxel_weight_counts(data, tmp_path):
    words_only = pretrain(tmp_path / "a", data, voxel_weight=0.0)
    both = pretrain(tmp_path / "b", data)
    far_more = pretrain(tmp_path / "c", data, voxel_weight=0.2)
    # the first loss is before any step: words + weight x voxels
    assert both[1][0] - words_only[1][0] > 0.01
    assert far_more[1][0] - words_only[1][0] == pytest.approx(2 * (both[1][0] - words_only[1][0]), rel=1e-4)
    # words start at their base rate: 4 words in 2 of 8 reports each ("is" and "heart" stand in all)
    entropy = 4 * -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert words_only[1][0] == pytest.approx(entropy, rel=0.2)


def test_a_killed_pretraining_goes_on_where_it_was(data, tmp_path, monkeypatch):
    whole = pretrain(tmp_path / "whole", data, checkpoint_every=2)
    from papers.brgsa import pretraining as masked_pretraining

    crop_batch, calls = masked_pretraining.crop_batch, []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 6:  # the first call centres the tokens, so this is step 4
            raise KeyboardInterrupt
        return crop_batch(*args, **kwargs)

    monkeypatch.setattr(masked_pretraining, "crop_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "killed", data, checkpoint_every=2)
    assert not (tmp_path / "killed" / "vit.safetensors").exists()
    monkeypatch.undo()
    assert pretrain(tmp_path / "killed", data, checkpoint_every=2) == whole
    (tmp_path / "other").mkdir()
    (tmp_path / "killed" / "checkpoint").rename(tmp_path / "other" / "checkpoint")
    with pytest.raises(TrainingError, match="is not a checkpoint of this model"):
        pretrain(tmp_path / "other", data, checkpoint_every=2, decoder={"decoder_width": 32, "decoder_depth": 1})
