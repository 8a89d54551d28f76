"""Pictures: scaled, padded and normalised as released; crops, and what training does to them, are what they say."""

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.files import DataError
from lib.machine import Machine
from lib.streams import stream
from papers.carzero.images import MEAN, SD, Augmentation, batch, prepare, read_square
from papers.carzero.phantom import SHAPES, draw


def test_the_longer_side_is_scaled_and_the_shorter_padded(tmp_path):
    Image.fromarray(np.full((30, 60), 200, np.uint8)).save(tmp_path / "a.png")
    square = read_square(tmp_path / "a.png", size=20)
    assert square.shape == (20, 20) and (square[5:15] == 200).all() and not square[:5].any() and not square[15:].any()
    Image.fromarray(np.full((25, 10), 90, np.uint8)).save(tmp_path / "b.png")
    square = read_square(tmp_path / "b.png", size=25)  # 15 columns of padding: 7 before, 8 behind
    assert not square[:, :7].any() and (square[:, 7:17] == 90).all() and not square[:, 17:].any()


def test_processes_change_nothing_but_time(tmp_path):
    rng = np.random.default_rng(0)
    files = [f"{i}.png" for i in range(5)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (12, 16), dtype=np.uint8)).save(tmp_path / file)
    found = []
    for processes in (1, 2):
        folder = tmp_path / f"out{processes}"
        folder.mkdir()
        prepare(folder, root=tmp_path, files=files, size=8, machine=Machine(processes=processes))
        found.append(np.load(folder / "images.npy"))
    assert found[0].shape == (5, 8, 8) and (found[0] == found[1]).all()


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"not a picture", "is no picture that can be read"), (None, "does not exist")]
)
def test_what_is_no_picture_is_named(tmp_path, content, sentence):
    if content:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.png {sentence}"):
        read_square(tmp_path / "x.png", size=8)


def test_the_centre_is_cut_and_normalised():
    squares = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    found = batch(squares, crop=4, rng=None)
    assert found.shape == (1, 3, 4, 4)
    wanted = (torch.from_numpy(squares[0, 2:6, 2:6].astype(np.float32)) / 255 - MEAN) / SD
    assert torch.allclose(found[0, 0], wanted) and torch.equal(found[0, 0], found[0, 2])


def test_what_training_does_is_what_it_is_told():
    squares = np.random.default_rng(0).integers(0, 255, (6, 8, 8), dtype=np.uint8)
    plain = batch(squares, crop=8, rng=None)
    assert torch.equal(batch(squares, crop=8, rng=stream(0, "a"), how=Augmentation()), plain)
    assert torch.allclose(batch(squares, crop=8, rng=stream(0, "a"), how=Augmentation(flip=1.0)), plain.flip(-1))
    still = batch(squares, crop=8, rng=stream(0, "a"), how=Augmentation(degrees=1e-9))
    assert torch.allclose(still, plain, atol=1e-4)  # a turn by nothing
    lit = batch(squares, crop=8, rng=stream(0, "a"), how=Augmentation(light=0.2))
    assert lit.shape == plain.shape and not torch.allclose(lit, plain)
    low = (0 - MEAN) / SD
    assert batch(squares, crop=8, rng=stream(0, "a"), how=Augmentation(degrees=30, translate=0.1)).min() >= low - 1e-5


@pytest.mark.parametrize("name", ["mass", "effusion", "fracture", "drain", "emphysema", "dextrocardia"])
def test_a_finding_changes_the_picture_inside_its_box_alone(name):
    """The same chest with and without it; ``dextrocardia`` moves the heart, so its old place changes too."""
    shown, ((found, box),) = draw([name], size=64, rng=stream(0, "x"), noise=0.0)
    bare, _ = draw([], size=64, rng=stream(0, "x"), noise=0.0)
    changed = shown != bare
    left, top, right, bottom = box
    assert found == name and changed[top:bottom, left:right].any()
    if name != "dextrocardia":
        changed[top:bottom, left:right] = False
        assert not changed.any()


def test_every_shape_is_drawn_in_the_chest():
    from papers.carzero.findings import FINDINGS

    assert {finding.shape for finding in FINDINGS.values()} == set(SHAPES)
    for name in FINDINGS:
        for side in ("left", "right"):
            _, ((_, (left, top, right, bottom)),) = draw([name], size=48, rng=stream(1, name), sides=[side])
            assert 0 <= left < right <= 48 and 0 <= top < bottom <= 48
