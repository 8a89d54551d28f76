"""Generated detection subsets: the box is where the lesion is, images are split, the null keeps everything but the rule."""

import numpy as np
import pytest

from lib.data.files import DataError
from lib.workflow import paths
from papers.med_mat.data.boxes import read_box, read_mask
from papers.med_mat.data.files import read_image
from papers.med_mat.data.registry import read_registry
from papers.med_mat.detection import blind_answer, load_located, score, write_detection
from papers.med_mat.world.general import BINS
from papers.med_mat.world.shapes import PHYSICS, SIDE

TABLE = paths.paper("med_mat") / "datasets.csv"
REGISTRY = read_registry(TABLE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_detection(folder, table=TABLE.read_text(encoding="utf-8"), numbers=["38", "39"], count=60, seed=0)
    return folder


def _steps(answer):
    """An answer as a model writes it, step by step."""
    return answer.strip("{}").replace("><", "> <")


@pytest.mark.parametrize("no", ["38", "39"])
def test_the_lesion_is_in_its_box_with_the_modalitys_sign(root, no):
    """Against the rest of the same image: brighter where the modality shows lesions bright, darker where dark."""
    subset = REGISTRY.subsets[no]
    sign = 1 if PHYSICS[subset.modality][1] else -1
    differences = []
    for one in load_located(root, subset, mask=True).train:
        image = read_image(root, one).astype(float)
        inside = read_mask(one.answer, width=SIDE, height=SIDE, bins=BINS)
        differences.append(sign * (image[inside].mean() - np.median(image)))
    assert np.mean(differences) > 10 and np.mean(np.array(differences) > 0) > 0.85


def test_box_and_outline_of_an_image_agree(root):
    skin = REGISTRY.subsets["38"]
    boxes = {one.image: one.answer for one in load_located(root, skin, mask=False).train}
    for one in load_located(root, skin, mask=True).train:
        x0, y0, x1, y1 = read_box(boxes[one.image], width=SIDE, height=SIDE, bins=BINS)
        rows, columns = np.nonzero(read_mask(one.answer, width=SIDE, height=SIDE, bins=BINS))
        step = SIDE / BINS
        assert x0 - step <= columns.min() and columns.max() + 1 <= x1 + step
        assert y0 - step <= rows.min() and rows.max() + 1 <= y1 + step


def test_the_split_is_by_image_and_the_same_for_boxes_and_masks(root):
    skin = REGISTRY.subsets["38"]
    boxes, masks = (load_located(root, skin, mask=mask, seed=3) for mask in (False, True))
    assert (len(boxes.train), len(boxes.test)) == (54, 6)
    assert not {one.image for one in boxes.train} & {one.image for one in boxes.test}
    assert {one.image for one in boxes.test} == {one.image for one in masks.test}
    assert {one.image for one in boxes.test} != {one.image for one in load_located(root, skin, mask=False, seed=4).test}


def test_the_same_seed_draws_the_same_files_and_another_seed_others(root, tmp_path):
    for seed in (0, 1):
        write_detection(
            tmp_path / str(seed), table=TABLE.read_text(encoding="utf-8"), numbers=["38"], count=5, seed=seed
        )
    skin = REGISTRY.subsets["38"]
    first, other, again = (load_located(tmp_path / seed, skin, mask=False) for seed in "010")
    assert first == again and {one.answer for one in first.train} != {one.answer for one in other.train}


def test_a_number_that_is_no_detection_subset_is_told(tmp_path):
    with pytest.raises(DataError, match="03 is no detection subset; use one of 38, 39"):
        write_detection(tmp_path, table=TABLE.read_text(encoding="utf-8"), numbers=["03"], count=5, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["datasets.csv"]


@pytest.mark.parametrize("mask", [False, True])
def test_the_score_is_1_for_the_truth_and_0_for_nonsense(root, mask):
    rows = load_located(root, REGISTRY.subsets["39"], mask=mask).train
    truth = [_steps(one.answer) for one in rows]
    assert score(truth, rows) == 1 and score(["no idea"] * len(rows), rows) == 0
    half = [answer if i % 2 else "" for i, answer in enumerate(truth)]
    assert 0.2 < score(half, rows) < 0.8
    exchanged = [_steps(one.answer) for one in rows[1:] + rows[:1]]
    assert score(exchanged, rows) < 0.5


def test_a_box_that_ignores_the_image_is_far_from_the_truth(root):
    found = load_located(root, REGISTRY.subsets["38"], mask=False)
    blind = _steps(blind_answer(found.train))
    assert 0 < score([blind] * len(found.test), found.test) < 0.35
