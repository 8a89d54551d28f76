"""One pass of a language model over texts, kept for all detectors that need nothing else of it.

Of each text, or each sentence of a mixed document read in its place: mean log-probability, mean log-rank, entropy, curvature,
and the mean of the hidden states. The curvature is Fast-DetectGPT's in closed form, with one model as scorer and sampler:

    d(x) = (log p(x) - sum_t mu_t) / sqrt(sum_t var_t),   mu_t = E log p(.|x_<t), var_t its variance     (Bao et al. 2024, eq. 7)

The first token has nothing before it and is not scored; nothing is put in front (as in that paper's code).

    scores = read_scores(run.build(score, texts=path, model=checkpoint, longest=128, batch=16))["curvature"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError
from lib.machine import CPU, Machine
from lib.models.lending import lend
from papers.llm_detector.texts import read_mixed, read_texts

MEASURES = ("log_probability", "log_rank", "entropy", "curvature")  # each larger where a machine wrote
_SCORED_AT_ONCE = 64  # tokens whose distributions over all words are held: some stay in the processor's caches


def spans(file: Path) -> tuple[list[str], list[list[tuple[int, int]]], list[str]]:
    """(texts, the parts of each to be scored as places in it, ids) of ``texts.jsonl`` or ``mixed.jsonl``.

    A part is a whole text, or a sentence of a mixed document.
    """
    if Path(file).name.startswith("texts"):
        texts = read_texts(file)
        return [one.text for one in texts], [[(0, len(one.text))] for one in texts], [one.id for one in texts]
    said, parts, ids = [], [], []
    for one in read_mixed(file):
        start, found = 0, []
        for text, _ in one.sentences:
            found.append((start, start + len(text)))
            start += len(text) + 1
        said.append(one.text)
        parts.append(found)
        ids.append(one.id)
    return said, parts, ids


def token_statistics(logits, ids) -> np.ndarray:
    """(T, 5) of T tokens ``ids`` (T,) under ``logits`` (T, V): log-probability, log-rank, entropy, mean and variance of the
    log-probability of what the model itself would draw."""
    import torch

    said = logits.float().log_softmax(dim=-1)
    own = said.gather(1, ids[:, None])
    rank = (said > own).sum(dim=1) + 1
    weighed = said.exp().mul_(said)
    mean = weighed.sum(dim=1)
    variance = weighed.mul_(said).sum(dim=1) - mean.square()
    columns = [own[:, 0], rank.float().log(), -mean, mean, variance]
    return torch.stack(columns, dim=1).double().cpu().numpy()


def _of_part(tokens: np.ndarray) -> list[float]:
    """Of the statistics of its tokens (T, 5): :data:`MEASURES`, each turned so that machine-written is larger."""
    if not len(tokens):
        return [float("nan")] * len(MEASURES)
    own, rank, entropy, mean, variance = tokens.T
    curvature = (own.sum() - mean.sum()) / np.sqrt(max(variance.sum(), 1e-12))
    return [own.mean(), -rank.mean(), -entropy.mean(), float(curvature)]


def score(
    folder: Path,
    *,
    texts: Path,
    model: Path | str,
    longest: int | None,
    batch: int,
    layer: int,
    dtype: str = "float32",
    machine: Machine = CPU,
) -> None:
    """``scores.npz``: an array a measure and ``embedding`` (parts, width), ``text`` (parts,) the number of the text of each; and
    ``counts.json``: texts, parts, tokens, texts cut to ``longest`` tokens, parts with no token of their own left.

    ``layer``: whose hidden states are averaged, counted from the end. A part without a scored token has the mean of all.
    Raises :class:`DataError` for a text with more tokens than the model has positions, where ``longest`` does not cut it.
    """
    import torch

    said, parts, names = spans(texts)
    with lend(model, device=machine.device, dtype=dtype) as (network, tokenizer):
        room = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        read = tokenizer(said, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = read["input_ids"], read["offset_mapping"]
        counts = {"texts": len(said), "parts": sum(map(len, parts)), "tokens": 0, "shortened": 0, "without a token": 0}
        for k, one in enumerate(ids):
            if longest is not None and len(one) > longest:
                counts["shortened"] += 1
                ids[k], offsets[k] = one[:longest], offsets[k][:longest]
            elif room and len(one) > room:
                raise DataError(
                    f"{texts}, text {names[k]!r} has {len(one)} tokens, more than the {room} positions of the model; cut it, "
                    "or set 'longest' and it is cut and counted."
                )
        counts["tokens"] = sum(map(len, ids))
        rows: list[list[float]] = [[] for _ in range(counts["parts"])]
        embedding = np.zeros((counts["parts"], network.config.get_text_config().hidden_size), dtype=np.float32)
        first = np.concatenate([[0], np.cumsum([len(one) for one in parts])])
        order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
        for start in range(0, len(order), machine.at_a_time(batch)):
            chosen = order[start : start + machine.at_a_time(batch)]
            with torch.inference_mode():
                found = _read(network, [ids[k] for k in chosen], tokenizer.pad_token_id, layer)
            for k, (statistics, states) in zip(chosen, found, strict=True):
                for number, inside in enumerate(_inside(offsets[k], parts[k])):
                    place = first[k] + number
                    rows[place] = _of_part(statistics[[t - 1 for t in inside if t > 0]])
                    if inside:
                        embedding[place] = states[inside].mean(axis=0)
    measured = np.array(rows, dtype=np.float64)
    empty = np.isnan(measured[:, 0])
    counts["without a token"] = int(empty.sum())
    measured[empty] = measured[~empty].mean(axis=0)
    belongs = np.repeat(np.arange(len(parts)), [len(one) for one in parts])
    columns = dict(zip(MEASURES, measured.T, strict=True))
    np.savez(Path(folder) / "scores.npz", embedding=embedding, text=belongs, **columns)
    (Path(folder) / "counts.json").write_text(json.dumps(counts))


def _inside(offsets: Sequence[tuple[int, int]], parts: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The tokens of each part: a token is where its last letter is."""
    found: list[list[int]] = [[] for _ in parts]
    part = 0
    for t, (_, end) in enumerate(offsets):
        while part + 1 < len(parts) and end > parts[part][1]:
            part += 1
        found[part].append(t)
    return found


def _read(network, rows: Sequence[Sequence[int]], pad: int, layer: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each row of T tokens: statistics of all but the first (T - 1, 5), and hidden states (T, width)."""
    import torch

    device, length = network.device, max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (length - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)
    out = network.base_model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
    scored = mask[:, 1:].bool()
    states, wanted = out.last_hidden_state[:, :-1][scored], ids[:, 1:][scored]
    head = network.get_output_embeddings()
    statistics = np.concatenate(
        [
            token_statistics(head(states[k : k + _SCORED_AT_ONCE]), wanted[k : k + _SCORED_AT_ONCE])
            for k in range(0, len(wanted), _SCORED_AT_ONCE)
        ]
        or [np.zeros((0, 5))]
    )
    kept = out.hidden_states[-layer].float().cpu().numpy()
    found, start = [], 0
    for k, row in enumerate(rows):
        stop = start + len(row) - 1
        found.append((statistics[start:stop], kept[k, : len(row)]))
        start = stop
    return found


def read_scores(folder: Path) -> Mapping[str, Any]:
    """The arrays of :func:`score` by name, and ``counts``."""
    with np.load(Path(folder) / "scores.npz", allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    return {**arrays, "counts": json.loads((Path(folder) / "counts.json").read_text())}
