"""Phantom radiographs: two lungs, ribs, a heart, and findings drawn where they belong, each with the box around it.

Coordinates are fractions of the picture, x from the patient's right (the picture's left) and y from the top. A finding's box
is that of the pixels that it changes.

>>> from lib.streams import stream
>>> picture, boxes = draw(["mass"], size=64, rng=stream(0, "phantom"))
>>> picture.shape, picture.dtype.name, [name for name, _ in boxes]
((64, 64), 'uint8', ['mass'])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from papers.carzero.findings import FINDINGS

LUNGS = {"right": (0.31, 0.48), "left": (0.69, 0.48)}  # centres
LUNG = (0.155, 0.31)  # half axes
STRENGTH = {"mild": 0.8, "moderate": 1.0, "severe": 1.25}
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two exclusive


@dataclass(frozen=True)
class Chest:
    """Where things are in one picture: pixel coordinates in the chest's own frame, and what is lung."""

    x: np.ndarray
    y: np.ndarray
    lungs: dict[str, np.ndarray]

    def disc(self, cx: float, cy: float, r: float, ry: float | None = None) -> np.ndarray:
        return ((self.x - cx) / r) ** 2 + ((self.y - cy) / (ry or r)) ** 2 < 1


def _chest(size: int, rng: np.random.Generator) -> Chest:
    grid = (np.arange(size) + 0.5) / size
    scale, (dx, dy) = rng.uniform(0.97, 1.03), rng.uniform(-0.02, 0.02, 2)
    x, y = np.meshgrid((grid - 0.5 - dx) / scale + 0.5, (grid - 0.5 - dy) / scale + 0.5)
    lungs = {side: ((x - cx) / LUNG[0]) ** 2 + ((y - cy) / LUNG[1]) ** 2 < 1 for side, (cx, cy) in LUNGS.items()}
    return Chest(x, y, lungs)


def _healthy(chest: Chest, rng: np.random.Generator, *, mirrored: bool) -> np.ndarray:
    """Body, lungs, ribs, spine and heart: grey levels in [0, 1]."""
    x, y = chest.x, chest.y
    picture = np.where(chest.disc(0.5, 0.55, 0.46, 0.6), 0.62, 0.12)
    inside = chest.lungs["right"] | chest.lungs["left"]
    picture = np.where(inside, 0.30, picture)
    ribs = np.sin((y + 0.25 * np.abs(x - 0.5)) * 2 * np.pi * 7 + rng.uniform(0, 0.5)) > 0.75
    picture = picture + 0.06 * (ribs & inside)
    picture = np.where(np.abs(x - 0.5) < 0.035, np.maximum(picture, 0.68), picture)
    centre = 0.44 if mirrored else 0.56
    return np.where(chest.disc(centre, 0.64, 0.115, 0.12), 0.74, picture)


# ------------------------------------------------------------------ shapes: (chest, side, rng) -> (mask, added grey)
def _place(side: str, rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    return LUNGS[side][0] + rng.uniform(-0.03, 0.03), rng.uniform(low, high)


def meniscus(chest: Chest, side: str, rng: np.random.Generator):
    outward = np.abs(chest.x - 0.5)
    return chest.lungs[side] & (chest.y > rng.uniform(0.62, 0.68) - 0.25 * (outward - 0.19)), 0.42


def plates(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = _place(side, rng, 0.54, 0.6)
    rows = np.abs((chest.y - cy) % 0.065 - 0.0325) > 0.017
    return chest.lungs[side] & rows & (np.abs(chest.y - cy) < 0.08) & (np.abs(chest.x - cx) < 0.13), 0.6


def mottle(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = _place(side, rng, 0.34, 0.42)
    return chest.disc(cx, cy, 0.13, 0.14) & chest.lungs[side] & (rng.random(chest.x.shape) < 0.5), 0.5


def large_heart(chest: Chest, side: str, rng: np.random.Generator):
    return chest.disc(0.55, 0.64, rng.uniform(0.19, 0.22), 0.15), 0.42


def small_disc(chest: Chest, side: str, rng: np.random.Generator):
    return chest.disc(*_place(side, rng, 0.28, 0.36), rng.uniform(0.045, 0.055)), 0.65


def patch(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = _place(side, rng, 0.52, 0.6)
    return chest.lungs[side] & (np.abs(chest.x - cx) < 0.11) & (np.abs(chest.y - cy) < 0.1), 0.5


def apical_air(chest: Chest, side: str, rng: np.random.Generator):
    return chest.lungs[side] & (chest.y < rng.uniform(0.3, 0.36)), -0.27


def large_disc(chest: Chest, side: str, rng: np.random.Generator):
    return chest.disc(*_place(side, rng, 0.38, 0.5), rng.uniform(0.09, 0.11)), 0.6


def perihilar_haze(chest: Chest, side: str, rng: np.random.Generator):
    near = chest.disc(0.38, 0.48, 0.11, 0.17) | chest.disc(0.62, 0.48, 0.11, 0.17)
    return near & (chest.lungs["right"] | chest.lungs["left"]), 0.28


def lateral_rim(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = LUNGS[side]
    outer = (chest.x - cx) * (1 if side == "left" else -1) > 0.05
    inner = ((chest.x - cx) / (LUNG[0] - 0.06)) ** 2 + ((chest.y - cy) / (LUNG[1] - 0.045)) ** 2 < 1
    return chest.lungs[side] & outer & ~inner & (chest.y < 0.62), 0.6


def dark_lungs(chest: Chest, side: str, rng: np.random.Generator):
    return chest.lungs["right"] | chest.lungs["left"], -0.16


def net(chest: Chest, side: str, rng: np.random.Generator):
    lines = (np.sin(chest.x * 2 * np.pi * 16) > 0.5) | (np.sin(chest.y * 2 * np.pi * 16) > 0.5)
    return (chest.lungs["right"] | chest.lungs["left"]) & lines & (chest.y > 0.5), 0.3


def stripes(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = _place(side, rng, 0.44, 0.52)
    lines = np.sin((chest.x + chest.y) * 2 * np.pi * 12) > 0
    return chest.disc(cx, cy, 0.12, 0.13) & chest.lungs[side] & lines, 0.6


def broken_rib(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = LUNGS[side][0] + rng.uniform(-0.02, 0.02), rng.uniform(0.25, 0.35)
    across = (chest.x - cx) * 0.7 + (chest.y - cy)
    return (np.abs(across) < 0.032) & (np.abs(chest.x - cx) < 0.13), 0.75


def bright_dots(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = _place(side, rng, 0.3, 0.42)
    found = np.zeros(chest.x.shape, bool)
    for dx, dy in ((0, 0), (0.075, 0.05), (-0.065, 0.07)):
        found |= chest.disc(cx + dx, cy + dy, 0.03)
    return found, 0.75


def gas_bubble(chest: Chest, side: str, rng: np.random.Generator):
    return chest.disc(rng.uniform(0.48, 0.54), rng.uniform(0.74, 0.78), 0.075, 0.06), -0.5


def mirrored_heart(chest: Chest, side: str, rng: np.random.Generator):
    return chest.disc(0.44, 0.64, 0.115, 0.12), 0.0  # drawn with the chest


def ring(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = _place(side, rng, 0.3, 0.55)
    return chest.disc(cx, cy, 0.1) & ~chest.disc(cx, cy, 0.072), 0.48


def level(chest: Chest, side: str, rng: np.random.Generator):
    cx, cy = _place(side, rng, 0.35, 0.55)
    return chest.disc(cx, cy, 0.1) & (~chest.disc(cx, cy, 0.07) | (chest.y > cy + 0.01)), 0.55


def tube(chest: Chest, side: str, rng: np.random.Generator):
    cx = LUNGS[side][0] + rng.uniform(-0.03, 0.03)
    return np.abs(chest.x - cx + 0.03 * np.sin(chest.y * 9)) < 0.022, 0.7


SHAPES = {
    f.__name__: f
    for f in (
        meniscus, plates, mottle, large_heart, small_disc, patch, apical_air, large_disc, perihilar_haze, lateral_rim,
        dark_lungs, net, stripes, broken_rib, bright_dots, gas_bubble, mirrored_heart, ring, level, tube,
    )
}  # fmt: skip


def _box(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def draw(
    shown: Sequence[str],
    *,
    size: int,
    rng: np.random.Generator,
    sides: Sequence[str] | None = None,
    severities: Sequence[str] | None = None,
    gain: float = 1.0,
    noise: float = 0.03,
) -> tuple[np.ndarray, list[tuple[str, Box]]]:
    """A picture (size, size) uint8 that shows the findings ``shown``, and one box each, in their order.

    ``sides`` and ``severities`` of each finding (right, mild where not given). ``gain`` and ``noise``: of the machine that
    took it.
    """
    chest = _chest(size, rng)
    picture, boxes = _healthy(chest, rng, mirrored="dextrocardia" in shown), []
    for i, name in enumerate(shown):
        side = sides[i] if sides else "right"
        mask, grey = SHAPES[FINDINGS[name].shape](chest, side, rng)
        picture = picture + grey * STRENGTH[severities[i] if severities else "mild"] * mask
        boxes.append((name, _box(mask)))
    picture = (picture - 0.5) * gain + 0.5 + rng.normal(0, noise, picture.shape)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8), boxes
