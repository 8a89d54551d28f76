"""Trends along a grid: closed forms, and that no peak is found in noise."""

import numpy as np
import pytest

from lib.evaluation.checks import EvaluationError
from lib.evaluation.trends import kendall_tau, peak_against_last, permute_points


def test_tau_of_each_seed():
    values = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 2.0], [3.0, 1.0, 2.0]])
    assert kendall_tau([0.1, 0.5, 0.9], values).tolist() == [1.0, -1.0, 0.0]
    assert kendall_tau([1, 2, 3, 4], [[1.0], [3.0], [2.0], [4.0]])[0] == pytest.approx(4 / 6)
    with pytest.raises(EvaluationError, match="points of the grid"):
        kendall_tau([1, 2], values)


def test_the_peak_is_chosen_on_the_other_seeds():
    grid = np.array([[0.0, 0.0, 9.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5]])  # seed 3 alone is high at the first point
    peak, last = peak_against_last(grid)
    assert peak.tolist() == [0.0, 0.0, 1.0], "seeds 1 and 2 follow seed 3, seed 3 follows them"
    assert last.tolist() == [0.5, 0.5, 0.5]
    with pytest.raises(EvaluationError, match="one seed"):
        peak_against_last(grid[:, :1])


def test_a_true_peak_is_found_and_noise_has_none():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(7, 400))
    peak, last = peak_against_last(noise)
    assert abs(np.mean(peak - last)) < 0.2
    assert np.mean(noise.max(axis=0) - noise[-1]) > 1, "chosen on the seed itself it would be found"
    hill = noise + 3 * (np.arange(7) == 3)[:, None]
    peak, last = peak_against_last(hill)
    assert np.mean(peak - last) > 2.5
    peak, last = peak_against_last(permute_points(hill, seed=1))
    assert abs(np.mean(peak - last)) < 0.5, "the null has no peak"


def test_permuting_keeps_each_seeds_values():
    grid = np.arange(21.0).reshape(7, 3)
    moved = permute_points(grid, seed=0)
    assert np.array_equal(np.sort(moved, axis=0), grid) and not np.array_equal(moved, grid)
