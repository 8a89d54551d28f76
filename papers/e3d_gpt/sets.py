"""What belongs to the rows of prepared volumes: instructions, reports and labels of one set or of several, one after another.

gather(folder, sources=[{"tree": root, "split": "train", "prepared": volumes, "reports": json, "questions": json}], findings=[...])
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data import ct_rate
from lib.data.files import DataError, write_json
from lib.models.text_encoder import write_tiny_checkpoint
from papers.e3d_gpt.instructions import read_questions, read_reports, rows_of
from papers.e3d_gpt.prepare import NAMES


def _labels(tree: Path, split: str, names: Sequence[str], findings: Sequence[str]) -> np.ndarray:
    path = ct_rate.labels_path(tree, split)
    table = ct_rate.read_labels(path, findings)
    for name in names:
        if name not in table.index:
            raise DataError(f"{path} has no row for {name}; add its labels.")
    return table.loc[list(names)].to_numpy()


def gather(folder: Path, *, sources: Sequence[dict[str, Any]], findings: Sequence[str]) -> None:
    """Write ``instructions.json`` (row, image, question, answer, kind), ``reports.json`` (by row, "" where there is none) and
    ``labels.npy`` (N, findings).

    A source: ``tree`` and ``split`` of its labels, ``prepared`` volumes, ``reports`` and ``questions`` JSON, and the name of
    the reports' split there (``named``). Raises :class:`DataError` for what a file lacks.
    """
    content: dict[str, list[Any]] = {"reports": [], "questions": []}
    texts, labels, first = [], [], 0
    for source in sources:
        names = json.loads((Path(source["prepared"]) / NAMES).read_text())
        read = {
            "reports": (read_reports(Path(source["reports"]), source["named"]), Path(source["reports"])),
            "questions": (read_questions(Path(source["questions"])), Path(source["questions"])),
        }
        said = dict.fromkeys(range(len(names)), "")
        for key, (items, path) in read.items():
            for row, item in zip(rows_of(items, names, path), items, strict=True):
                content[key].append((first + row, item.image, item.question, item.answer, item.kind))
                if key == "reports":
                    said[row] = item.answer
        texts += said.values()
        labels.append(_labels(Path(source["tree"]), source["split"], names, findings))
        first += len(names)
    write_json(folder / "instructions.json", content)
    write_json(folder / "reports.json", texts)
    np.save(folder / "labels.npy", np.concatenate(labels))


def make_text_encoder(folder: Path, *, gathered: Path, width: int, depth: int, heads: int) -> None:
    """A tiny BERT whose tokenizer has seen the reports."""
    said = json.loads((Path(gathered) / "reports.json").read_text())
    write_tiny_checkpoint(folder, said, width=width, depth=depth, heads=heads)
