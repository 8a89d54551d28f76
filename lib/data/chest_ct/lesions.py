"""How each kind of finding looks: from its row, zone and severity to painted shapes. Called by `scanner` only.

draw_finding(hu, rng, FINDINGS["Lung mass"], "right upper lung", 0.5, anatomy, grid, lungs, mask)
"""

import numpy as np

from lib.data.chest_ct.findings import Finding
from lib.data.chest_ct.shapes import Grid, Shape, ball, capsule, disc, ellipsoid, half_space, paint, shell

LUMEN_HU = -980  # air inside a cyst, a cavity or a dilated bronchus


def draw_finding(hu, rng, finding: Finding, zone: str, severity: float, anatomy, grid: Grid, lungs, mask) -> None:
    """Paints one finding into `hu` (X,Y,Z) and its voxels into `mask` (X,Y,Z) bool, both in place.

    `severity` in [0, 1] picks the size between the row's two and the contrast between 75 and 100 %. `lungs` (X,Y,Z in
    [0,1]) is the lungs' covered fraction; `anatomy` is a `scanner.Anatomy`.
    """
    size = finding.size_mm[0] + (finding.size_mm[1] - finding.size_mm[0]) * severity
    count = int(rng.integers(finding.count[0], finding.count[1] + 1))
    strength = 0.75 + 0.25 * severity
    room = np.minimum(2.5 * lungs, 1)  # fluid and solid tissue fill the lungs up to their edge

    def put(shape: Shape, hu_value=finding.hu, **how):
        paint(hu, shape, grid, hu=hu_value, mask=mask, **{"strength": strength, **how})

    centre, radii = anatomy.heart
    root, top, down = anatomy.aorta
    match finding.shape:
        case "balls":
            for _ in range(count):
                put(ball(point_in_lung(rng, zone, anatomy, size), size * rng.uniform(0.9, 1.1)))
        case "cloud":
            zones = both_sides(zone) if zone.startswith("both") else [zone]
            for i in range(max(count, len(zones))):
                at = point_in_lung(rng, zones[i % len(zones)], anatomy, size)
                put(ellipsoid(at, size * rng.uniform(0.8, 1.2, 3)), softness=18, within=room)
        case "wedge":  # fills the back of a lower lobe
            lung, extent = anatomy.lungs[side_of(zone)]
            at = lung + extent * [rng.uniform(-0.2, 0.3) * sign_of(zone), 0.62, rng.uniform(-0.5, -0.3)]
            put(ellipsoid(at, size * np.array([1.0, 0.9, 1.2])), within=room)
        case "bands":
            for _ in range(count):
                at = point_in_lung(rng, zone, anatomy, 20) + [0, 0, 18]
                way = unit(rng.normal(size=3) * [1, 1, 0.4]) * rng.uniform(32, 42)
                put(capsule(at - way, at + way, size), within=room)
        case "plate":
            lung, extent = anatomy.lungs[side_of(zone)]
            at = lung + extent * [0, rng.uniform(-0.1, 0.3), rng.uniform(-0.52, -0.42)]
            put(disc(at, unit(rng.normal(size=3) * 0.15 + [0, 0, 1]), 50, size + 4), within=room)
        case "cavity":
            for _ in range(count):
                at = centre + [-16, 74, -18] if zone == "hiatus" else point_in_lung(rng, zone, anatomy, size)
                wall = 8 if finding.hu > 0 else 5
                put(ball(at, size + wall / 2), strength=0.95)
                put(ball(at, size - wall), hu_value=LUMEN_HU if zone != "hiatus" else -600, strength=1.0)
        case "nodes":  # on both sides of the carina and at the hila, where they bulge into the lungs
            middle = 0.5 * (anatomy.lungs["right"][0] + anatomy.lungs["left"][0])
            for i in range(count):
                side = (-1, 1)[i % 2]
                at = middle + [side * rng.uniform(22, 38), rng.uniform(-18, 22), rng.uniform(8, 60)]
                put(ball(at, size * rng.uniform(0.85, 1.1)), strength=1.0)
        case "aortic arch":
            for _ in range(count):
                t, out = rng.uniform(0.35, 1), unit(rng.normal(size=3)) * 10
                at = (1 - t) * root + t * top if rng.random() < 0.5 else (1 - t) * down + t * top
                put(capsule(at + out, at + out + unit(rng.normal(size=3)) * 12, size))
        case "descending aorta":
            for _ in range(count):
                angle, z = rng.uniform(0, 2 * np.pi), rng.uniform(-120, 20)
                at = np.array([down[0] + 11 * np.cos(angle), down[1] + 11 * np.sin(angle), z])
                put(capsule(at, at + [0, 0, rng.uniform(30, 55)], size))
        case "coronary":
            for _ in range(count):
                a, b = (unit([rng.uniform(-0.6, 0.6), -0.9, rng.uniform(-0.1, 0.8)]) for _ in range(2))
                put(capsule(centre + a * radii * 0.95, centre + b * radii * 0.95, size))
        case "enlarged heart":  # already painted with the anatomy
            put(ellipsoid(centre, radii), anatomy.tissue_hu, strength=1.0)
        case "pericardial sac":
            wall = shell(ellipsoid(centre, radii * 0.98), size)
            low = (0, 0.4, -0.9)  # fluid sinks to the back and the diaphragm
            put(half_space(wall, low, float(np.dot(low, centre)) - 20), strength=0.95)
        case "emphysema":
            put_in_lungs(put, anatomy, grid, lungs, z_from=8, depth=None, hu_value=finding.hu * size / 100)
        case "mosaic":
            phase, step = rng.uniform(0, 2 * np.pi, 3), np.float32(np.pi / size)

            def patches(x, y, z):
                wave = np.cos(x * step + phase[0]) * np.cos(y * step + phase[1]) * np.cos(z * step * 0.7 + phase[2])
                return np.clip(0.5 + 2.5 * wave, 0, 1).astype(np.float32)

            put_in_lungs(put, anatomy, grid, lungs, pattern=patches)
        case "septa" | "honeycomb":
            step, phase = np.float32(np.pi / 13), rng.uniform(0, np.pi, 3)

            def lines(x, y, z):
                cells = np.abs(np.cos(x * step + phase[0])) + np.abs(np.cos(y * step + phase[1]))
                return (0.45 + 0.4 * (cells + 0 * z)).astype(np.float32)

            base = finding.shape == "honeycomb"
            put_in_lungs(
                put,
                anatomy,
                grid,
                lungs,
                pattern=lines,
                depth=size,
                z_to=-5 if base else None,
                y_from=0 if base else None,
            )
        case "fluid layer" | "air layer":
            lung, extent = anatomy.lungs[side_of(zone)]
            way = (0, 0.9, -0.44) if finding.shape == "fluid layer" else (0, -0.8, 0.6)
            reach = float(np.sqrt(((np.array(way) * extent) ** 2).sum()))  # how far the lung goes that way
            level = float(np.dot(way, lung)) + reach - size
            whole = ellipsoid(lung, extent)
            if finding.shape == "air layer":  # the lung beside it loses volume and is denser
                paint(hu, whole, grid, hu=160 * strength, add=True, within=lungs)
            put(half_space(whole, way, level), strength=1.0, within=room)
        case "lens":  # against the lateral chest wall
            lung, extent = anatomy.lungs[side_of(zone)]
            calcified = finding.hu > 500
            angle, height = rng.uniform(-0.1, 0.9), rng.uniform(-0.35, 0.25)
            way = np.array([sign_of(zone) * np.cos(angle), np.sin(angle), 0]) * np.sqrt(1 - height**2) + [0, 0, height]
            thickness = 9 if calcified else 0.62 * size
            put(
                ellipsoid(lung + extent * way * 0.96, (thickness if calcified else 0.8 * size, size, size)),
                strength=0.95,
                within=room,
            )
            if not calcified:  # a bubble of gas in the pus
                put(ball(lung + extent * way * 0.8 + [0, -8, 8], 9), LUMEN_HU, strength=0.8)
        case "bronchi" | "dilated bronchi":
            draw_bronchi(put, rng, finding, zone, size, count, anatomy, room)
        case "mediastinal gas":
            middle = 0.5 * (anatomy.lungs["right"][0] + anatomy.lungs["left"][0])
            for _ in range(count):
                at = middle + [rng.uniform(-20, 20), rng.uniform(-58, -36), rng.uniform(-10, 30)]
                put(capsule(at, at + [0, 6, rng.uniform(30, 55)], size))
        case "device":
            width, depth = anatomy.body
            can = anatomy.middle + [0.5 * width, -0.70 * depth, rng.uniform(60, 85)]
            put(ellipsoid(can, (size + 6, size * 0.6, size + 6)), strength=0.95)
            elbow = anatomy.middle + [6.0, -10.0, 70.0]
            put(capsule(can, elbow, 5))
            put(capsule(elbow, centre + [-6, 4, -10], 5))
        case "endplates":
            for _ in range(count):
                put(disc([*anatomy.spine, rng.uniform(-120, 110)], (0, 0, 1), size, 12))
        case "spurs":
            for _ in range(count):
                angle = rng.uniform(1.1, 1.9) * np.pi  # the front of the column
                at = [
                    anatomy.spine[0] + 27 * np.cos(angle),
                    anatomy.spine[1] + 27 * np.sin(angle),
                    rng.uniform(-110, 100),
                ]
                put(ball(at, size))
        case "rib":
            width, depth = anatomy.body
            for _ in range(count):
                angle, side = rng.uniform(-0.6, 0.6), rng.choice([-1, 1])
                at = [side * (width - 24) * np.cos(angle), (depth - 24) * np.sin(angle), rng.uniform(-70, 80)]
                put(ball(anatomy.middle + at, size))
        case other:
            raise ValueError(f"{finding.name}: shape {other!r} has no drawing; add one here or correct the table.")


def draw_bronchi(put, rng, finding: Finding, zone: str, size: float, count: int, anatomy, lungs) -> None:
    """Thick-walled rods from the hila outwards; dilated ones lie in the periphery of a lower lobe and have a lumen."""
    for side in ("right", "left") if zone.startswith("both") else (side_of(zone),):
        sign = -1 if side == "right" else 1
        lung, extent = anatomy.lungs[side]
        hilum = lung + [-sign * extent[0] * 0.7, 6, 0]
        for i in range(count):
            turn = 2 * np.pi * (i + rng.uniform(0, 0.6)) / count
            if finding.shape == "dilated bronchi":
                start = lung + extent * [
                    sign * rng.uniform(-0.2, 0.3),
                    rng.uniform(-0.5, 0.5),
                    rng.uniform(-0.45, -0.15),
                ]
                end = start + np.array([sign * 12, 8 * np.sin(turn), -14])
                put(capsule(start, end, size), strength=0.9, within=lungs)
                put(capsule(start, end, size - 8), LUMEN_HU, strength=1.0, within=lungs)
                continue
            down = -0.9 if zone == "both lower lungs" else 0.7 * np.sin(turn)
            way = unit(np.array([sign * 0.7, 0.7 * np.cos(turn), down]))
            put(capsule(hilum, hilum + way * rng.uniform(45, 60), size), within=lungs)


def put_in_lungs(
    put, anatomy, grid: Grid, lungs, *, pattern=None, depth=None, z_from=None, z_to=None, y_from=None, **how
):
    """Adds a texture to both lungs or their outer `depth` mm, above `z_from`, below `z_to`, behind `y_from` (mm)."""
    for centre, radii in anatomy.lungs.values():
        lung = ellipsoid(centre, radii)
        shape = shell(ellipsoid(centre, radii - depth), depth) if depth else lung
        for limit, normal in ((z_from, (0, 0, 1)), (y_from, (0, 1, 0))):
            if limit is not None:
                shape = half_space(shape, normal, limit)
        if z_to is not None:
            shape = half_space(shape, (0, 0, -1), -z_to)
        put(shape, add=True, within=lungs, pattern=pattern, softness=12, **how)


def point_in_lung(rng, zone: str, anatomy, radius: float) -> np.ndarray:
    """A point (mm) of an upper or lower lung zone at least about `radius` from the pleura and clear of the heart."""
    lung, extent = anatomy.lungs[side_of(zone)]
    room = np.maximum(1 - radius / extent, 0.25)
    way = rng.uniform(-1, 1, 3)
    way *= min(1.0, 0.85 / np.linalg.norm(way[:2])) if np.linalg.norm(way[:2]) > 0.85 else 1.0
    if "upper" in zone:
        way[2] = 0.12 + 0.45 * abs(way[2])
    else:  # behind the heart's level and above the diaphragm
        way[2], way[1] = -0.08 - 0.32 * abs(way[2]), 0.15 + 0.7 * abs(way[1])
    return lung + extent * room * way * [0.8, 0.9, 1]


def both_sides(zone: str) -> list[str]:
    part = "upper" if "upper" in zone else "lower"
    return [f"right {part} lung", f"left {part} lung"]


def side_of(zone: str) -> str:
    return "right" if zone.startswith("right") else "left"


def sign_of(zone: str) -> int:
    return -1 if zone.startswith("right") else 1


def unit(way) -> np.ndarray:
    way = np.asarray(way, dtype=float)
    return way / np.linalg.norm(way)
