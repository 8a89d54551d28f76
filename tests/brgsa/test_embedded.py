"""BrgSA's embeddings as they are saved: rows, texts and pictures belong to the vectors, in both spaces."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import embeddings
from lib.explorer import explore
from papers.brgsa import embedded
from papers.brgsa.mapped import LEAST


def _picture(held):
    return np.asarray(Image.open(io.BytesIO(held)))


def _study(n=9):
    volumes = np.zeros((n, 8, 8, 8), np.float32)
    for row in range(n):
        volumes[row] = row
    labels = pd.DataFrame({"Nodule": [1, 0, 0] * 3, "Emphysema": [1, 1, 0] * 3})
    names = [f"valid_{row}_a_1" for row in range(n)]
    reports = [f"report {row}" for row in range(n)]
    valid = SimpleNamespace(names=names, labels=labels, reports=reports, volumes=volumes)
    vectors = {
        name: np.full((n, 3), 10.0 * place) + np.arange(n)[:, None]
        for place, name in enumerate(["valid", "valid_hat", "summaries", "summaries_hat"], start=1)
    }
    return SimpleNamespace(valid=valid), SimpleNamespace(seed=4, vectors=vectors)


def test_rows_of_an_arm_are_images_then_texts_of_the_same_cases():
    spaces, table = embedded.of_arm(*_study(), text="summaries", points=6, arm="full")
    assert spaces["raw"][:, 0].tolist() == [10, 14, 18, 30, 34, 38]
    assert spaces["reconstructed"][:, 0].tolist() == [20, 24, 28, 40, 44, 48]
    assert table["modality"].tolist() == ["image"] * 3 + ["text"] * 3 and set(table["seed"]) == {4}
    assert table["path"].tolist() == [f"valid_{row}_a_1" for row in (0, 4, 8)] * 2
    assert table["text"].tolist() == ["report 0", "report 4", "report 8"] * 2
    assert table["labels"].tolist() == [["Nodule", "Emphysema"], ["Emphysema"], []] * 2
    greys = [_picture(held).mean() for held in table["thumbnail"]]
    assert greys[0] < greys[1] < greys[2] and greys[:3] == greys[3:]


def test_what_is_saved_is_shown_with_its_pictures_and_neighbours(tmp_path):
    spaces, table = embedded.of_arm(*_study(), text="summaries", points=6, arm="full")
    found = {name: embeddings.read(embeddings.write(tmp_path / name, v, table)) for name, v in spaces.items()}
    points, panels = embeddings.beside(found)
    view = explore(points, panels=panels, vectors=found["raw"].vectors, colour="Nodule", marker="modality").view
    assert len(view["thumbnails"]["images"]) == 3 and view["neighbours"] and len(view["panels"]) == 2


@pytest.fixture
def scan(tmp_path, monkeypatch):
    """A CT of 4 x 4 x 10 cells of 2 x 2 x 2 voxels, brighter towards the head, and three structures."""
    grid = (4, 4, 10)
    volume = np.broadcast_to(np.linspace(0, 1, 20, dtype=np.float32), (8, 8, 20)).copy()
    np.save(tmp_path / "volume.npy", volume)
    rng = np.random.default_rng(0)
    shown = (rng.random((160, 6)) < 0.4).astype(float)
    names = ["rib left 1", "rib left 2", "lung left", "heart", "aorta", "liver"]
    vectors = rng.normal(size=(6, 5))
    made = SimpleNamespace(
        prepared=tmp_path, grid=grid, names=names, vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        shown=shown, pretrained=rng.normal(size=(160, 7)), kinds=["rib", "rib", "lung", "heart", "aorta", "liver"],
    )  # fmt: skip
    monkeypatch.setattr(embedded, "read_scan", lambda run, stage: made)
    return made


def test_pairs_of_the_ct_are_cells_and_names_of_what_they_show(scan):
    spaces, table = embedded.of_scan(SimpleNamespace(seeds=[0]))
    n = LEAST * len(scan.names)
    assert list(spaces) == ["mapped", "spread"] and all(
        len(vectors) == 2 * n == len(table) for vectors in spaces.values()
    )
    np.testing.assert_array_equal(spaces["mapped"][n:], scan.vectors[np.repeat(np.arange(6), LEAST)])
    for row in range(n):
        number = int(table["path"][row].split("cell ")[1].split(",")[0])
        assert scan.shown[number, scan.names.index(table["text"][row])] > 0
        assert np.ravel_multi_index(
            tuple(table.loc[row, ["left to right", "back to front", "height"]].astype(int)), scan.grid
        ) == number  # fmt: skip
    assert len(set(zip(table["path"], table["modality"], strict=True))) == 2 * n
    heights = table["height"][:n].to_numpy()
    greys = np.array(
        [_picture(held)[:, :32].max() for held in table["thumbnail"][:n]]
    )  # the axial slice, 32 pixels wide
    inner = (heights > 2) & (heights < 7)
    assert np.corrcoef(heights[inner], greys[inner])[0, 1] > 0.9  # a cell near the head shows bright slices
