"""Small fits on boxes, outlines and letters together, as cached artefacts (Tables 5, 6, 13 and 14).

A step of a fit looks at three batches: rows of the target (where it has some), located rows of related subsets, and
lettered questions of related subsets. The target's rows are seen equally often in every arm; related rows come on top, as
in the paper, and the control has as many. All jobs of a group take the same steps in one stacked pass, whatever bases they
start from. Used by ``tab5_tab6_detection``.

    prepare_located(folder, root=detection, base=model, numbers=["38", "39"], train=256, test=96)
    fit_located(folder, located=[located], rows=[rows], models=[model], grounds=[0], jobs=[...], kind="box", **tuning)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.machine import CPU, Machine
from lib.models.multimodal_lm import MultimodalLM
from lib.streams import stream
from lib.training.loop import epoch_order, warmup_cosine
from lib.training.stacked import fit_stacked
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.data.boxes import Located
from papers.med_mat.data.files import read_image
from papers.med_mat.data.registry import read_registry
from papers.med_mat.detection import WHAT, load_located, score
from papers.med_mat.fits.arms import Rows, read_rows, with_world_words
from papers.med_mat.fits.arms import score as score_letters
from papers.med_mat.fits.tuning import WARMUP, Questions, equally_long, passes

WORDS = ("Where", "Outline", WHAT)
KINDS = ("box", "mask")


def with_all_words(base: Path, *, seed: int) -> TinyCheckpoint:
    """The base model with the words of the world and of the questions about places."""
    checkpoint = with_world_words(base, seed=seed)
    checkpoint.add_words(WORDS, seed=seed)
    return checkpoint


def prepare_located(
    folder: Path, *, root: Path, base: Path, numbers: list[str], train: int, test: int, machine: Machine = CPU
) -> None:
    """Features and prompts of the box and mask rows of every detection subset, for one base model.

    Up to ``train`` images a subset are trained on, ``test`` are tested. Writes ``features.npy``, one ``<kind>.npz`` and
    ``rows.json``.
    """
    checkpoint, registry = with_all_words(base, seed=0), read_registry(root / "datasets.csv")
    checkpoint.model.to(machine.device)
    images: list[np.ndarray] = []
    listed: dict[str, dict[str, Any]] = {}
    asked: dict[str, list[Located]] = {kind: [] for kind in KINDS}
    for no in numbers:
        pictures: dict[str, int] = {}
        listed[no] = {}
        for kind in KINDS:
            found = load_located(root, registry.subsets[no], mask=kind == "mask", test_share=0.3)
            parts = {"train": found.train[:train], "test": found.test[:test]}
            listed[no][kind] = {part: [] for part in parts}
            for part, rows in parts.items():
                for one in rows:
                    if one.image not in pictures:
                        pictures[one.image] = len(images)
                        images.append(read_image(root, one))
                    listed[no][kind][part].append([pictures[one.image], len(asked[kind])])
                    asked[kind].append(one)
    np.save(folder / "features.npy", checkpoint.see(np.stack(images)).numpy())
    np.save(folder / "images.npy", np.stack(images))
    for kind, rows in asked.items():
        ids, mask, wanted = checkpoint.with_answers([one.question for one in rows], [one.answer for one in rows])
        np.savez(folder / f"{kind}.npz", ids=ids.numpy(), mask=mask.numpy(), wanted=wanted.numpy())
    text = {kind: [[one.question, one.answer] for one in rows] for kind, rows in asked.items()}
    (folder / "rows.json").write_text(json.dumps({"subsets": listed, "text": text}))


class LocatedRows:
    """What :func:`prepare_located` wrote."""

    def __init__(self, folder: Path):
        self.features = torch.from_numpy(np.load(folder / "features.npy"))
        self.images = np.load(folder / "images.npy")
        told = json.loads((folder / "rows.json").read_text())
        self.subsets, self.text = told["subsets"], told["text"]
        self.questions = {}
        for kind in KINDS:
            prompts = np.load(folder / f"{kind}.npz")
            self.questions[kind] = Questions(*(torch.from_numpy(prompts[key]) for key in ("ids", "mask", "wanted")))

    def located(self, no: str, kind: str, part: str) -> list[Located]:
        """Questions and true answers of a part of a subset (without the names of the images)."""
        told = [self.text[kind][asked] for _, asked in self.subsets[no][kind][part]]
        return [Located(i, WHAT, "", question, answer, "") for i, (question, answer) in enumerate(told)]

    def draw(self, amounts: dict[str, int], kind: str, *, permuted: list[str], seed: int) -> np.ndarray:
        """Pictures and questions (N, 2) of ``amounts`` of each subset; images of ``permuted`` subsets exchanged."""
        parts = []
        for no, amount in amounts.items():
            rows = np.array(self.subsets[no][kind]["train"])
            rng = stream(seed, "located rows", no, kind)
            rows = rows[rng.permutation(len(rows))[:amount]]
            parts.append(np.column_stack([rng.permutation(rows[:, 0]), rows[:, 1]]) if no in permuted else rows)
        return np.concatenate(parts) if parts else np.zeros((0, 2), int)


PARTS = ("target", "place", "letter")


def _loss(call: Callable, batch: dict[str, Tensor]) -> Tensor:
    """Loss on the target's rows plus the mean loss on related rows, located and lettered by how many there are of each."""
    total = torch.zeros(())
    for part in (part for part in PARTS if f"{part}_weight" in batch):
        wanted = batch[f"{part}_wanted"]
        logits = call(batch[f"{part}_features"], batch[f"{part}_ids"], batch[f"{part}_mask"], wanted.shape[-1])
        total = total + batch[f"{part}_weight"] * F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
    return total


@dataclass(frozen=True)
class _Part:
    """What one part of a step is drawn from: features and questions of each member's base, and each member's rows."""

    features: list[Tensor]
    questions: list[Questions]
    draws: list[np.ndarray]

    def slices(self, name: str, *, batch: int, seeds: Sequence[int], step: int) -> dict[str, Tensor]:
        """One batch a member; a member without rows gets row 0 of everything, which its weight leaves out."""
        made: dict[str, list[Tensor]] = {"features": [], "ids": [], "mask": [], "wanted": []}
        for features, questions, rows, seed in zip(self.features, self.questions, self.draws, seeds, strict=True):
            rows = rows if len(rows) else np.zeros((1, 2), int)
            order = epoch_order(count=len(rows), batch=min(batch, len(rows)), seed=seed, step=step)
            pictures, asked = torch.from_numpy(rows[np.resize(order, batch)]).T
            made["features"].append(features[pictures])
            for what in ("ids", "mask", "wanted"):
                made[what].append(getattr(questions, what)[asked])
        return {f"{name}_{what}": torch.stack(parts) for what, parts in made.items()}


def _parts(
    located: Sequence[LocatedRows], rows: Sequence[Rows], jobs: Sequence[dict[str, Any]], kind: str
) -> dict[str, _Part]:
    """The parts of a step; ``located`` and ``rows``: of each job's base."""
    nothing = np.zeros((0, 2), int)
    draws: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for places, letters, job in zip(located, rows, jobs, strict=True):
        seed, permuted = job["seed"], job["permuted"]
        own = {job["target"]: job["target_rows"]} if job["target_rows"] else {}
        draws["target"].append(places.draw(own, kind, permuted=[], seed=seed))
        draws["place"].append(places.draw(job["located"], kind, permuted=permuted, seed=seed))
        lettered = letters.draw(job["classified"], permuted=permuted, seed=seed) if job["classified"] else None
        draws["letter"].append(nothing if lettered is None else np.column_stack(lettered))
    asked = equally_long([one.questions[kind] for one in located])
    placed = {part: _Part([one.features for one in located], asked, draws[part]) for part in ("target", "place")}
    lettered = equally_long([one.questions for one in rows])
    return {**placed, "letter": _Part([one.features for one in rows], lettered, draws["letter"])}


def _tune(
    models: Sequence[MultimodalLM], parts: dict[str, _Part], seeds: Sequence[int], *, steps: int, batch: int,
    learning_rate: float, machine: Machine,
) -> None:  # fmt: skip
    """Train the models in place, each on its rows of each part."""
    sizes = {name: np.array([len(rows) for rows in part.draws]) for name, part in parts.items()}
    kin = np.maximum(sizes["place"] + sizes["letter"], 1)
    weights = {"target": sizes["target"] > 0, "place": sizes["place"] / kin, "letter": sizes["letter"] / kin}
    present = [part for part in PARTS if weights[part].any()]

    def batch_of_step(step: int) -> dict[str, Tensor]:
        made: dict[str, Tensor] = {}
        for name in present:
            made |= parts[name].slices(name, batch=batch, seeds=seeds, step=step)
            made[f"{name}_weight"] = torch.as_tensor(weights[name], dtype=torch.float32)
        return {name: values.to(machine.device) for name, values in made.items()}

    for model in models:
        model.to(machine.device).encoder.requires_grad_(False)
    schedule = warmup_cosine(steps, warmup=max(1, round(WARMUP * steps)))
    fit_stacked(models, batch_of_step, _loss, steps=steps, learning_rate=learning_rate, schedule=schedule)


def _overlap(checkpoint: TinyCheckpoint, located: LocatedRows, no: str, kind: str) -> float:
    """cIoU of what the model writes for the test rows of a detection subset."""
    tested, truth = located.subsets[no][kind]["test"], located.located(no, kind, "test")
    pictures = located.images[[picture for picture, _ in tested]]
    tokens = located.questions[kind].wanted.shape[1]
    return score(checkpoint.generate(pictures, [one.question for one in truth], tokens=tokens), truth)


def fit_located(
    folder: Path,
    *,
    located: list[Path],
    rows: list[Path],
    models: list[Path],
    grounds: list[int],
    kind: str,
    jobs: list[dict[str, Any]],
    machine: Machine = CPU,
    **tuning: Any,
) -> None:
    """Train one model a job and write what it scores on its target.

    A job: ``target`` (a detection subset: cIoU; any other: letter scores), ``target_rows`` (its examples trained on),
    ``located`` and ``classified`` (related subset -> examples; nothing at all: the untrained model), ``permuted`` (related
    subsets whose images are exchanged), ``seed``. ``located``, ``rows`` and ``models``: of each base; ``grounds``: on
    which of them each job stands. ``kind``: box or mask. ``tuning``: ``steps``, ``batch`` (rows of each part in a step),
    ``learning_rate``. Writes ``overlap.json`` (job -> cIoU) and ``scores.npz`` (``<job>/<subset>/<what>``).
    """
    places, asked = [LocatedRows(one) for one in located], [read_rows(one) for one in rows]
    overlap: dict[str, float] = {}
    scores: dict[str, np.ndarray] = {}
    for numbers in passes(len(jobs)):
        made = {i: with_all_words(models[grounds[i]], seed=jobs[i]["seed"]) for i in numbers}
        trained = [i for i in numbers if jobs[i]["target_rows"] or jobs[i]["located"] or jobs[i]["classified"]]
        if trained:
            theirs = [jobs[i] for i in trained]
            parts = _parts(*([many[grounds[i]] for i in trained] for many in (places, asked)), theirs, kind)
            _tune([made[i].model for i in trained], parts, [job["seed"] for job in theirs], machine=machine, **tuning)
        for i, checkpoint in made.items():
            target, on = jobs[i]["target"], grounds[i]
            checkpoint.model.to(machine.device)
            if target in places[on].subsets:
                overlap[str(i)] = _overlap(checkpoint, places[on], target, kind)
            else:
                for what, values in score_letters(checkpoint, asked[on], target).items():
                    scores[f"{i}/{target}/{what}"] = values
    (folder / "overlap.json").write_text(json.dumps(overlap))
    np.savez(folder / "scores.npz", **scores)
