"""Embeddings of BrgSA as :mod:`lib.embeddings` saves them: volumes and texts of a trained arm, or cells of a real CT and names.

Both come in two spaces: as they are, and after what brings the modalities together (the knowledge bank; the spread given back).

    spaces, table = of_arm(study, trained, text="summaries", points=600, arm="full")

    python -m papers.brgsa.embedded runs/explore         # the real CT (profile real): two files, one a space
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from lib import embeddings
from lib.explorer_points import png, slices
from lib.workflow.session import Run, start
from papers.brgsa import mapped as maps
from papers.brgsa.grounding import folds_of, read_scan, slabs_of
from papers.brgsa.study import Study, Trained

Spaces = dict[str, np.ndarray]  # name -> vectors (2N, d): first the images, then the texts
AROUND = 2  # cells on each side of the one that a thumbnail shows


def of_arm(study: Study, trained: Trained, *, text: str, points: int, arm: str) -> tuple[Spaces, pd.DataFrame]:
    """The internal test volumes, about ``points / 2`` evenly through them, and their texts, raw and reconstructed by the bank."""
    valid, vectors = study.valid, trained.vectors
    picked = np.unique(np.linspace(0, len(valid.names) - 1, min(points // 2, len(valid.names))).astype(int))
    cases = pd.DataFrame({"path": np.asarray(valid.names)[picked], "split": "valid", "seed": trained.seed, "arm": arm})
    cases["labels"] = [row.index[row == 1].tolist() for _, row in valid.labels.iloc[picked].iterrows()]
    cases["text"] = [valid.reports[row] for row in picked]
    cases["thumbnail"] = [png(image) for image in slices(valid.volumes, picked, size=40)]
    spaces = {
        name: np.concatenate([vectors["valid" + hat][picked], vectors[text + hat][picked]])
        for name, hat in {"raw": "", "reconstructed": "_hat"}.items()
    }
    return spaces, _twice(cases)


def of_scan(run: Run) -> tuple[Spaces, pd.DataFrame]:
    """Pairs of a cell of the real CT, mapped by the pretrained encoder, and a structure's name; as mapped, and spread."""
    scan, seed = read_scan(run, stage=3), run.seeds[0]
    pairs = maps.draw_pairs(scan.shown, seed=seed)
    cell, structure = pairs.T
    how = {"slab": slabs_of(scan.grid, 5), "fold": folds_of(len(scan.names), 5, seed), "pairs": pairs}
    (image,) = maps.map_pairs(scan.pretrained, scan.shown, [scan.vectors], **how)
    words, kinds = scan.vectors[structure], np.asarray(scan.kinds)[structure]
    names = np.asarray(scan.names)[structure]
    x, y, z = np.unravel_index(cell, scan.grid)
    cases = pd.DataFrame({"path": [f"cxr.nii.gz, cell {c}, {name}" for c, name in zip(cell, names, strict=True)]})
    cases = cases.assign(split="real", seed=seed, arm="pretrained", text=names, labels=[[kind] for kind in kinds])
    cases = cases.assign(**{"left to right": x, "back to front": y, "height": z}, thumbnail=_around(scan, cell))
    spaces = {"mapped": image, "spread": maps.give_spread(image, words, kinds)}
    return {name: np.concatenate([side, words]) for name, side in spaces.items()}, _twice(cases)


def _twice(cases: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([cases.assign(modality="image"), cases.assign(modality="text")], ignore_index=True)


def _around(scan, cells: np.ndarray) -> list[bytes]:
    """Middle slices of the neighbourhood of each cell, as PNG; all grey on one scale."""
    volume = np.load(scan.prepared / "volume.npy")[::-1, ::-1]  # as stored, x runs to the right and y to the front
    side = [n // g for n, g in zip(volume.shape, scan.grid, strict=True)]
    padded = np.pad(volume, [(AROUND * n, AROUND * n) for n in side])
    different, which = np.unique(cells, return_inverse=True)
    corners = [np.unravel_index(cell, scan.grid) for cell in different]
    crops = []
    for x, y, z in corners:
        corner = [(scan.grid[0] - 1 - x) * side[0], (scan.grid[1] - 1 - y) * side[1], z * side[2]]
        spans = [slice(begin, begin + (2 * AROUND + 1) * n, 2) for begin, n in zip(corner, side, strict=True)]
        crops.append(padded[tuple(spans)])
    images = [png(image) for image in slices(np.stack(crops), range(len(crops)), size=40)]
    return [images[number] for number in which]


def main(folder: Path) -> None:
    """Write ``chest_ct_mapped.parquet`` and ``chest_ct_spread.parquet``, placed by UMAP."""
    spaces, table = of_scan(start("brgsa", "fig_modality_gap", profile="real", seeds=1))
    for name, vectors in spaces.items():
        run = embeddings.checked(vectors, table).project("umap")
        print(embeddings.write(folder / f"chest_ct_{name}.parquet", run.vectors, run.table))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
