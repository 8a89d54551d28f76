"""Where a checkpoint lies that a profile names: one word for weights of a hub, of a folder of the reader's, and of a package.

``{source: name}`` is a folder of safetensors; ``{source: name, file: x.gguf}`` a file that is converted once.

    model, tokenizer = causal_lm.load(place(run, run.settings["checkpoint"]))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

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


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], where: object) -> None:
    """Every weight of ``state`` into ``module``, each name and shape as it has them; :class:`ModelError` names the first that is
    not, and ``where`` it comes from."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing:
        raise ModelError(f"{where} lacks the weight '{missing[0]}' ({len(missing)} in all); it is another model's.")
    if extra:
        raise ModelError(f"{where} has the weight '{extra[0]}' ({len(extra)} in all), which this model does not know.")
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"{where}: the weight '{name}' has shape {tuple(value.shape)} where {tuple(own[name].shape)} is expected; "
                "give the model its sizes."
            )
    module.load_state_dict(state)
