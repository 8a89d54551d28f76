"""Training mixes: exact shares of several sources at a stated total, shuffled by a seed; as rows, and as a file of rows.

Apart from the plan (:mod:`papers.long_context.study`): its source is part of every tuned model's cache key, and a
changed plan must not retrain.

>>> rows = mix_datasets({"general": "a" * 99, "medical": "b" * 99}, shares={"general": 9, "medical": 1}, total=20, seed=0)
>>> "".join(rows).count("b")
2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError, write_json_lines
from lib.data.instructions import read_alpaca


def apportion(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Rows of each source: proportional to its share, summing to ``total`` exactly (largest remainders, then order).

    Shares need not sum to one; a share of 0 gives no row.
    """
    if total < 1 or not shares or min(shares.values()) < 0 or sum(shares.values()) <= 0:
        raise DataError(
            f"shares {dict(shares)} and a total of {total}: give shares >= 0, one above 0, and a total >= 1."
        )
    exact = {name: total * share / sum(shares.values()) for name, share in shares.items()}
    counts = {name: int(np.floor(value + 1e-9)) for name, value in exact.items()}
    ranked = sorted(exact, key=lambda name: counts[name] - exact[name])  # the largest remainder first; sorted is stable
    for name in ranked[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def draw(rows: Sequence[Any], count: int, *, rng: np.random.Generator, repeat: bool, name: str = "rows") -> list[Any]:
    """``count`` rows without replacement; with ``repeat`` a source that is too small is gone through again and again.

    No row then comes up more than once oftener than another. Raises :class:`DataError` when rows run out.
    """
    if count and (not rows or (count > len(rows) and not repeat)):
        raise DataError(
            f"{count} rows of '{name}' are wanted and it has {len(rows)}; lower the total or allow repeats."
        )
    whole, rest = divmod(count, len(rows)) if rows else (0, 0)
    order = [*list(range(len(rows))) * whole, *rng.permutation(len(rows))[:rest]]
    return [rows[i] for i in order]


def mix_datasets(
    sources: Mapping[str, Sequence[Any]],
    *,
    shares: Mapping[str, float],
    total: int,
    seed: int,
    repeat: bool = False,
) -> list[Any]:
    """``total`` rows drawn from ``sources`` by ``shares`` and shuffled; the same seed gives the same rows in the same order.

    Paper: long_context mixes general and medical rows 9:1 ... 1:9 at a fixed total (Table 4); Aurora concatenates whole
    sets, which is ``shares`` equal to their sizes.
    """
    if set(sources) != set(shares):
        raise DataError(
            f"shares name {', '.join(sorted(shares))} and sources {', '.join(sorted(sources))}; name the same."
        )
    rng = np.random.default_rng(seed)
    counts = apportion(shares, total)
    mixed = [row for name in sources for row in draw(sources[name], counts[name], rng=rng, repeat=repeat, name=name)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


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
        if pool > len(sources["medical"]):
            raise DataError(f"{medical} has {len(sources['medical'])} rows and a pool of {pool} is wanted; lower it.")
        sources["medical"] = [sources["medical"][i] for i in rng.permutation(len(sources["medical"]))[:pool]]
    named = dict(zip(sources, shares, strict=True))
    write_json_lines(folder / "rows.jsonl", mix_datasets(sources, shares=named, total=total, seed=seed, repeat=True))
