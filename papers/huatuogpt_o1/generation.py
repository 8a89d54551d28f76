"""Sampled or greedy replies to many prompts at once, keys and values of what was read kept; one prompt at a time, for comparison.

replies = generate(model, prompts, end=tokenizer.eos_token_id, longest=64, temperature=0.5, seed=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Ids = Sequence[int]


@dataclass
class _Batch:
    """Prompts (B, T) padded on the left, what of them is no padding, and the replies so far."""

    ids: Tensor
    mask: Tensor
    replies: list[list[int]] = field(default_factory=list)


def _padded(prompts: Sequence[Ids], device: Any) -> _Batch:
    if not prompts or not all(len(one) for one in prompts):
        raise ValueError("give one prompt or more, each of one token or more")
    width = max(map(len, prompts))
    ids = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt), device=device)
        mask[row, width - len(prompt) :] = 1
    return _Batch(ids, mask, [[] for _ in prompts])


def _choose(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    shares = (logits.float() / temperature).softmax(dim=-1)
    return torch.multinomial(shares, 1, generator=generator)[:, 0]


@torch.inference_mode()
def generate(
    model: Any, prompts: Sequence[Ids], *, end: int, longest: int, temperature: float = 0.0, seed: int = 0
) -> list[list[int]]:
    """The reply to each prompt: at most ``longest`` tokens, the token ``end`` included where it came.

    ``temperature`` 0: greedy. The whole batch goes on until all have ended. Raises ``ValueError`` for no prompt, an empty one, and
    numbers that make no reply.
    """
    if longest < 1 or temperature < 0:
        raise ValueError(f"longest {longest}, temperature {temperature}: give >= 1 and >= 0")
    batch = _padded(prompts, model.device)
    generator = torch.Generator(device=model.device).manual_seed(seed)
    ids, mask, cache = batch.ids, batch.mask, None
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    alive = torch.ones(len(prompts), dtype=torch.bool, device=model.device)
    for _ in range(longest):
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        following, cache = _choose(out.logits[:, -1], temperature, generator), out.past_key_values
        for row in alive.nonzero().flatten().tolist():
            batch.replies[row].append(int(following[row]))
        alive &= following != end
        if not bool(alive.any()):
            break
        ids, positions = following[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones((len(prompts), 1))], dim=1)
    return batch.replies


def one_at_a_time(model: Any, prompts: Sequence[Ids], *, end: int, longest: int) -> list[list[int]]:
    """Greedy replies, a prompt after the other, each with its own cache: what batching is compared with."""
    return [generate(model, [prompt], end=end, longest=longest)[0] for prompt in prompts]
