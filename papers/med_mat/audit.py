"""What Med-MAT's printed numbers say when they are computed with: success rule, sampling error, relations, consistency.

Built from ``paper.yml`` and the two tables in ``papers/med_mat``; no model runs. Used by ``tab_published_audit``.

    audit = combinations_table(rows, frame(paper.published["tab3_combinations"]), sizes)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from papers.med_mat.compositional import accuracy_error, gain_error, gains, implied_test_size, passes
from papers.med_mat.data.published import PublishedRow
from papers.med_mat.data.registry import Registry
from papers.med_mat.data.selection import related, unrelated

# Section 2 of the paper names 13:11 and 11:13 for subsets 03 and 28. Subset -> family where a reading of the printed
# labels departs from the family column, which follows Appendix B.1 (COVID, cancer and tuberculosis are States).
READINGS: dict[str, dict[str, str]] = {
    "State holds COVID, cancer, TB (family column)": {},
    "COVID and TB are Diseases": {"03": "Diseases", "28": "Diseases", "30": "Diseases"},
    "family column, teeth (09) are Diseases": {"09": "Diseases"},
}


def frame(table: Any) -> pd.DataFrame:
    """A published table (``rows``: name -> values, ``columns``) as a frame of floats."""
    return pd.DataFrame.from_dict(table.rows, orient="index", columns=table.columns, dtype=float)


def baselines(tab1: pd.DataFrame, tab2: pd.DataFrame) -> pd.Series:
    """Baseline of every classification subset in Tables 1 and 2, by subset number."""
    return pd.concat([tab1.loc["Baseline"], tab2.loc["Baseline"]])


def test_sizes(rows: Sequence[PublishedRow], repeats: pd.DataFrame) -> dict[str, int]:
    """Implied number of test questions of each target that Table 9 repeats, by subset number (baseline and three runs).

    Two rows of one target are read together. Raises no error when nothing fits: the target is left out.
    """
    printed: dict[str, list[float]] = {}
    for row in rows:
        if row.repeated_as:
            values = repeats.loc[row.repeated_as, ["Baseline", "run 1", "run 2", "run 3"]]
            printed.setdefault(row.target.no, []).extend(values)
    sizes = {no: implied_test_size(values) for no, values in printed.items()}
    return {no: size for no, size in sizes.items() if size is not None}


def combinations_table(
    rows: Sequence[PublishedRow], printed: pd.DataFrame, sizes: Mapping[str, int], *, assumed: int
) -> pd.DataFrame:
    """Table 3 with everything computed from it, one row a combination.

    ``gain`` over the better baseline in points; ``error``: binomial standard error of Trained; ``gain_error``: of the
    gain; ``questions``: the implied test size, ``assumed`` where Table 9 says nothing (``implied`` is False there).
    """
    table = printed.loc[[row.row for row in rows]].copy()
    table.insert(0, "type", [row.direction_type for row in rows])
    table.insert(1, "target", [row.target.no for row in rows])
    arms = [table[name] for name in ("Trained", "Baseline", "Baseline+")]
    table["gain"], table["passes"] = gains(*arms), passes(*arms)
    table["mark"] = [row.mark for row in rows]
    table["implied"] = [row.target.no in sizes for row in rows]
    table["questions"] = [sizes.get(row.target.no, assumed) for row in rows]
    table["error"] = accuracy_error(table["Trained"], table["questions"])
    better = table[["Baseline", "Baseline+"]].max(axis=1)
    table["gain_error"] = gain_error(table["Trained"], better, table["questions"])
    return table


def by_type(table: pd.DataFrame) -> pd.DataFrame:
    """Successes, rows and mean accuracies of each direction type of :func:`combinations_table`, and of all rows."""
    arms = ["Baseline", "Baseline+", "Trained"]
    groups = [(kind, part) for kind, part in table.groupby("type", sort=False)] + [("all", table)]
    lines = {kind: [part["passes"].sum(), len(part), *part[arms].mean()] for kind, part in groups}
    return pd.DataFrame.from_dict(lines, orient="index", columns=["successes", "rows", *arms])


def by_target(table: pd.DataFrame) -> pd.DataFrame:
    """Mean gain and success share of each target: the rows of one target are not independent."""
    grouped = table.groupby("target")
    return pd.DataFrame({"rows": grouped.size(), "gain": grouped["gain"].mean(), "passes": grouped["passes"].mean()})


def beyond_error(table: pd.DataFrame) -> pd.DataFrame:
    """How many successes are larger than their sampling error: where Table 9 implies the test size, and over all rows."""
    passing = table[table["passes"]]
    lines = {}
    for name, part in (("implied test size", passing[passing["implied"]]), ("implied or assumed size", passing)):
        gain, error, both = part["gain"], part["error"], part["gain_error"]
        lines[name] = [len(part), (gain > error).sum(), (gain > both).sum(), (gain > 1.96 * both).sum()]
    columns = ["successes", "> 1 s.e. of Trained", "> 1 s.e. of the gain", "> 1.96 s.e. of the gain"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)


def gain_panels(table: pd.DataFrame) -> dict[str, list[tuple[str, tuple[float, float, float]]]]:
    """Panels of a forest figure: one direction type a panel, one row a line, 95 % of both test sets; * size assumed."""
    panels = {}
    for kind, part in table.groupby("type", sort=False):
        panels[f"{kind} ({part['passes'].sum()} of {len(part)})"] = [
            (
                f"{name[:2]} on {line.target}{'' if line.implied else ' *'}",
                (line.gain, line.gain - 1.96 * line.gain_error, line.gain + 1.96 * line.gain_error),
            )
            for name, line in part.iterrows()
        ]
    return panels


def rises(tables: Mapping[str, pd.DataFrame]) -> pd.Series:
    """In how many rows of the other tables the trained model is above its baseline, as "7 of 9"."""
    found = {
        "1, multi-task above single-task": tables["tab1_id"].loc[["Multi-task", "Single-task"]].T,
        "2, multi-task above baseline": tables["tab2_ood"].loc[["Multi-task", "Baseline"]].T,
        "10, triples": tables["tab10_triples"][["Trained", "Baseline"]],
    }
    for table, names in {
        "tab11_tab12_backbones": ("Qwen2-VL", "Llama-3.2-Vision"),
        "tab13_tab14_detection_helps": ("NEXT-Chat", "MiniGPT-v2"),
    }.items():
        numbers = table.split("_")[0][3:], table.split("_")[1][3:]
        for number, name in zip(numbers, names, strict=True):
            found[f"{number}, {name}"] = tables[table][[f"{name} Trained", f"{name} Baseline"]]
    counts = {name: f"{passes(*pair.to_numpy().T).sum()} of {len(pair)}" for name, pair in found.items()}
    gain = tables["tab15_huatuogpt_vision"]["gain"]
    return pd.Series(counts | {"15, HuatuoGPT-Vision": f"{(gain > 0).sum()} of {len(gain)}"}, name="rises")


def relation_counts(registry: Registry, targets: Sequence[str], printed: pd.DataFrame) -> pd.DataFrame:
    """Related : Unrelated of ``targets`` among the other ID subsets under each reading of the labels, and as printed."""
    lines = {}
    for reading, moved in READINGS.items():
        pool = [replace(s, family=moved.get(s.no, s.family)) for s in registry.role("ID")]
        by_no = {subset.no: subset for subset in pool}
        lines[reading] = [
            f"{len(related(by_no[no], pool))}:{len(unrelated(by_no[no], pool))}" for no in targets
        ]  # the target is in the pool and is left out there
    lines["printed"] = ["{:.0f}:{:.0f}".format(*printed.loc[f"Subset {no}"]) for no in targets]
    return pd.DataFrame.from_dict(lines, orient="index", columns=list(targets))


def shared_images(rows: Sequence[PublishedRow], registry: Registry) -> list[PublishedRow]:
    """Rows of which every choice of members holds an image set of the target, so that test images may be trained on."""
    return [
        row
        for row in rows
        if row.fits and all(any(registry.images_in_common(s, row.target) for s in members) for members in row.fits)
    ]


def repeats_table(repeats: pd.DataFrame, *, decimals: int = 2) -> pd.DataFrame:
    """Table 9 recomputed: mean and SD (n - 1) of the three runs, whether they round to what is printed, test size, error."""
    runs = repeats[["run 1", "run 2", "run 3"]]
    mean, sd = runs.mean(axis=1), runs.std(axis=1, ddof=1)
    step = 1.01 * 10.0**-decimals  # the runs are rounded themselves
    same = (mean - repeats["mean"]).abs().le(step) & (sd - repeats["SD"]).abs().le(step)
    sizes = [implied_test_size(row) for row in repeats[["Baseline", "run 1", "run 2", "run 3"]].to_numpy()]
    size = np.array([np.nan if n is None else n for n in sizes])
    error = [accuracy_error(m, n)[0] if np.isfinite(n) else np.nan for m, n in zip(mean, size, strict=True)]
    return pd.DataFrame({"mean": mean, "SD": sd, "as printed": same, "questions": size, "standard error": error})


def disagreements(rows: Sequence[PublishedRow], tables: Mapping[str, pd.DataFrame], known: pd.Series) -> list[str]:
    """One sentence a row whose printed Baseline is not that of its target in Tables 1 and 2."""
    said = []
    for row in rows:
        printed, elsewhere = tables[row.table].loc[row.row, "Baseline"], known[row.target.no]
        if printed != elsewhere:
            said.append(f"{row.table}, {row.row}: Baseline {printed:g}, subset {row.target.no} has {elsewhere:g}")
    return said
