"""The encoder in RoBERTa's place, from scratch: the detector's own network with attention both ways.

It has the weights, words, unlabelled texts, labelled texts and updates of the detector it is compared with; what differs is that
it reads both ways, is pretrained on hidden words instead of next ones, and classifies instead of writing. Its answer is read
at the beginning-of-text token, as the score of one of the two labels (Schick and Schuetze 2021); half of the places hidden
for pretraining would be too many for so small a network: 15 % (BERT). All fits of a call are trained in one stacked pass.

    bases = run.build(pretrain_encoders, checkpoints=[...], rows=[...], seeds=[0], steps=200, batch=16, learning_rate=3e-3)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream
from lib.training.chat_encoding import IGNORED, read_rows
from lib.training.loop import epoch_order, warmup_cosine
from lib.training.stacked import fit_stacked, member
from papers.llm_detector.detector import read_items
from papers.llm_detector.texts import WRITTEN, Mixed

HIDDEN = 0.15  # share of words hidden in pretraining


def pieces_of(item: Any) -> list[str]:
    """What is classified one at a time: a text, or each sentence of a mixed document."""
    return [text for text, _ in item.sentences] if isinstance(item, Mixed) else [item.text]


def both_ways(call: Callable, ids: Tensor, read: Tensor) -> Tensor:
    """Logits (B, T, V) of ``ids`` (B, T) where every token attends to all that ``read`` (B, T) marks."""
    blocked = (1 - read.float()) * torch.finfo(torch.float32).min  # (B, T)
    mask = blocked[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    return call(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits


def hidden_word_loss(call: Callable, batch: dict[str, Tensor]) -> Tensor:
    """Mean loss of the hidden words, from both sides."""
    logits, wanted = both_ways(call, batch["input_ids"], batch["read"]), batch["labels"].flatten()
    total = F.cross_entropy(logits.flatten(0, 1), wanted, ignore_index=IGNORED, reduction="sum")
    return total / (wanted != IGNORED).sum().clamp(min=1)


def label_loss(call: Callable, batch: dict[str, Tensor]) -> Tensor:
    """Mean loss of the label, read at the first token."""
    logits = both_ways(call, batch["input_ids"], batch["read"])[:, 0]
    score = (logits * batch["direction"]).sum(dim=1)
    return F.binary_cross_entropy_with_logits(score, batch["machine"])


def _encode(tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [[tokenizer.bos_token_id, *ids] for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def _padded(rows: Sequence[Sequence[Sequence[int]]], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """(K, B, T) ids and what of them is read."""
    longest = max(len(row) for one in rows for row in one)
    ids = np.full((len(rows), len(rows[0]), longest), pad, dtype=np.int64)
    read = np.zeros(ids.shape, dtype=np.int64)
    for k, one in enumerate(rows):
        for b, row in enumerate(one):
            ids[k, b, : len(row)], read[k, b, : len(row)] = row, 1
    return ids, read


def _fit(folder: Path, checkpoints: Sequence[Path], machine: Machine, batches, loss, steps: int, learning_rate: float):
    loaded = [causal_lm.load(one, device=machine.device, attention="eager") for one in checkpoints]
    models, tokenizer = [model.train() for model, _ in loaded], loaded[0][1]
    losses = fit_stacked(
        models,
        batches(tokenizer),
        loss,
        steps=steps,
        learning_rate=learning_rate,
        schedule=warmup_cosine(steps, warmup=0),
    )
    for number, model in enumerate(models):
        causal_lm.save(member(folder, number), model, tokenizer)
    (folder / "losses.json").write_text(json.dumps(losses.round(5).tolist()))


def pretrain_encoders(
    folder: Path,
    *,
    checkpoints: list[Path],
    rows: list[Path],
    seeds: list[int],
    steps: int,
    batch: int,
    learning_rate: float,
    machine: Machine = CPU,
) -> None:
    """``member_<k>``: checkpoint k pretrained on the hidden words of ``rows[k]`` (JSONL of ``{"text"}``), all in one pass."""

    def batches(tokenizer):
        encoded = [_encode(tokenizer, [row["text"] for row in read_rows(path)]) for path in rows]

        def of_step(step: int) -> dict[str, Tensor]:
            drawn = [
                [one[i] for i in epoch_order(count=len(one), batch=batch, seed=seed, step=step)]
                for one, seed in zip(encoded, seeds, strict=True)
            ]
            ids, read = _padded(drawn, tokenizer.pad_token_id)
            labels = np.full(ids.shape, IGNORED, dtype=np.int64)
            for k, seed in enumerate(seeds):
                hidden = (stream(seed, "hidden words", step).random(ids[k].shape) < HIDDEN) & (read[k] == 1)
                hidden[:, 0] = False
                labels[k][hidden] = ids[k][hidden]
                ids[k][hidden] = tokenizer.unk_token_id
            return {name: torch.from_numpy(value).to(machine.device)
                    for name, value in {"input_ids": ids, "read": read, "labels": labels}.items()}  # fmt: skip

        return of_step

    _fit(folder, checkpoints, machine, batches, hidden_word_loss, steps, learning_rate)


def tune_encoders(
    folder: Path,
    *,
    checkpoints: list[Path],
    texts: list[Path],
    places: list[list[int]],
    labels: list[list[list[int]]],
    seeds: list[int],
    steps: int,
    batch: int,
    learning_rate: float,
    machine: Machine = CPU,
) -> None:
    """``member_<k>``: checkpoint k taught the ``labels[k]`` of ``places[k]`` in ``texts[k]``, text by text or sentence by
    sentence (1: machine); all in one pass."""

    def batches(tokenizer):
        direction = _direction(tokenizer)
        encoded = []
        for path, chosen, given in zip(texts, places, labels, strict=True):
            items = read_items(path)
            said = [piece for place in chosen for piece in pieces_of(items[place])]
            encoded.append((_encode(tokenizer, said), [float(label) for one in given for label in one]))

        def of_step(step: int) -> dict[str, Tensor]:
            rows, machine_made = [], []
            for (ids, truth), seed in zip(encoded, seeds, strict=True):
                drawn = epoch_order(count=len(ids), batch=batch, seed=seed, step=step)
                rows.append([ids[i] for i in drawn])
                machine_made.append([truth[i] for i in drawn])
            ids, read = _padded(rows, tokenizer.pad_token_id)
            found = {"input_ids": torch.from_numpy(ids), "read": torch.from_numpy(read)}
            found |= {"machine": torch.tensor(machine_made), "direction": direction.expand(len(seeds), batch, -1)}
            return {name: value.to(machine.device) for name, value in found.items()}

        return of_step

    _fit(folder, checkpoints, machine, batches, label_loss, steps, learning_rate)


def _direction(tokenizer) -> Tensor:
    """(V,): +1 at the word for machine, -1 at the word for human."""
    direction = torch.zeros(len(tokenizer))
    for sign, label in zip((-1.0, 1.0), WRITTEN, strict=True):
        direction[tokenizer.convert_tokens_to_ids(label)] = sign
    return direction


def classify(
    folder: Path, *, checkpoint: Path, texts: Path, places: list[int], batch: int, machine: Machine = CPU
) -> None:
    """``scores.json``: of each of ``places`` the score of each of its pieces, larger where a machine wrote."""
    model, tokenizer = causal_lm.load(checkpoint, device=machine.device, attention="eager")
    items, direction = read_items(texts), _direction(tokenizer).to(machine.device)
    said = [pieces_of(items[place]) for place in places]
    rows = _encode(tokenizer, [piece for one in said for piece in one])
    scores = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, read = (
            torch.from_numpy(one[0]).to(machine.device)
            for one in _padded([[rows[k] for k in chosen]], tokenizer.pad_token_id)
        )
        with torch.inference_mode():
            logits = both_ways(model, ids, read)[:, 0]
        scores[chosen] = (logits @ direction).double().cpu().numpy()
    stops = np.cumsum([len(one) for one in said])
    found = [part.round(6).tolist() for part in np.split(scores, stops[:-1])]
    (Path(folder) / "scores.json").write_text(json.dumps(found))


def read_classified(folder: Path) -> list[np.ndarray]:
    """Scores of :func:`classify`, one array a text."""
    return [np.array(one) for one in json.loads((Path(folder) / "scores.json").read_text())]
