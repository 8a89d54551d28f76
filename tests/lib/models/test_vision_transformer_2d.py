"""The 2-D transformer: names of MAE's checkpoints, its position table, the convolution it stands for."""

import pytest
import torch

from lib.models import ModelError
from lib.models.vision_transformer_2d import VisionTransformer2D, sincos_position_table


def test_the_names_and_shapes_of_vit_b_16():
    with torch.device("meta"):
        vit = VisionTransformer2D(size=224, patch=16, width=768, depth=12, heads=12)
    state = {name: tuple(value.shape) for name, value in vit.state_dict().items()}
    assert state["cls_token"] == (1, 1, 768) and state["pos_embed"] == (1, 197, 768)
    assert state["patch_embed.proj.weight"] == (768, 3, 16, 16)
    assert state["blocks.11.attn.qkv.weight"] == (2304, 768) and state["blocks.0.mlp.fc1.weight"] == (3072, 768)
    block = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"}
    names = {f"blocks.{i}.{part}.{end}" for i in range(12) for part in block for end in ("weight", "bias")}
    names |= {
        "cls_token",
        "pos_embed",
        *(f"{n}.{end}" for n in ("patch_embed.proj", "norm") for end in ("weight", "bias")),
    }
    assert set(state) == names


def test_patches_are_those_of_the_convolution():
    vit, picture = VisionTransformer2D(size=16, patch=4, width=8, depth=1, heads=2), torch.randn(2, 3, 16, 16)
    convolved = vit.patch_embed.proj(picture).flatten(2).transpose(1, 2)
    assert torch.allclose(vit.patch_embed(picture), convolved, atol=1e-5)


def test_positions_are_fixed_distinct_and_know_row_from_column():
    table = sincos_position_table(7, 24)[0]
    assert not table[0].any() and len(table[1:].unique(dim=0)) == 49
    first = table[1:].view(7, 7, 24)
    assert torch.equal(first[0, 3, :12], first[5, 3, :12]) and torch.equal(first[2, 0, 12:], first[2, 6, 12:])
    assert not VisionTransformer2D(size=16, patch=8, width=8, depth=1, heads=1).pos_embed.requires_grad


def test_wrong_sizes_are_refused():
    with pytest.raises(ModelError, match="not a whole number of patches"):
        VisionTransformer2D(size=30, patch=8, width=8, depth=1, heads=1)
    with pytest.raises(ModelError, match="multiple of 4"):
        VisionTransformer2D(size=32, patch=8, width=6, depth=1, heads=1)
    with pytest.raises(ModelError, match="prepare them"):
        VisionTransformer2D(size=32, patch=8, width=8, depth=1, heads=1)(torch.zeros(1, 3, 16, 16))
