"""Cumulative IoU of boxes and masks: closed forms, agreement of the two, what cannot be scored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.evaluation import EvaluationError
from lib.evaluation.localisation import cumulative_iou, cumulative_mask_iou


@st.composite
def boxes(draw, side=32):
    """(x0, y0, x1, y1) with an area, as large as any union of a few blobs in a picture of ``side`` pixels."""
    x, y = draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1))
    return x, y, x + draw(st.integers(1, side)) % (side - x) + 1, y + draw(st.integers(1, side)) % (side - y) + 1


def test_ciou_of_boxes_has_its_closed_form():
    truth = [(2, 0, 6, 4), (0, 0, 1, 1)]
    assert cumulative_iou(truth, truth) == 1
    assert cumulative_iou([(0, 0, 4, 4), None], truth) == pytest.approx(8 / 25)
    assert cumulative_iou([(10, 10, 12, 12), (0, 0, 1, 1)], truth) == pytest.approx(1 / 21)
    assert cumulative_iou([(6, 4, 2, 0), None], truth) == 0  # a box turned inside out has no area


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(boxes(), boxes()), min_size=1, max_size=4))
def test_box_and_mask_ciou_agree_on_filled_boxes(pairs):

    def filled(box):
        mask = np.zeros((48, 48), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return mask

    guesses, truth = zip(*pairs, strict=True)
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
