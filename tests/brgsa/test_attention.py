"""Gradient rollout: the rule of Chefer et al. written out, a case whose answer is known, and its invariances."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from lib.models.knowledge_bank import KnowledgeBank
from lib.models.vision_transformer_3d import VisionTransformer3D
from papers.brgsa.attention import gradient_rollout
from papers.brgsa.model import BrgSA

GRID = (4, 3, 2)


def make(depth, *, frozen=0):
    torch.manual_seed(0)
    vit = VisionTransformer3D(patch=(2, 3, 4), base_grid=GRID, width=24, depth=depth, heads=3)
    return BrgSA(vit, torch.nn.Identity(), KnowledgeBank(8, 16), width=16, frozen_blocks=frozen).eval()


def inputs(batch=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 1, 8, 9, 8, generator=generator), torch.randn(16, generator=generator)


def test_the_rule_written_out():
    model, (volume, prompt) = make(2), inputs()
    vit = model.image
    found = gradient_rollout(model, volume, prompt)
    assert found.shape == (2, *GRID)
    for number in range(2):
        x = vit.with_class_token(vit.embed(volume[number : number + 1])).detach()
        first = vit.blocks[0].attention(x).requires_grad_(True)
        x = vit.blocks[0].apply_attention(x, first)
        second = vit.blocks[1].attention(x)
        x = vit.blocks[1].apply_attention(x, second)
        cosine = F.cosine_similarity(model.global_embedder(vit.norm(x)[0, 0]), prompt, dim=0)
        gradients = torch.autograd.grad(cosine, [first, second])
        # R <- R + mean over heads of max(0, A * dA) R, from the identity
        rollout = torch.eye(25)
        for attention, gradient in zip((first, second), gradients, strict=True):
            rollout = rollout + (attention * gradient)[0].clamp(min=0).mean(dim=0) @ rollout
        expected = rollout[0, 1:] / rollout[0, 1:].sum()
        torch.testing.assert_close(found[number].flatten(), expected.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("place", list(itertools.product((0, 3), (0, 2), (0, 1))))
def test_only_the_one_patch_that_holds_anything_is_relevant(place):
    """Without biases and positions an empty patch has value 0: attending to it changes nothing."""
    model, (_, prompt) = make(1), inputs()
    with torch.no_grad():
        for parameter in (model.image.positions, model.image.patch_embed.bias, model.image.blocks[0].qkv.bias):
            parameter.zero_()
        model.image.cls_token.zero_()
    i, j, k = place
    volume = torch.zeros(1, 1, 8, 9, 8)
    volume[..., 2 * i : 2 * i + 2, 3 * j : 3 * j + 3, 4 * k : 4 * k + 4] = torch.randn(2, 3, 4)
    expected = torch.zeros(1, *GRID)
    expected[0, i, j, k] = 1.0
    torch.testing.assert_close(gradient_rollout(model, volume, prompt), expected, rtol=0, atol=1e-6)


def test_a_map_is_a_distribution_that_ignores_the_prompt_s_length_and_the_other_volumes():
    model, (volume, prompt) = make(3), inputs()
    found = gradient_rollout(model, volume, prompt)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), torch.ones(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient_rollout(model, volume, 7 * prompt), found, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(gradient_rollout(model, volume[1:], prompt), found[1:], rtol=1e-3, atol=1e-6)
    assert (gradient_rollout(model, volume, -prompt) - found).abs().max() > 1e-3


def test_frozen_blocks_and_no_grad_change_no_map_and_no_parameter_gets_a_gradient():
    volume, prompt = inputs()
    model = make(3, frozen=2)
    with torch.no_grad():
        found = gradient_rollout(model, volume, prompt)
    torch.testing.assert_close(found, gradient_rollout(make(3), volume, prompt), rtol=0, atol=0)
    assert not found.requires_grad and all(p.grad is None for p in model.parameters())
