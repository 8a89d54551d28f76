"""Fits on the generated Med-MAT world as cached artefacts: rows and features once, then groups of small fits.

A job says what a model is trained on and what it is tested on; a group of jobs with one number of steps is one artefact
and one stacked pass. Used by :mod:`papers.med_mat.study`, which names the arms.

    prepare_rows(folder, world=world, tests_of=world, base=model, train=256, test=96, pool=32)
    fit_group(folder, rows=[rows], models=[model], grounds=[0], jobs=[job(...)], steps=80, batch=16, learning_rate=3e-3)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.evaluation.exam_prompts import LETTERS
from lib.machine import CPU, Machine
from lib.streams import stream
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.data import prepare as mat_prepared
from papers.med_mat.data.files import Record, read_image
from papers.med_mat.data.questions import read_options, rotations
from papers.med_mat.data.registry import read_registry
from papers.med_mat.fits.tuning import Questions, equally_long, letter_scores, passes, tune
from papers.med_mat.world import world as mat_world


def prepare_rows(
    folder: Path, *, world: Path, base: Path, train: int, test: int, pool: int, tests_of: Path, only: Sequence[str] = (),
    machine: Machine = CPU,
) -> None:  # fmt: skip
    """Rows, visual features and prompts of every subset of a world, for one base model.

    Of each subset ``test`` label-balanced images are tested, ``pool`` others only show the model's preference for
    letters, up to ``train`` are trained on. ``tests_of``: the world whose test images are used, another one for a new
    test set; ``only``: numbers of the subsets it holds. Writes ``features.npy``, ``prompts.npz`` and ``rows.json``.
    """
    checkpoint = with_world_words(base, seed=0)
    checkpoint.model.to(machine.device)
    registry = read_registry(world / "datasets.csv")
    listed, images, texts, answers = {}, [], [], []

    def keep(root: Path, records: list[Record], *, turned: bool) -> list[dict[str, Any]]:
        rows = []
        for one in records:
            images.append(read_image(root, one))
            asked = rotations(one.question_choice, one.answer_choice)[: None if turned else 1]
            rows.append({"picture": len(images) - 1, "questions": list(range(len(texts), len(texts) + len(asked)))})
            texts.extend(text for text, _ in asked)
            answers.extend(LETTERS[place] for _, place in asked)
        return rows

    for subset in mat_world.cells(registry.classification):
        share = {"test_share": 0.5, "most_tests": test, "cap": train + pool}
        mine = mat_prepared.prepare(world, subset, registry=registry, **share)
        tested = not only or subset.no in only
        other = mat_prepared.prepare(tests_of, subset, registry=registry, **share).test if tested else []
        held = stream(0, "pool", subset.no).permutation(len(mine.train))
        listed[subset.no] = {
            "train": keep(world, [mine.train[i] for i in sorted(held[pool:])], turned=False),
            "pool": keep(world, [mine.train[i] for i in sorted(held[:pool])], turned=True),
            "test": keep(tests_of, other, turned=True),
            "labels": [mat_prepared.label(mine.train[i]) for i in sorted(held[pool:])],
            "options": len(read_options(mine.train[0].question_choice)),
        }
    ids, mask, wanted = checkpoint.with_answers(texts, answers)
    np.save(folder / "features.npy", checkpoint.see(np.stack(images)).numpy())
    np.savez(folder / "prompts.npz", ids=ids.numpy(), mask=mask.numpy(), wanted=wanted.numpy())
    (folder / "rows.json").write_text(json.dumps(listed))


def blind_rows(folder: Path, *, rows: Path, seed: int) -> None:
    """The same rows, every image with random features instead of its own: what a model has that cannot see."""
    shape = np.load(rows / "features.npy", mmap_mode="r").shape
    np.save(folder / "features.npy", stream(seed, "blind features").standard_normal(shape, dtype=np.float32))
    for name in ("prompts.npz", "rows.json"):
        shutil.copy(rows / name, folder / name)


def with_world_words(base: Path, *, seed: int) -> TinyCheckpoint:
    """The base model with the world's words added, whose vectors are drawn by ``seed``."""
    checkpoint = TinyCheckpoint.read(base)
    checkpoint.add_words(mat_world.words(), seed=seed)
    return checkpoint


class Rows:
    """What :func:`prepare_rows` wrote."""

    def __init__(self, folder: Path):
        self.features = torch.from_numpy(np.load(folder / "features.npy"))
        prompts = np.load(folder / "prompts.npz")
        self.questions = Questions(*(torch.from_numpy(prompts[key]) for key in ("ids", "mask", "wanted")))
        self.subsets: dict[str, dict[str, Any]] = json.loads((folder / "rows.json").read_text())

    def draw(self, amounts: dict[str, int], *, permuted: list[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and questions of a condition: ``amounts`` of each subset, label-balanced, images of ``permuted``
        subsets exchanged among themselves. Where a subset has fewer rows than its amount, they are gone through again."""
        pictures, asked = [], []
        for no, amount in amounts.items():
            mine = self.subsets[no]
            chosen = np.resize(mat_prepared.balanced_cap(mine["labels"], cap=amount, seed=seed), amount)
            seen = np.array([mine["train"][i]["picture"] for i in chosen])
            pictures.append(stream(seed, "exchanged images", no).permutation(seen) if no in permuted else seen)
            asked.append(np.array([mine["train"][i]["questions"][0] for i in chosen]))
        return np.concatenate(pictures), np.concatenate(asked)

    def of(self, no: str, part: str) -> tuple[torch.Tensor, Questions, int]:
        """Features and questions of one part of a subset, (images x rotations) rows, and the number of options."""
        rows, options = self.subsets[no][part], self.subsets[no]["options"]
        pictures = torch.tensor([row["picture"] for row in rows for _ in row["questions"]])
        asked = torch.tensor([question for row in rows for question in row["questions"]])
        q = self.questions
        return self.features[pictures], Questions(q.ids[asked], q.mask[asked], q.wanted[asked]), options


@lru_cache(maxsize=5)
def read_rows(folder: Path) -> Rows:
    """Rows, kept in memory for the next group, a base each: those of a notebook mostly share them."""
    return Rows(folder)


def score(checkpoint: TinyCheckpoint, rows: Rows, no: str) -> dict[str, np.ndarray]:
    """Letter log-likelihoods of a subset's test and pool: (images, rotations, options), and the right places."""
    found = {}
    for part in ("test", "pool"):
        features, questions, options = rows.of(no, part)
        letters = [checkpoint.index[letter] for letter in LETTERS[:options]]
        shape = (-1, options, options)
        found[part] = letter_scores(checkpoint.model, features, questions, letters=letters).reshape(shape)
        right = questions.wanted[:, 0, None] == torch.tensor(letters)
        found[f"{part}_right"] = right.int().argmax(1).numpy().reshape(-1, options)
    return found


def fitted(
    jobs: list[dict[str, Any]],
    *,
    rows: Sequence[Path],
    models: Sequence[Path],
    grounds: Sequence[int],
    steps: int,
    batch: int,
    learning_rate: float,
    machine: Machine = CPU,
) -> Iterator[tuple[int, TinyCheckpoint, Rows, dict[str, Any]]]:
    """Train one model a job and hand out its number, the model, the rows of its base and the job.

    ``rows`` and ``models``: of each base; ``grounds``: on which of them each job stands. Fits that start from different
    bases are members of the same stacked pass.
    """
    data = [read_rows(folder) for folder in rows]
    questions = equally_long([one.questions for one in data])
    for numbers in passes(len(jobs)):
        made = {i: with_world_words(models[grounds[i]], seed=jobs[i]["seed"]) for i in numbers}
        trained = [i for i in numbers if jobs[i]["amounts"]]
        if trained:
            draws = [
                data[grounds[i]].draw(jobs[i]["amounts"], permuted=jobs[i]["permuted"], seed=jobs[i]["seed"])
                for i in trained
            ]
            tune(
                [made[i].model for i in trained], [(data[grounds[i]].features, questions[grounds[i]]) for i in trained],
                draws, steps=steps, batch=batch, learning_rate=learning_rate, seeds=[jobs[i]["seed"] for i in trained],
                machine=machine,
            )  # fmt: skip
        for i in numbers:
            made[i].model.to(machine.device)
            yield i, made[i], data[grounds[i]], jobs[i]


def fit_group(folder: Path, *, jobs: list[dict[str, Any]], machine: Machine = CPU, **fitting: Any) -> None:
    """Train one model a job and write its letter scores on the subsets it is tested on.

    A job: ``amounts`` (subset -> examples; empty: the untrained model), ``permuted`` (subsets whose images are
    exchanged), ``tests`` (subsets), ``seed``. ``fitting``: of :func:`fitted`. Writes ``scores.npz`` with
    ``<job>/<subset>/<what>``.
    """
    scores = {}
    for number, checkpoint, data, job in fitted(jobs, machine=machine, **fitting):
        for no in job["tests"]:
            for what, values in score(checkpoint, data, no).items():
                scores[f"{number}/{no}/{what}"] = values.astype(np.float16 if values.dtype.kind == "f" else np.int8)
    np.savez(folder / "scores.npz", **scores)
