"""The 3-D vision transformer: the paper's size, positions axis by axis, and each short cut against the full forward."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.models import ModelError
from lib.models.vision_transformer_3d import (
    Block,
    VisionTransformer3D,
    interpolate_positions,
    sincos_position_table,
)

PATCH, GRID = (4, 2, 3), (4, 3, 2)  # no two sides alike, so that swapped axes cannot go unnoticed


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return VisionTransformer3D(patch=PATCH, base_grid=GRID, width=24, depth=3, heads=4).eval()


def volume_of(grid=GRID, *, batch=2, seed=1):
    sides = [size * count for size, count in zip(PATCH, grid, strict=True)]
    return torch.randn(batch, 1, *sides, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------- the paper's size
def test_the_paper_s_encoder_has_2744_tokens_in_training_and_4096_at_test():
    with torch.device("meta"):
        vit = VisionTransformer3D(patch=(16, 16, 8), base_grid=(14, 14, 14), width=768, depth=12, heads=12)
        train = vit(torch.empty(1, 1, 224, 224, 112))
        test = vit(torch.empty(1, 1, 256, 256, 128))  # the same table, interpolated to 16 x 16 x 16
    assert train.shape == (1, 1 + 2744, 768) and test.shape == (1, 1 + 4096, 768)
    assert vit.positions.shape == (14, 14, 14, 768)
    d = 768
    block = (3 * d * d + 3 * d) + (d * d + d) + (8 * d * d + 5 * d) + 4 * d  # qkv, proj, mlp, two norms
    rest = (16 * 16 * 8 * d + d) + d + 2 * d  # patch embedding, class token, final norm
    assert sum(p.numel() for p in vit.parameters() if p.requires_grad) == 12 * block + rest


# ---------------------------------------------------------------------- positions
@pytest.mark.parametrize("width, per_axis", [(768, 256), (64, 20), (24, 8), (7, 2)])
def test_the_table_is_sin_cos_on_a_third_of_the_channels_an_axis_and_zero_on_the_rest(width, per_axis):
    table = sincos_position_table((5, 4, 3), width)
    assert table.shape == (5, 4, 3, width) and table.dtype == torch.float32
    half = per_axis // 2
    for place in itertools.product(range(5), range(4), range(3)):
        expected = []
        for p in place:
            angles = [p / 10000 ** (m / half) for m in range(half)]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        expected += [0.0] * (width - 3 * per_axis)
        torch.testing.assert_close(table[place], torch.tensor(expected), rtol=0, atol=1e-6)


def test_interpolation_is_the_identity_at_the_base_grid():
    table = torch.randn(*GRID, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(interpolate_positions(table, GRID), table, rtol=0, atol=0)


def test_interpolation_is_linear_between_patch_centres_and_never_mixes_axes():
    ramp = torch.zeros(4, 3, 2, 3)
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = -1
        ramp[..., axis] = torch.arange(GRID[axis], dtype=torch.float32).view(shape)
    wanted = (8, 5, 6)
    found = interpolate_positions(ramp, wanted)
    for axis in range(3):
        # centre of patch i of the finer grid, in patches of the coarser one; held constant beyond the last centre
        centres = ((torch.arange(wanted[axis]) + 0.5) * GRID[axis] / wanted[axis] - 0.5).clamp(0, GRID[axis] - 1)
        shape = [1, 1, 1]
        shape[axis] = -1
        torch.testing.assert_close(found[..., axis], centres.view(shape).expand(wanted), rtol=0, atol=1e-6)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_interpolation_commutes_with_a_renaming_of_the_axes(axes):
    table, wanted = torch.randn(*GRID, 5, generator=torch.Generator().manual_seed(0)), (7, 2, 5)
    renamed = interpolate_positions(table.permute(*axes, 3), tuple(wanted[a] for a in axes))
    torch.testing.assert_close(renamed, interpolate_positions(table, wanted).permute(*axes, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", [GRID, (6, 5, 7)])
def test_positions_get_no_gradient_and_stay_where_they_are(vit, grid):
    before = vit.positions.clone()
    optimiser = torch.optim.SGD(vit.parameters(), lr=1.0, weight_decay=0.1)
    vit(volume_of(grid)).square().sum().backward()
    optimiser.step()
    assert vit.positions.grad is None and not vit.positions.requires_grad
    torch.testing.assert_close(vit.positions, before, rtol=0, atol=0)
    assert vit.cls_token.grad.abs().sum() > 0 and vit.patch_embed.weight.grad.abs().sum() > 0


# ---------------------------------------------------------------------- tokens
def test_a_token_is_its_own_patch_and_its_own_position(vit):
    volume, kernel = volume_of(), vit.patch_embed.weight.flatten(1)
    tokens = vit.embed(volume).view(2, *GRID, 24)
    for i, j, k in itertools.product(*map(range, GRID)):
        patch = volume[:, 0, i * 4 : i * 4 + 4, j * 2 : j * 2 + 2, k * 3 : k * 3 + 3]
        expected = patch.flatten(1) @ kernel.T + vit.patch_embed.bias + vit.positions[i, j, k]
        torch.testing.assert_close(tokens[:, i, j, k], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axis", range(3))
def test_a_shift_by_one_patch_moves_tokens_along_that_axis_only(vit, axis):
    volume = volume_of()

    def content(x):
        return (vit.embed(x) - vit.positions.flatten(0, 2)).view(2, *GRID, 24)

    shifted = content(volume.roll(PATCH[axis], dims=2 + axis))
    torch.testing.assert_close(shifted, content(volume).roll(1, dims=1 + axis), rtol=0, atol=1e-6)


def test_the_class_token_comes_first_and_has_no_position(vit):
    x = vit.with_class_token(vit.embed(volume_of()))
    assert x.shape == (2, 1 + 24, 24)
    torch.testing.assert_close(x[:, 0], vit.cls_token[0].expand(2, -1), rtol=0, atol=0)


@pytest.mark.parametrize("sides", [(15, 6, 6), (16, 5, 6), (16, 6, 7), (2, 6, 6)])
def test_a_side_that_is_no_whole_number_of_patches_is_told(vit, sides):
    sentence = rf"a volume of \({sides[0]}, {sides[1]}, {sides[2]}\) voxels is not a whole number of patches"
    with pytest.raises(ModelError, match=sentence + r" of \(4, 2, 3\)"):
        vit(torch.zeros(1, 1, *sides))


# ---------------------------------------------------------------------- short cuts
def test_class_feature_is_the_first_token_of_the_forward(vit):
    volume = volume_of((5, 3, 4))
    x = vit.with_class_token(vit.embed(volume))
    torch.testing.assert_close(vit.class_feature(x), vit(volume)[:, 0], rtol=0, atol=1e-6)
    for first in range(3):
        half_way = vit.run_blocks(x, last=first)
        torch.testing.assert_close(vit.class_feature(half_way, first=first), vit(volume)[:, 0], rtol=0, atol=1e-6)


@pytest.fixture
def block():
    torch.manual_seed(2)
    block = Block(24, 4).eval()
    for norm in (block.norm1, block.norm2):  # off their start of 1 and 0, which would hide a swap
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias, 0.0, 0.3)
    return block


@pytest.mark.parametrize("queries", [1, 3, 7])
def test_fewer_queries_give_the_first_rows_of_the_full_block(block, queries):
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(block(x, queries=queries), block(x)[:, :queries], rtol=0, atol=1e-6)


def test_attention_put_back_gives_the_forward(block):
    x = torch.randn(2, 7, 24)
    attention = block.attention(x)
    assert attention.shape == (2, 4, 7, 7)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 4, 7), rtol=0, atol=1e-6)
    torch.testing.assert_close(block.apply_attention(x, attention), block(x), rtol=0, atol=1e-5)
    assert (block.apply_attention(x, attention.roll(1, dims=-1)) - block(x)).abs().max() > 1e-3


def test_a_block_is_torch_s_pre_norm_encoder_layer(block):
    layer = nn.TransformerEncoderLayer(24, 4, 96, 0.0, F.gelu, batch_first=True, norm_first=True).eval()
    layer.self_attn.in_proj_weight.data, layer.self_attn.in_proj_bias.data = block.qkv.weight.data, block.qkv.bias.data
    pairs = (
        (layer.self_attn.out_proj, block.proj),
        (layer.linear1, block.mlp[0]),
        (layer.linear2, block.mlp[2]),
        (layer.norm1, block.norm1),
        (layer.norm2, block.norm2),
    )
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(block(x), layer(x), rtol=0, atol=1e-5)
    normed = block.norm1(x)
    _, weights = layer.self_attn(normed, normed, normed, need_weights=True, average_attn_weights=False)
    torch.testing.assert_close(block.attention(x), weights, rtol=0, atol=1e-6)
