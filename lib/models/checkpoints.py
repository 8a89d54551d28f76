"""Where a checkpoint lies that a profile names: one word for weights of a hub, of a folder of the reader's, and of a package.

``{source: name}`` is a folder of safetensors; ``{source: name, file: x.gguf}`` a file that is converted once.

    model, tokenizer = causal_lm.load(place(run, run.settings["checkpoint"]))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.models import ModelError, gguf


def place(run: Any, told: Mapping[str, str]) -> Path:
    """The folder of a checkpoint or adapter. ``run``: has ``source(name)`` and ``build(function, **arguments)``.

    Raises :class:`ModelError` when ``told`` has no source or another key than ``source`` and ``file``.
    """
    if not isinstance(told, Mapping) or "source" not in told or set(told) - {"source", "file"}:
        raise ModelError(
            f"a checkpoint is told as {told!r}; give {{source: name}}, and perhaps file: a GGUF file in it."
        )
    folder = run.source(told["source"])
    return run.build(gguf.convert, source=folder / told["file"]) if "file" in told else folder
