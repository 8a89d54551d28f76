"""From trees on disk to what training reads: model-ready volumes in one array, and report-volume pairs.

A prepared folder holds ``volumes.npy`` (N, X, Y, Z) float16, normalised (memory-mapped by its readers), and
``names.json``. Pairs are ``pairs.json``: one entry a unique report, with the rows of its volumes and its statements.
Used by the BrgSA study; each function fills one cached artefact.

    prepare_ct_rate(folder, tree=root, split="train", target_spacing=(1.5, 1.5, 3.0), shape=(256, 256, 128))
"""

import json
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lib.data import ct_rate
from lib.data.files import DataError, write_json
from lib.data.volumes import normalise
from papers.brgsa import rad_chestct
from papers.brgsa.summaries import RuleSummariser

VOLUMES, NAMES, PAIRS = "volumes.npy", "names.json", "pairs.json"


def _write(folder: Path, names: Sequence[str], shape: Sequence[int], load: Callable[[str], np.ndarray]) -> None:
    volumes = np.lib.format.open_memmap(
        folder / VOLUMES, mode="w+", dtype=np.float16, shape=(len(names), *(int(n) for n in shape))
    )
    for row, name in enumerate(names):
        volumes[row] = normalise(load(name))
    volumes.flush()
    write_json(folder / NAMES, list(names))


def prepare_ct_rate(
    folder: Path, *, tree: Path, split: str, target_spacing: Sequence[float], shape: Sequence[int]
) -> None:
    """Every volume of the split's metadata CSV, in its order. `DataError` names the file that cannot be used."""
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, split))

    def load(name: str) -> np.ndarray:
        return ct_rate.load_volume(tree, name, metadata[name], target_spacing=target_spacing, shape=shape)

    _write(folder, list(metadata), shape, load)


def prepare_rad_chestct(
    folder: Path,
    *,
    tree: Path,
    labels: str,
    spacing: Sequence[float],
    target_spacing: Sequence[float],
    shape: Sequence[int],
) -> None:
    """Every volume of the label CSV `labels`, in its order; `spacing` (mm) is the one assumed for the whole release."""
    names = list(rad_chestct.read_labels(tree / labels).index)

    def load(name: str) -> np.ndarray:
        return rad_chestct.load_volume(tree, name, spacing=spacing, target_spacing=target_spacing, shape=shape)

    _write(folder, names, shape, load)


def read_volumes(folder: Path) -> tuple[np.ndarray, list[str]]:
    """The memory-mapped volumes and their names."""
    volumes, names = np.load(folder / VOLUMES, mmap_mode="r"), json.loads((folder / NAMES).read_text())
    if len(volumes) != len(names):
        raise DataError(f"{folder} holds {len(volumes)} volumes and {len(names)} names; prepare it again.")
    return volumes, names


def sentences(report: str) -> list[str]:
    """A report's sentences of more than one word, without the full stop (sheet 2.1: shorter ones are dropped)."""
    cut = (part.strip(" .") for part in re.split(r"(?<=[.!?])\s+", report.strip()))
    return [sentence for sentence in cut if len(sentence.split()) > 1]


def write_pairs(folder: Path, *, training_json: Path, split: str, prepared: Path, raw: bool = False) -> None:
    """Pairs of one training JSON: statements are the summary's, or the report's own sentences with ``raw``.

    A report without a sentence to learn from ("Normal.") is left out, and a `UserWarning` counts them; `DataError` when
    no pair is left, and for a split or a volume that is not there.
    """
    content = ct_rate.read_training_json(training_json)
    if split not in content:
        raise DataError(f"{training_json} has no split {split!r} (it has {', '.join(content)}); summarise that split.")
    row_of = {name: row for row, name in enumerate(json.loads((prepared / NAMES).read_text()))}
    pairs, silent = [], []
    for report, entry in content[split].items():
        images = [Path(image).name for image in entry["images"]]
        missing = [image for image in images if image not in row_of]
        if missing:
            raise DataError(
                f"{training_json}: {missing[0]} is not among the prepared volumes; prepare its split first."
            )
        statements = sentences(report) if raw else entry["processed_report"]
        if not statements:
            silent.append(report)
            continue
        pairs.append({"rows": [row_of[image] for image in images], "statements": statements})
    told = f"{training_json}, {split}: {len(silent)} of {len(content[split])} reports have no sentence of two words"
    if not pairs:
        raise DataError(f"{told}, such as {''.join(silent[:1])[:40]!r}; take the summaries or other reports.")
    if silent:
        warnings.warn(f"{told} and are left out, such as {silent[0][:40]!r}", stacklevel=2)
    write_json(folder / PAIRS, pairs)


def write_summaries(folder: Path, *, tree: Path, split: str, summariser: Callable[[str], list[str]]) -> None:
    """``training.json``: every unique report of a split with its volumes and what ``summariser`` makes of it."""
    path = ct_rate.reports_path(tree, split)
    reports = ct_rate.images_by_report(ct_rate.read_reports(path))
    if not reports:
        raise DataError(f"{path}: every report is blank; fetch or generate the reports again.")
    key = "val" if split == "valid" else split
    entries = {text: {"images": names, "processed_report": summariser(text)} for text, names in reports.items()}
    ct_rate.write_training_json(folder / "training.json", {key: entries})


def summarise_by_rule(
    folder: Path, *, tree: Path, split: str, drop: float = 0.0, insert: float = 0.0, quote: bool = False
) -> None:
    """Summaries by rule with the generated world's lexicon; ``drop`` and ``insert`` make it imperfect, ``quote`` keeps the
    report's own words for a finding."""
    from lib.data.chest_ct.findings import LEXICON

    summariser = RuleSummariser(LEXICON, drop=drop, insert=insert, quote=quote)
    write_summaries(folder, tree=tree, split=split, summariser=summariser)
