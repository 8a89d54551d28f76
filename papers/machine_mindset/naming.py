"""Which type a model names, read from what :func:`measures.name_type` wrote: by the likelihood of the codes, or in its reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Asked = Sequence[Mapping[str, Any]]  # the questions of a model, each with ``codes`` (type -> nats) and ``named``


def by_codes(asked: Asked, kind: str) -> np.ndarray:
    """(questions,): 1.0 where the type's code is the likeliest of the sixteen.

    >>> by_codes([{"codes": {"INTJ": -2.0, "ESFP": -1.0}}], "ESFP")
    array([1.])
    """
    return np.array([max(one["codes"], key=one["codes"].get) == kind for one in asked], dtype=float)


def by_reply(asked: Asked, kind: str) -> np.ndarray:
    """(questions,): 1.0 where the first code in the model's own reply is the type's."""
    return np.array([one["named"][:1] == [kind] for one in asked], dtype=float)


def over_types(found: Mapping[str, Mapping[str, Sequence[Asked]]], arm: str, read) -> list[np.ndarray]:
    """Seed -> (questions,): the share of the types (``found``: type -> arm -> seed) that the arm names rightly, by ``read``."""
    seeds = range(len(next(iter(found.values()))[arm]))
    return [np.mean([read(arms[arm][seed], kind) for kind, arms in found.items()], axis=0) for seed in seeds]


def likeliest(found: Mapping[str, Mapping[str, Sequence[Asked]]], arm: str) -> dict[str, str]:
    """Type that a model was tuned to -> the code it gives most to, summed over the first seed's questions."""
    return {
        kind: max(arms[arm][0][0]["codes"], key=lambda code: sum(one["codes"][code] for one in arms[arm][0]))
        for kind, arms in found.items()
    }
