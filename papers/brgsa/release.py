"""The authors' released scores, table by table: what can be recomputed from a clone of their repository.

In use:

    released = load_all("BrgSA"); measure(released.sets, resamples=1000)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.files import DataError
from lib.data.scored_set import ScoredSet
from lib.evaluation.classification import OVERALL_MACRO, bootstrap_auc, macro_auc, summarise_bootstrap
from papers.brgsa import released_scores

VARIANTS = ("mean", "vt", "v^t", "vt^", "v^t^")
RESOLUTIONS = ("112x112x64", "112x112x112", "224x224x64", "224x224x112")


@dataclass(frozen=True)
class Released:
    """Scored sets by table name, and what to tell the reader about those that are not there."""

    sets: dict[str, ScoredSet]
    said: list[str]


def _wanted(root: Path, ct_rate_labels: str) -> dict:
    rad, load = "RAD-ChestCT, 16 labels", released_scores.load_rad_chestct
    wanted = {"CT-RATE-LT, 15 labels": lambda: released_scores.load_ct_rate_lt(root)}
    wanted |= {f"{rad}, {v}": lambda v=v: load(root, variant=v) for v in VARIANTS}
    wanted |= {f"{rad}, {r}": lambda r=r: load(root, resolution=r) for r in RESOLUTIONS}
    wanted[f"{rad}, negative prompts subtracted"] = lambda: load(root, subtract_negative=True)
    wanted["RAD-ChestCT, 56 further labels"] = lambda: released_scores.load_rad_chestct_rest(root)
    if ct_rate_labels:
        path = Path(ct_rate_labels)
        wanted |= {
            f"CT-RATE, 18 labels, {v}": lambda v=v: released_scores.load_ct_rate(root, path, variant=v)
            for v in VARIANTS
        }
    return wanted


def load_all(brgsa_root: str, *, ct_rate_labels: str = "") -> Released:
    """Every table of the release under ``brgsa_root``; empty with one clear sentence when no root is given.

    Raises :class:`DataError` when the root does not exist or a file in it is damaged.
    """
    if not brgsa_root:
        return Released(
            {}, ["Skipped: no brgsa_root given. Clone the authors' repository and set brgsa_root to its folder."]
        )
    root = Path(brgsa_root).expanduser()
    if not (root / "Performance").is_dir():
        raise DataError(f"{root} has no folder 'Performance'; brgsa_root must be a clone of the authors' repository.")
    sets = {name: load() for name, load in _wanted(root, ct_rate_labels).items()}
    return Released(sets, [f"{name}: {len(s.names)} volumes, {len(s.classes)} labels" for name, s in sets.items()])


def _patients(names: tuple[str, ...]) -> list[str]:
    """Patient of each volume: split and number of a CT-RATE name; a RAD-ChestCT name is a patient."""
    return ["_".join(name.split("_")[:2]) for name in names]


def measure(sets: dict[str, ScoredSet], *, resamples: int) -> pd.DataFrame:
    """Macro AUC of each table with its patient-clustered 95 % interval: columns mean, low, high, volumes, labels."""
    rows = {}
    for name, scored in sets.items():
        samples = bootstrap_auc(scored.labels, scored.scores, resamples=resamples, clusters=_patients(scored.names))
        interval = summarise_bootstrap(samples, names=scored.classes).loc[OVERALL_MACRO]
        auc = macro_auc(scored.labels, scored.scores)
        low, high = interval["low"], interval["high"]
        rows[name] = {
            "mean": auc,
            "low": low,
            "high": high,
            "volumes": len(scored.names),
            "labels": len(scored.classes),
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high", "volumes", "labels"])


def permuted(sets: dict[str, ScoredSet], *, seed: int) -> pd.Series:
    """Macro AUC of each table with its label rows permuted over volumes: the null."""
    rng = np.random.default_rng(seed)
    found = {name: macro_auc(s.labels[rng.permutation(len(s.names))], s.scores) for name, s in sets.items()}
    return pd.Series(found, name="labels permuted", dtype=float)
