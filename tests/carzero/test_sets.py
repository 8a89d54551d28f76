"""Readers of the five test sets on a generated world in their formats; what is damaged is told in one sentence."""

import json
import shutil

import numpy as np
import pytest

from lib.data.files import DataError
from papers.carzero import sets
from papers.carzero.findings import CHESTXDET, FINDINGS, PADCHEST
from papers.carzero.world import write_world

CLASSES = {"open_i": 18, "chestxray14": 14, "chexpert": 5, "chestxdet10": 10}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    write_world(root, seed=3, train=2, test=40, size=48)
    return root


@pytest.fixture
def copy(world, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(world, tmp_path / "copy")
    return tmp_path / "copy"


def folder_of(root, name):
    return root / sets.ROOT / sets.LAYOUT[name].folder


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("name", list(sets.LAYOUT))
def test_every_set_is_read_in_its_own_format(world, name):
    test = sets.read_set(name, world)
    assert len(test.files) == len(test.paths) == len(set(test.files)) == 40
    assert test.labels.shape == (40, len(test.classes)) and test.labels.dtype == np.int8
    assert len(test.classes) == CLASSES.get(name, len(test.classes)) == len(test.prompts)
    assert set(np.unique(test.labels)) == {0, 1} and all(path.is_file() for path in test.paths)
    assert all(prompt.startswith("There is ") for prompt in test.prompts)


def test_padchest_has_its_labels_in_the_order_of_their_letters_and_a_tail(world):
    test = sets.read_set("padchest", world)
    assert list(test.classes) == sorted(test.classes) and "normal" not in test.classes
    asked = dict(PADCHEST.values())
    assert list(test.prompts) == [f"There is {asked[label]}" for label in test.classes]
    counts = test.labels.sum(axis=0)
    assert test.rare.tolist() == [0 < count <= 10 for count in counts] and test.rare.any()


def test_boxes_belong_to_the_labels_and_lie_on_what_is_drawn(world):
    test = sets.read_set("chestxdet10", world)
    for labels, boxes, path in zip(test.labels, test.boxes, test.paths, strict=True):
        assert {k for k in range(10) if labels[k]} == set(boxes)
        width, height = sets.image_size(path)
        for left, top, right, bottom in (box for many in boxes.values() for box in many):
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert set(CHESTXDET.values()) == set(sets.CHESTXDET_CLASSES) and set(CHESTXDET) <= set(FINDINGS)


def test_lists_carry_the_folders_of_other_machines(copy):
    path = folder_of(copy, "padchest") / sets.LAYOUT["padchest"].images
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["Path", *(f"/defaultShare/PadChest/manualset/{line}" for line in lines[1:])]) + "\n")
    assert len(sets.read_set("padchest", copy).files) == 40


def test_the_order_is_that_of_the_list_whatever_the_label_file_has(copy):
    before = sets.read_set("chestxray14", copy)
    path = folder_of(copy, "chestxray14") / "test_list.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    after = sets.read_set("chestxray14", copy)
    assert after.files == before.files and (after.labels == before.labels).all()


def box_outside(root):
    path = folder_of(root, "chestxdet10") / "test.json"
    rows = json.loads(path.read_text())
    row = next(row for row in rows if row["boxes"])
    row["boxes"][0] = [3, 3, 900, 20]
    path.write_text(json.dumps(rows))
    return (
        "chestxdet10",
        r"test\.json, row \d+: the box \[3, 3, 900, 20\] of '\d+\.png' is not inside its picture of 48 x 48 pixels",
    )


def box_without_area(root):
    path = folder_of(root, "chestxdet10") / "test.json"
    rows = json.loads(path.read_text())
    row = next(row for row in rows if row["boxes"])
    row["boxes"][0] = [8, 3, 8, 20]
    path.write_text(json.dumps(rows))
    return "chestxdet10", "is not inside its picture"


def name_twice_in_boxes(root):
    path = folder_of(root, "chestxdet10") / "test.json"
    rows = json.loads(path.read_text())
    rows[5]["file_name"] = rows[2]["file_name"]
    path.write_text(json.dumps(rows))
    return "chestxdet10", "row 6 has the file name '36002.png' again; delete one of the rows"


def boxes_not_parallel(root):
    path = folder_of(root, "chestxdet10") / "test.json"
    rows = json.loads(path.read_text())
    next(row for row in rows if row["boxes"])["syms"].append("Mass")
    path.write_text(json.dumps(rows))
    return "chestxdet10", "symptoms and .* boxes of .*; give one box each"


def unknown_symptom(root):
    edit(folder_of(root, "chestxdet10") / "test.json", '"Effusion"', '"Infusion"')
    return "chestxdet10", "has the symptom 'Infusion'; the set knows Atelectasis"


def image_twice(root):
    path = folder_of(root, "open_i") / sets.LAYOUT["open_i"].images
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[3]]) + "\n")
    return "open_i", "has 'CXR3_IM-0003-1001.png' on line 4 and again on line 42; delete one of the rows"


def line_twice(root):
    path = folder_of(root, "chestxray14") / "test_list.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[0]]) + "\n")
    return "chestxray14", r"test_list\.txt, line 41 lists 'images_001/00000000_000\.png' again"


def label_column_missing(root):
    edit(folder_of(root, "chexpert") / "test_labels.csv", ",Edema,", ",Oedema,")
    return "chexpert", "lacks column 'Edema' .*; add or rename it"


def labels_column_missing(root):
    edit(folder_of(root, "open_i") / "custom.csv", "labels_automatic", "labels_manual")
    return "open_i", "lacks column 'labels_automatic'"


def label_cut_off(root):
    path = folder_of(root, "chestxray14") / "test_list.txt"
    path.write_text(path.read_text()[:-4])
    return "chestxray14", r"line 40 has \d+ labels where 0 or 1 for 14 classes is expected"


def label_uncertain(root):
    path = folder_of(root, "chexpert") / "test_labels.csv"
    lines = path.read_text().splitlines()
    place = lines[0].split(",").index("Edema")
    cells = lines[2].split(",")
    cells[place] = "-1"
    path.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    return "chexpert", "line 3, column 'Edema' holds '-1', not 0 or 1"


def labels_of_another_kind(root):
    path = folder_of(root, "padchest") / "manual_image.json"
    content = json.loads(path.read_text())
    content[next(iter(content))] = "cyst"
    path.write_text(json.dumps(content))
    return "padchest", "holds 'cyst', not a list of labels"


def picture_missing(root):
    next((folder_of(root, "open_i") / "images").glob("*.png")).unlink()
    return "open_i", "has no picture 'CXR.*'; put the set's pictures there"


def image_without_labels(root):
    path = folder_of(root, "padchest") / "manual_image.json"
    content = json.loads(path.read_text())
    del content[next(iter(content))]
    path.write_text(json.dumps(content))
    return "padchest", r"has no row for '.*\.png' \(1 of 40 images are without labels\)"


def prompt_missing(root):
    path = folder_of(root, "chexpert") / sets.LAYOUT["chexpert"].prompts
    content = json.loads(path.read_text())
    del content["4"]
    path.write_text(json.dumps(content))
    return "chexpert", "has 4 prompts for the 5 classes of test_labels.csv; fetch both again"


DAMAGES = [
    box_outside,
    box_without_area,
    name_twice_in_boxes,
    boxes_not_parallel,
    unknown_symptom,
    image_twice,
    line_twice,
]
DAMAGES += [label_column_missing, labels_column_missing, label_cut_off, label_uncertain, labels_of_another_kind]
DAMAGES += [picture_missing, image_without_labels, prompt_missing]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_damaged_is_told_in_one_sentence(copy, damage):
    name, sentence = damage(copy)
    with pytest.raises(DataError, match=sentence) as told:
        sets.read_set(name, copy)
    assert "\n" not in str(told.value) and str(told.value).endswith(".")
