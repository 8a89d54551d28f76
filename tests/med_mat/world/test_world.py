"""The generated Med-MAT world: real factors, balanced labels, no leak between splits, words apart from the general stage."""

import numpy as np
import pytest

from lib.workflow import paths
from papers.med_mat.checkpoints import pieces
from papers.med_mat.data.files import read_image
from papers.med_mat.data.prepare import label, prepare
from papers.med_mat.data.questions import _FRAMES
from papers.med_mat.data.registry import read_registry
from papers.med_mat.world import general as mat_general
from papers.med_mat.world import shapes as mat_shapes
from papers.med_mat.world import world as mat_world
from papers.med_mat.world.shapes import PHYSICS, SHAPES, SIDE
from papers.med_mat.world.world import AREAS, TASKS, render

FACTS = paths.paper("med_mat")
TABLE = (FACTS / "datasets.csv").read_text()


@pytest.fixture(scope="module")
def registry():
    return read_registry(FACTS / "datasets.csv")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    mat_world.write_world(folder, table=TABLE, images=24, seed=3)
    return folder


def _around(images, masks):
    """Mean grey level inside the lesions and in a ring of two pixels around them, one a picture that has a lesion."""
    wide = mat_shapes.blur(masks.astype(np.float32), 1.5) > 0.02
    inside = [image[mask].mean() for image, mask in zip(images, masks, strict=True) if mask.any()]
    outside = [image[w & ~m].mean() for image, m, w in zip(images, masks, wide, strict=True) if m.any()]
    return np.array(inside), np.array(outside)


def test_the_grid_is_large_and_has_holes(registry):
    cells = mat_world.cells(registry.classification)
    triplets = {(c.modality, c.area, mat_world.rule(c)) for c in cells}
    assert len(triplets) == len(cells) == 30  # equal triplets are one subset
    modalities, areas, tasks = (len({t[i] for t in triplets}) for i in range(3))
    assert modalities >= 6 and areas >= 6 and tasks >= 4
    assert len(cells) < modalities * areas * tasks / 10
    assert sum(len(TASKS[mat_world.rule(c)].labels) == 4 for c in cells if c.role == "ID") >= 11  # of 21: mostly four


@pytest.mark.parametrize("modality", PHYSICS)
def test_the_modality_decides_whether_a_lesion_is_brighter(modality):
    images, masks = render(modality, "Brain", "Level", np.full(60, 3), np.random.default_rng(0))
    inside, outside = _around(images, masks)
    brighter = (inside > outside).mean()
    assert brighter > 0.9 if PHYSICS[modality][1] else brighter < 0.1


def test_both_signs_occur_so_that_the_task_alone_cannot_be_read():
    signs = [bright for _, bright in PHYSICS.values()]
    assert 3 <= sum(signs) <= len(signs) - 3


def test_the_area_draws_its_normal_structures_with_the_lesions_sign():
    """Without a lesion an area still shows what another task would call one, and areas differ in it."""
    for modality in ("CT", "X-ray"):
        images, _ = render(modality, "Lung", "State", np.zeros(80, int), np.random.default_rng(1))
        other, _ = render(modality, "Brain", "State", np.zeros(80, int), np.random.default_rng(1))
        spot = (slice(9, 12), slice(10, 13))  # the left hilum
        contrast = images[:, *spot].mean() - images[:, 15:18, 5:8].mean()
        assert contrast > 15 if PHYSICS[modality][1] else contrast < -15
        assert abs(images.mean(0) - other.mean(0)).max() > 30


@pytest.mark.parametrize("family", TASKS)
def test_the_task_decides_what_is_drawn(family):
    task = TASKS[family]
    labels = np.arange(40) % len(task.labels)
    _, masks = render("MRI", "Skin", family, labels, np.random.default_rng(2))
    area = np.array([masks[labels == k].sum((1, 2)).mean() for k in range(len(task.labels))])
    assert all((area[k] > 0) == (task.counts[k] > 0) for k in range(len(task.labels)))
    if family == "Level":
        assert (np.diff(area) > 0).all()
    if family == "Recognition":
        assert np.allclose(area / area[0], task.counts, rtol=0.35)


def test_nuisance_is_independent_of_the_label():
    """What is not lesion has the same mean and spread under either label; the lesion is what differs."""
    labels = np.arange(2000) % 2
    images, masks = render("CT", "Bladder", "State", labels, np.random.default_rng(4))
    background = np.where(masks, np.nan, images.astype(float))[:, :, :6]  # columns mostly outside the body
    means = np.nanmean(background, axis=(1, 2))
    difference = means[labels == 0].mean() - means[labels == 1].mean()
    assert abs(difference) < 4 * means.std() * np.sqrt(2 / 1000)
    assert masks[labels == 1].any((1, 2)).all() and not masks[labels == 0].any()


def test_artefacts_have_the_other_sign():
    images, _ = render("CT", "Skin", "State", np.zeros(400, int), np.random.default_rng(5))
    low = (mat_shapes.blur(images.astype(np.float32), 0.7).min((1, 2)) < 95).mean()  # tissue is about 130
    assert low > 0.6


def test_same_seed_same_pictures_other_seed_none_in_common():
    labels = np.arange(40) % 4
    first, _ = render("US", "Breast", "Level", labels, np.random.default_rng([0, 1]))
    again, _ = render("US", "Breast", "Level", labels, np.random.default_rng([0, 1]))
    other, _ = render("US", "Breast", "Level", labels, np.random.default_rng([1, 1]))
    assert (first == again).all()
    assert not {a.tobytes() for a in first} & {b.tobytes() for b in other}


def test_a_world_is_read_back_by_the_reader_of_the_release(world):
    registry = read_registry(world / "datasets.csv")
    seen: dict[str, set[bytes]] = {"train": set(), "test": set()}
    for subset in mat_world.cells(registry.classification):
        ready = prepare(world, subset, registry=registry, test_share=0.5, most_tests=8, fewest=2)
        for part, rows in (("train", ready.train), ("test", ready.test)):
            seen[part] |= {read_image(world, one).tobytes() for one in rows}
        counts = [sum(label(one) == name for one in ready.test) for name in TASKS[mat_world.rule(subset)].labels]
        assert len(set(counts)) == 1 and counts[0] > 0, subset
        assert all(one.options[one.answer_choice] == one.caption for one in ready.train + ready.test)
        assert read_image(world, ready.test[0]).shape == (SIDE, SIDE)
    assert not seen["train"] & seen["test"]


def test_labels_of_a_world_are_balanced_and_letters_do_not_tell(world):
    registry = read_registry(world / "datasets.csv")
    ready = prepare(world, registry.subsets["02"], registry=registry, test_share=0.2, fewest=2)
    rows = ready.train + ready.test
    counts = [sum(one.caption == name for one in rows) for name in TASKS["Diseases"].labels]
    assert counts == [6, 6, 6, 6]
    assert len({one.answer_choice for one in rows}) == 4


def test_the_general_stage_uses_no_word_of_the_medical_one(registry):
    _, _, asked = mat_general.draw_general(count=300, seed=0)
    texts = [
        t for one in asked for t in (one["question"], one.get("outline", ""), one["answer"], *one.get("options", []))
    ]
    general = {piece for text in texts for piece in pieces(text)}
    general = {word for word in general if not word.startswith("<")} | {"quote"}
    medical = set(mat_world.words()) | {piece for frame in _FRAMES for piece in pieces(frame)}
    medical |= {piece for subset in registry.classification for piece in pieces(subset.task)}
    assert not {w.lower() for w in general} & {w.lower() for w in medical}


def test_a_general_question_has_one_right_answer():
    images, objects, asked = mat_general.draw_general(count=400, seed=1)
    assert images.shape == (400, SIDE, SIDE) and images.dtype == np.uint8
    for row, one in zip(objects, asked, strict=True):
        drawn = [(int(name), int(tone)) for name, tone, _, _, radius in row if radius > 0]
        words = one["question"].split()
        if one["kind"] in ("exists", "count"):
            thing = (mat_general.NAMES.index(words[2]), mat_general.TONES.index(words[1]))
            count = drawn.count(thing)
            truth = mat_general.COUNTS[count] if one["kind"] == "count" else mat_general.FOUND[0 if count else 1]
            assert one["answer"] == truth
        if one["kind"] == "which":
            tone = mat_general.TONES.index(words[1])
            assert [mat_general.NAMES[name] for name, t in drawn if t == tone] == [one["answer"]]
        assert "options" not in one or one["answer"] in one["options"]


def test_shapes_are_where_they_are_asked_for_and_of_their_size():
    x, y = np.array([8.0, 22.0]), np.array([20.0, 9.0])
    for kind in SHAPES:
        drawn = mat_shapes.draw_shapes(np.array([kind] * 2), x=x, y=y, radius=4.0, angle=0.3)
        rows, columns = np.mgrid[0:SIDE, 0:SIDE]
        weight = drawn.sum((1, 2))
        assert np.allclose((drawn * columns).sum((1, 2)) / weight, x, atol=0.3)
        assert np.allclose((drawn * rows).sum((1, 2)) / weight, y, atol=0.3)
    disc = mat_shapes.draw_shapes(np.array(["disc"]), x=16, y=16, radius=5.0, angle=0)
    assert disc.sum() == pytest.approx(np.pi * 25, rel=0.05)


def test_areas_lie_inside_the_picture():
    for area in AREAS.values():
        assert all(0 <= x < SIDE and 0 <= y < SIDE for _, x, y, _, _ in area.normal)
        assert {kind for kind, *_ in area.normal} <= set(SHAPES)
