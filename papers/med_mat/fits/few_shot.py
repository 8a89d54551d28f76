"""Few-shot prompting of tuned and untuned models: labelled images of the target in the prompt, no further training.

A prompt is ``[image; question; letter]`` for n images of each label, in random order, then ``[image; question]``. The
miniature's language model reads such interleaved prompts through its rotary positions, but like LLaVA-1.5 it was never
trained with more than one image. Used by the notebook ``tab16_few_shot``.

    fit_few_shot(folder, rows=[rows], models=[model], grounds=[0], jobs=[job], shots=[0, 4], images=48, **tuning)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.evaluation.exam_prompts import LETTERS
from lib.machine import CPU, Machine
from lib.streams import stream
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.fits.arms import Rows, fitted


def contexts(labels: list[str], *, shots: int, count: int, seed: int) -> np.ndarray:
    """Rows of the examples before each of ``count`` questions: (count, shots x labels), ``shots`` of each label, shuffled."""
    rng = stream(seed, "examples in the prompt", shots)
    places = [np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))]
    drawn = [np.concatenate([rng.choice(where, shots, replace=False) for where in places]) for _ in range(count)]
    return np.array([rng.permutation(row) for row in drawn]).reshape(count, -1)


@torch.no_grad()
def prompted_scores(
    checkpoint: TinyCheckpoint, features: Tensor, ids: Tensor, mask: Tensor, answers: Tensor, *, letters: list[int]
) -> np.ndarray:
    """Log-likelihood (B, letters) of each letter after interleaved prompts.

    ``features`` (B, E + 1, V, C), ``ids`` and ``mask`` (B, E + 1, T): E examples, then the question; ``answers`` (B, E):
    the examples' letters. With E = 0 these are the scores of an ordinary prompt.
    """
    model, device = checkpoint.model, checkpoint.device
    features, ids, mask, answers = (one.to(device) for one in (features, ids, mask, answers))
    seen, words, said = model.project(features), model.words(ids), model.words(answers)
    parts, real = [], []
    for place in range(ids.shape[1]):
        parts += [seen[:, place], words[:, place]]
        real += [torch.ones(seen.shape[0], seen.shape[2], device=device), mask[:, place]]
        if place < answers.shape[1]:
            parts.append(said[:, place, None])
            real.append(torch.ones(len(said), 1, device=device))
    visual = seen.shape[2]  # the first image needs no mask
    logits = model.answer(torch.cat(parts, 1), torch.cat(real, 1)[:, visual:], 1)
    return logits[:, 0].log_softmax(-1)[:, letters].cpu().numpy()


def shot_accuracy(checkpoint: TinyCheckpoint, rows: Rows, no: str, *, shots: int, images: int, seed: int) -> float:
    """Accuracy on the first ``images`` test images of a subset with ``shots`` labelled images a label in the prompt."""
    subset, q = rows.subsets[no], rows.questions
    letters = [checkpoint.index[letter] for letter in LETTERS[: subset["options"]]]
    order = stream(seed, "few-shot tests", no).permutation(len(subset["test"]))[:images]
    tests = [subset["test"][i] for i in order]
    drawn = contexts(subset["labels"], shots=shots, count=len(tests), seed=seed)
    shown = [[subset["train"][i] for i in row] + [test] for row, test in zip(drawn, tests, strict=True)]
    pictures = torch.tensor([[one["picture"] for one in row] for row in shown])
    asked = torch.tensor([[one["questions"][0] for one in row] for row in shown])
    answers = q.wanted[asked[:, :-1], 0]
    scores = prompted_scores(checkpoint, rows.features[pictures], q.ids[asked], q.mask[asked], answers, letters=letters)
    right = (q.wanted[asked[:, -1], 0, None] == torch.tensor(letters)).int().argmax(1).numpy()
    return float((scores.argmax(-1) == right).mean())


def fit_few_shot(
    folder: Path, *, jobs: list[dict[str, Any]], shots: list[int], images: int, machine: Machine = CPU, **fitting: Any
) -> None:
    """Train one model a job and write its accuracy at each number of shots: ``accuracy.json``, one list a job.

    ``fitting``: of :func:`papers.med_mat.fits.arms.fitted`.
    """
    found = []
    for _, checkpoint, data, job in fitted(jobs, machine=machine, **fitting):
        ask = {"images": images, "seed": job["seed"]}
        found.append([shot_accuracy(checkpoint, data, job["tests"][0], shots=n, **ask) for n in shots])
    (folder / "accuracy.json").write_text(json.dumps(found))
