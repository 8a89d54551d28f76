"""The masked autoencoder beside what else could fill a hidden patch: of a base's test volumes, or of a real CT's held-out slabs.

found = reconstruct(run, components=48); judge(run, found, "R1a", resamples=2000)
"""

from __future__ import annotations

import numpy as np

from lib.evaluation.cases import over_cases
from lib.workflow.session import Run
from papers.e3d_gpt import encoders
from papers.e3d_gpt.prepare import Crops
from papers.e3d_gpt.scan import Reconstruction, fill, reconstruct_scan
from papers.e3d_gpt.study import prepare

WAYS = ("masked autoencoder", "other crop", "voxel PCA", "trilinear", "harmonic", "mean")
MOST = 400  # volumes that are masked at most, and four times as many that a PCA is fitted on


def arms(errors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of the ways as claims have them."""
    return {name.replace(" ", "_"): values for name, values in errors.items()}


def reconstruct(run: Run, *, components: int) -> list[Reconstruction]:
    """One reconstruction a seed: of the base under it, with masks drawn by the seed; or of the profile's CT (``slabs``)."""
    if "slabs" in run.settings:
        return [reconstruct_scan(run, seed=seed, components=components) for seed in run.seeds]
    study = prepare(run)
    study.build_encoders(["masked"])
    settings, found = run.settings, []
    for seed in run.seeds:
        base = study.bases[run.base_of(seed)]
        net = encoders.load_autoencoder(base.encoder("masked"), vit=settings["vit"], how=settings["masked"])
        known = Crops([base.pool, *base.train], crop=settings["crop"])
        asked = Crops([one.prepared for one in base.tests.values()], crop=settings["crop"])
        train, test = (
            one.draw(np.linspace(0, len(one) - 1, min(most, len(one))).astype(int))[:, 0].numpy()
            for one, most in ((known, 4 * MOST), (asked, MOST))
        )
        found.append(fill(net, test, train=train, components=components, seed=seed, device=run.machine.device))
    return found


def means(found: list[Reconstruction]) -> dict[str, list[float]]:
    """Mean error of each way, one value a seed, over the variance of all voxels: 1 is what their mean would give."""
    scale = [float(one.volumes.var()) for one in found]
    return {name: [float(one.errors[name].mean()) / by for one, by in zip(found, scale, strict=True)] for name in WAYS}


def judge(run: Run, found: list[Reconstruction], claim: str, *, resamples: int) -> None:
    """By the replicates of a run on bases; over the held-out crops, those of one column of the body together, of one CT."""
    if "slabs" not in run.settings:
        run.judge(claim, {name.replace(" ", "_"): values for name, values in means(found).items()})
        return
    told, one = run.paper.claim(claim), found[0]
    by, scale = arms(one.errors), float(one.volumes.var())
    run.record(told.quantity, {name: [float(values.mean()) / scale] for name, values in by.items()})
    effect = (by[told.arms.treatment] - by[told.arms.baseline]) / scale
    other = told.control.arms
    control = (by[other.treatment] - by[other.baseline]) / scale
    run.judge_cases(claim, **over_cases(effect, control, clusters=one.columns, resamples=resamples))
