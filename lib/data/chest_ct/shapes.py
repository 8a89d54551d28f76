"""Solid shapes in millimetres, painted on a voxel grid with soft edges inside their bounding boxes only.

A shape is a signed distance (mm, negative inside) and the box that contains it. Painting turns the distance into the
covered fraction of a voxel, clip(0.5 - distance / voxel size, 0, 1), so that the same anatomy can be drawn at any grid.
Coordinates are LPS with the origin at the centre of the field of view: +x patient left, +y back, +z head.

    grid = Grid.of((48, 48, 24), (7.5, 7.5, 15.0)); paint(hu, ball((0, 0, 0), 20), grid, hu=40)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # open (X,1,1), (1,Y,1), (1,1,Z) mm -> (X,Y,Z) mm


@dataclass(frozen=True)
class Grid:
    """Voxel centres in mm as open axes x (X,1,1), y (1,Y,1), z (1,1,Z) around the origin; `voxel` their mean size."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    spacing: tuple[float, float, float]
    voxel: float

    @classmethod
    def of(cls, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> "Grid":
        lines = [((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(shape, spacing, strict=True)]
        axes = (lines[0][:, None, None], lines[1][None, :, None], lines[2][None, None, :])
        return cls(axes, tuple(spacing), float(np.prod(spacing)) ** (1 / 3))

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(a.size for a in self.axes)

    def box(self, centre, half) -> tuple[slice, slice, slice]:
        """Slices of the voxels within `half` mm (plus one voxel) of `centre`; empty slices when outside the grid."""
        slices = []
        for axis, step, c, h in zip(self.axes, self.spacing, centre, half, strict=True):
            first = float(axis.flat[0])
            low = int(np.floor((c - h - first) / step))
            high = int(np.ceil((c + h - first) / step)) + 1
            slices.append(slice(min(max(low, 0), axis.size), min(max(high, 0), axis.size)))
        return tuple(slices)

    def inside(self, box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y, z = self.axes
        return x[box[0]], y[:, box[1]], z[:, :, box[2]]


@dataclass(frozen=True)
class Shape:
    """A signed distance and the centre and half extents (mm) of the box that holds it."""

    distance: Distance
    centre: tuple[float, float, float]
    half: tuple[float, float, float]


def ellipsoid(centre, radii) -> Shape:
    """First-order distance to an axis-aligned ellipsoid: k0 (k0 - 1) / k1 with k0 = |p / r| and k1 = |p / r^2|."""
    (cx, cy, cz), (rx, ry, rz) = centre, radii

    def distance(x, y, z):
        u, v, w = ((x - cx) / rx) ** 2, ((y - cy) / ry) ** 2, ((z - cz) / rz) ** 2
        k0 = np.sqrt(u + v + w)
        k1 = np.sqrt(u / rx**2 + v / ry**2 + w / rz**2) + np.float32(1e-6)
        return k0 * (k0 - 1) / k1

    return Shape(distance, tuple(centre), tuple(radii))


def ball(centre, radius) -> Shape:
    cx, cy, cz = centre

    def distance(x, y, z):
        return np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) - radius

    return Shape(distance, tuple(centre), (radius,) * 3)


def capsule(start, end, radius) -> Shape:
    """A rod with round ends from `start` to `end`."""
    a, b = np.asarray(start, dtype=np.float32), np.asarray(end, dtype=np.float32)
    along, length2 = b - a, float(((b - a) ** 2).sum()) or 1.0

    def distance(x, y, z):
        px, py, pz = x - a[0], y - a[1], z - a[2]
        t = np.clip((px * along[0] + py * along[1] + pz * along[2]) / length2, 0, 1)
        return np.sqrt((px - t * along[0]) ** 2 + (py - t * along[1]) ** 2 + (pz - t * along[2]) ** 2) - radius

    return Shape(distance, tuple((a + b) / 2), tuple(np.abs(b - a) / 2 + radius))


def disc(centre, normal, radius, thickness) -> Shape:
    """A flat round plate."""
    c, n = np.asarray(centre, dtype=np.float32), np.asarray(normal, dtype=np.float32)
    n = n / np.sqrt((n**2).sum())

    def distance(x, y, z):
        px, py, pz = x - c[0], y - c[1], z - c[2]
        height = px * n[0] + py * n[1] + pz * n[2]
        across = np.sqrt(np.maximum(px**2 + py**2 + pz**2 - height**2, 0))
        return np.maximum(np.abs(height) - thickness / 2, across - radius)

    return Shape(distance, tuple(centre), (radius + thickness / 2,) * 3)


def shell(shape: Shape, thickness: float) -> Shape:
    """The wall of `shape`, growing outwards by `thickness`."""
    return Shape(
        lambda x, y, z: np.abs(shape.distance(x, y, z) - thickness / 2) - thickness / 2,
        shape.centre,
        tuple(h + thickness for h in shape.half),
    )


def half_space(shape: Shape, normal, offset: float) -> Shape:
    """The part of `shape` where normal . p >= offset (mm)."""
    nx, ny, nz = normal
    return Shape(
        lambda x, y, z: np.maximum(shape.distance(x, y, z), offset - (nx * x + ny * y + nz * z)),
        shape.centre,
        shape.half,
    )


def paint(
    volume: np.ndarray,
    shape: Shape,
    grid: Grid,
    *,
    hu: float | np.ndarray,
    add: bool = False,
    strength: float = 1.0,
    softness: float = 0.0,
    within: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    pattern: Callable | None = None,
) -> None:
    """Blend `hu` into (with `add`: add it to) `volume` (X,Y,Z) in place, by covered fraction x `strength` x `within`.

    `softness` (mm) widens the edge, `within` (X,Y,Z in [0,1]) confines the shape, `pattern` (x,y,z mm -> [0,1])
    modulates it. Voxels with at least 40 % of the largest weight are set in the boolean `mask`.
    """
    edge = max(grid.voxel, softness)
    box = grid.box(shape.centre, [h + edge / 2 for h in shape.half])
    if any(s.start >= s.stop for s in box):
        return
    axes = grid.inside(box)
    weight = np.clip(np.float32(0.5) - shape.distance(*axes) / np.float32(edge), 0, np.float32(1))
    if within is not None:
        weight = weight * within[box]
    if pattern is not None:
        weight = weight * pattern(*axes)
    weight = weight * np.float32(strength)
    if add:
        volume[box] += weight * np.float32(hu)
    else:
        volume[box] += weight * (np.float32(hu) - volume[box])
    if mask is not None and (top := float(weight.max())) > 0.02:
        mask[box] |= weight >= 0.4 * top
