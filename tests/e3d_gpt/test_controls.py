"""What the autoencoder is compared with, on volumes whose masked voxels are known by a closed form."""

import numpy as np
import pytest
import torch

from lib.models.vision_transformer_3d import VisionTransformer3D
from papers.e3d_gpt.controls import VoxelPCA, fill_mean, inpaint, interpolate, masked_errors, to_patches, to_volume

GRID, PATCH = (4, 3, 5), (4, 2, 2)
SHAPE = tuple(g * p for g, p in zip(GRID, PATCH, strict=True))
HOW = {"grid": GRID, "patch": PATCH}


def ramp():
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in SHAPE), indexing="ij")
    return (x + 2 * y - z)[None].astype(np.float32)


def seen(share=0.5, rows=1):
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(np.arange(60) < 60 * share) for _ in range(rows)])


def test_patches_are_in_the_encoders_order_and_go_back():
    volumes = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    patches = to_patches(volumes, **HOW)
    vit = VisionTransformer3D(patch=PATCH, base_grid=GRID, width=12, depth=1, heads=2)
    assert np.array_equal(patches, vit.patches(torch.from_numpy(volumes)[:, None]).numpy())
    assert np.array_equal(to_volume(patches, **HOW), volumes)


def test_errors_are_of_the_masked_patches():
    patches, known = to_patches(ramp(), **HOW), seen()
    wrong = patches + np.where(known, 100, 2)[:, :, None]
    assert masked_errors(wrong, patches, known) == pytest.approx([4])


def test_a_constant_volume_is_filled_by_each():
    patches, known = to_patches(np.full((1, *SHAPE), 3.0, np.float32), **HOW), seen(0.25)
    for filled in (
        fill_mean(patches, known),
        interpolate(patches, known, **HOW),
        inpaint(patches, known, **HOW, rounds=5),
    ):
        assert np.allclose(filled, 3, atol=1e-4)


def test_neighbours_tell_a_ramp_better_than_the_mean_and_the_smooth_surface_best():
    patches, known = to_patches(ramp(), **HOW), seen()
    ways = (fill_mean(patches, known), interpolate(patches, known, **HOW), inpaint(patches, known, **HOW, rounds=400))
    mean, linear, smooth = (masked_errors(one, patches, known)[0] for one in ways)
    assert smooth < 0.6 * linear < 0.3 * mean
    assert np.array_equal(ways[2][known], patches[known])


def test_voxels_in_the_span_of_the_components_are_told_from_a_quarter():
    rng = np.random.default_rng(1)
    basis = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    volumes = np.tensordot(rng.normal(size=(40, 3)), basis, axes=1).astype(np.float32)
    pca, patches = VoxelPCA(volumes[:30], components=3), to_patches(volumes[30:], **HOW)
    known = seen(0.25, rows=10)
    assert masked_errors(pca.fill(patches, known, **HOW), patches, known).max() < 1e-3 * patches.var()
    other = to_patches(rng.normal(size=(10, *SHAPE)).astype(np.float32), **HOW)
    assert masked_errors(pca.fill(other, known, **HOW), other, known).min() > 0.5


def test_what_is_masked_reaches_no_control():
    patches, known = to_patches(ramp(), **HOW), seen()
    changed = np.where(known[:, :, None], patches, 99)
    pca = VoxelPCA(np.random.default_rng(0).normal(size=(20, *SHAPE)), components=4)
    assert np.allclose(fill_mean(patches, known), fill_mean(changed, known))
    assert np.allclose(interpolate(patches, known, **HOW), interpolate(changed, known, **HOW))
    assert np.allclose(inpaint(patches, known, **HOW, rounds=3), inpaint(changed, known, **HOW, rounds=3))
    assert np.allclose(pca.fill(patches, known, **HOW), pca.fill(changed, known, **HOW))
