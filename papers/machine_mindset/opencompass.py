"""OpenCompass result summaries (one CSV a model) as one tidy table, and the benchmark averages behind a paper's table.

Machine Mindset released 16 of them, one for each English MBTI model. Traps handled here: a missing score is ``-``, a
spreadsheet turned three version hashes into numbers (``7.70E+06``), averages stand between the subjects they average,
and one file has a row the others lack. Used by the Machine Mindset notebooks.

    benchmark_table(read_results(run.source("results") / "results")).loc["ENFJ", "C-Eval"]      # 29.309
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.files import DataError, read_csv, to_number

BENCHMARKS = ("C-Eval", "CMMLU", "MMLU", "AGIEval", "GAOKAO", "GSM8K", "MATH")

# Prefix of a benchmark's subjects, and how many subjects a complete file has.
_SUBJECTS = {
    "C-Eval": ("ceval-", 52),
    "CMMLU": ("cmmlu-", 67),
    "MMLU": ("lukaemon_mmlu_", 57),
    "AGIEval": ("agieval-", 21),
    "GAOKAO": ("GaokaoBench_", 32),
}
_SINGLE = {"gsm8k": "GSM8K", "math": "MATH"}
_OVERALL = {"ceval": "C-Eval", "cmmlu": "CMMLU", "mmlu": "MMLU", "agieval": "AGIEval", "GaokaoBench": "GAOKAO"}

# GAOKAO-Bench averages its 14 subsets that have an answer key, each weighted by the points it is worth; the other 18
# are open questions that a parser cannot mark and that score 0 in every file. Points: OpenCompass,
# summarizers/groups/GaokaoBench.py.
GAOKAO_POINTS = {
    "GaokaoBench_2010-2022_Math_II_MCQs": 1090,
    "GaokaoBench_2010-2022_Math_I_MCQs": 1070,
    "GaokaoBench_2010-2022_History_MCQs": 1148,
    "GaokaoBench_2010-2022_Biology_MCQs": 900,
    "GaokaoBench_2010-2022_Political_Science_MCQs": 1280,
    "GaokaoBench_2010-2022_Physics_MCQs": 384,
    "GaokaoBench_2010-2022_Chemistry_MCQs": 744,
    "GaokaoBench_2010-2013_English_MCQs": 105,
    "GaokaoBench_2010-2022_Chinese_Modern_Lit": 261,
    "GaokaoBench_2010-2022_English_Fill_in_Blanks": 900,
    "GaokaoBench_2012-2022_English_Cloze_Test": 260,
    "GaokaoBench_2010-2022_Geography_MCQs": 380,
    "GaokaoBench_2010-2022_English_Reading_Comp": 940,
    "GaokaoBench_2010-2022_Chinese_Lang_and_Usage_MCQs": 240,
}

_HASH = re.compile(r"[0-9a-f]{6}")


def _benchmark(dataset: str) -> str | None:
    """The benchmark of the README table to which a row belongs, averages included; ``None`` for any other."""
    if dataset in _SINGLE or dataset in _OVERALL:
        return _SINGLE.get(dataset) or _OVERALL[dataset]
    for name, (prefix, _) in _SUBJECTS.items():
        if dataset.startswith(prefix) or dataset.startswith(
            f"{name.lower()}-"
        ):  # "mmlu-stem" averages "lukaemon_mmlu_..."
            return name
    return None


def _read_one(path: Path) -> pd.DataFrame:
    table = read_csv(path, columns=["dataset", "version", "metric", "mode"])
    if len(table.columns) != 5:
        raise DataError(f"{path} has {len(table.columns) - 4} model columns where one is expected; split the file")
    model = table.columns[4]
    if not model.endswith(f"_{path.stem}"):
        raise DataError(f"{path} holds the scores of '{model}', not of {path.stem}; rename the file")
    repeated = table["dataset"].duplicated()
    if repeated.any():
        raise DataError(
            f"{path}, line {table.index[repeated][0]} repeats the dataset '{table['dataset'][repeated].iloc[0]}'; "
            f"delete one of the two rows"
        )
    scores = []
    for line, dataset, text in zip(table.index, table["dataset"], table[model], strict=True):
        try:
            score = np.nan if text == "-" else to_number(text)
        except ValueError:
            score = -1.0
        if not (np.isnan(score) and text == "-") and not 0 <= score <= 100:
            raise DataError(
                f"{path}, line {line}, dataset '{dataset}' holds '{text}', neither a percentage nor '-'; "
                f"fetch the file again"
            )
        scores.append(score)
    return table.iloc[:, :4].assign(type=path.stem, score=scores).reset_index(drop=True)


def read_results(folder: Path) -> pd.DataFrame:
    """The result CSVs of a folder (``ENFJ.csv`` ...), one row a model and dataset.

    Columns: ``type``, ``dataset``, ``benchmark`` (one of ``BENCHMARKS`` or NaN), ``average`` (an average over other
    rows), ``version`` (hash of the dataset's prompt; NaN where none), ``metric`` and ``mode`` (NaN where missing),
    ``score`` (per cent, 0 to 100; NaN where missing). A mangled version is replaced by the one hash the other files
    agree on. Raises :class:`DataError` naming file and line.
    """
    paths = sorted(Path(folder).glob("*.csv"))
    if not paths:
        raise DataError(f"no result CSV is in {folder}; fetch the released results first")
    frame = pd.concat([_read_one(path) for path in paths], ignore_index=True)
    frame["benchmark"] = frame["dataset"].map(_benchmark)
    # An average carries its kind in the metric column and no version; a subject that failed has '-' in both.
    frame["average"] = frame["metric"].isin(["naive_average", "weighted_average"])
    intact = frame["version"].where(frame["version"].str.fullmatch(_HASH.pattern))
    known = intact.groupby(frame["dataset"]).agg(lambda hashes: sorted(set(hashes.dropna())))
    for dataset, hashes in known.items():
        if len(hashes) > 1:
            raise DataError(
                f"the files disagree on the version of '{dataset}' ({', '.join(hashes)}); compare like with like"
            )
    one = known.map(lambda hashes: hashes[0] if hashes else np.nan)
    frame["version"] = intact.where(intact.notna() | (frame["version"] == "-"), frame["dataset"].map(one))
    frame[["metric", "mode"]] = frame[["metric", "mode"]].replace("-", np.nan)
    return frame[["type", "dataset", "benchmark", "average", "version", "metric", "mode", "score"]]


def benchmark_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The README's table from the subjects' rows: types as index, ``BENCHMARKS`` as columns, per cent, unrounded.

    C-Eval, CMMLU, MMLU and AGIEval: unweighted mean over subjects. GAOKAO: mean weighted by ``GAOKAO_POINTS``. GSM8K
    and MATH: their own row (``agieval-math`` is another test). A missing score makes the cell NaN, a missing row is a
    :class:`DataError`.
    """
    subjects = frame[~frame["average"]]
    table = pd.DataFrame(index=pd.Index(sorted(frame["type"].unique()), name="type"), columns=BENCHMARKS, dtype=float)
    for (type_, name), rows in subjects.groupby(["type", "benchmark"]):
        score = rows.set_index("dataset")["score"]
        expected = _SUBJECTS[name][1] if name in _SUBJECTS else 1
        if len(score) != expected:
            raise DataError(
                f"{type_}.csv has {len(score)} {name} rows where {expected} make the average; fetch it again"
            )
        if name == "GAOKAO":
            points = pd.Series(GAOKAO_POINTS, dtype=float)
            score = score.reindex(points.index) * points / points.sum()
            table.loc[type_, name] = score.sum(skipna=False)
        else:
            table.loc[type_, name] = score.mean(skipna=False)
    empty = {(t, b) for t in table.index for b in BENCHMARKS} - set(subjects.groupby(["type", "benchmark"]).groups)
    if empty:
        type_, name = sorted(empty)[0]
        raise DataError(f"{type_}.csv has no {name} row; fetch it again")
    return table


def written_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table from the averages OpenCompass wrote (two decimals), which is what the README prints."""
    rows = frame[frame["dataset"].isin([*_OVERALL, *_SINGLE])]
    return rows.pivot(index="type", columns="benchmark", values="score")[list(BENCHMARKS)].rename_axis(columns=None)


def agrees(rebuilt: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """Whether each rebuilt cell can be the printed one: both missing, or no further apart than rounding allows.

    An average printed to two decimals may be 0.005 off, and so may an average of subjects that were themselves
    printed to two decimals: together 0.01. Two of the 112 cells (CMMLU of ESFJ, GAOKAO of ISTP) need it, by one in
    the last digit.
    """
    printed = printed.loc[rebuilt.index, rebuilt.columns]
    return (rebuilt.isna() & printed.isna()) | ((rebuilt - printed).abs() <= 0.01 + 1e-9)


def written_averages(frame: pd.DataFrame) -> pd.DataFrame:
    """Every average OpenCompass wrote (two decimals): types as index, a column each (``mmlu-weighted`` ...)."""
    return frame[frame["average"]].pivot(index="type", columns="dataset", values="score")
