"""Shapes, silhouettes and image physics of the generated Med-MAT world: arrays in, arrays out, no labels.

Every function draws N images at once. Positions and radii are in pixels of a SIDE x SIDE image, grey levels in 0..1.
Used by :mod:`papers.med_mat.world.world` (medical cells) and :mod:`papers.med_mat.world.general` (general stage).

>>> alpha = draw_shapes(np.array(["disc", "star"]), x=[9, 20], y=[9, 20], radius=[3, 4], angle=[0, 0])  # (2, 32, 32)
"""

from __future__ import annotations

import numpy as np

SIDE = 32
SHAPES = ("disc", "ring", "bar", "cross", "star")
_ROWS, _COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)


def _disc(u, v, r):
    return np.hypot(u, v) - r


def _ring(u, v, r):
    return np.abs(np.hypot(u, v) - 0.85 * r) - 0.75


def _bar(u, v, r):
    return np.maximum(np.abs(u) - 1.35 * r, np.abs(v) - 0.9)


def _cross(u, v, r):
    along, across = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    return np.maximum(along - 1.2 * r, across - 0.8)


def _star(u, v, r):
    return np.hypot(u, v) - r * (0.85 + 0.4 * np.cos(5 * np.arctan2(v, u)))


_DISTANCES = {"disc": _disc, "ring": _ring, "bar": _bar, "cross": _cross, "star": _star}


def draw_shapes(kinds: np.ndarray, *, x, y, radius, angle) -> np.ndarray:
    """Coverage (N, SIDE, SIDE) float32 in 0..1 of one shape an image, its edge 0.45 pixels wide."""
    kinds = np.asarray(kinds)
    x, y, radius, angle = (np.broadcast_to(np.asarray(a, np.float32), kinds.shape) for a in (x, y, radius, angle))
    out = np.zeros((len(kinds), SIDE, SIDE), np.float32)
    for kind, distance in _DISTANCES.items():
        rows = np.flatnonzero(kinds == kind)
        if rows.size:
            dx, dy = _COLUMNS - x[rows, None, None], _ROWS - y[rows, None, None]
            cos, sin = np.cos(angle[rows])[:, None, None], np.sin(angle[rows])[:, None, None]
            away = distance(cos * dx + sin * dy, cos * dy - sin * dx, radius[rows, None, None])
            out[rows] = 1 / (1 + np.exp(np.clip(away / 0.45, -30, 30)))
    return out


def draw_ellipses(parts: np.ndarray) -> np.ndarray:
    """Union (N, SIDE, SIDE) of soft ellipses; ``parts`` is (N, P, 4): centre x, centre y, half-width, half-height."""
    dx = (_COLUMNS - parts[..., 0, None, None]) / parts[..., 2, None, None]
    dy = (_ROWS - parts[..., 1, None, None]) / parts[..., 3, None, None]
    away = (np.sqrt(dx * dx + dy * dy) - 1) * np.minimum(parts[..., 2], parts[..., 3])[..., None, None]
    return (1 / (1 + np.exp(np.clip(away / 0.5, -30, 30)))).max(axis=1).astype(np.float32)


def blur(images: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
    """Gaussian blur of (N, SIDE, SIDE) in Fourier space; ``sigma`` in pixels, one for all or one an image."""
    from scipy import fft

    frequency = fft.fftfreq(2 * SIDE)[:, None] ** 2 + fft.rfftfreq(2 * SIDE)[None] ** 2
    kernel = np.exp(-2 * (np.pi**2) * frequency * np.reshape(np.square(sigma), (-1, 1, 1))).astype(np.float32)
    around = ((0, 0), (SIDE // 2, SIDE // 2), (SIDE // 2, SIDE // 2))
    padded = np.pad(np.asarray(images, np.float32), around, mode="edge")
    done = fft.irfft2(fft.rfft2(padded) * kernel, s=padded.shape[1:])
    return done[:, SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2]


def clouds(rng: np.random.Generator, count: int, sigma: float) -> np.ndarray:
    """Smooth noise (N, SIDE, SIDE) of unit standard deviation and correlation length ``sigma`` pixels."""
    field = blur(rng.standard_normal((count, SIDE, SIDE), dtype=np.float32), sigma)
    return (field - field.mean((1, 2), keepdims=True)) / field.std((1, 2), keepdims=True)


def _edge(count: int) -> np.ndarray:
    """Distance from the centre, 0 there and 1 in the corners, for every image alike."""
    middle = (SIDE - 1) / 2
    return np.broadcast_to(np.hypot(_COLUMNS - middle, _ROWS - middle) / np.hypot(middle, middle), (count, SIDE, SIDE))


def _slope(rng: np.random.Generator, count: int) -> np.ndarray:
    """A linear ramp from -1 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    return ((np.cos(angle) * (_COLUMNS - 15.5) + np.sin(angle) * (_ROWS - 15.5)) / 22).astype(np.float32)


def _ct(image, rng):
    return np.round(12 * (image + 0.04 * rng.standard_normal(image.shape))) / 12


def _xray(image, rng):
    return blur(image, 0.5) + 0.10 * _slope(rng, len(image)) + 0.03 * rng.standard_normal(image.shape)


def _mri(image, rng):
    return image * (1 + 0.18 * clouds(rng, len(image), 7.0)) + 0.03 * np.abs(rng.standard_normal(image.shape))


def _us(image, rng):
    speckle = clouds(rng, len(image), 0.7)
    return image * (1 + 0.13 * speckle) - 0.10 * (_ROWS / SIDE)


def _oct(image, rng):
    stripes = np.sin(2 * np.pi * (_ROWS / rng.uniform(3.5, 5.5, (len(image), 1, 1)) + rng.random((len(image), 1, 1))))
    return image + 0.06 * stripes + 0.05 * rng.standard_normal(image.shape)


def _dermoscopy(image, rng):
    return image - 0.22 * _edge(len(image)) ** 2 + 0.04 * clouds(rng, len(image), 1.5)


def _microscopy(image, rng):
    grains = np.maximum(clouds(rng, len(image), 1.0) - 1.1, 0)
    return image + 0.07 * grains + 0.02 * rng.standard_normal(image.shape)


def _fundus(image, rng):
    return image * (1.05 - 0.55 * _edge(len(image)) ** 3) + 0.03 * clouds(rng, len(image), 2.5)


def _endoscopy(image, rng):
    spot = rng.uniform(4, 28, (2, len(image), 1, 1))
    glare = np.exp(-((_COLUMNS - spot[0]) ** 2 + (_ROWS - spot[1]) ** 2) / 40)
    return image + 0.12 * glare - 0.15 * _edge(len(image)) ** 2 + 0.03 * rng.standard_normal(image.shape)


def _photograph(image, rng):
    gain = rng.uniform(0.85, 1.15, (len(image), 1, 1))
    return 0.5 + gain * (image - 0.5) + 0.05 * _slope(rng, len(image)) + 0.02 * rng.standard_normal(image.shape)


def _colposcopy(image, rng):
    return image + 0.08 * clouds(rng, len(image), 4.0) + 0.10 * (0.5 - _edge(len(image)))


# modality code -> (how the detector turns tissue into grey levels, whether a lesion is brighter than the tissue)
PHYSICS = {
    "CT": (_ct, True), "X-ray": (_xray, False), "MRI": (_mri, True), "US": (_us, False), "OCT": (_oct, False),
    "Der": (_dermoscopy, False), "Mic": (_microscopy, False), "FP": (_fundus, True), "End": (_endoscopy, True),
    "DP": (_photograph, True), "Co": (_colposcopy, False),
}  # fmt: skip


def apply_physics(modality: str, tissue: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey levels (N, SIDE, SIDE) uint8 that a device of this modality records of ``tissue`` (0..1)."""
    return (255 * np.clip(PHYSICS[modality][0](tissue, rng), 0, 1)).round().astype(np.uint8)
