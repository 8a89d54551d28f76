"""Row files of exact mixes of a general and a medical Alpaca file. A module of its own: its source is part of every
tuned model's cache key, and a changed plan must not retrain.

Used by :mod:`papers.long_context.study`. >>> run.build(mix_rows, general=a, medical=b, shares=[9, 1], total=2000, seed=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.data.files import write_json_lines
from lib.data.instructions import read_alpaca
from papers.long_context.mixing import mix_datasets


def mix_rows(
    folder: Path,
    *,
    general: Path,
    medical: Path,
    shares: Sequence[int],
    total: int,
    seed: int,
    pool: int | None = None,
) -> None:
    """``rows.jsonl``: ``total`` rows of the two Alpaca files in exact shares, shuffled; ``pool``: of so many medical rows."""
    sources = {"general": read_alpaca(general), "medical": read_alpaca(medical)}
    rng = np.random.default_rng([seed, 3])
    if pool is not None:
        sources["medical"] = [sources["medical"][i] for i in rng.permutation(len(sources["medical"]))[:pool]]
    named = dict(zip(sources, shares, strict=True))
    write_json_lines(folder / "rows.jsonl", mix_datasets(sources, shares=named, total=total, seed=seed, repeat=True))
