"""What a replicate stands on: pretrained base models, each with a generated world of its own.

Had the authors started again, pictures, encoder and language model would have been others; so every base has its own of
each. A profile's ``bases`` says how many there are; the seeds of a run are spread over them (``run.base_of``).

    grounds = prepare_grounds(run); grounds[run.base_of(seed)].model
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.streams import stream_seed
from lib.workflow.session import Run
from papers.med_mat.fits import arms as med_mat_fits
from papers.med_mat.fits import pretraining as mat_pretraining
from papers.med_mat.world import general as mat_general
from papers.med_mat.world import world as mat_world


@dataclass(frozen=True)
class Ground:
    """One base: its generated world, the model that was pretrained for it, and the rows of the one as the other sees them."""

    world: Path
    model: Path
    rows: Path


def bases_of(run: Run) -> list[int]:
    """The seeds of the different bases under a run, in order."""
    return list(dict.fromkeys(run.bases))


def pretrained(run: Run, seeds: Sequence[int], encoder: str = "convolution") -> list[Path]:
    """The model of each base after the general stage; a second encoder is joined to the first one's language model."""
    settings = run.settings
    general = run.build_all(mat_general.write_general, [{**settings["general"], "seed": seed} for seed in seeds])
    told = {"encoder": encoder, **settings["encoders"][encoder]}
    sources = [{**told, "general": data, "seed": seed} for data, seed in zip(general, seeds, strict=True)]
    weights = run.build_all(mat_pretraining.pretrain_encoder, sources)
    given: dict[str, Any] = {"general": general, "encoder": encoder, "weights": weights, "seeds": list(seeds)}
    given |= settings["language"]
    if encoder != "convolution":
        given |= {"start": pretrained(run, seeds), "steps": settings["join_steps"]}
    folder = run.build(mat_pretraining.pretrain_languages, **given)
    return [mat_pretraining.base(folder, number) for number in range(len(seeds))]


def prepare_grounds(
    run: Run, *, encoder: str = "convolution", blind: bool = False, tests: dict[str, Any] | None = None
) -> dict[int, Ground]:
    """The grounds of a run by the seed of their base, built where missing (see :func:`papers.med_mat.study.prepare`)."""
    settings, seeds = run.settings, bases_of(run)
    table = (run.facts / "datasets.csv").read_text(encoding="utf-8")
    models = pretrained(run, seeds, encoder)
    worlds = run.build_all(mat_world.write_world, [{"table": table, **settings["world"], "seed": s} for s in seeds])
    tested, parts = worlds, dict(settings["rows"])
    if tests is not None:
        told = {"table": table, "images": tests["images"], "only": tests["only"]}
        others = [{**told, "seed": stream_seed(seed, "another world's test images")} for seed in seeds]
        tested, parts = (
            run.build_all(mat_world.write_world, others),
            {**parts, "test": tests["test"], "only": tests["only"]},
        )
    made = [
        {"world": world, "tests_of": other, "base": model, **parts}
        for world, other, model in zip(worlds, tested, models, strict=True)
    ]
    rows = run.build_all(med_mat_fits.prepare_rows, made)
    if blind:
        seeing = [{"rows": one, "seed": seed} for one, seed in zip(rows, seeds, strict=True)]
        rows = run.build_all(med_mat_fits.blind_rows, seeing)
    return {seed: Ground(*one) for seed, one in zip(seeds, zip(worlds, models, rows, strict=True), strict=True)}
