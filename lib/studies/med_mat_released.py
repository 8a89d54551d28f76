"""Fits of released models on the released (or generated) question files: the `full` profile, same jobs, same scores.

One job at a time: fresh low-rank adapters on the loaded model, trained on the job's rows, scored on its targets by the
likelihood of the option letters under every rotation of the options. Used by :mod:`lib.studies.med_mat`.

>>> fit_released(folder, source="llava-hf/llava-1.5-7b-hf", root=Path("data/med-mat"), table=csv, jobs=[...], ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.mat_prepared import Prepared, draw, prepare, without_tested
from lib.data.mat_questions import LETTERS
from lib.data.mat_registry import Registry
from lib.data.med_mat import Record, read_image
from lib.models.released_multimodal import ReleasedCheckpoint, load
from lib.studies.med_mat_fits import rotations
from lib.training.multimodal_lora import tune, with_adapters


def prepare_all(
    root: Path, registry: Registry, *, missing: str, cap: int, tests: int, pool: int
) -> dict[str, Prepared]:
    """Every classification subset whose question file is under ``root``: capped training rows, balanced tests.

    ``missing``: ``stop`` at the first image that is not there, naming its dataset and address, or ``skip`` such rows and
    print one sentence a dataset.
    """
    found = {}
    for subset in registry.classification:
        ready = prepare(root, subset, registry=registry, missing=missing, cap=cap + pool, most_tests=tests)
        for sentence in ready.said:
            print(sentence)
        found[subset.no] = ready
    return found


def _score(checkpoint: ReleasedCheckpoint, root: Path, rows: Sequence[Record], *, batch: int) -> dict[str, np.ndarray]:
    """Letter log-likelihoods (images, rotations, options) and right places; rows with fewer options are filled with -inf."""
    asked = [(row, text, place) for row in rows for text, place in rotations(row)]
    options = max(len(row.options) for row in rows)
    values = np.full((len(asked), options), -np.inf)
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        images = [read_image(root, row) for row, _, _ in part]
        scores = checkpoint.letter_scores(images, [text for _, text, _ in part], letters=LETTERS[:options])
        for line, (row, _, _) in enumerate(part):
            values[start + line, : len(row.options)] = scores[line, : len(row.options)]
    whole = [row for row in rows if len(row.options) == options]  # rows of one shape; others are one option short
    kept = [i for i, (row, _, _) in enumerate(asked) if len(row.options) == options]
    shape = (len(whole), options, options)
    right = np.array([asked[i][2] for i in kept]).reshape(shape[:2])
    return {"test": values[kept].reshape(shape).astype(np.float32), "test_right": right.astype(np.int8)}


def fit_released(
    folder: Path,
    *,
    source: str,
    root: Path,
    table: Path,
    jobs: list[dict[str, Any]],
    missing: str,
    cap: int,
    tests: int,
    pool: int,
    rank: int,
    epochs: float,
    batch: int,
    learning_rate: float,
    device: str,
    precision: str,
) -> None:
    """Train adapters for each job (see :func:`lib.studies.med_mat_fits.fit_group`) and write ``scores.npz``."""
    from lib.data.mat_registry import read_registry

    prepared = prepare_all(root, read_registry(table), missing=missing, cap=cap, tests=tests, pool=pool)
    pools = {no: ready.train[cap:] or ready.train[:pool] for no, ready in prepared.items()}
    known = {no: Prepared(r.subset, r.train[:cap], r.test, r.said) for no, r in prepared.items()}
    read = cache(lambda path: read_image(root, path))
    scores = {}
    for number, job in enumerate(jobs):
        dtype = {"bf16": "bfloat16", "fp16": "float16"}.get(precision, "float32")
        checkpoint = load(source, device=device, dtype=dtype)
        if job["amounts"]:
            # an image set may be in two subsets (dataset 44 is in 18 and 22): what is tested is not trained on
            tested = [row for no in job["tests"] for row in prepared[no].test]
            clean = {no: without_tested(known[no], tested) for no in job["amounts"]}
            amounts = {no: min(amount, len(clean[no].train)) for no, amount in job["amounts"].items()}
            rows = draw(clean, amounts, permuted=job["permuted"], seed=job["seed"])
            checkpoint = with_adapters(checkpoint, rank=rank, seed=job["seed"])
            kept = {"epochs": epochs, "batch": batch, "learning_rate": learning_rate, "seed": job["seed"]}
            questions, answers = [row.question_choice for row in rows], [row.answer_choice for row in rows]
            tune(checkpoint, lambda row, rows=rows: read(rows[row]), questions, answers, **kept, device=device)
        for no in job["tests"]:
            found = _score(checkpoint, root, prepared[no].test, batch=batch)
            found["pool"] = _score(checkpoint, root, pools[no], batch=batch)["test"]
            scores |= {f"{number}/{no}/{what}": values for what, values in found.items()}
    np.savez(folder / "scores.npz", **scores)
