"""DPO of many tiny models in one stacked pass: the pairs, loss, schedule and steps of :func:`lib.training.dpo.prefer`.

The reference is the model that each starts from. It never changes, so its likelihoods are computed once, before the first step.

    run.build(prefer_stacked, checkpoint=tuned, rows=pairs, seeds=[0, 1, 2], beta=0.1, batch=8, steps=60, ...)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.evaluation.exams import option_likelihood
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.training.chat_encoding import IGNORED, Encoded, check_positions, turns
from lib.training.dpo import read_pairs
from lib.training.loop import TrainingError, warmup_cosine
from lib.training.stacked import Batch, fit_stacked, language_batches, member
from papers.machine_mindset.remembering import Remembering


@dataclass(frozen=True)
class Pairs:
    """The chosen and rejected rows of a member's pairs, encoded, and what the reference gives each answer (N, 2), nats."""

    chosen: Encoded
    rejected: Encoded
    reference: np.ndarray


def answer_likelihood(call: Callable, ids: Tensor, labels: Tensor) -> Tensor:
    """Log-likelihood (B,) of the labelled tokens of each row, summed; rows (B, T) are padded on the right."""
    length = ids.shape[-1]
    future = torch.full((length, length), torch.finfo(torch.float32).min, device=ids.device).triu(1)
    positions = torch.arange(length, device=ids.device)[None]
    logits = call(input_ids=ids, attention_mask=future[None, None], position_ids=positions, use_cache=False).logits
    wanted = labels[:, 1:]
    lost = F.cross_entropy(logits[:, :-1].transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
    return -lost.sum(dim=1)


def preference_loss(call: Callable, batch: Batch, *, beta: float) -> Tensor:
    """-log sigmoid(beta (chosen - rejected)), of log-ratios to the reference; mean over pairs (paper: DPO, section 2.4)."""
    both = answer_likelihood(call, batch["input_ids"], batch["labels"]) - batch["reference"]
    chosen, rejected = both.chunk(2)
    return -F.logsigmoid(beta * (chosen - rejected)).mean()


def preference_batches(
    members: Sequence[Pairs], *, batch: int, seeds: Sequence[int], pad: int, device: str = "cpu"
) -> Callable[[int], Batch]:
    """Batches of K members, each of its own pairs in its own order: (K, 2 x ``batch``, T) a step, the chosen rows first."""
    # A row's number goes along as the reference's place: both sides draw by the same seed, so they draw the same pairs.
    drawn = [
        language_batches([getattr(one, side) for one in members], batch=batch, seeds=seeds, pad=pad, device=device)
        for side in ("chosen", "rejected")
    ]
    counted = [[[i] for i in range(len(one.reference))] for one in members]
    places = [Encoded(numbers, numbers) for numbers in counted]
    numbers = language_batches(places, batch=batch, seeds=seeds, pad=pad, device=device)

    def batch_of_step(step: int) -> Batch:
        sides, chosen = [one(step) for one in drawn], numbers(step)["labels"][..., 0].cpu().numpy()  # (K, batch)
        length = max(side["labels"].shape[-1] for side in sides)
        filler = {"input_ids": pad, "labels": IGNORED}
        found = {
            key: torch.cat([F.pad(s[key], (0, length - s[key].shape[-1]), value=fill) for s in sides], dim=1)
            for key, fill in filler.items()
        }
        weights = np.stack([one.reference[rows].T.ravel() for one, rows in zip(members, chosen, strict=True)])
        return {**found, "reference": torch.tensor(weights, dtype=torch.float32, device=device)}

    return batch_of_step


def encode_pairs(path: Path, model, tokenizer, *, max_length: int, batch: int) -> Pairs:
    """The pairs of a file with the likelihoods that ``model``, as it is now, gives their answers."""
    sides, prompts, answers = {"chosen": Encoded(), "rejected": Encoded()}, [], []
    for number, row in enumerate(read_pairs(path, tokenizer, max_length=max_length), start=1):
        place = f"{path}, line {number}"
        said = {key: turns([*row["prompt"], *row[key]], tokenizer, place=place)[-1] for key in sides}
        for key, (prompt, answer) in said.items():
            sides[key].input_ids.append(prompt + answer)
            sides[key].labels.append([IGNORED] * len(prompt) + answer)
        prompts.append(said["chosen"][0])
        answers.append([answer for _, answer in said.values()])
    return Pairs(**sides, reference=option_likelihood(model.eval(), prompts, answers, batch=batch))


def prefer_stacked(
    folder: Path,
    *,
    checkpoint: Sequence[Path],
    rows: Sequence[Path],
    seeds: Sequence[int],
    reference: str,
    beta: float,
    batch: int,
    learning_rate: float,
    steps: int,
    max_length: int,
    machine: Machine = CPU,
) -> None:
    """Write ``member_<k>`` (a Hugging Face folder each) and ``losses.json`` (steps x members).

    ``rows[k]``: pairs of member k, trained from ``checkpoint[k]``, all weights. ``reference`` must be ``start``: there is no
    adapter to take off. Raises :class:`TrainingError` for another reference and for bases whose tokenizers differ.
    """
    if reference != "start":
        raise TrainingError(f"reference '{reference}' is not known where all weights are trained; give start")
    loaded = [causal_lm.load(one, device=machine.device, attention="eager") for one in checkpoint]
    models, tokenizer = [model for model, _ in loaded], loaded[0][1]
    check_positions(models[0], max_length)
    if any(other.get_vocab() != tokenizer.get_vocab() for _, other in loaded):
        raise TrainingError("the models have different tokenizers; stack those that share one")
    members = [
        encode_pairs(Path(path), model, Remembering(tokenizer), max_length=max_length, batch=8 * batch)
        for path, model in zip(rows, models, strict=True)
    ]
    batches = preference_batches(
        members, batch=batch, seeds=seeds, pad=tokenizer.pad_token_id, device=machine.device
    )  # fmt: skip
    losses = fit_stacked(
        [model.train() for model in models], batches, partial(preference_loss, beta=beta), steps=steps,
        learning_rate=learning_rate, schedule=warmup_cosine(steps, warmup=0),
    )  # fmt: skip
    for number, model in enumerate(models):
        causal_lm.save(member(folder, number), model, tokenizer)
    (folder / "losses.json").write_text(json.dumps(losses.round(5).tolist()))
