"""Tables of the Med-MAT notebooks: accuracies of the arms by combination and by target, and what is counted in them.

Used by the notebooks ``tab3_combinations``, ``tab4_backbones`` and ``tab10_triples``. All accuracies are fractions.

    measured = combination_arms(study, pairs); table = by_pair(pairs, measured); rule_share(table)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lib.evaluation.statistics import binomial_interval, sign_flip_test
from papers.med_mat.data.selection import Subset
from papers.med_mat.scores import accuracies
from papers.med_mat.study import Pair, Study

ARMS = ("baseline", "baseline_plus", "related_pair", "broken_pair", "task_only")


def targets_of(pairs: Sequence[Pair]) -> list[Subset]:
    """The different targets, in order of their first pair."""
    return list({pair.target.no: pair.target for pair in pairs}.values())


def combination_arms(study: Study, pairs: Sequence[Pair], *, arms: Sequence[str] = ARMS, **fitting: Any) -> dict:
    """Scores of the named arms (see :meth:`Study.fit`); arms that know only the target are fitted once a target."""
    targets = targets_of(pairs)
    jobs = {
        "baseline": lambda seed: [study.job({}, [target], seed=seed) for target in targets],
        "baseline_plus": lambda seed: [study.condition_job("baseline_plus", t, seed=seed) for t in targets],
        "task_only": lambda seed: [study.condition_job("task_only", t, seed=seed) for t in targets],
        "related_pair": lambda seed: [study.member_job(pair, seed=seed) for pair in pairs],
        "broken_pair": lambda seed: [study.broken_job(pair, seed=seed) for pair in pairs],
    }
    return study.fit({name: jobs[name] for name in arms}, **fitting)


def by_pair(pairs: Sequence[Pair], scores: Mapping[str, list], *, corrected: bool = False) -> dict[str, np.ndarray]:
    """Accuracy (seeds, pairs) of each arm; what was fitted once a target is repeated for each of its pairs."""
    numbers = [target.no for target in targets_of(pairs)]
    place = [numbers.index(pair.target.no) for pair in pairs]
    found = {name: accuracies(values, corrected=corrected) for name, values in scores.items()}
    return {name: v if v.shape[1] == len(pairs) and name not in _ONCE else v[:, place] for name, v in found.items()}


_ONCE = {"baseline", "baseline_plus", "task_only"}


def table(pairs: Sequence[Pair], arms: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """One row a pair: direction type, target, mean accuracy of each arm over seeds, and the rule's verdict on the means."""
    rows = pd.DataFrame({name: values.mean(0) for name, values in arms.items()}, index=[p.row for p in pairs])
    rows.insert(0, "type", [pair.direction_type for pair in pairs])
    rows.insert(1, "target", [pair.target.no for pair in pairs])
    better = rows[[name for name in ("baseline", "baseline_plus") if name in arms]].max(axis=1)
    rows["gain"] = rows["related_pair"] - better
    rows["passes"] = rows["gain"] > 0
    if "task_only" in arms:
        rows["passes with task-only"] = rows["related_pair"] > np.maximum(better, rows["task_only"])
    return rows


def by_type(rows: pd.DataFrame) -> pd.DataFrame:
    """For each direction type and for all: pairs, how many pass the rule, their share's 95 % interval, mean accuracies."""
    groups = [*rows.groupby("type", sort=False), ("all", rows)]
    lines = {}
    for kind, part in groups:
        low, high = binomial_interval(int(part["passes"].sum()), len(part))
        counts = {"pairs": len(part), "pass": int(part["passes"].sum()), "low": low, "high": high}
        extra = [name for name in ("passes with task-only",) if name in part]
        counts |= {name: int(part[name].sum()) for name in extra}
        lines[kind] = counts | part.select_dtypes("float").mean().to_dict()
    return pd.DataFrame(lines).T


def by_target(rows: pd.DataFrame) -> tuple[pd.Series, float]:
    """Mean gain of each target's pairs and the exact sign-flip p-value over targets: rows that share one count once."""
    gains = rows.groupby("target", sort=False)["gain"].mean()
    return gains, sign_flip_test(gains.to_numpy())


def gains_by_row(
    pairs: Sequence[Pair], arms: Mapping[str, np.ndarray], printed: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Gains over the better baseline (fractions) by direction type and row: printed, ours and the broken pair's (seeds).

    ``printed``: Baseline, Baseline+ and Trained of each row, in percent.
    """
    better = np.maximum(arms["baseline"], arms["baseline_plus"])
    found: dict[str, dict[str, dict[str, Any]]] = {pair.direction_type: {} for pair in pairs}
    for i, pair in enumerate(pairs):
        *baselines, trained = printed[pair.row]
        ours = {name: (arms[arm] - better)[:, i] for name, arm in _SHOWN.items()}
        label = f"{pair.row[:2]} {pair.row.rpartition('-> ')[2]}"
        found[pair.direction_type][label] = {"printed": (trained - max(baselines)) / 100, **ours}
    return found


_SHOWN = {"here": "related_pair", "here, broken pair": "broken_pair"}
