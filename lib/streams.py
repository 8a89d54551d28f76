"""Random streams with names: one seed, and a word for each thing that is drawn.

A stream depends on its seed and its name alone. Another draw, in another stream, changes nothing in it; sums of seeds
collide (seed 3 of step 1 is seed 1 of step 3), names do not.

>>> stream(0, "scanner", 7).integers(100, size=3).tolist() == stream(0, "scanner", 7).integers(100, size=3).tolist()
True
>>> bool(stream(0, "scanner", 7).random() == stream(0, "report", 7).random())
False
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_seed(seed: int, *names: str | int) -> int:
    """An integer below 2**63 for the stream ``names`` of ``seed``, for generators that take one (torch's)."""
    said = repr((int(seed), *(name if isinstance(name, str) else int(name) for name in names)))
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "little") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of the stream ``names`` of ``seed``: ``stream(seed, "scanner", scan)``."""
    return np.random.default_rng(stream_seed(seed, *names))
