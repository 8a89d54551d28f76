"""Proximal policy optimisation of a causal LM against a reward of whole replies: rollout, advantages, epochs of clipped steps.

Paper: 3 PPO epochs, clip 0.2, value coefficient 1.0 (the released code: 0.1), beta 0.03, gamma 1, lambda 0.95 (code). The value
model is the policy's own body with a new head (paper: another, smaller model).

    history = train_ppo(policy, prompts, reward, how=PPO(updates=40, batch=64, learning_rate=1e-4, longest=64), end=eos, seed=0)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.streams import stream_seed
from lib.training.loop import TrainingError, epoch_order
from papers.huatuogpt_o1 import ppo_losses as losses
from papers.huatuogpt_o1.generation import Ids, generate

CLIP_NORM = 1.0  # largest gradient norm of a step


@dataclass(frozen=True, kw_only=True)
class PPO:
    """``updates`` rollouts of ``batch`` replies of at most ``longest`` tokens, each gone through ``epochs`` times by ``parts``.

    ``temperature``: of the rollout, and of the probabilities that are trained. ``kl_stop``: an update ends early once the policy
    has gone so far from the one that spoke (:func:`ppo_losses.approximate_kl`). The learning rate falls linearly to 0.
    """

    updates: int
    batch: int
    learning_rate: float
    longest: int
    epochs: int = 3
    parts: int = 1
    beta: float = 0.03
    gamma: float = 1.0
    decay: float = 0.95
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 1.0
    temperature: float = 1.0
    kl_stop: float | None = None

    def __post_init__(self) -> None:
        if min(self.updates, self.batch, self.longest, self.epochs, self.parts) < 1 or self.batch % self.parts:
            raise TrainingError(f"{self}: give whole numbers above 0, and a batch that the parts divide")
        if self.temperature <= 0 or self.beta < 0 or self.learning_rate <= 0:
            raise TrainingError(f"{self}: give temperature and learning rate above 0 and beta of 0 or more")


class Value(nn.Module):
    """A value (B, T) of what stands before each next token: the body of a causal LM and a head that starts at 0."""

    def __init__(self, model: Any):
        super().__init__()
        self.body = copy.deepcopy(model.base_model)
        self.head = nn.Linear(model.config.get_text_config().hidden_size, 1).to(model.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.body(input_ids=ids, use_cache=False).last_hidden_state)[..., 0]


@dataclass
class Rollout:
    """Prompt and reply of each row, ``ids`` (B, T + 1) padded on the right, ``mask`` (B, T) on tokens of the reply, and what the
    policy that spoke gave them."""

    ids: Tensor
    mask: Tensor
    logp: Tensor | None = None
    reference: Tensor | None = None
    values: Tensor | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None

    def rows(self, chosen: Tensor) -> Rollout:
        return Rollout(*(None if one is None else one[chosen] for one in vars(self).values()))


def pack(prompts: Sequence[Ids], replies: Sequence[Ids], *, device: Any = "cpu") -> Rollout:
    """Prompts and their replies as tensors. Attention needs no mask: padding stands to the right."""
    width = max(len(a) + len(b) for a, b in zip(prompts, replies, strict=True))
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros((len(prompts), width - 1))
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        whole = [*prompt, *reply]
        ids[row, : len(whole)] = torch.tensor(whole)
        mask[row, len(prompt) - 1 : len(whole) - 1] = 1
    return Rollout(ids.to(device), mask.to(device))


def log_probabilities(model: Any, ids: Tensor, *, temperature: float) -> Tensor:
    """(B, T): of each next token of ``ids`` (B, T + 1)."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float() / temperature
    return -F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


@torch.no_grad()
def _judge(rollout: Rollout, scores: Tensor, policy: Any, reference: Any, value: Value, how: PPO) -> float:
    """Fill in what the update needs; the mean KL of a reply to the reference, in nats."""
    rollout.logp = log_probabilities(policy, rollout.ids, temperature=how.temperature)
    rollout.reference = log_probabilities(reference, rollout.ids, temperature=how.temperature)
    rollout.values = value(rollout.ids[:, :-1]) * rollout.mask
    rewards = losses.token_rewards(scores, rollout.logp, rollout.reference, rollout.mask, beta=how.beta)
    found, rollout.returns = losses.advantage(rewards, rollout.values, rollout.mask, gamma=how.gamma, decay=how.decay)
    rollout.advantages = losses.whiten(found, rollout.mask)
    return float(((rollout.logp - rollout.reference) * rollout.mask).sum(dim=1).mean())


def step_loss(part: Rollout, policy: Any, value: Value, how: PPO) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step, and what is watched: approximate KL, share of clipped tokens, largest distance of a ratio from 1."""
    logp = log_probabilities(policy, part.ids, temperature=how.temperature)
    loss = losses.policy_loss(logp, part.logp, part.advantages, part.mask, clip=how.clip)
    of_value = losses.value_loss(value(part.ids[:, :-1]), part.values, part.returns, part.mask, clip=how.value_clip)
    with torch.no_grad():
        away = ((logp - part.logp).exp() - 1).abs() * part.mask
        seen = {
            "approximate_kl": float(losses.approximate_kl(logp, part.logp, part.mask)),
            "clipped": float(losses.masked_mean((away > how.clip).float(), part.mask)),
            "ratio_away": float(away.max()),
            "value_loss": float(of_value),
        }
    return loss + how.value_coefficient * of_value, seen


def train_ppo(
    policy: Any,
    prompts: Sequence[Ids],
    reward: Callable[[Sequence[int], Sequence[list[int]]], Sequence[float]],
    *,
    how: PPO,
    end: int,
    seed: int,
    watch: Callable[[int, Any], dict[str, float]] | None = None,
) -> list[dict[str, float]]:
    """Train ``policy`` in place; a line a rollout: mean ``score``, ``kl`` to the start (nats a reply), ``length``, the steps taken,
    and what the first and the last step saw.

    ``reward(places, replies)``: a number for each reply, to the prompts at ``places``. ``watch(update, policy)``: further numbers
    of an update. Raises :class:`TrainingError` at a loss that is not finite.
    """
    policy.eval()  # no dropout: the ratio must be 1 at the first step
    reference = copy.deepcopy(policy).requires_grad_(False)
    value = Value(policy)
    optimiser = torch.optim.AdamW([*policy.parameters(), *value.parameters()], lr=how.learning_rate, weight_decay=0.0)
    history = []
    for update in range(how.updates):
        for group in optimiser.param_groups:
            group["lr"] = how.learning_rate * (1 - update / how.updates)
        places = epoch_order(count=len(prompts), batch=how.batch, seed=seed, step=update).tolist()
        asked = [prompts[place] for place in places]
        spoken = generate(
            policy, asked, end=end, longest=how.longest, temperature=how.temperature,
            seed=stream_seed(seed, "rollout", update),
        )  # fmt: skip
        scores = torch.tensor(reward(places, spoken), dtype=torch.float32, device=policy.device)
        rollout = pack(asked, spoken, device=policy.device)
        kl = _judge(rollout, scores, policy, reference, value, how)
        line = {"score": float(scores.mean()), "kl": kl, "length": float(rollout.mask.sum(dim=1).mean())}
        line |= _update(rollout, policy, value, optimiser, how, stream_seed(seed, "parts", update), update)
        history.append(line | (watch(update, policy) if watch else {}))
    return history


def _update(rollout: Rollout, policy, value: Value, optimiser, how: PPO, seed: int, update: int) -> dict[str, float]:
    generator, first, seen, steps = torch.Generator().manual_seed(seed), {}, {}, 0
    for _ in range(how.epochs):
        order = torch.randperm(len(rollout.ids), generator=generator)
        for chosen in order.chunk(how.parts):
            loss, seen = step_loss(rollout.rows(chosen.to(rollout.ids.device)), policy, value, how)
            first = first or seen
            if how.kl_stop is not None and seen["approximate_kl"] > how.kl_stop:
                return {"steps": steps, "stopped": 1.0, "first_ratio_away": first["ratio_away"], **seen}
            if not math.isfinite(float(loss.detach())):
                raise TrainingError(
                    f"the loss is {float(loss.detach())} in update {update} of {how.updates}; lower the learning rate"
                )
            optimiser.zero_grad()
            loss.backward()
            for model in (policy, value):
                nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimiser.step()
            steps += 1
    return {"steps": steps, "stopped": 0.0, "first_ratio_away": first["ratio_away"], **seen}
