"""Whether a letter of a personality type moves a score: exact paired tests over types that differ in that letter only.

Sixteen models, one for each MBTI type, make eight pairs an axis. Used by the Machine Mindset notebooks.

>>> matched_pairs(["ENFJ", "INFJ", "ESFJ"], "energy")
[('ENFJ', 'INFJ')]
"""

from __future__ import annotations

import pandas as pd

from lib.evaluation import EvaluationError
from lib.evaluation.statistics import sign_flip_test

# Axis -> its place in the type's name is the order here; the contrast is first pole minus second.
AXES: dict[str, str] = {"energy": "EI", "information": "SN", "decision": "TF", "execution": "JP"}


def matched_pairs(types: list[str], axis: str) -> list[tuple[str, str]]:
    """The pairs (type with the first pole, type with the second) that differ in one letter, both in ``types``."""
    if axis not in AXES:
        raise EvaluationError(f"there is no axis '{axis}'; use one of {', '.join(AXES)}")
    place = list(AXES).index(axis)
    first, second = AXES[axis]
    for name in types:
        if len(name) != len(AXES) or any(
            letter not in poles for letter, poles in zip(name, AXES.values(), strict=True)
        ):
            raise EvaluationError(f"'{name}' is no MBTI type; name types by four letters such as INTP")
    present = set(types)
    opposites = ((name, name[:place] + second + name[place + 1 :]) for name in sorted(present) if name[place] == first)
    return [(name, opposite) for name, opposite in opposites if opposite in present]


def letter_contrasts(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Mean difference between the poles of one axis, for each column of ``table`` (types as index, scores as columns).

    Returns one row a column: ``difference`` (first pole minus second, in the column's unit, over matched pairs),
    ``p`` (exact two-sided sign-flip test; with 8 pairs never below 2/256) and ``pairs`` (pairs with a missing score
    are left out). Raises ``EvaluationError`` for an unknown axis, a type that is none or occurs twice, and a column
    without a complete pair.
    """
    if table.index.has_duplicates:
        raise EvaluationError(
            f"the type '{table.index[table.index.duplicated()][0]}' has two rows; keep one row a type"
        )
    pairs = matched_pairs(list(table.index), axis)
    rows = {}
    for column in table.columns:
        differences = pd.Series([table.at[a, column] - table.at[b, column] for a, b in pairs], dtype=float).dropna()
        if differences.empty:
            raise EvaluationError(
                f"column '{column}' has no pair of types that differ in {AXES[axis]} only; add the missing types"
            )
        p = sign_flip_test(differences.to_numpy())
        rows[column] = {"difference": differences.mean(), "p": float(p), "pairs": len(differences)}
    return pd.DataFrame.from_dict(rows, orient="index").astype({"pairs": int})
