"""Fits of released models on the released (or generated) question files: the `full` profile, same jobs, same scores.

The model is loaded once; each job gets fresh low-rank adapters, is trained on its rows, scored on its targets by the
likelihood of the option letters under every rotation of the options, and its adapters are taken off again. Used by
:mod:`papers.med_mat.study`.

    fit_released(folder, source=run.source("llava"), root=run.source("questions"), table=csv, jobs=[...], ...)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError
from lib.machine import CPU, Machine
from lib.models import ModelError
from lib.streams import stream
from papers.med_mat.adapters import tune, with_adapters, without_adapters
from papers.med_mat.checkpoints import ReleasedCheckpoint, load
from papers.med_mat.data.files import AbsentError, Record, read_image
from papers.med_mat.data.prepare import Prepared, draw, prepare, without_tested
from papers.med_mat.data.questions import LETTERS, rotations
from papers.med_mat.data.registry import Registry, read_registry

WEIGHTS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}  # of the frozen model, by the machine's precision
DONE = "checkpoint"  # what a killed fit leaves behind: the scores of the jobs it had finished, the state of the one it was at
WARMUP = 0.03  # share of the steps, as in LLaVA's recipe
# of an image at most, where the processor leaves images their size: 576 visual tokens of Qwen2-VL, as many as LLaVA-1.5 has;
# with its own 12.8 million a micro-batch does not fit a card
PIXELS = 576 * 28**2
Read = Callable[[Record], np.ndarray]


@dataclass(frozen=True)
class Ready:
    """Training and test rows of a subset, and the pool: other rows, on which a model shows its preference for letters."""

    rows: Prepared
    pool: list[Record]

    @property
    def options(self) -> int:
        """Options of each tested question."""
        return len(self.rows.test[0].options)


def prepare_all(
    root: Path,
    registry: Registry,
    *,
    missing: str,
    cap: int,
    tests: int,
    pool: int,
    only: Collection[str] | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, Ready]:
    """The classification subsets under ``root`` (of the numbers in ``only``): capped training rows, balanced tests, pool.

    ``missing``: ``stop`` at the first question file or image that is not there, naming the dataset and its address, or
    ``skip`` such rows, and subsets of which too little is left; ``tell`` hears one sentence about each. Raises
    :class:`DataError` for a file that cannot be used as it is, and when no subset is left.
    """
    found = {}
    for subset in registry.classification:
        if only is not None and subset.no not in only:
            continue
        try:
            rows = prepare(root, subset, registry=registry, missing=missing, cap=cap + pool, most_tests=tests)
        except AbsentError as error:
            if missing != "skip":
                raise
            tell(f"subset {subset.no} is left out: {error}")
            continue
        for sentence in rows.said:
            tell(sentence)
        found[subset.no] = _with_pool(rows, pool)
    if not found:
        raise DataError(f"{root} has no subset that can be used; fetch question files and images from the release.")
    return found


def _with_pool(rows: Prepared, pool: int) -> Ready:
    """``rows`` less the pool: random ones of the test's number of options, at most a quarter."""
    usual = len(rows.test[0].options)
    fitting = [i for i, row in enumerate(rows.train) if len(row.options) == usual]
    size = max(1, min(pool, len(fitting) // 4))
    held = set(stream(0, "pool", rows.subset.no).permutation(fitting)[:size].tolist())
    kept = [row for i, row in enumerate(rows.train) if i not in held]
    return Ready(replace(rows, train=kept), [rows.train[i] for i in sorted(held)])


# ---------------------------------------------------------------------- one job
def _score(checkpoint: ReleasedCheckpoint, read: Read, rows: Sequence[Record], *, batch: int) -> dict[str, np.ndarray]:
    """Letter log-likelihoods (images, rotations, options) and right places (images, rotations) of equally long questions."""
    options = len(rows[0].options)
    asked = [(row, *turned) for row in rows for turned in rotations(row.question_choice, row.answer_choice)]
    again = lru_cache(maxsize=1)(read)  # the rotations of an image come one after the other
    values = []
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        images, texts = [again(row) for row, _, _ in part], [text for _, text, _ in part]
        values.append(checkpoint.letter_scores(images, texts, letters=LETTERS[:options]))
    shape = (len(rows), options)
    right = np.array([place for _, _, place in asked], np.int8).reshape(shape)
    return {"test": np.concatenate(values).reshape(*shape, options).astype(np.float32), "test_right": right}


def _train(
    folder: Path,
    checkpoint: ReleasedCheckpoint,
    read: Read,
    ready: Mapping[str, Ready],
    job: dict[str, Any],
    **how: Any,
) -> None:
    """Tune the adapters of ``checkpoint`` on the job's rows; a job asks for what is there, less what it is tested on."""
    # an image set may be in two subsets (dataset 44 is in 18 and 22): what is tested is not trained on
    tested = [row for no in job["tests"] for row in ready[no].rows.test]
    clean = {no: without_tested(ready[no].rows, tested) for no in job["amounts"]}
    amounts = {no: min(amount, len(clean[no].train)) for no, amount in job["amounts"].items()}
    rows = draw(clean, amounts, permuted=job["permuted"], seed=job["seed"])
    if not rows:
        raise DataError(
            f"subsets {', '.join(amounts)} hold only images that subsets {', '.join(job['tests'])} test on; "
            "fetch more of their images."
        )
    questions, answers = [row.question_choice for row in rows], [row.answer_choice for row in rows]
    tune(folder, checkpoint, lambda i: read(rows[i]), questions, answers, seed=job["seed"], **how)


def _noise(one: Record) -> np.ndarray:
    """A picture (32, 32, 3) that has to do with the image's name only."""
    return stream(0, "blind", one.image).integers(0, 256, (32, 32, 3), dtype=np.uint8)


# ---------------------------------------------------------------------- all jobs
@lru_cache(maxsize=1)
def _loaded(source: Path, device: str, precision: str) -> ReleasedCheckpoint:
    """The released model, kept for the next group of jobs: jobs leave it as it was."""
    checkpoint = load(source, device=device, dtype=WEIGHTS[precision])
    if not isinstance(checkpoint, ReleasedCheckpoint):
        raise ModelError(f"{source} is a model of the generated world; give a released one, folder or hub id")
    size = dict(checkpoint.processor.image_processor.size)
    if size.get("longest_edge", 0) > PIXELS:  # Qwen2-VL's word for the number of pixels
        checkpoint.processor.image_processor.size = {**size, "longest_edge": PIXELS}
    return checkpoint


def fit_released(
    folder: Path,
    *,
    source: Path,
    root: Path,
    table: Path,
    jobs: list[dict[str, Any]],
    missing: str,
    cap: int,
    tests: int,
    pool: int,
    rank: int,
    steps: int,
    batch: int,
    learning_rate: float,
    machine: Machine = CPU,
    blind: bool = False,
) -> None:
    """Train adapters for each job (see :func:`papers.med_mat.fits.arms.fit_group`) and write ``scores.npz``.

    ``blind``: a random picture stands for each image, a model that cannot see. A fit that was killed goes on after the
    last finished job, and within a job after the last state that ``machine`` saved.
    """
    wanted = {no for job in jobs for no in (*job["amounts"], *job["tests"])}
    sizes = {"missing": missing, "cap": cap, "tests": tests, "pool": pool}
    ready = prepare_all(root, read_registry(table), **sizes, only=wanted, tell=lambda said: None)  # the study told it
    read = _noise if blind else lambda one: read_image(root, one)
    base = _loaded(source, machine.device, machine.precision)
    (folder / DONE).mkdir(exist_ok=True)
    for number, job in enumerate(jobs):
        part = folder / DONE / f"{number}.npz"
        if part.exists():
            continue
        checkpoint = with_adapters(base, rank=rank, seed=job["seed"]) if job["amounts"] else base
        try:
            if job["amounts"]:
                how = {
                    "steps": steps,
                    "batch": batch,
                    "learning_rate": learning_rate,
                    "warmup": WARMUP,
                    "machine": machine,
                }
                _train(folder / DONE / str(number), checkpoint, read, ready, job, **how)
            scores = {}
            for no in job["tests"]:
                found = _score(checkpoint, read, ready[no].rows.test, batch=machine.at_a_time(batch))
                found["pool"] = _score(checkpoint, read, ready[no].pool, batch=machine.at_a_time(batch))["test"]
                scores |= {f"{number}/{no}/{what}": values for what, values in found.items()}
        finally:
            if job["amounts"]:
                without_adapters(checkpoint)
        np.savez(part.with_suffix(".part.npz"), **scores)
        os.replace(part.with_suffix(".part.npz"), part)
        shutil.rmtree(folder / DONE / str(number), ignore_errors=True)
    scores = {}
    for number in range(len(jobs)):
        with np.load(folder / DONE / f"{number}.npz") as stored:
            scores |= dict(stored)
    np.savez(folder / "scores.npz", **scores)
