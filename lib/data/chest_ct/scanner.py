"""A chest CT that is drawn, not scanned: one patient's anatomy, the findings asked for, noise, two reconstructions.

Geometry is in millimetres (LPS, origin at the centre of a field of view of about 360 mm), so the same scan can be drawn
on any grid. A finding is drawn from its own random stream: leaving it out changes nothing else, noise included.
Used by `world`; the table of findings is `findings`.

    rng = np.random.default_rng(0); scan = render_scan(rng, [observe(rng, "Lung mass")]); scan.hu.shape  # (48, 48, 24)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.data.chest_ct.findings import FINDINGS
from lib.data.chest_ct.lesions import draw_finding
from lib.data.chest_ct.shapes import Grid, Shape, ball, capsule, ellipsoid, paint
from lib.streams import stream

SHAPE, SPACING = (48, 48, 24), (7.5, 7.5, 15.0)  # 360 mm in every direction
AIR, FAT, TISSUE, BONE = -1000, -90, 45, 260
SHARP_SLICES = 4 / 3  # the sharp reconstruction has a third more, thinner slices
_ORDER = {name: i for i, name in enumerate(FINDINGS)}


@dataclass(frozen=True)
class Observation:
    """One finding of one scan as a radiologist would see it: `severity` in [0, 1] scales its size, `zone` places it."""

    name: str
    zone: str
    severity: float


@dataclass(frozen=True)
class Scan:
    """`hu` (X,Y,Z) float32 and, for each finding, the boolean mask (X,Y,Z) of the voxels it was drawn in."""

    hu: np.ndarray
    masks: dict[str, np.ndarray]
    spacing: tuple[float, float, float]


@dataclass
class Anatomy:
    """One patient's measures in mm and HU; everything the findings need to know where they belong."""

    middle: np.ndarray  # of the body, x, y, z: how the patient lies on the table
    body: tuple[float, float]  # half width and half depth
    lungs: dict[str, tuple[np.ndarray, np.ndarray]]  # "right" / "left" -> centre, radii
    domes: dict[str, tuple[np.ndarray, np.ndarray]]  # the two halves of the diaphragm
    heart: tuple[np.ndarray, np.ndarray]
    aorta: tuple[np.ndarray, np.ndarray, np.ndarray]  # root, top of the arch, descending part at arch height
    spine: np.ndarray  # x, y
    lung_hu: float
    tissue_hu: float
    noise: float  # sd in HU of the soft reconstruction

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Anatomy":
        u, n = rng.uniform, rng.normal
        at = np.array([n(0, 7), n(0, 7), n(0, 8)])
        scale = u(0.95, 1.05)
        lungs, domes = {}, {}
        for side, sign, width in (("right", -1, 54), ("left", 1, 50)):
            radii = np.array([width, 74, 128]) * scale * u(0.96, 1.04, 3)
            lungs[side] = at + [sign * u(70, 76), u(-2, 4), 12], radii
            domes[side] = at + [sign * 74, 0, -150 + (8 if sign < 0 else 0) + n(0, 5)], np.array([82, 105, 70])
        heart = at + [26 + n(0, 3), -22 + n(0, 3), -38 + n(0, 4)], np.array([48, 42, 48]) * scale * u(0.92, 1.08)
        aorta = at + [-6, -16, 5], at + [8, 12, 84 + n(0, 3)], at + [24, 54, 70]
        body = (u(150, 164) * scale, u(112, 122) * scale)
        spine = at[:2] + [0, 84]
        return cls(at, body, lungs, domes, heart, aorta, spine, n(-850, 12), n(TISSUE, 5), u(15, 25))


def observe(rng: np.random.Generator, name: str) -> Observation:
    """Draws where a finding is and how severe; `KeyError` for a name that is not in the table."""
    zones = FINDINGS[name].zones
    return Observation(name, zones[int(rng.integers(len(zones)))], float(rng.random()))


def render_scan(
    rng: np.random.Generator,
    findings: Sequence[Observation],
    *,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
    anatomy: Anatomy | None = None,
) -> Scan:
    """Draws one scan; `hu` is noiseless, `reconstruct` adds the noise, so that one rendering serves both kernels.

    `shape` and `spacing` (mm) are x, y, z. Pass the `anatomy` of an earlier scan to image the same patient again.
    """
    anatomy = Anatomy.sample(rng) if anatomy is None else anatomy
    seed = int(rng.integers(2**62))
    grid = Grid.of(shape, spacing)
    ordered = sorted(findings, key=lambda o: _ORDER[o.name])
    masks = {o.name: np.zeros(shape, dtype=bool) for o in ordered}
    heart_scale = 1.0
    for o in ordered:
        if FINDINGS[o.name].shape == "enlarged heart":
            low, high = FINDINGS[o.name].size_mm
            heart_scale = low + (high - low) * o.severity
    hu, lungs = _draw_anatomy(stream(seed, "anatomy"), anatomy, grid, heart_scale)
    centre, radii = anatomy.heart
    big = replace(anatomy, heart=_enlarged(centre, radii, heart_scale))
    # Lung textures first, dense things last: a calcification is not hidden by what fills the lung around it.
    for o in sorted(ordered, key=lambda o: (FINDINGS[o.name].shape not in _TEXTURES, FINDINGS[o.name].hu)):
        own = stream(seed, "finding", o.name)
        draw_finding(hu, own, FINDINGS[o.name], o.zone, o.severity, big, grid, lungs, masks[o.name])
    return Scan(np.clip(hu, -1024, 3071), masks, tuple(spacing))


_TEXTURES = {"emphysema", "mosaic", "septa", "honeycomb"}


def _enlarged(centre, radii, scale):
    """A big heart grows to the left and down, where the diaphragm and the lung give way."""
    return centre + np.array([14.0, -4.0, -10.0]) * (scale - 1) / 0.3, radii * scale


def reconstruct(
    scan: Scan, rng: np.random.Generator, *, kernel: str, noise: float
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """HU (X,Y,Z') float32 and spacing of one reconstruction; `noise` is the sd (HU) of the soft one.

    "soft": the scan's own slices. "sharp": thinner slices (interpolated between the drawn ones), edges enhanced in the
    slice plane, 1.5 times the noise. `ValueError` for another kernel.
    """
    hu, spacing = scan.hu, scan.spacing
    if kernel == "sharp":
        slices = max(round(hu.shape[2] * SHARP_SLICES), 1)
        thickness = spacing[2] * hu.shape[2] / slices
        hu = hu @ _interpolation(hu.shape[2], slices)
        smooth = (hu[:-2, 1:-1] + hu[2:, 1:-1] + hu[1:-1, :-2] + hu[1:-1, 2:]) / 4
        hu[1:-1, 1:-1] += np.float32(0.3) * (hu[1:-1, 1:-1] - smooth)
        spacing, noise = (spacing[0], spacing[1], thickness), 1.5 * noise
    elif kernel != "soft":
        raise ValueError(f"kernel {kernel!r} is not known; use 'soft' or 'sharp'.")
    noisy = rng.standard_normal(hu.shape, dtype=np.float32)
    noisy *= np.float32(noise)
    noisy += hu
    return np.clip(noisy, -1024, 3071, out=noisy), spacing


def _interpolation(n: int, m: int) -> np.ndarray:
    """(n, m) weights that resample n slices to m linearly over the same extent; the ends are held."""
    at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(np.arange(n)[:, None] - at[None, :])).astype(np.float32)


def _draw_anatomy(rng, anatomy: Anatomy, grid: Grid, heart_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The healthy chest (X,Y,Z) float32 and the lungs' covered fraction of each voxel, heart excluded."""
    x, y, _ = (a.astype(np.float32) for a in grid.axes)
    hu = np.full(grid.shape, AIR, dtype=np.float32)
    width, depth = anatomy.body
    edge = np.sqrt(grid.spacing[0] * grid.spacing[1])
    reach = np.sqrt(((x - anatomy.middle[0]) / width) ** 2 + ((y - anatomy.middle[1]) / depth) ** 2)[
        :, :, 0
    ]  # 1 on the skin
    inward = (1 - reach) * min(width, depth)  # about mm below the skin
    skin, muscle = (np.clip(0.5 + (inward - under) / edge, 0, 1)[:, :, None] for under in (0, 12))
    hu += skin * np.float32(FAT - AIR) + muscle * np.float32(anatomy.tissue_hu - FAT)
    _draw_bones(hu, inward, anatomy, grid)
    middle = np.array([np.mean([anatomy.lungs[s][0][i] for s in anatomy.lungs]) for i in range(3)])
    paint(hu, ellipsoid(middle + [0, -8, 10], (40, 55, 112)), grid, hu=FAT + 20)

    lungs = np.zeros(grid.shape, dtype=np.float32)
    for side, (centre, _) in anatomy.lungs.items():
        paint(lungs, _lung(anatomy, side), grid, hu=1)
        paint(hu, ball(centre * [0.45, 1, 1] + [0, 12, 0], 24), grid, hu=0, softness=30, strength=0.6)  # hilum
    texture = _smooth_field(rng, grid.shape) * 22 + anatomy.lung_hu
    hu += lungs * (texture - hu)
    for side, (centre, radii) in anatomy.lungs.items():
        sign = -1 if side == "right" else 1
        hilum = centre + [-sign * radii[0] * 0.75, 8, 0]
        for _ in range(4):  # the largest vessels only; the rest is in the texture
            way = rng.normal(size=3) * [0.3, 0.5, 1]
            way = np.array([sign * (0.6 + abs(way[0])), way[1], way[2]])
            end = hilum + way / np.linalg.norm(way) * rng.uniform(35, 55)
            paint(hu, capsule(hilum, end, 3.5), grid, hu=0, strength=0.6, within=lungs)

    heart = ellipsoid(*_enlarged(*anatomy.heart, heart_scale))
    root, top, down = anatomy.aorta
    paint(hu, heart, grid, hu=anatomy.tissue_hu)
    paint(lungs, heart, grid, hu=0)
    for start, end in ((root, top), (top, down), (down, [down[0], down[1], -200])):
        paint(hu, capsule(start, end, 14), grid, hu=anatomy.tissue_hu)
        paint(lungs, capsule(start, end, 14), grid, hu=0)
    paint(hu, capsule(middle + [0, 12, 60], middle + [0, 8, 190], 9), grid, hu=AIR)  # trachea
    return hu, lungs


def _lung(anatomy: Anatomy, side: str) -> Shape:
    """An ellipsoid that stands on its half of the diaphragm."""
    lung, dome = ellipsoid(*anatomy.lungs[side]), ellipsoid(*anatomy.domes[side])
    return Shape(lambda *p: np.maximum(lung.distance(*p), -dome.distance(*p)), lung.centre, lung.half)


def _draw_bones(hu, inward, anatomy: Anatomy, grid: Grid) -> None:
    """Ribs: a ring under the skin, on and off along an axis that dips to the front. Spine: a column with discs."""
    _, y, z = grid.axes
    ring = np.clip(1.1 - np.abs(inward - 20) / 8, 0, 1)[:, :, None]
    dip = np.float32(2 * np.pi / 48)
    hu += ring * np.float32(BONE - 60) * (0.5 + 0.5 * np.cos(dip * (z + 0.35 * y)))
    sx, sy = anatomy.spine
    x = grid.axes[0]
    column = np.clip(0.5 - (np.sqrt((x - sx) ** 2 + (y - sy) ** 2) - 19) / grid.spacing[0], 0, 1)
    hu += column * (np.float32(BONE) + 40 * np.cos(z * np.float32(2 * np.pi / 36)) - hu)


def _smooth_field(rng, shape: tuple[int, int, int], knots: int = 8) -> np.ndarray:
    """A random field of sd about 1 that varies over about 1/8 of the field of view, whatever the grid."""
    field = rng.standard_normal((knots,) * 3, dtype=np.float32)
    for n in shape:  # each pass interpolates the first axis and moves it to the end
        field = np.tensordot(field, _interpolation(knots, n), axes=(0, 0))
    return field * np.float32(1.6)  # linear interpolation lowers the spread
