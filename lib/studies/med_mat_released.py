"""The fits of Med-MAT on the released questions with a released model: the jobs of the miniature, real data and weights.

``check_release`` reads every question file and looks for every image before anything is trained; ``fit_released`` takes
the same jobs as :func:`lib.studies.med_mat_fits.fit_group` and writes the same scores, so that arms, tables and notebooks
do not know the difference. Used by :func:`lib.studies.med_mat.prepare` where the profile names a release.

>>> check_release(folder, root="data/med-mat", table=table, numbers=["02", "03"], missing="skip", rows={...})
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.data import mat_prepared
from lib.data.mat_prepared import Prepared
from lib.data.mat_questions import LETTERS
from lib.data.mat_registry import Registry, read_registry
from lib.data.med_mat import Record, read_image
from lib.models.multimodal_checkpoint import ReleasedCheckpoint, load
from lib.training.batches import epoch_order
from lib.training.mat_lora import Batch, finetune


def _registry(folder: Path, table: str) -> Registry:
    (folder / "datasets.csv").write_text(table, encoding="utf-8")
    return read_registry(folder / "datasets.csv")


def _prepare(root: Path, registry: Registry, numbers: Iterable[str], *, missing: str, cap: int, test: int, pool: int):
    """Subset -> (prepared rows, pool rows): the pool is held out of training and only shows a preference for letters."""
    found: dict[str, tuple[Prepared, list[Record]]] = {}
    for no in numbers:
        whole = {"registry": registry, "missing": missing, "cap": cap + pool, "most_tests": test}
        one = mat_prepared.prepare(root, registry.subsets[no], **whole)
        order = np.random.default_rng(int(no)).permutation(len(one.train))
        held = [one.train[i] for i in order[:pool]]
        found[no] = (replace(one, train=[one.train[i] for i in sorted(order[pool:])]), _same_options(held))
    return {no: (replace(one, test=_same_options(one.test)), held) for no, (one, held) in found.items()}


def _same_options(rows: list[Record]) -> list[Record]:
    """The rows with the usual number of options of these rows: chance and letters are then one for all."""
    usual = Counter(len(one.options) for one in rows).most_common(1)[0][0] if rows else 0
    return [one for one in rows if len(one.options) == usual]


def check_release(
    folder: Path, *, root: str, table: str, numbers: list[str], missing: str, rows: dict[str, int]
) -> None:
    """Read every question file and look for every image; write ``counts.json`` and ``said.json``.

    ``missing``: "stop" raises :class:`lib.data.errors.DataError` naming file, row, dataset and address of the first image
    that is not there; "skip" leaves such rows out and says so. ``rows``: ``cap``, ``test``, ``pool``, as ``fit_released``.
    """
    registry = _registry(folder, table)
    ready = _prepare(Path(root), registry, numbers, missing=missing, **rows)
    counts = {
        no: {"train": len(one.train), "test": len(one.test), "pool": len(pool), "options": len(one.test[0].options)}
        for no, (one, pool) in ready.items()
    }
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))
    (folder / "said.json").write_text(json.dumps([said for one, _ in ready.values() for said in one.said], indent=1))


def _batches(root: Path, rows: list[Record], *, batch: int, seed: int) -> Callable[[int], Batch]:
    """Images, questions and answer letters of a step; images are read when they are needed."""

    def batch_of_step(step: int) -> Batch:
        part = [rows[i] for i in epoch_order(count=len(rows), batch=batch, seed=seed, step=step)]
        images = [read_image(root, one) for one in part]
        return images, [one.question_choice for one in part], [one.answer_choice for one in part]

    return batch_of_step


def _letter_scores(
    checkpoint: ReleasedCheckpoint, root: Path, rows: list[Record], *, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Letter log-likelihoods (images, 1, options) and places of the right letters (images, 1)."""
    letters = LETTERS[: len(rows[0].options)]
    parts = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        images, questions = [read_image(root, one) for one in part], [one.question_choice for one in part]
        parts.append(checkpoint.letter_scores(images, questions, letters=letters))
    right = np.array([[LETTERS.index(one.answer_choice)] for one in rows])
    return np.concatenate(parts)[:, None], right


def fit_released(
    folder: Path,
    *,
    root: str,
    table: str,
    base: str,
    jobs: list[dict[str, Any]],
    missing: str,
    rows: dict[str, int],
    epochs: float,
    batch: int,
    learning_rate: float,
    lora: dict[str, Any] | None,
    precision: str,
    device: str,
) -> None:
    """Train one released model a job and write its letter scores, as ``fit_group`` does.

    ``rows``: ``cap`` training rows a subset (paper: 3,000), at most ``test`` test rows, ``pool`` rows held out.
    Training rows whose image a job tests are left out, under whatever number they come. Nothing in ``amounts``: the
    released model as it is.
    """
    place, registry = Path(root), _registry(folder, table)
    numbers = sorted({no for job in jobs for no in (*job["amounts"], *job["tests"])})
    ready = _prepare(place, registry, numbers, missing=missing, **rows)
    scores: dict[str, np.ndarray] = {}
    for number, job in enumerate(jobs):
        checkpoint = load(base, device=device, dtype="bfloat16" if precision == "bf16" else "float32")
        tested = [row for no in job["tests"] for row in ready[no][0].test]
        clean = {no: mat_prepared.without_tested(ready[no][0], tested) for no in job["amounts"]}
        amounts = {no: min(amount, len(clean[no].train)) for no, amount in job["amounts"].items()}
        drawn = mat_prepared.draw(clean, amounts, permuted=job["permuted"], seed=job["seed"])
        if drawn:
            size = min(batch, len(drawn))
            steps = max(1, round(epochs * len(drawn) / size))
            draw_batch = _batches(place, drawn, batch=size, seed=job["seed"])
            told = {"learning_rate": learning_rate, "lora": lora, "precision": precision, "device": device}
            finetune(checkpoint, draw_batch, steps=steps, seed=job["seed"], **told)
        for no in job["tests"]:
            one, pool = ready[no]
            for part, its in (("test", one.test), ("pool", pool)):
                scored, right = _letter_scores(checkpoint, place, its, batch=batch)
                scores[f"{number}/{no}/{part}"], scores[f"{number}/{no}/{part}_right"] = scored, right
    np.savez(folder / "scores.npz", **scores)
