"""Models tuned on law beside the general ones they came from, and beside more capable ones: arms made of released scores.

Scores are frames of models by tasks (:func:`lawbench.read_scores`), an arm is one value a task. What each of the 51 models was
tuned from is ``lawbench_models.csv`` (README_EN of the benchmark): ``group`` is law, chinese or multilingual, ``tuned`` is 1
after instruction tuning, ``base`` the model in the table that it was tuned from, if that one was scored too.

>>> best_of_choices(pd.DataFrame({"t": [0.9, 0.5, 0.1]}), pd.DataFrame({"t": [0.6, 0.3, 0.0]}), size=2).round(6).tolist()
[0.5]
"""

from __future__ import annotations

from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.files import DataError, read_csv

GROUPS = ("law", "chinese", "multilingual")


def read_models(facts: Path, scored: pd.Index) -> pd.DataFrame:
    """The models by name: group, size in billions (NaN: not told), ``tuned``, ``base`` (``""``: none in the table).

    ``scored``: the models of the score table, which must be the same. Raises :class:`DataError` naming the model otherwise, for
    an unknown group, and for a base that is not in the table.
    """
    path = Path(facts) / "lawbench_models.csv"
    table = read_csv(path, key="model", columns=["group", "billions", "tuned", "base", "base_named"])
    if different := sorted(set(table.index) ^ set(scored)):
        raise DataError(
            f"{path} and the scores differ in the model '{different[0]}'; give it a row, or take the row out."
        )
    for name, row in table.iterrows():
        if row["group"] not in GROUPS or row["tuned"] not in ("0", "1"):
            raise DataError(
                f"{path}, model '{name}': group '{row['group']}', tuned '{row['tuned']}'; give one of {GROUPS}, 0 or 1."
            )
        if row["base"] and row["base"] not in table.index:
            raise DataError(
                f"{path}, model '{name}': the base '{row['base']}' has no row; leave it empty if it was not scored."
            )
    return table.assign(tuned=table["tuned"] == "1", billions=pd.to_numeric(table["billions"].replace("", np.nan)))


def tuned_in(models: pd.DataFrame, group: str) -> list[str]:
    """The instruction-tuned models of a group, in the order of the list."""
    return list(models.index[(models["group"] == group) & models["tuned"]])


def pairs(models: pd.DataFrame, group: str) -> list[tuple[str, str]]:
    """(tuned model, the model it was tuned from) of a group, where both were scored."""
    return [(name, models.at[name, "base"]) for name in tuned_in(models, group) if models.at[name, "base"]]


def arms(zero_shot: pd.DataFrame, one_shot: pd.DataFrame, models: pd.DataFrame) -> dict[str, pd.Series]:
    """The arms of N1 to N3 by name, a zero-shot score a task each, and every general model of the API by its own name.

    ``law_tuned`` and ``own_base`` are means over the models tuned on law whose base was scored, ``general_tuned`` and
    ``own_base_of_general`` over the tuned Chinese ones. ``best_law_tuned`` is picked by the one-shot scores, task by task, and
    ``best_of_as_many_general`` is what the best of as many tuned Chinese ones is worth.
    """
    law, general = tuned_in(models, "law"), tuned_in(models, "chinese")
    (law_on, law_from), (general_on, general_from) = (
        zip(*pairs(models, group), strict=True) for group in ("law", "chinese")
    )
    mean = {"law_tuned": law_on, "own_base": law_from, "general_tuned": general_on, "own_base_of_general": general_from}
    return {
        **{arm: zero_shot.loc[list(names)].mean() for arm, names in mean.items()},
        "best_law_tuned": best_of(one_shot.loc[law], zero_shot.loc[law]),
        "best_of_as_many_general": best_of_choices(one_shot.loc[general], zero_shot.loc[general], size=len(law)),
        **{model: zero_shot.loc[model] for model in models.index[models["billions"].isna()]},
    }


def without_one(values: pd.Series, sources: list[str]) -> pd.Series:
    """The mean of the values without each source in turn, lowest first: how much of it one source makes."""
    left = {source: values[[one != source for one in sources]].mean() for source in dict.fromkeys(sources)}
    return pd.Series(left).sort_values()


def best_of(picking: pd.DataFrame, judging: pd.DataFrame) -> pd.Series:
    """For each task the judged score of the model that is best by the picking scores; both frames have the same models.

    Equal ones: the first by name. The picked models' names are :func:`picked`.
    """
    names = picked(picking)
    return pd.Series({task: judging.at[name, task] for task, name in names.items()})


def picked(picking: pd.DataFrame) -> pd.Series:
    """The best model of each task."""
    return picking.sort_index().idxmax()


def best_of_choices(picking: pd.DataFrame, judging: pd.DataFrame, *, size: int) -> pd.Series:
    """As :func:`best_of`, but the mean over all choices of ``size`` of the models: what the best of as many is worth.

    Of n models ranked by the picking score, the one of rank r (from 1) is the best of C(n - r, size - 1) choices.
    """
    count = len(picking)
    if not 1 <= size <= count:
        raise DataError(f"the best of {size} of {count} models cannot be taken; choose from 1 to {count}.")
    weights = np.array([comb(count - rank, size - 1) for rank in range(1, count + 1)]) / comb(count, size)
    ranked = {
        task: judging[task][picking.sort_index()[task].sort_values(ascending=False, kind="stable").index]
        for task in picking
    }
    return pd.Series({task: float(scores.to_numpy() @ weights) for task, scores in ranked.items()})
