"""Boxes and masks as text: outermost coordinates, round trips within half a step, unreadable answers, cIoU closed forms."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.errors import DataError
from lib.data.mat_boxes import (
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
from lib.data.mat_selection import Subset
from lib.evaluation.box_overlap import cumulative_iou, cumulative_mask_iou
from lib.evaluation.checks import EvaluationError

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
@given(masks())
def test_a_mask_survives_its_text(mask):
    """At one cell a pixel exactly, but for gaps inside a row, which are filled."""
    text = mask_text(mask, rows=32, columns=32)
    back = read_mask(f"Here: {text}", rows=32, columns=32, height=32, width=32)
    spans = np.logical_or.accumulate(mask, axis=1) & np.logical_or.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    assert (back == spans).all()
    coarse = read_mask(mask_text(mask, rows=8, columns=8), rows=8, columns=8, height=32, width=32)
    assert coarse.any() and (coarse & mask).any()


def test_a_mask_in_words():
    mask = np.zeros((4, 4), bool)
    mask[1, 1:3], mask[2, 3] = True, True
    assert mask_text(mask, rows=4, columns=4) == "{- <1><2> <3><3> -}"
    assert (read_mask("{- <1><2> <3><3> -}", rows=4, columns=4, height=4, width=4) == mask).all()
    assert read_mask("{- <1><2> <3><3> -}", rows=4, columns=4, height=8, width=8).sum() == 12
    with pytest.raises(DataError, match="4 x 4 does not divide into 3 x 4 cells"):
        mask_text(mask, rows=3, columns=4)


@pytest.mark.parametrize("text", ["", "{- - -}", "{- - - <2><1>}", "{- - - <2><4>}", "{<1><2><3><3>}", "- - - -"])
def test_what_is_no_mask_is_none(text):
    assert read_mask(text, rows=4, columns=4, height=4, width=4) is None


@quick
@given(masks())
def test_what_a_model_writes_step_by_step_is_put_together(mask):
    """A model's words are the steps with blanks between; an empty row is two of them, as long as a filled one."""
    box, outline = box_text(box_of_mask(mask), width=32, height=32), mask_text(mask, rows=8, columns=8)
    steps = box.strip("{}").replace("><", "> <")
    assert text_of_steps(steps, mask=False) == text_of_steps(f"at {steps} <7>", mask=False) == box
    rows = " ".join("- -" if row == "-" else row.replace("><", "> <") for row in outline.strip("{}").split())
    assert text_of_steps(rows, mask=True) == outline
    for wrong in ("<1> <2> <3>", "no idea", ""):
        assert read_box(text_of_steps(wrong, mask=False), width=32, height=32) is None
        assert read_mask(text_of_steps(wrong, mask=True), rows=8, columns=8, height=32, width=32) is None
    half = rows.replace("- -", "- <1>", 1)
    assert half == rows or read_mask(text_of_steps(half, mask=True), rows=8, columns=8, height=32, width=32) is None


# ---------------------------------------------------------------------- files
SKIN = Subset("38", "Der", "Skin", "lesion detection", "Det/Seg", role="det/seg")
ROW = Located(1, "lesion", "med-mat/s/1.png", ask_where("lesion", SKIN), "{<1><2><3><4>}", "88")


def test_located_rows_are_written_and_read_back(tmp_path):
    path = tmp_path / "Aggregated_Subsets" / "Subset--38-train.json"
    rows = [ROW, Located(2, "lesion", "med-mat/s/2.png", ROW.question, "{- <1><2> -}", "88")]
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


# ---------------------------------------------------------------------- cIoU
def test_ciou_of_boxes_has_its_closed_form():
    truth = [(2, 0, 6, 4), (0, 0, 1, 1)]
    assert cumulative_iou(truth, truth) == 1
    assert cumulative_iou([(0, 0, 4, 4), None], truth) == pytest.approx(8 / 25)
    assert cumulative_iou([(10, 10, 12, 12), (0, 0, 1, 1)], truth) == pytest.approx(1 / 21)
    assert cumulative_iou([(6, 4, 2, 0), None], truth) == 0  # a box turned inside out has no area


@quick
@given(st.lists(st.tuples(masks(), masks()), min_size=1, max_size=4))
def test_box_and_mask_ciou_agree_on_filled_boxes(pairs):
    boxes = [[box_of_mask(mask) for mask in pair] for pair in pairs]

    def filled(box):
        mask = np.zeros((48, 48), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return mask

    guesses, truth = zip(*boxes, strict=True)
    by_box = cumulative_iou(guesses, truth)
    assert by_box == pytest.approx(cumulative_mask_iou([filled(b) for b in guesses], [filled(b) for b in truth]))
    assert by_box == pytest.approx(cumulative_iou(truth, guesses)) and 0 <= by_box <= 1


def test_ciou_weighs_large_objects_more_than_a_mean_would():
    small, large = (0, 0, 1, 1), (0, 0, 10, 10)
    assert cumulative_iou([small, None], [small, large]) == pytest.approx(1 / 101)
    assert cumulative_mask_iou([None], [np.ones((2, 2))]) == 0


def test_what_cannot_be_scored_is_told():
    with pytest.raises(EvaluationError, match=r"case 0: the true box \(1, 1, 1, 2\) has no area"):
        cumulative_iou([None], [(1, 1, 1, 2)])
    with pytest.raises(EvaluationError, match="1 predicted and 2 true boxes"):
        cumulative_iou([None], [(0, 0, 1, 1)] * 2)
    with pytest.raises(EvaluationError, match="no case is given"):
        cumulative_iou([], [])
    with pytest.raises(EvaluationError, match="case 0: the true mask is empty"):
        cumulative_mask_iou([None], [np.zeros((2, 2))])
    with pytest.raises(EvaluationError, match=r"masks of shape \(2, 3\) and \(2, 2\)"):
        cumulative_mask_iou([np.ones((2, 3))], [np.ones((2, 2))])
