"""The data of the BrgSA experiments: trees of volumes, prepared volumes, summaries of reports, and the two test sets.

A tree is generated or, when the profile's settings name its ``source``, a real one in the same format. All but the test
sets are cached artefacts.

    tree = trees(run, run.settings, seed=0)["valid"]; summarise(run, tree, "valid", "summary", run.settings)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.data import ct_rate
from lib.data.chest_ct import world as chest_ct_world
from lib.data.files import DataError
from lib.streams import stream_seed
from lib.workflow.session import Run
from papers.brgsa import prepare as prepared
from papers.brgsa import rad_chestct
from papers.brgsa.external import write_external


@dataclass(frozen=True)
class TestSet:
    """A test set in the order of its volumes: names, patients, raw reports, 0/1 labels, prepared volumes."""

    names: list[str]
    patients: list[str]
    reports: list[str]
    labels: pd.DataFrame  # the frequent findings (18 internal, 16 external)
    long_tail: pd.DataFrame | None  # the 15 long-tail findings, internal only
    folder: Path
    tree: Path

    @property
    def volumes(self) -> np.ndarray:
        """(N, X, Y, Z) float16, normalised, memory-mapped."""
        return prepared.read_volumes(self.folder)[0]


def summarise(run: Run, tree: Path, split: str, style: str, settings: dict[str, Any]) -> Path:
    """Summaries of a split's reports; ``style``: summary, quoted (the report's own words for each finding; a chat model, where
    the settings name one, writes both), or noisy."""
    knobs = {"noisy": settings["noise"], "quoted": {"quote": True}}.get(style, {})
    if settings.get("chat") and style != "noisy":
        from papers.brgsa.chat_summariser import summarise_by_chat

        return run.build(summarise_by_chat, tree=tree, split=split, **settings["chat"])
    return run.build(prepared.summarise_by_rule, tree=tree, split=split, **knobs)


def report_pairs(run: Run, tree: Path, folder: Path, style: str, settings: dict[str, Any]) -> Path:
    """Report-volume pairs of the training split; ``style``: summary, quoted, noisy, or raw."""
    listed = summarise(run, tree, "train", "summary" if style == "raw" else style, settings) / "training.json"
    return run.build(prepared.write_pairs, training_json=listed, split="train", prepared=folder, raw=style == "raw")


def prepare_volumes(run: Run, tree: Path, split: str, grid: dict[str, Any]) -> Path:
    """Volumes of a split on one grid (``target_spacing``, ``shape``), normalised."""
    return run.build(prepared.prepare_ct_rate, tree=tree, split=split, **grid)


def trees(run: Run, settings: dict[str, Any], *, seed: int) -> dict[str, Path]:
    """The three trees of one CT-RATE world and the external one, each drawn by its own stream of ``seed``; a tree whose
    settings name a ``source`` is that one for every seed."""
    wanted = settings["trees"]
    found = {name: run.source(tree["source"]) for name, tree in wanted.items() if "source" in tree}
    internal = [name for name in ("pretrain", "train", "valid") if name not in found]
    split = {"pretrain": "train", "train": "train", "valid": "valid"}
    own = {name: {"seed": stream_seed(seed, name), **tree} for name, tree in wanted.items()}
    built = run.build_all(chest_ct_world.write_internal, [{"split": split[n], **own[n]} for n in internal])
    found |= dict(zip(internal, built, strict=True))
    if "external" not in found:
        found["external"] = run.build(write_external, **own["external"])
    return found


def label_file(run: Run, tree: Path, named: str | Path | dict[str, str]) -> Path:
    """A table of labels: below its tree, or ``{source: ..., file: ...}`` where another source holds it."""
    return run.source(named["source"]) / named["file"] if isinstance(named, dict) else tree / named


def _rows(table: pd.DataFrame, names: list[str], path: Path) -> pd.DataFrame:
    """The rows of `names`, in this order; `DataError` names the first volume without one."""
    missing = [name for name in names if name not in table.index]
    if missing:
        raise DataError(f"{path} has no row for {missing[0]} ({len(missing)} of {len(names)} volumes); add them.")
    return table.loc[names]


def internal_test(tree: Path, folder: Path, long_tail: Path) -> TestSet:
    """The internal test set: CT-RATE's validation split, with its frequent findings and those of the table ``long_tail``.

    `DataError` names a volume that a table lacks, or whose report is blank: retrieval and gap need each one's text.
    """
    _, names = prepared.read_volumes(folder)
    path = ct_rate.labels_path(tree, "valid")
    frequent = _rows(ct_rate.read_labels(path, ct_rate.CT_RATE_LABELS), names, path)
    tail = _rows(ct_rate.read_labels(long_tail, ct_rate.CT_RATE_LT_LABELS), names, long_tail)
    path = ct_rate.reports_path(tree, "valid")
    reports = _rows(ct_rate.read_reports(path), names, path)
    text = (reports["Findings_EN"] + " " + reports["Impressions_EN"]).str.strip()
    if (text == "").any():
        blank = list(text.index[text == ""])
        raise DataError(
            f"{path}: {len(blank)} reports are blank, first that of {blank[0]}; take these volumes out of the metadata."
        )
    patients = [ct_rate.parse_volume_name(name).patient_id for name in names]
    return TestSet(names, patients, list(text), frequent, tail, folder, tree)


def external_test(tree: Path, folder: Path, labels: Path) -> TestSet:
    """The external test set: RAD-ChestCT, without reports."""
    _, names = prepared.read_volumes(folder)
    table = _rows(rad_chestct.read_labels(labels), names, labels)
    return TestSet(names, names, [], table, None, folder, tree)
