"""Exam scoring with a causal language model: by option logits, by option log-likelihood, or by a free reply.

Questions of one subject share their header and exemplars. What all prompts of a call share is encoded once and its
keys and values are repeated over each batch (``cached=True``); the answers are those of the plain path. Prompts are
lists of token ids (:mod:`lib.evaluation.exam_prompts`); batches are padded on the left of what is not shared, with
position ids counted without the padding.

    option_logits(model, prompts, letters=letter_ids(tokenizer, before=" ")).argmax(axis=1)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lib.evaluation import EvaluationError, finite

Ids = Sequence[int]


def shared_length(prompts: Sequence[Ids]) -> int:
    """How many tokens all prompts begin with alike, leaving each at least one of its own."""
    first, last = min(prompts), max(prompts)  # in alphabetical order only these two can differ earliest
    most = min(map(len, prompts)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _check(model: Any, prompts: Sequence[Ids], batch: int, *, behind: Sequence[int] = ()) -> None:
    """Prompts that the model can read, with so many tokens behind each, or an ``EvaluationError``."""
    if not len(prompts) or batch < 1:
        raise EvaluationError(f"{len(prompts)} prompts in batches of {batch}; give at least one of each.")
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for number, (ids, more) in enumerate(zip(prompts, behind or [0] * len(prompts), strict=True)):
        if not len(ids):
            raise EvaluationError(f"prompt {number} is empty; give it at least one token.")
        if room and len(ids) + more > room:
            raise EvaluationError(
                f"prompt {number} has {len(ids)} tokens and its reply {more}, together more than the {room} positions of "
                f"the model; give fewer exemplars, shorter texts or a model with a longer context."
            )


def _forward(model: Any, prompts: Sequence[Ids], *, batch: int, cached: bool, keep: int) -> Iterator[tuple]:
    """For each batch: row numbers, logits (B, keep, V) of its last `keep` positions, and (cache, mask, positions).

    Prompts are taken in order of length, so that a batch is padded little.
    """
    import torch

    device = model.device
    shared = shared_length(prompts) if cached else 0
    shared = min(shared, min(map(len, prompts)) - keep) if shared else 0  # the kept positions are each prompt's own
    past = None
    if shared > 0:
        past = model(torch.tensor([list(prompts[0][:shared])], device=device), use_cache=True, logits_to_keep=1)
        past = past.past_key_values
    else:
        shared = 0
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        own = [list(prompts[i][shared:]) for i in rows]
        width = max(map(len, own))
        ids = torch.zeros((len(rows), width), dtype=torch.long, device=device)
        mask = torch.ones((len(rows), shared + width), dtype=torch.long, device=device)
        positions = torch.zeros_like(ids)
        for row, tokens in enumerate(own):
            padding = width - len(tokens)
            ids[row, padding:] = torch.tensor(tokens, device=device)
            mask[row, shared : shared + padding] = 0
            positions[row, padding:] = torch.arange(shared, shared + len(tokens), device=device)
        cache = None
        if past is not None:
            cache = copy.deepcopy(past)  # a forward pass extends the cache it is given
            cache.batch_repeat_interleave(len(rows))
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        yield rows, out.logits[:, -keep:].float(), (out.past_key_values, mask, positions)


def option_logits(
    model: Any, prompts: Sequence[Ids], *, letters: Sequence[int], batch: int = 32, cached: bool = True
) -> np.ndarray:
    """Logits (N, L) of the letters' tokens at the last position of each prompt: one pass, nothing generated.

    Their argmax over the letters is the released protocol (sheet of Aurora, 5.4).
    """
    import torch

    _check(model, prompts, batch)
    found = np.empty((len(prompts), len(letters)))
    with torch.inference_mode():
        for rows, logits, _ in _forward(model, prompts, batch=batch, cached=cached, keep=1):
            found[rows] = logits[:, 0, list(letters)].cpu().numpy()
    return finite(found, "logits", ndim=2)


def option_likelihood(
    model: Any, prompts: Sequence[Ids], options: Sequence[Sequence[Ids]], *, batch: int = 32, cached: bool = True
) -> np.ndarray:
    """Log-likelihood (N, L) of each option's tokens behind its prompt, summed over tokens; nats.

    ``options[n][k]``: token ids of option k of question n, as many options for every question. Divide by the options'
    lengths for the length-normalised score.
    """
    import torch

    many = {len(one) for one in options}
    if len(options) != len(prompts) or len(many) != 1 or not all(len(ids) for one in options for ids in one):
        raise EvaluationError(
            f"{len(prompts)} prompts and options for {len(options)}, {sorted(many)} each; give every prompt the same "
            f"number of options, of at least one token."
        )
    _check(model, prompts, batch, behind=[max(map(len, one)) for one in options])
    flat = [(list(prompt), list(ids)) for prompt, one in zip(prompts, options, strict=True) for ids in one]
    keep = max(len(ids) for _, ids in flat) + 1
    found = np.empty(len(flat))
    with torch.inference_mode():
        whole = [prompt + ids for prompt, ids in flat]
        for rows, logits, _ in _forward(model, whole, batch=batch, cached=cached, keep=keep):
            logp = logits.log_softmax(dim=-1)
            for place, row in enumerate(rows):
                ids = torch.tensor(flat[row][1], device=logp.device)
                said = logp[place, -len(ids) - 1 : -1].gather(1, ids[:, None])
                found[row] = float(said.sum())
    return finite(found.reshape(len(prompts), many.pop()), "log-likelihoods", ndim=2)


def generate(
    model: Any, prompts: Sequence[Ids], *, end: int, longest: int, batch: int = 32, cached: bool = True
) -> list[list[int]]:
    """Greedy continuation of each prompt, at most `longest` tokens, up to and without the token `end`."""
    import torch

    _check(model, prompts, batch, behind=[longest] * len(prompts))
    replies: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode():
        for rows, logits, (cache, mask, positions) in _forward(model, prompts, batch=batch, cached=cached, keep=1):
            following, position = logits[:, -1].argmax(dim=-1), positions[:, -1:]
            alive = torch.ones(len(rows), dtype=torch.bool, device=logits.device)
            for step in range(longest):
                alive &= following != end
                for place in alive.nonzero().flatten().tolist():
                    replies[rows[place]].append(int(following[place]))
                if not bool(alive.any()) or step == longest - 1:
                    break
                mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
                position = position + 1
                out = model(
                    input_ids=following[:, None],
                    attention_mask=mask,
                    position_ids=position,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                cache, following = out.past_key_values, out.logits[:, -1].argmax(dim=-1)
    return replies
