"""What the figures of CARZero show: maps over pictures with their boxes, and similarity representations on a plane.

middle_cases(test, maps, count=4); picture_of(base, n, k, map_=maps[n, k])
"""

from __future__ import annotations

import numpy as np

from lib.evaluation.localisation import resize_map
from papers.carzero.bases import Base
from papers.carzero.images import frame_of
from papers.carzero.sets import TestSet, image_size


def _share_inside(map_: np.ndarray, test: TestSet, n: int, k: int) -> float:
    """Share of a map's mass, from its least value up, whose cells' middles lie in the boxes (the map laid over the picture)."""
    width, height = image_size(test.paths[n])
    side = map_.shape[0]
    x, y = np.meshgrid((np.arange(side) + 0.5) / side * width, (np.arange(side) + 0.5) / side * height)
    hit = np.zeros(map_.shape, bool)
    for left, top, right, bottom in test.boxes[n][k]:
        hit |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
    mass = map_ - map_.min()
    return float(mass[hit].sum() / max(mass.sum(), 1e-12))


def middle_cases(test: TestSet, maps: np.ndarray, *, count: int) -> list[tuple[int, int]]:
    """(image, class) of the median case of the ``count`` most frequent classes, by the share of the map inside the boxes."""
    found = []
    for k in np.argsort(-test.labels.sum(axis=0), kind="stable")[:count]:
        rows = [n for n, boxes in enumerate(test.boxes) if int(k) in boxes]
        if rows:
            ranked = sorted(rows, key=lambda n, k=int(k): _share_inside(maps[n, k], test, n, k))
            found.append((ranked[len(ranked) // 2], int(k)))
    return found


def picture_of(base: Base, n: int, k: int, *, map_: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The crop of a picture that the encoder sees (S, S), and over it a map, or the outlines of the finding's boxes."""
    test, size, crop = base.tests["chestxdet10"], base.run.settings["size"], base.run.settings["model"]["image"]["size"]
    squares = np.load(base.squares["chestxdet10"] / "images.npy", mmap_mode="r")
    edge = (size - crop) // 2
    seen = np.asarray(squares[n][edge : edge + crop, edge : edge + crop], dtype=np.float32) / 255
    if map_ is not None:
        return seen, resize_map(map_[..., None].astype(np.float64), shape=(crop, crop, 1))[..., 0]
    frame, outline = frame_of(*image_size(test.paths[n]), size=size), np.zeros((crop, crop))
    for box in test.boxes[n][k]:
        places = np.asarray(box) * frame.scale + np.array([frame.left, frame.top] * 2) - edge
        left, top, right, bottom = places.round().astype(int).clip(0, crop - 1)
        outline[top : bottom + 1, [left, right]] = 1
        outline[[top, bottom], left : right + 1] = 1
    return seen, outline


def separation(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Distance of the two labels' mean vectors over the root of their mean variance along it (nan with one label alone)."""
    present, absent = vectors[labels == 1], vectors[labels == 0]
    if min(len(present), len(absent)) < 2:
        return float("nan")
    between = present.mean(axis=0) - absent.mean(axis=0)
    along = between / max(float(np.linalg.norm(between)), 1e-12)
    spread = np.sqrt((np.var(present @ along) + np.var(absent @ along)) / 2)
    return float(np.linalg.norm(between) / max(float(spread), 1e-12))


def flatten(vectors: np.ndarray, picture: str) -> np.ndarray:
    """(N, K, d) -> (N, K, 2), all prompts on one plane: ``umap`` or ``pca``."""
    points = vectors.reshape(-1, vectors.shape[-1])
    if picture == "umap":
        import warnings

        from umap import UMAP

        with warnings.catch_warnings():  # that a seed makes it use one thread
            warnings.simplefilter("ignore")
            flat = UMAP(random_state=0, n_jobs=1).fit_transform(points)
    else:
        from sklearn.decomposition import PCA

        flat = PCA(n_components=2, svd_solver="full").fit_transform(points)
    return np.asarray(flat).reshape(*vectors.shape[:2], 2)
