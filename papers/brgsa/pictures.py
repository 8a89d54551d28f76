"""Points for pictures that a table cannot replace.

>>> stacked([0.1, 0.1, 0.9], bins=2, ends=(0, 1)).tolist()
[[0.25, 1.0], [0.25, 2.0], [0.75, 1.0]]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def stacked(values: ArrayLike, *, bins: int, ends: tuple[float, float]) -> np.ndarray:
    """A histogram with a point a value: (N, 2), the middle of its bin and its place in the stack, 1 at the bottom.

    ``ends``: lower and upper end of the axis, cut into ``bins``; what lies outside goes into the first or the last.
    """
    low, high = ends
    width = (high - low) / bins
    place = np.clip(((np.asarray(values, dtype=np.float64) - low) / width).astype(int), 0, bins - 1)
    height, found = np.zeros(bins, dtype=int), []
    for one in place:
        height[one] += 1
        found.append((low + (one + 0.5) * width, height[one]))
    return np.array(found, dtype=np.float64)
