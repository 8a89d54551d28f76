"""The training table of CARZero, MIMIC-CXR as its code reads it: frontal views, reports cut into sentences.

One CSV: ``Path``, ``Frontal/Lateral``, ``Split``, ``Report Impression`` (as dictated) and ``xinhuo`` (rewritten). The real one
was never released; who has MIMIC-CXR-JPG writes it in this form.

    studies = read_training(root, text=RAW); studies.sentences[0]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lib.data.files import DataError, positions, read_csv

FOLDER = "Dataset/MIMIC"
TABLE = "mimic-cxr-label-LLM_report-xinhuo-chexpertformat.csv"
VIEW, RAW, REWRITTEN = "Frontal/Lateral", "Report Impression", "xinhuo"
_CUT = re.compile(r"[0-9]+\.|\.")
_WORD = re.compile(r"\w+", re.ASCII)


@dataclass(frozen=True)
class Studies:
    """Images (paths below ``folder``) and the sentences of each one's report, at least one."""

    folder: Path
    files: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]


def sentences(report: str) -> list[str]:
    """Sentences as released: cut at "1." and ".", lower case, ASCII words; those of one word are dropped.

    >>> sentences("1. Mild edema. Clear. 2. No mass")
    ['mild edema', 'no mass']
    """
    words = [_WORD.findall(part.encode("ascii", "ignore").decode().lower()) for part in _CUT.split(report)]
    return [" ".join(one) for one in words if len(one) > 1]


def read_training(root: Path, *, text: str, split: str = "train") -> Studies:
    """Frontal views of a split with the sentences of the column ``text``.

    Raises :class:`DataError` for a missing column, an image listed twice, a view or split with another name, and a report
    without a sentence of two words, naming file and line.
    """
    path = Path(root) / FOLDER / TABLE
    table = read_csv(path, columns=["Path", VIEW, "Split", text])
    positions(table, table["Path"], path)
    for column, known in ((VIEW, ("Frontal", "Lateral")), ("Split", ("train", "valid", "test"))):
        for line, value in table.loc[~table[column].isin(known), column].items():
            raise DataError(f"{path}, line {line}: {column} is '{value}'; write one of {', '.join(known)}.")
    kept = table[(table[VIEW] == "Frontal") & (table["Split"] == split)]
    if not len(kept):
        raise DataError(f"{path} has no frontal view of the split '{split}'; nothing can be trained on it.")
    cut = [sentences(report) for report in kept[text]]
    empty = [line for line, said in zip(kept.index, cut, strict=True) if not said]
    if empty:
        raise DataError(
            f"{path}, line {empty[0]}: the report in '{text}' has no sentence of two words ({len(empty)} of {len(kept)} rows); "
            "take such rows out."
        )
    return Studies(path.parent, tuple(kept["Path"]), tuple(map(tuple, cut)))
