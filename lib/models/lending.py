"""A base that is loaded once and lent to one fit or measurement after another, each with adapters of its own.

with lend(base, adapter=tuned, quantisation="nf4") as (model, tokenizer): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.models import causal_lm


@lru_cache(maxsize=1)
def _kept(source: str, written: int, options: tuple):
    model, tokenizer = causal_lm.load(source, **dict(options))
    return model.requires_grad_(False), tokenizer


@contextmanager
def lend(source: str | Path, *, adapter: str | Path | None = None, **options: Any) -> Iterator[tuple[Any, Any]]:
    """(model in eval mode, tokenizer) of :func:`causal_lm.load`; the base is frozen, and kept for who asks for the same next.

    ``adapter`` is on it for the time being. Who puts adapters of his own on it takes them off again (``unload()``) and leaves
    its weights alone. After an error nothing is kept. ``options``: of :func:`causal_lm.load`.
    """
    files = Path(source).iterdir() if Path(source).is_dir() else ()
    written = max((file.stat().st_mtime_ns for file in files), default=0)
    given = {name: value for name, value in options.items() if value is not None}
    model, tokenizer = _kept(str(source), written, tuple(sorted(given.items())))
    try:
        used = model if adapter is None else causal_lm.with_adapter(model, adapter, trainable=False)
        yield used.eval(), tokenizer
    except BaseException:
        _kept.cache_clear()
        raise
    if adapter is not None:
        used.unload()
