"""What a masked autoencoder is compared with: masked voxels from the mean, from their neighbours, and from a PCA of voxels.

All take patches (N, T, P) in the encoder's order and which were seen (N, T) bool, and return predictions of all patches.

    errors = masked_errors(interpolate(patches, seen, grid=(6, 6, 6), patch=(8, 8, 4)), patches, seen)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

Grid = Sequence[int]


def to_volume(patches: np.ndarray, *, grid: Grid, patch: Grid) -> np.ndarray:
    """(N, T, P) -> (N, X, Y, Z)."""
    cut = patches.reshape(len(patches), *grid, *patch).transpose(0, 1, 4, 2, 5, 3, 6)
    return cut.reshape(len(patches), *(g * p for g, p in zip(grid, patch, strict=True)))


def to_patches(volumes: np.ndarray, *, grid: Grid, patch: Grid) -> np.ndarray:
    """(N, X, Y, Z) -> (N, T, P)."""
    (gx, gy, gz), (px, py, pz) = grid, patch
    cut = volumes.reshape(len(volumes), gx, px, gy, py, gz, pz).transpose(0, 1, 3, 5, 2, 4, 6)
    return cut.reshape(len(volumes), gx * gy * gz, px * py * pz)


def masked_errors(predicted: np.ndarray, patches: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N,): mean squared error of each volume's masked voxels."""
    error = np.square(predicted - patches).mean(axis=2)
    return np.where(seen, 0, error).sum(axis=1) / (~seen).sum(axis=1)


def fill_mean(patches: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The mean of the voxels that are seen, everywhere."""
    sums = np.where(seen, patches.mean(axis=2), 0).sum(axis=1) / seen.sum(axis=1)
    return np.broadcast_to(sums[:, None, None], patches.shape)


def interpolate(patches: np.ndarray, seen: np.ndarray, *, grid: Grid, patch: Grid) -> np.ndarray:
    """Trilinear: the means of the patches that are seen, those of the others by inverse squared distance from them, then linear
    between the patches' middles on each axis."""
    place = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 3)
    near = 1 / np.maximum(np.square(place[:, None] - place[None]).sum(axis=2), 1e-9) ** 2
    means = patches.mean(axis=2)
    filled = (means * seen) @ near / (seen @ near)
    coarse = np.where(seen, means, filled).reshape(len(patches), 1, *grid)
    size = [g * p for g, p in zip(grid, patch, strict=True)]
    fine = F.interpolate(torch.from_numpy(coarse).float(), size=size, mode="trilinear", align_corners=False)
    return to_patches(fine[:, 0].numpy(), grid=grid, patch=patch)


def inpaint(patches: np.ndarray, seen: np.ndarray, *, grid: Grid, patch: Grid, rounds: int = 200) -> np.ndarray:
    """Harmonic: voxels that are seen stay, each other becomes the mean of its six neighbours, so many times, from the trilinear
    one on. The smooth surface through everything that is seen: the stronger interpolation."""
    known = np.broadcast_to(seen[:, :, None], patches.shape)
    start = np.where(known, patches, interpolate(patches, seen, grid=grid, patch=patch))
    x = torch.from_numpy(to_volume(start, grid=grid, patch=patch)).float()[:, None]
    fixed = torch.from_numpy(to_volume(known, grid=grid, patch=patch))[:, None]
    given = x.clone()
    for _ in range(rounds):
        padded = F.pad(x, (1,) * 6, mode="replicate")
        inner = slice(1, -1)
        sides = [padded[:, :, :-2, inner, inner], padded[:, :, 2:, inner, inner], padded[:, :, inner, :-2, inner]]
        sides += [padded[:, :, inner, 2:, inner], padded[:, :, inner, inner, :-2], padded[:, :, inner, inner, 2:]]
        x = torch.where(fixed, given, sum(sides) / 6)
    return to_patches(x[:, 0].numpy(), grid=grid, patch=patch)


class VoxelPCA:
    """Components of whole volumes, fitted on training ones; masked voxels from the least squares fit to those that are seen.

    ``penalty``: on each coefficient over its variance, the noise's share of a voxel's variance (probabilistic PCA).
    """

    def __init__(self, volumes: np.ndarray, *, components: int):
        from sklearn.decomposition import PCA

        flat = volumes.reshape(len(volumes), -1).astype(np.float32)
        found = PCA(min(components, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
        self.mean, self.parts = found.mean_, found.components_
        self.variance, self.noise = found.explained_variance_, float(max(found.noise_variance_, 1e-6))

    def fill(self, patches: np.ndarray, seen: np.ndarray, *, grid: Grid, patch: Grid) -> np.ndarray:
        """Predictions of all patches from those that are seen."""
        volumes = to_volume(patches, grid=grid, patch=patch).reshape(len(patches), -1)
        known = np.broadcast_to(seen[:, :, None], patches.shape)
        known = to_volume(known, grid=grid, patch=patch).reshape(len(patches), -1)
        out = np.empty_like(volumes)
        for number, (volume, kept) in enumerate(zip(volumes, known, strict=True)):
            parts = self.parts[:, kept]  # (K, voxels seen)
            gram = parts @ parts.T + np.diag(self.noise / self.variance)
            out[number] = self.mean + np.linalg.solve(gram, parts @ (volume[kept] - self.mean[kept])) @ self.parts
        side = [g * p for g, p in zip(grid, patch, strict=True)]
        return to_patches(out.reshape(len(patches), *side), grid=grid, patch=patch)
