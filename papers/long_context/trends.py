"""Does a quantity rise along an ordered grid, and does an inner point of the grid beat its ends? One value a seed.

Used by the long-context study (general share of a mix, volume of data).

>>> kendall_tau([1, 2, 3], [[0.1, 0.2], [0.2, 0.3], [0.3, 0.1]]).round(2).tolist()                   # one tau a seed
[1.0, -0.33]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lib.evaluation import EvaluationError, finite


def _grid(values: ArrayLike, *, points: int | None = None) -> np.ndarray:
    grid = finite(values, "values", ndim=2)
    if grid.shape[0] < 2 or grid.shape[1] < 1 or (points is not None and grid.shape[0] != points):
        raise EvaluationError(f"values have shape {grid.shape}; give (points of the grid, seeds), two points or more.")
    return grid


def kendall_tau(order: ArrayLike, values: ArrayLike) -> np.ndarray:
    """Kendall's tau-b of ``order`` (P,) and ``values`` (P, S), one a seed (S,); 0 where all values of a seed are equal."""
    from scipy.stats import kendalltau

    places = finite(order, "order", ndim=1)
    grid = _grid(values, points=len(places))
    return np.array([0.0 if np.ptp(column) == 0 else kendalltau(places, column).statistic for column in grid.T])


def peak_against_ends(values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(value at the peak, value at the better end) of each seed; both places are chosen on the *other* seeds.

    ``values`` (P, S), P >= 3, S >= 2. The peak is the best inner point, neither the first nor the last: a grid that only
    falls, or only rises, has none that beats its better end. Chosen on the seed itself a peak would be found in pure noise.
    """
    grid = _grid(values)
    points, seeds = grid.shape
    if seeds < 2 or points < 3:
        raise EvaluationError(
            f"{points} points and {seeds} seeds; an inner peak needs three points, and two seeds to choose it on the others."
        )
    others = (grid.sum(axis=1, keepdims=True) - grid) / (seeds - 1)
    peak = 1 + others[1:-1].argmax(axis=0)
    end = np.where(others[0] >= others[-1], 0, points - 1)
    return grid[peak, np.arange(seeds)], grid[end, np.arange(seeds)]
