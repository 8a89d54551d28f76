"""One generated volume: a chest of :mod:`lib.data.chest_ct`, turned, tilted, shifted and scaled before it is sampled.

With anatomy always in the same place a PCA of raw voxels tells the findings nearly perfectly; how the patient lies is drawn
anew for every volume, so that what a finding looks like has to be told from where its voxels are.

    hu = draw({"Pleural effusion": "left pleura"}, seed=0, name=("train", 7), shape=(24, 24, 12), spacing=(15, 15, 30), pose=GENTLE)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lib.data.chest_ct.findings import FINDINGS
from lib.data.chest_ct.scanner import AIR, Observation, render_scan
from lib.streams import stream
from papers.e3d_gpt.findings import LEAST_SEVERITY, RATE, SHOWN

FINER = 4 / 3  # samples of the drawn grid to one of the volume's, on each axis


def sample_findings(rng: np.random.Generator) -> dict[str, str]:
    """Finding -> zone, each drawn by itself."""
    found = {}
    for name in SHOWN:
        zones, present = FINDINGS[name].zones, rng.random() < RATE
        zone = zones[int(rng.integers(len(zones)))]
        if present:
            found[name] = zone
    return found


def pose_matrix(rng: np.random.Generator, pose: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) and (3,) mm: the point of the drawn chest that is seen at a point of the volume.

    ``pose``: most degrees of ``turn`` (about the long axis) and ``tilt`` (about the left-right axis), most mm of ``shift`` on
    each axis, and the least ``scale`` of the body (at most 1).
    """
    turn, tilt = (np.deg2rad(rng.uniform(-pose[name], pose[name])) for name in ("turn", "tilt"))
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    scale = rng.uniform(pose["scale"], 1.0)
    return about_z @ about_x / scale, rng.uniform(-pose["shift"], pose["shift"], 3)


def draw(
    observed: Mapping[str, str],
    *,
    seed: int,
    name: Sequence[str | int],
    shape: Sequence[int],
    spacing: Sequence[float],
    pose: Mapping[str, float],
    noise: float,
) -> np.ndarray:
    """HU (X, Y, Z) float32 of one patient with ``observed`` findings; ``noise`` is its standard deviation in HU."""
    from scipy.ndimage import affine_transform

    rng = stream(seed, "severity", *name)
    seen = [Observation(one, zone, float(rng.uniform(LEAST_SEVERITY, 1))) for one, zone in observed.items()]
    fine = tuple(round(size * FINER) for size in shape)
    fine_spacing = tuple(size * step / more for size, step, more in zip(shape, spacing, fine, strict=True))
    scan = render_scan(stream(seed, "anatomy", *name), seen, shape=fine, spacing=fine_spacing)
    matrix, shift = pose_matrix(stream(seed, "pose", *name), pose)
    to_mm, to_fine = np.diag(spacing), np.diag(1 / np.array(fine_spacing))
    middle, fine_middle = (np.array(shape) - 1) / 2, (np.array(fine) - 1) / 2
    whole = to_fine @ matrix @ to_mm  # index of the volume -> index of the drawn grid, both from their middles
    offset = fine_middle + to_fine @ shift - whole @ middle
    hu = affine_transform(scan.hu, whole, offset=offset, output_shape=tuple(shape), order=1, cval=AIR)
    hu += stream(seed, "noise", *name).standard_normal(hu.shape, dtype=np.float32) * np.float32(noise)
    return np.clip(hu, -1024, 3071).astype(np.float32)
