"""From trees on disk to what training reads: model-ready volumes in one array, and report-volume pairs.

A prepared folder holds ``volumes.npy`` (N, X, Y, Z) float16, normalised (memory-mapped by its readers), and
``names.json``. Pairs are ``pairs.json``: one entry a unique report, with the rows of its volumes and its statements.
Used by the BrgSA study; each function fills one cached artefact.

    prepare_ct_rate(folder, tree=root, split="train", target_spacing=(1.5, 1.5, 3.0), shape=(256, 256, 128))
"""

import json
import multiprocessing
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from lib.data import ct_rate
from lib.data.files import DataError, write_json
from lib.data.volumes import normalise
from lib.machine import CPU, Machine
from papers.brgsa import rad_chestct
from papers.brgsa.summaries import RuleSummariser

VOLUMES, NAMES, PAIRS = "volumes.npy", "names.json", "pairs.json"


def _put(path: Path, row: int, load: Callable[[], np.ndarray]) -> list[str]:
    """One volume into its row of the array on disk; what was warned of it, which a process of its own would keep to itself."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        np.load(path, mmap_mode="r+")[row] = normalise(load())
    return [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


def _write(folder: Path, shape: Sequence[int], loads: Mapping[str, Callable[[], np.ndarray]], machine: Machine) -> None:
    """The prepared folder: name of a volume -> how it is read, in the order of the rows.

    Whatever the number of processes, the bytes are the same, and of several bad volumes the first in this order is raised.
    """
    path = folder / VOLUMES
    whole = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(len(loads), *map(int, shape)))
    jobs = ([path] * len(loads), range(len(loads)), loads.values())
    if machine.processes > 1:
        # spawned: a fork would copy the threads' locks of a process that has used torch
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(machine.processes, len(loads)), mp_context=spawn) as pool:
            told = [line for lines in pool.map(_put, *jobs) for line in lines]
    else:
        told = [line for lines in map(_put, *jobs) for line in lines]
    for line in told:
        warnings.warn(line, stacklevel=3)
    whole.flush()
    write_json(folder / NAMES, list(loads))


def prepare_ct_rate(
    folder: Path,
    *,
    tree: Path,
    split: str,
    target_spacing: Sequence[float],
    shape: Sequence[int],
    machine: Machine = CPU,
) -> None:
    """Every volume of the split's metadata CSV, in its order, ``machine.processes`` at a time. `DataError` names the file that
    cannot be used."""
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(tree, split))
    grid = {"target_spacing": target_spacing, "shape": shape}
    loads = {name: partial(ct_rate.load_volume, tree, name, place, **grid) for name, place in metadata.items()}
    _write(folder, shape, loads, machine)


def prepare_rad_chestct(
    folder: Path,
    *,
    tree: Path,
    labels: Path,
    spacing: Sequence[float],
    target_spacing: Sequence[float],
    shape: Sequence[int],
    machine: Machine = CPU,
) -> None:
    """Every volume of the label CSV `labels`, in its order; `spacing` (mm) is the one assumed for the whole release."""
    grid = {"spacing": spacing, "target_spacing": target_spacing, "shape": shape}
    names = rad_chestct.read_labels(labels).index
    _write(folder, shape, {name: partial(rad_chestct.load_volume, tree, name, **grid) for name in names}, machine)


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
