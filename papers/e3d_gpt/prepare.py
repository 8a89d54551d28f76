"""From CT-RATE trees to what training reads: the volumes of a split in one array, on one grid, normalised.

A prepared folder holds ``volumes.npy`` (N, X, Y, Z) float16 (memory-mapped by its readers) and ``names.json``.

    prepare(folder, tree=root, split="train", target_spacing=(1.5, 1.5, 3.0), shape=(256, 256, 128), intensity={...})
"""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.data import ct_rate
from lib.data.files import DataError, write_json
from lib.data.volumes import HU_WINDOW, Geometry, window_hu
from lib.machine import CPU, Machine

VOLUMES, NAMES = "volumes.npy", "names.json"


def scaled(hu: np.ndarray, *, mean: float, sd: float) -> np.ndarray:
    """HU clipped to [-1000, 1000] and scaled to [-1, 1], less ``mean``, over ``sd`` (0.4978 and 0.2449 in the code line)."""
    return ((window_hu(hu) / np.float32(HU_WINDOW[1]) - np.float32(mean)) / np.float32(sd)).astype(np.float32)


def _put(path: Path, row: int, tree: Path, name: str, geometry: Geometry, how: dict[str, Any]) -> list[str]:
    """One volume into its row; what was warned of it, which a process of its own would keep to itself."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        hu = ct_rate.load_volume(tree, name, geometry, **how["grid"])
        np.load(path, mmap_mode="r+")[row] = scaled(hu, **how["intensity"])
    return [str(one.message) for one in caught]


def prepare(
    folder: Path,
    *,
    tree: Path,
    split: str,
    target_spacing: Sequence[float],
    shape: Sequence[int],
    intensity: dict[str, float],
    machine: Machine = CPU,
) -> None:
    """Every volume of the split's metadata, in its order; raises :class:`DataError` for a file that cannot be used."""
    how = {"grid": {"target_spacing": target_spacing, "shape": shape}, "intensity": intensity}
    metadata = ct_rate.read_metadata(ct_rate.metadata_path(Path(tree), split))
    jobs = [(Path(tree), name, geometry) for name, geometry in metadata.items()]
    path = Path(folder) / VOLUMES
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(len(jobs), *map(int, shape))).flush()
    told = [(path, row, *job, how) for row, job in enumerate(jobs)]
    if machine.processes > 1:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
        with ProcessPoolExecutor(min(machine.processes, len(jobs)), mp_context=spawn) as workers:
            lines = list(workers.map(_put, *zip(*told, strict=True)))
    else:
        lines = [_put(*one) for one in told]
    for line in (line for many in lines for line in many):
        warnings.warn(line, stacklevel=2)
    write_json(Path(folder) / NAMES, [name for _, name, _ in jobs])


def read_prepared(folder: Path) -> tuple[np.ndarray, list[str]]:
    """The memory-mapped volumes and their names."""
    volumes, names = np.load(folder / VOLUMES, mmap_mode="r"), json.loads((folder / NAMES).read_text())
    if len(volumes) != len(names):
        raise DataError(f"{folder} holds {len(volumes)} volumes and {len(names)} names; prepare it again.")
    return volumes, names


class Crops:
    """Inputs of an encoder by row: crops of prepared volumes of one or more folders, in their order."""

    def __init__(self, folders: Sequence[Path], *, crop: Sequence[int]):
        self.parts, self.crop = [read_prepared(Path(folder))[0] for folder in folders], tuple(crop)
        self.ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def draw(self, rows: Sequence[int], rng: np.random.Generator | None = None) -> Tensor:
        """(B, 1, cx, cy, cz) float32; ``rng`` None: the centre of each (a crop as large as the volume: all of it)."""
        out = np.empty((len(rows), 1, *self.crop), dtype=np.float32)
        for place, row in enumerate(rows):
            part = int(np.searchsorted(self.ends, row, side="right"))
            volume = self.parts[part][row - (self.ends[part] - len(self.parts[part]))]
            room = [side - size for side, size in zip(volume.shape, self.crop, strict=True)]
            if min(room) < 0:
                raise DataError(f"a volume of {volume.shape} voxels is smaller than the crop {self.crop}; crop less.")
            at = [one // 2 if rng is None else int(rng.integers(0, one + 1)) for one in room]
            out[place, 0] = volume[tuple(slice(a, a + size) for a, size in zip(at, self.crop, strict=True))]
        return torch.from_numpy(out)
