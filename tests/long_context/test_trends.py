"""Trends along a grid: closed forms, and that no peak is found in noise."""

import numpy as np
import pytest

from lib.evaluation import EvaluationError
from papers.long_context.trends import kendall_tau, peak_against_last, peak_of_permuted


def test_tau_of_each_seed():
    values = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 2.0], [3.0, 1.0, 2.0]])
    assert kendall_tau([0.1, 0.5, 0.9], values).tolist() == [1.0, -1.0, 0.0]
    assert kendall_tau([1, 2, 3, 4], [[1.0], [3.0], [2.0], [4.0]])[0] == pytest.approx(4 / 6)
    with pytest.raises(EvaluationError, match="points of the grid"):
        kendall_tau([1, 2], values)


def test_the_peak_is_an_inner_point_chosen_on_the_other_seeds():
    grid = np.array(
        [[7.0, 7.0, 7.0], [0.0, 0.0, 9.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5]]
    )  # seed 3 alone is high at point 2
    peak, last = peak_against_last(grid)
    assert peak.tolist() == [0.0, 0.0, 1.0], "seeds 1 and 2 follow seed 3, seed 3 follows them; none takes the first"
    assert last.tolist() == [0.5, 0.5, 0.5]
    with pytest.raises(EvaluationError, match="4 points and 1 seeds"):
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


@pytest.mark.parametrize("seed", range(4))
def test_the_null_finds_no_peak_in_a_steep_grid_of_five_seeds(seed):
    """Falling volumes as in the miniature: one random order would find a peak of 0.2 by luck, their mean does not."""
    grid = np.linspace(1.0, 0.1, 7)[:, None] + 0.03 * np.random.default_rng(seed).normal(size=(7, 5))
    peak, last = peak_of_permuted(grid)
    assert peak.shape == last.shape == (5,) and abs(np.mean(peak - last)) < 0.05
    assert np.mean(np.subtract(*peak_against_last(grid))) > 0.5
