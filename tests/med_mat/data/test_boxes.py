"""Boxes and masks as text: outermost coordinates, round trips within half a step, unreadable answers."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.files import DataError
from papers.med_mat.data.boxes import (
    Located,
    ask_where,
    box_of_mask,
    box_text,
    mask_text,
    read_box,
    read_located,
    read_mask,
    text_of_steps,
    write_located,
)
from papers.med_mat.data.selection import Subset

quick = settings(max_examples=80, deadline=None, derandomize=True)


@st.composite
def masks(draw, side=32):
    mask = np.zeros((side, side), bool)
    for _ in range(draw(st.integers(1, 3))):
        x, y = draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1))
        mask[y : y + draw(st.integers(1, 9)), x : x + draw(st.integers(1, 9))] = True
    return mask


# ---------------------------------------------------------------------- boxes
@quick
@given(masks())
def test_a_box_is_the_smallest_that_holds_the_mask(mask):
    left, top, right, bottom = box_of_mask(mask)
    assert mask[top:bottom, left:right].sum() == mask.sum()
    inside = mask[top:bottom, left:right]
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


@quick
@given(masks(), st.sampled_from([8, 16, 32, 100]))
def test_a_box_survives_its_text_within_half_a_step(mask, bins):
    box = box_of_mask(mask)
    back = read_box(f"It is at {box_text(box, width=32, height=32, bins=bins)}.", width=32, height=32, bins=bins)
    # a box thinner than a step is widened to one: up to one step off on that side
    assert np.abs(np.subtract(back, box)).max() <= 32 / bins + 1e-9
    if min(box[2] - box[0], box[3] - box[1]) >= 32 / bins:
        assert np.abs(np.subtract(back, box)).max() <= 16 / bins + 1e-9
    if bins == 32:
        assert back == box


def test_width_and_height_are_not_exchanged():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 10:20] = True
    assert box_of_mask(mask) == (10, 2, 20, 5)
    assert box_text((10, 2, 20, 5), width=20, height=10) == "{<50><20><100><50>}"
    assert read_box("{<50><20><100><50>}", width=20, height=10) == (10, 2, 20, 5)


@pytest.mark.parametrize(
    "text",
    ["", "A", "{<1><2><3>}", "{<9><2><3><8>}", "{<1><8><3><8>}", "{<1><2><3><101>}", "<1><2><3><4>", "{<1> <2><3><4>}"],
)
def test_what_is_no_box_is_none(text):
    assert read_box(text, width=32, height=32) is None


def test_a_box_that_cannot_be_is_refused():
    for box in ((3, 0, 3, 5), (0, 0, 33, 5), (-1, 0, 3, 5)):
        with pytest.raises(DataError, match="does not lie in 32 x 32 pixels"):
            box_text(box, width=32, height=32)
    with pytest.raises(DataError, match="with 0 pixels has no outline"):
        box_of_mask(np.zeros((4, 4)))


# ---------------------------------------------------------------------- masks
@quick
@given(masks(), st.sampled_from([16, 32]))
def test_a_mask_survives_its_text_as_its_outline(mask, bins):
    """What is read back holds the mask, but for steps rounded off, and lies in its box."""
    back = read_mask(f"Here: {mask_text(mask, bins=bins)}", width=32, height=32, bins=bins)
    left, top, right, bottom = box_of_mask(mask)
    x0, y0, x1, y1 = box_of_mask(back)
    step = 32 / bins
    assert max(abs(y0 - top), abs(y1 - bottom)) <= step / 2 or bottom - top < step
    assert left - step <= x0 and x1 <= right + step


@pytest.mark.parametrize("bins", [16, 32, 100])
def test_a_round_mask_keeps_its_shape(bins):
    y, x = np.mgrid[:32, :32]
    for cx, cy, r in ((10, 12, 6), (20.5, 9.5, 8.2), (15, 17, 11)):
        mask = np.hypot(x - cx, y - cy) < r
        back = read_mask(mask_text(mask, bins=bins), width=32, height=32, bins=bins)
        assert (back & mask).sum() / (back | mask).sum() > 0.7
        box = np.zeros_like(mask)
        x0, y0, x1, y1 = box_of_mask(mask)
        box[y0:y1, x0:x1] = True
        if bins > 16:
            assert (back & mask).sum() / (back | mask).sum() > (box & mask).sum() / (box | mask).sum()


def test_a_mask_in_words():
    mask = np.zeros((8, 16), bool)
    mask[2:4, 4:8], mask[4:6, 6:12] = True, True
    text = mask_text(mask, bins=8)
    assert text == "{<2><6> <2><4> <2><4> <3><6> <3><6>}"
    assert (read_mask(text, width=16, height=8, bins=8) == mask).all()
    assert mask_text(np.eye(4, dtype=bool)[:1], bins=4) == "{<0><4> <0><1> <0><1> <0><1> <0><1>}"
    mask[2:6] = False
    mask[0, 0:2], mask[7, 14:16] = True, True  # two parts: the bands between repeat the upper one
    assert mask_text(mask, bins=8) == "{<0><8> <0><1> <0><1> <0><1> <7><8>}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{<1><2><3><4>}",
        "{<1><2> <1><2> <1><2> <1><2>}",
        "{<2><1> <1><2> <1><2> <1><2> <1><2>}",
        "{<1><2> <1><2> <1><1> <1><2> <1><2>}",
        "{<1><2> <1><2> <1><9> <1><2> <1><2>}",
        "<1><2> <1><2> <1><2> <1><2> <1><2>",
    ],
)
def test_what_is_no_mask_is_none(text):
    assert read_mask(text, width=4, height=4, bins=8) is None


@quick
@given(masks())
def test_what_a_model_writes_step_by_step_is_put_together(mask):
    box, outline = box_text(box_of_mask(mask), width=32, height=32), mask_text(mask)
    for text, is_mask in ((box, False), (outline, True)):
        steps = text.strip("{}").replace("><", "> <")
        assert text_of_steps(steps, mask=is_mask) == text_of_steps(f"at {steps} <7>", mask=is_mask) == text
        assert text_of_steps(steps.rsplit(" ", 1)[0], mask=is_mask) != text
    for wrong in ("<1> <2> <3>", "no idea", ""):
        assert read_box(text_of_steps(wrong, mask=False), width=32, height=32) is None
        assert read_mask(text_of_steps(wrong, mask=True), width=32, height=32) is None


# ---------------------------------------------------------------------- files
SKIN = Subset("38", "Der", "Skin", "lesion detection", "Det/Seg", role="det/seg")
ROW = Located(1, "lesion", "med-mat/s/1.png", ask_where("lesion", SKIN), "{<1><2><3><4>}", "88")


def test_located_rows_are_written_and_read_back(tmp_path):
    path = tmp_path / "Aggregated_Subsets" / "Subset--38-train.json"
    rows = [ROW, Located(2, "lesion", "med-mat/s/2.png", ROW.question, "{<1><2> <3><4> <3><4> <3><4> <3><4>}", "88")]
    write_located(path, rows)
    assert read_located(path) == rows and "Der" in ROW.question and "skin" in ROW.question
    assert [one.is_mask for one in rows] == [False, True] and ask_where("lesion", SKIN, mask=True) != ROW.question
    assert list(json.loads(path.read_text())[0]) == ["id", "caption", "image", "Question", "Answer", "data-no"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"Answer": "A"}, "answers 'A', no box or mask"),
        ({"image": "../1.png"}, "below the root"),
        ({"id": "1"}, "whole number"),
    ],
)
def test_a_wrong_located_row_names_file_and_row(tmp_path, changed, sentence):
    path = tmp_path / "a.json"
    write_located(path, [ROW, ROW])
    rows = json.loads(path.read_text())
    rows[1] |= changed
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError) as error:
        read_located(path)
    assert str(error.value).startswith(f"{path}, row 2 ") and sentence in str(error.value)
