"""Naming the cells of a CT: what a cell shows, what the linear map finds where there is something and where there is not."""

import io
import zipfile

import nibabel
import numpy as np
import pytest
import torch

from lib.data.files import DataError
from lib.models import ModelError
from lib.models.inflated_resnet import InflatedResNet, load_shards
from papers.brgsa import cells, grounding

GRID = (6, 6, 20)


@pytest.fixture
def ct(tmp_path):
    """A small CT with air around a body, stored left-to-right reversed, and a mask of two structures; returns both paths."""
    hu = np.full((40, 36, 30), -2048, dtype=np.int16)
    hu[4:36, 6:30, :] = 40
    mask = np.zeros(hu.shape, dtype=np.uint8)
    mask[4:12, 6:30, :] = 1
    mask[28:36, 6:30, 10:20] = 7
    hu[mask == 7] = 900
    affine = np.diag([-1.5, 1.5, 3.0, 1.0])
    for name, array in (("ct", hu), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    return tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz"


def test_a_ct_is_cut_to_the_body_turned_and_scaled(ct, tmp_path):
    cells.prepare_ct(tmp_path, ct=ct[0], mask=ct[1])
    volume, structures = np.load(tmp_path / "volume.npy"), np.load(tmp_path / "structures.npy")
    assert volume.shape == structures.shape == cells.SHAPE and set(np.unique(structures)) == {0, 1, 7}
    np.testing.assert_allclose(
        [volume.min(), volume.max()], [1040 / 1200, 1.0]
    )  # no air left; bone is beyond the window
    assert (structures[-20:] == 1).all() and not (structures[:20] == 1).any()  # stored right to left, so it comes last
    assert np.isclose((structures == 7).mean(), 8 / 32 / 3, atol=0.01)


def test_a_mask_on_another_grid_is_refused(ct, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4), dtype=np.uint8), np.eye(4)), tmp_path / "flat.nii.gz")
    with pytest.raises(DataError, match=r"flat\.nii\.gz cannot be prepared .*on one grid") as caught:
        cells.prepare_ct(tmp_path, ct=ct[0], mask=tmp_path / "flat.nii.gz")
    assert "\n" not in str(caught.value)


def test_shares_and_histograms_of_cells(tmp_path):
    structures = np.zeros((4, 4, 4), dtype=np.int16)
    structures[:2, :2, :2], structures[2:, 2:, 3] = 5, 9
    np.save(tmp_path / "structures.npy", structures)
    np.save(tmp_path / "volume.npy", np.where(structures == 5, 1.0, 0.01).astype(np.float32))
    shown = grounding.shown_in(tmp_path, [5, 9], (2, 2, 2))
    assert shown[0].tolist() == [1, 0] and shown[7].tolist() == [0, 0.5] and shown[1:7].sum() == 0
    counted = grounding.histograms(tmp_path, (2, 2, 2))
    assert counted.shape == (8, grounding.BINS) and counted[0, -1] == 1 and counted[1, 0] == 1
    with pytest.raises(DataError, match=r"no .* cells of whole voxels"):
        grounding.shown_in(tmp_path, [5], (3, 2, 2))


@pytest.mark.slow
def test_shards_join_to_the_tower_and_a_cut_one_is_named(tmp_path):
    torch.manual_seed(0)
    tower = InflatedResNet()
    torch.save(
        {"state_dict": {k: v.bfloat16() for k, v in tower.state_dict().items()}, "meta": {}}, file := io.BytesIO()
    )
    content = file.getvalue()
    shards = [tmp_path / f"part{number}.bin" for number in range(3)]
    for number, path in enumerate(shards):
        path.write_bytes(content[number * len(content) // 3 : (number + 1) * len(content) // 3])
    loaded = load_shards(shards)
    assert torch.equal(loaded.conv1.weight, tower.conv1.weight.bfloat16().float()) and not loaded.training
    with pytest.raises(ModelError, match=r"part0\.bin, .*do not join to a ResNet-152"):
        load_shards(shards[:2])


def world(rng, structures=24):
    """Cells whose features are the mean vector of what they show, plus noise; names with geometry."""
    names = grounding.unit(rng.standard_normal((structures, 16)))
    shown = np.where(rng.random((int(np.prod(GRID)), structures)) < 0.1, 0.5, 0.0)
    return shown @ names + 0.05 * rng.standard_normal((len(shown), 16)), shown, names


def test_names_are_found_where_features_hold_them_and_not_by_chance():
    rng = np.random.default_rng(0)
    features, shown, names = world(rng)
    how = {"grid": GRID, "slabs": 5, "folds": 4, "seed": 0}
    found = grounding.name_cells(features, shown, names, **how).mean()
    assert found["fitted"] > 0.9 and found["unseen"] > 0.8
    noise = grounding.name_cells(rng.standard_normal(features.shape), shown, names, **how).mean()
    assert abs(noise["fitted"] - 0.5) < 0.05 and abs(noise["unseen"] - 0.5) < 0.05
    shuffled = grounding.name_cells(features, shown, names[rng.permutation(len(names))], **how).mean()
    assert shuffled["unseen"] < 0.7


def test_a_held_slab_and_the_planes_beside_it_tell_the_map_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    features, shown, names = world(rng)
    fitted_on = []
    ridge = grounding._ridge
    monkeypatch.setattr(grounding, "_ridge", lambda x, y, penalty: fitted_on.append(len(x)) or ridge(x, y, penalty))
    grounding.name_cells(features, shown, names, grid=GRID, slabs=5, folds=4, seed=0)
    planes = fitted_on[0] / (GRID[0] * GRID[1])
    assert (
        max(fitted_on) <= 12 * GRID[0] * GRID[1] and planes > 9
    )  # of 20: four held, four beside them, cells that show none


def test_kinds_hold_together_what_is_alike():
    assert {grounding.kind(name) for name in ("rib left 2", "rib right 11")} == {"rib"}
    assert grounding.kind("lung middle lobe right") == "lung" and grounding.kind(
        "portal vein and splenic vein"
    ).startswith("portal")


def test_names_are_embedded_by_an_encoder_in_an_archive(tmp_path):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rib", "left", "heart"])
    )
    small = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(small).save_pretrained(tmp_path / "encoder")
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "encoder")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in (tmp_path / "encoder").iterdir():
            archive.write(file, file.name)
        if "special_tokens_map.json" not in archive.namelist():
            archive.writestr("special_tokens_map.json", "{}")
    (tmp_path / "out").mkdir()
    cells.embed_names(tmp_path / "out", archive=tmp_path / "model.zip", names=["rib left", "heart", "rib"])
    vectors = np.load(tmp_path / "out" / "names.npy")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors.shape == (3, 8)
