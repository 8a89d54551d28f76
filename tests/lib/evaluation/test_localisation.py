"""Localisation of 3D maps: closed forms, axis order, and the nulls beside every number."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib.evaluation import EvaluationError
from lib.evaluation.localisation import (
    centre_pointing,
    inside_fraction,
    map_auc,
    measure_localisation,
    pointing_game,
    resize_map,
    soft_dice,
)


def box(shape=(6, 4, 8), *, corner=(1, 2, 3), size=(2, 1, 3)):
    mask = np.zeros(shape, dtype=int)
    mask[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = 1
    return mask


def test_pointing_hits_misses_and_shares_ties():
    mask, map_ = box(), np.zeros((6, 4, 8))
    map_[2, 2, 5] = 1
    assert pointing_game(map_, mask) == 1
    map_[2, 1, 5] = 2  # one voxel outside in y
    assert pointing_game(map_, mask) == 0
    map_[2, 2, 5] = 2
    assert pointing_game(map_, mask) == 0.5
    assert pointing_game(np.full((6, 4, 8), 0.3), mask) == pytest.approx(mask.mean())


def test_axes_are_not_mixed():
    mask, map_ = box((4, 4, 4), corner=(0, 1, 2), size=(1, 1, 1)), np.zeros((4, 4, 4))
    map_[0, 1, 2] = 1
    assert pointing_game(map_, mask) == 1
    assert pointing_game(map_.transpose(2, 1, 0), mask) == 0


def test_the_centre_of_odd_and_even_volumes():
    assert centre_pointing(box((5, 5, 5), corner=(2, 2, 2), size=(1, 1, 1))) == 1
    assert centre_pointing(box((5, 5, 5), corner=(1, 2, 2), size=(1, 1, 1))) == 0
    assert centre_pointing(box((4, 4, 4), corner=(2, 2, 2), size=(1, 1, 1))) == 1 / 8
    assert centre_pointing(box((4, 4, 5), corner=(1, 1, 2), size=(2, 2, 1))) == 1


def test_inside_fraction_and_soft_dice_in_closed_form():
    mask = box((2, 2, 2), corner=(0, 0, 0), size=(1, 1, 2))
    map_ = np.array([[[4.0, 2.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    assert inside_fraction(map_, mask) == 6 / 8
    assert soft_dice(map_, mask) == pytest.approx(2 * 1.5 / (2 + 2))  # map / 4: mass 2, inside 1.5
    assert soft_dice(mask, mask) == inside_fraction(mask, mask) == map_auc(mask, mask) == 1
    for function in (inside_fraction, soft_dice, map_auc):
        assert function(7 * map_, mask) == pytest.approx(function(map_, mask))
    constant = np.ones((2, 2, 2))
    assert inside_fraction(constant, mask) == mask.mean() and map_auc(constant, mask) == 0.5


def test_map_auc_equals_scikit_learn_over_voxels():
    generator, mask = np.random.default_rng(0), box()
    map_ = (generator.normal(size=mask.shape) + mask).round(1)
    assert map_auc(map_, mask) == pytest.approx(roc_auc_score(mask.ravel(), map_.ravel()), abs=1e-12)
    assert map_auc(-map_, mask) == pytest.approx(1 - map_auc(map_, mask), abs=1e-12)


@pytest.mark.parametrize("shape", [(12, 8, 16), (6, 4, 8), (7, 9, 11)])
def test_resize_equals_torch_when_enlarging(shape):
    torch = pytest.importorskip("torch")
    map_ = np.random.default_rng(0).normal(size=(6, 4, 8))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(map_)[None, None], size=shape, mode="trilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(resize_map(map_, shape=shape), expected.numpy(), atol=1e-10)


def test_resize_keeps_a_token_over_its_patch():
    tokens = np.zeros((4, 4, 4))
    tokens[3, 0, 2] = 1
    large = resize_map(tokens, shape=(32, 32, 16))
    place = np.unravel_index(large.argmax(), large.shape)
    assert tuple(np.array(place) // [8, 8, 4]) == (3, 0, 2)
    np.testing.assert_allclose(resize_map(np.full((3, 2, 2), 0.4), shape=(9, 9, 9)), 0.4)


def test_a_case_a_row_with_its_nulls():
    generator = np.random.default_rng(0)
    masks = [box((5, 5, 5), corner=tuple(generator.integers(0, 3, 3)), size=(2, 2, 2)) for _ in range(40)]
    good = measure_localisation([mask + 0.1 * generator.random((5, 5, 5)) for mask in masks], masks)
    noise = measure_localisation([generator.random((5, 5, 5)) for _ in masks], masks)
    assert list(good.columns) == ["pointing", "pointing_centre", "inside", "mask_fraction", "soft_dice", "auc"]
    assert len(good) == 40 and good["pointing"].mean() == 1 and good["auc"].mean() == 1
    assert noise["auc"].mean() == pytest.approx(0.5, abs=0.06)
    assert noise["inside"].mean() == pytest.approx(noise["mask_fraction"].mean(), abs=0.02)
    np.testing.assert_allclose(good["mask_fraction"], 8 / 125)
    assert good["pointing_centre"].tolist() == [float(mask[2, 2, 2]) for mask in masks]
    assert 0 < good["pointing_centre"].mean() < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pointing_game(np.zeros((2, 2, 2)), np.ones((2, 2, 3))), r"shape \(2, 2, 2\) and mask \(2, 2, 3\)"),
        (lambda: pointing_game(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))), "mask is empty"),
        (lambda: pointing_game(np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.5)), "mask holds 0.5"),
        (lambda: pointing_game(np.zeros((2, 2)), np.ones((2, 2))), "an array with 3 axes"),
        (lambda: soft_dice(np.zeros((2, 2, 2)), np.ones((2, 2, 2))), "zero everywhere"),
        (lambda: inside_fraction(-np.ones((2, 2, 2)), np.ones((2, 2, 2))), "values >= 0"),
        (lambda: map_auc(np.full((2, 2, 2), np.nan), np.ones((2, 2, 2))), r"map\[0, 0, 0\] is nan"),
        (lambda: resize_map(np.ones((2, 2, 2)), shape=(4, 4, 0)), "three sizes"),
        (
            lambda: measure_localisation([np.ones((2, 2, 2))] * 2, [np.ones((2, 2, 2)), np.zeros((2, 2, 2))]),
            "case 1: mask",
        ),
        (lambda: measure_localisation([], []), "0 maps and 0 masks"),
    ],
)
def test_bad_input_names_the_remedy(call, message):
    with pytest.raises(EvaluationError, match=message):
        call()
