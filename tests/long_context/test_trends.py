"""Trends along a grid: closed forms, and that no peak is found in noise."""

import numpy as np
import pytest

from lib.evaluation import EvaluationError
from papers.long_context.trends import kendall_tau, peak_against_ends


def test_tau_of_each_seed():
    values = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 2.0], [3.0, 1.0, 2.0]])
    assert kendall_tau([0.1, 0.5, 0.9], values).tolist() == [1.0, -1.0, 0.0]
    assert kendall_tau([1, 2, 3, 4], [[1.0], [3.0], [2.0], [4.0]])[0] == pytest.approx(4 / 6)
    with pytest.raises(EvaluationError, match="points of the grid"):
        kendall_tau([1, 2], values)


def test_the_peak_is_an_inner_point_and_the_end_the_better_one_both_chosen_on_the_other_seeds():
    grid = np.array(
        [[7.0, 7.0, 0.0], [0.0, 0.0, 9.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.6]]
    )  # seed 3 alone is high at point 2 and low at the first
    peak, end = peak_against_ends(grid)
    assert peak.tolist() == [0.0, 0.0, 1.0], "seeds 1 and 2 follow seed 3, seed 3 follows them; none takes the first"
    assert end.tolist() == [7.0, 7.0, 0.0], "the first end is better on every pair of others, also for seed 3"
    assert peak_against_ends(grid[::-1])[1].tolist() == [7.0, 7.0, 0.0], "whichever side it stands on"
    for points, seeds in [(4, 1), (2, 3)]:
        with pytest.raises(EvaluationError, match=f"{points} points and {seeds} seeds"):
            peak_against_ends(grid[:points, :seeds])


def test_a_true_peak_is_found_and_neither_noise_nor_a_slope_has_one():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(7, 400))
    peak, end = peak_against_ends(noise)
    assert abs(np.mean(peak - end)) < 0.2
    assert np.mean(noise.max(axis=0) - noise[[0, -1]].max(axis=0)) > 0.7, "chosen on the seed itself it would be found"
    hill = noise + 3 * (np.arange(7) == 3)[:, None]
    assert np.mean(np.subtract(*peak_against_ends(hill))) > 2.5
    slope = np.linspace(1.0, 0.1, 7)[:, None] + 0.03 * rng.normal(size=(7, 5))
    for grid in (slope, slope[::-1]):
        assert np.mean(np.subtract(*peak_against_ends(grid))) < -0.1, "the second best is no peak"
