"""What a study hands to the functions that build its artefacts, without any being built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.workflow import session


def handed(monkeypatch, made: Path) -> list[tuple[Callable, dict[str, Any]]]:
    """(function, arguments) of everything that a run asks for from now on; each artefact is the folder ``made``."""
    asked: list[tuple[Callable, dict[str, Any]]] = []

    def build_all(function, many, **_):
        asked.extend((function, one) for one in many)
        return [made] * len(many)

    monkeypatch.setattr(session.cache, "build_all", build_all)
    return asked
