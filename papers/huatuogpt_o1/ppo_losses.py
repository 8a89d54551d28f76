"""The arithmetic of PPO on replies (section 3.2, App. F; TRL 0.13's trainer): per-token KL, sparse reward, GAE, clipped losses.

Arrays are (B, T), one column a predicted token; ``mask`` is 1 on tokens of the reply, which stand together in each row. The KL term
is taken off the reward: the paper's text prints it with a plus, its Algorithm 1 and its code with a minus.

>>> import torch
>>> value, reward, mask = torch.tensor([[0.5, 0.25]]), torch.tensor([[0.0, 1.0]]), torch.ones(1, 2)
>>> advantages, returns = advantage(reward, value, mask, gamma=1.0, decay=0.95)
>>> [round(one, 4) for one in advantages[0].tolist()]  # 0.25 - 0.5 + 0.95 x 0.75; 1 - 0.25
[0.4625, 0.75]
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the masked tokens of the whole batch (Bessel's correction, as in TRL); 0 elsewhere."""
    mean, count = masked_mean(values, mask), mask.sum()
    variance = ((values - mean).square() * mask).sum() / (count - 1).clamp(min=1)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def last_token(mask: Tensor) -> Tensor:
    """(B,): the column of each reply's last token."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    return (mask * columns).argmax(dim=1)


def token_rewards(scores: Tensor, logp: Tensor, reference: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """-beta (log pi - log pi_ref) at each token of a reply, and its score (B,) at the last one."""
    rewards = -beta * (logp - reference) * mask
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, last_token(mask)] += scores
    return rewards


def advantage(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, decay: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns) by generalised advantage estimation; behind the last token the value is 0. Not whitened."""
    values, rewards = values * mask, rewards * mask
    following, running, found = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0]), []
    for t in reversed(range(values.shape[1])):
        inside = mask[:, t]
        error = rewards[:, t] + gamma * following - values[:, t]
        running = (error + gamma * decay * running) * inside
        following = values[:, t]
        found.append(running)
    advantages = torch.stack(found[::-1], dim=1)
    return advantages, advantages + values


def policy_loss(logp: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """The clipped surrogate, mean over tokens; to be minimised."""
    ratio = (logp - old).exp()
    return masked_mean(torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)), mask)


def value_loss(values: Tensor, old: Tensor, returns: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """Half of the larger of the squared errors of a value and of that value kept within ``clip`` of the old one."""
    near = torch.clamp(values, old - clip, old + clip)
    return 0.5 * masked_mean(torch.maximum((values - returns).square(), (near - returns).square()), mask)


def approximate_kl(logp: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    """Half of the mean squared log-ratio (TRL's estimate of how far an update went); a token's, in nats."""
    return 0.5 * masked_mean((logp - old).square(), mask)
