"""Training mixes: exact shares of several sources at a stated total, shuffled; as rows, and as a file of rows.

Apart from the plan (:mod:`papers.long_context.study`): its source is part of every tuned model's cache key, and a
changed plan must not retrain.

>>> sources, shares = {"general": "a" * 99, "medical": "b" * 99}, {"general": 9, "medical": 1}
>>> rows = mix_datasets(sources, shares=shares, total=20, rng=np.random.default_rng(0))
>>> "".join(rows).count("b")
2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError, write_json_lines
from lib.data.instructions import read_alpaca
from lib.streams import stream


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
    rng: np.random.Generator,
    repeat: bool = False,
) -> list[Any]:
    """``total`` rows drawn from ``sources`` by ``shares`` and shuffled; the same ``rng`` gives the same rows in the same order.

    Paper: general and medical rows 9:1 ... 1:9 at a fixed total (Table 4).
    """
    if set(sources) != set(shares):
        raise DataError(
            f"shares name {', '.join(sorted(shares))} and sources {', '.join(sorted(sources))}; name the same."
        )
    counts = apportion(shares, total)
    mixed = [row for name in sources for row in draw(sources[name], counts[name], rng=rng, repeat=repeat, name=name)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


@lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> list[dict]:
    """Rows of an Alpaca file as it was at the time ``changed``: each is mixed many times, and reading takes longer than that."""
    return read_alpaca(path)


def mix_rows(
    folder: Path,
    *,
    first: Path,
    second: Path,
    shares: Sequence[int],
    total: int,
    seed: int,
    number: int = 0,
    pool: int | None = None,
) -> None:
    """``rows.jsonl``: ``total`` rows of two Alpaca files in exact shares, shuffled; ``pool``: so many different rows of the
    second only. ``number``: of the draw, where one seed makes several of equal mixes."""
    files = {"first": Path(first), "second": Path(second)}
    sources = {name: _read(path, path.stat().st_mtime_ns) for name, path in files.items()}
    if pool is not None:
        if pool > len(sources["second"]):
            raise DataError(f"{second} has {len(sources['second'])} rows and a pool of {pool} is wanted; lower it.")
        kept = stream(seed, "pool", number).permutation(len(sources["second"]))[:pool]
        sources["second"] = [sources["second"][i] for i in kept]
    named = dict(zip(sources, shares, strict=True))
    rng = stream(seed, "mix", number)
    write_json_lines(folder / "rows.jsonl", mix_datasets(sources, shares=named, total=total, rng=rng, repeat=True))
