"""The real chest CT: crops of some of its slabs train the masked autoencoder, crops of others test it.

found = reconstruct_scan(run, seed=0, components=64); found.errors["masked autoencoder"]     # (crops,) of the held-out slabs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import write_json
from lib.data.volumes import Geometry, check_volume, resample
from lib.workflow.session import Run
from papers.e3d_gpt import controls, encoders
from papers.e3d_gpt.prepare import NAMES, VOLUMES, read_prepared, scaled


def prepare_slabs(
    folder: Path,
    *,
    ct: Path,
    target_spacing: Sequence[float],
    intensity: dict[str, float],
    crop: Sequence[int],
    held: Sequence[int],
    gap: int,
    stride: Sequence[int],
) -> None:
    """Crops of the CT on the grid of CT-RATE's preprocessing: ``train/`` and ``test/``, each as a prepared folder.

    The volume is cut along z into slabs as thick as a crop; those numbered in ``held`` (from the feet) are the test, without
    overlap between its crops. Training crops begin every ``stride`` voxels outside of the held slabs and of ``gap`` slices
    around each. Crops that show mostly air (mean below -800 HU) are left out of both.
    """
    import nibabel

    image = nibabel.load(ct)
    stored = check_volume(np.asarray(image.dataobj), name=str(ct))
    geometry = Geometry(tuple(float(step) for step in image.header.get_zooms()[:3]), name=str(ct))
    hu = resample(stored.astype(np.float32), spacing=geometry.spacing, target_spacing=target_spacing)
    blocked = np.zeros(hu.shape[2], dtype=bool)
    for slab in held:
        first, last = slab * crop[2], (slab + 1) * crop[2]
        blocked[max(0, first - gap) : last + gap] = True
    places: dict[str, list[tuple[int, int, int]]] = {"train": [], "test": []}
    for name, step, starts in (
        ("train", stride, range(0, hu.shape[2] - crop[2] + 1, stride[2])),
        ("test", crop, [slab * crop[2] for slab in held]),
    ):
        for z in starts:
            if name == "train" and blocked[z : z + crop[2]].any():
                continue
            for x in range(0, hu.shape[0] - crop[0] + 1, step[0]):
                for y in range(0, hu.shape[1] - crop[1] + 1, step[1]):
                    if hu[x : x + crop[0], y : y + crop[1], z : z + crop[2]].clip(-1000).mean() > -800:
                        places[name].append((x, y, z))
    for name, found in places.items():
        (folder / name).mkdir()
        cut = [hu[tuple(slice(a, a + n) for a, n in zip(place, crop, strict=True))] for place in found]
        np.save(folder / name / VOLUMES, np.stack([scaled(one, **intensity) for one in cut]).astype(np.float16))
        write_json(folder / name / NAMES, ["_".join(map(str, place)) for place in found])


@dataclass(frozen=True)
class Reconstruction:
    """Masked volumes and what each way makes of them. ``errors``: way -> (N,) mean squared error of the masked voxels.

    ``volumes`` (N, X, Y, Z), ``seen`` (N, T) bool, ``filled``: way -> patches (N, T, P) of the first ``kept`` volumes.
    """

    volumes: np.ndarray
    seen: np.ndarray
    errors: dict[str, np.ndarray]
    filled: dict[str, np.ndarray]
    grid: tuple[int, int, int]
    patch: tuple[int, int, int]
    columns: tuple[str, ...] = ()  # of a CT's crops: where each lies in the plane

    def picture(self, way: str, number: int) -> np.ndarray:
        """The middle slice, front upwards: ``original``, ``masked`` (black where it is), or a way with what was seen left."""
        how = {"grid": self.grid, "patch": self.patch}
        patches = controls.to_patches(self.volumes[number : number + 1], **how)
        seen = self.seen[number : number + 1, :, None]
        if way == "masked":
            patches = np.where(seen, patches, patches.min())
        elif way != "original":
            patches = np.where(seen, patches, self.filled[way][number : number + 1])
        volume = controls.to_volume(patches, **how)[0]
        return volume[:, :, volume.shape[2] // 2].T


def fill(
    net: Any, volumes: np.ndarray, *, train: np.ndarray, components: int, seed: int, kept: int = 8, device: str = "cpu"
) -> Reconstruction:
    """Mask every volume once (drawn by ``seed``) and fill it by the autoencoder ``net`` and by the controls.

    ``other crop``: the autoencoder is given the patches of the next volume, at the same places (a control that shares all but
    what is seen).
    """
    import torch

    patch = net.vit.patch
    x = torch.from_numpy(np.asarray(volumes, dtype=np.float32))[:, None]
    grid = net.vit.grid_of(x)
    order = net.draw_order(len(x), int(np.prod(grid)), generator=torch.Generator().manual_seed(seed))
    seen = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(seen, order[:, : net.kept(order.shape[1])].numpy(), True, axis=1)
    how = {"grid": grid, "patch": patch}
    patches = controls.to_patches(x[:, 0].numpy(), **how)
    net = net.to(device).eval()

    def predict(given: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            parts = [
                net.reconstruct(a.to(device), b.to(device)).cpu()
                for a, b in zip(given.split(64), order.split(64), strict=True)
            ]
        return torch.cat(parts).numpy()

    ways = {
        "masked autoencoder": predict(x),
        "other crop": predict(x.roll(1, dims=0)),
        "voxel PCA": controls.VoxelPCA(train, components=components).fill(patches, seen, **how),
        "trilinear": controls.interpolate(patches, seen, **how),
        "harmonic": controls.inpaint(patches, seen, **how),
        "mean": controls.fill_mean(patches, seen),
    }
    errors = {name: controls.masked_errors(one, patches, seen) for name, one in ways.items()}
    filled = {name: np.asarray(one[:kept]) for name, one in ways.items()}
    return Reconstruction(np.asarray(volumes, dtype=np.float32), seen, errors, filled, grid, tuple(patch))


def reconstruct_scan(run: Run, *, seed: int, components: int) -> Reconstruction:
    """The run's CT: an autoencoder trained on its training slabs, tested on the held ones."""
    told = run.settings["slabs"]
    ct = run.source(told["source"]) / told["file"]
    grid = {name: run.settings[name] for name in ("crop", "intensity")}
    slabs = run.build(prepare_slabs, ct=ct, **grid, **{k: v for k, v in told.items() if k not in ("source", "file")})
    vit, how = run.settings["vit"], run.settings["masked"]
    trained = run.build(
        encoders.pretrain_masked, prepared=[slabs / "train"], vit=vit, crop=run.settings["crop"], how=how, seed=seed
    )
    net = encoders.load_autoencoder(trained, vit=vit, how=how)
    train, test = (np.asarray(read_prepared(slabs / name)[0], dtype=np.float32) for name in ("train", "test"))
    places = read_prepared(slabs / "test")[1]
    found = fill(net, test, train=train, components=components, seed=seed)
    return replace(found, columns=tuple(place.rpartition("_")[0] for place in places))
