"""PPO: a worked example by hand, gradients by finite differences, and two tasks whose optimum is known."""

import math

import numpy as np
import pytest
import torch

from lib.models import causal_lm
from lib.training.loop import TrainingError
from papers.huatuogpt_o1 import ppo_losses as losses
from papers.huatuogpt_o1.ppo import PPO, Value, pack, step_loss, train_ppo
from papers.huatuogpt_o1.ppo import _judge as judge

MASK = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
LOGP = torch.log(torch.tensor([[0.9, 0.5, 0.4, 0.2], [0.25, 0.5, 0.9, 0.9]]))
REFERENCE = torch.log(torch.tensor([[0.9, 0.25, 0.4, 0.4], [0.5, 0.5, 0.1, 0.1]]))
SCORES = torch.tensor([1.0, 0.1])
VALUES = torch.tensor([[9.0, 0.2, 0.4, 0.6], [0.1, 0.3, 9.0, 9.0]])
BETA, DECAY = 0.03, 0.95
LN2 = math.log(2.0)


# ---------------------------------------------------------------------- by hand
def test_rewards_are_the_kl_of_each_token_and_the_score_at_the_last():
    found = losses.token_rewards(SCORES, LOGP, REFERENCE, MASK, beta=BETA)
    by_hand = [[0, -BETA * LN2, 0, BETA * LN2 + 1.0], [BETA * LN2, 0.1, 0, 0]]
    np.testing.assert_allclose(found, by_hand, atol=1e-6)


def test_advantages_and_returns_by_hand():
    rewards = losses.token_rewards(SCORES, LOGP, REFERENCE, MASK, beta=BETA)
    advantages, returns = losses.advantage(rewards, VALUES, MASK, gamma=1.0, decay=DECAY)
    last = 1 + BETA * LN2 - 0.6  # no value behind the end
    middle = (0 + 0.6 - 0.4) + DECAY * last
    first = (-BETA * LN2 + 0.4 - 0.2) + DECAY * middle
    other = 0.1 - 0.3
    by_hand = [[0, first, middle, last], [(BETA * LN2 + 0.3 - 0.1) + DECAY * other, other, 0, 0]]
    np.testing.assert_allclose(advantages, by_hand, atol=1e-6)
    np.testing.assert_allclose(returns, np.array(by_hand) + (VALUES * MASK).numpy(), atol=1e-6)


def test_a_discount_counts():
    rewards, values = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)
    found, _ = losses.advantage(rewards, values, torch.ones(1, 2), gamma=0.5, decay=1.0)
    assert found.tolist() == [[0.5, 1.0]]


def test_whitened_advantages_by_hand():
    found = losses.whiten(torch.tensor([[1.0, 2.0, 99.0], [6.0, -99.0, -99.0]]), torch.tensor([[1.0, 1, 0], [1, 0, 0]]))
    deviation = math.sqrt((4 + 1 + 9) / 2)
    np.testing.assert_allclose(found, np.array([[-2, -1, 0], [3, 0, 0]]) / deviation, atol=1e-6)


def test_the_clipped_losses_by_hand():
    ratio = torch.tensor([[1.5, 0.5, 1.1, 7.0]])
    old, mask = torch.full((1, 4), -1.0), torch.tensor([[1.0, 1, 1, 0]])
    advantages = torch.tensor([[1.0, -1.0, 2.0, 5.0]])
    found = losses.policy_loss(old + ratio.log(), old, advantages, mask, clip=0.2)
    assert float(found) == pytest.approx(
        (-1.2 + 0.8 - 2.2) / 3, abs=1e-6
    )  # max(0.5, 0.8) where the advantage is negative
    values, before = torch.tensor([[1.0, 0.0, 0.5, 9.0]]), torch.tensor([[0.5, 0.5, 0.5, 0.0]])
    returns = torch.tensor([[1.0, 1.0, 0.5, 0.0]])
    found = losses.value_loss(values, before, returns, mask, clip=0.2)
    # clipped to 0.7, 0.3, 0.5: the larger error of both counts
    assert float(found) == pytest.approx(0.5 * (0.09 + 1.0 + 0.0) / 3, abs=1e-6)
    kl = losses.approximate_kl(old + ratio.log(), old, mask)
    assert float(kl) == pytest.approx(0.5 * np.mean(np.log([1.5, 0.5, 1.1]) ** 2), abs=1e-6)


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    mask, old = MASK.double(), LOGP.double() + 0.3 * torch.randn(2, 4, dtype=torch.float64)
    advantages, returns = torch.randn(2, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    logp = LOGP.double().requires_grad_()
    values = torch.randn(2, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.policy_loss(x, old, advantages, mask, clip=0.2), logp)
    assert torch.autograd.gradcheck(lambda x: losses.value_loss(x, VALUES.double(), returns, mask, clip=0.2), values)
    assert torch.autograd.gradcheck(
        lambda x: losses.whiten(x, mask).square().sum() + losses.whiten(x, mask)[0, 1], values
    )


# ---------------------------------------------------------------------- on a model
def _model(tmp_path, words, *, seed=0):
    causal_lm.write_checkpoint(
        tmp_path, texts=[words], chat_template="plain", architecture="llama", width=16, depth=1, heads=2, seed=seed
    )
    return causal_lm.load(tmp_path)


def _tokens(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_packed_rows_mark_the_reply_and_nothing_else():
    found = pack([[5, 6], [7]], [[8], [9, 1, 2]])
    assert found.ids.tolist() == [[5, 6, 8, 0], [7, 9, 1, 2]]
    assert found.mask.tolist() == [[0, 1, 0], [1, 1, 1]]


def test_the_first_step_has_ratio_one_and_a_gradient(tmp_path):
    model, tokenizer = _model(tmp_path, "pull a b c")
    how = PPO(updates=1, batch=4, learning_rate=1e-3, longest=2)
    rollout = pack([_tokens(tokenizer, "pull")] * 4, [_tokens(tokenizer, text) for text in ("a b", "b", "c a", "c")])
    value = Value(model)
    judge(rollout, torch.tensor([1.0, 0.0, 0.3, 0.1]), model, model, value, how)
    loss, seen = step_loss(rollout, model, value, how)
    assert seen["ratio_away"] < 1e-6 and seen["approximate_kl"] < 1e-12 and seen["clipped"] == 0
    loss.backward()
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0
    assert float(rollout.values.abs().sum()) == 0  # the head starts at 0


def _play(tmp_path, words, prompt, longest, pay, **more):
    model, tokenizer = _model(tmp_path, words)
    vocabulary = {number: word for word, number in tokenizer.get_vocab().items()}

    def reward(places, replies):
        return [pay.get(tuple(vocabulary[token] for token in reply), 0.0) for reply in replies]

    told = {"updates": 60, "batch": 64, "learning_rate": 1e-2, "longest": longest, "beta": 0.0, **more}
    prompts = [_tokens(tokenizer, prompt)] * told["batch"]
    history = train_ppo(model, prompts, reward, how=PPO(**told), end=tokenizer.eos_token_id, seed=0)
    with torch.no_grad():
        shares = model(torch.tensor([prompts[0]])).logits[0, -1].softmax(-1)
    return history, model, tokenizer, shares


def test_a_bandit_is_played_within_one_percent_of_its_optimum(tmp_path):
    pay = {("a",): 0.2, ("b",): 0.9, ("c",): 1.0}
    history, _, tokenizer, shares = _play(tmp_path, "pull a b c", "pull", 1, pay)
    worth = sum(float(shares[tokenizer.convert_tokens_to_ids(arm[0])]) * paid for arm, paid in pay.items())
    assert worth > 0.99 and history[0]["score"] < 0.5
    assert all(line["first_ratio_away"] < 1e-5 for line in history) and history[-1]["kl"] > 0.5


def test_a_bandit_with_a_price_on_kl_ends_at_the_known_distribution(tmp_path):
    """max E[r] - beta KL(pi || pi_0) is beta log sum pi_0 exp(r / beta)."""
    beta, pay = 0.5, {("a",): 0.2, ("b",): 0.9, ("c",): 1.0}
    start, words = _model(tmp_path / "start", "pull a b c")
    with torch.no_grad():
        before = start(torch.tensor([_tokens(words, "pull")])).logits[0, -1].softmax(-1).double()
    _, _, tokenizer, shares = _play(tmp_path, "pull a b c", "pull", 1, pay, beta=beta, updates=120, batch=128)
    paid = torch.zeros_like(before)
    for arm, worth in pay.items():
        paid[tokenizer.convert_tokens_to_ids(arm[0])] = worth
    shares = shares.double()
    reached = float((shares * paid).sum() - beta * (shares * (shares / before).log()).sum())
    best = float(beta * (before * (paid / beta).exp()).sum().log())
    assert reached > 0.99 * best


def test_a_chain_of_two_states_is_walked_to_its_far_end(tmp_path):
    """Left pays at once and little; right pays nothing, or all after a second right."""
    pay = {("left", "left"): 0.5, ("left", "right"): 0.5, ("right", "right"): 1.0}
    history, model, tokenizer, _ = _play(tmp_path, "go left right", "go", 2, pay, updates=80)
    right = tokenizer.convert_tokens_to_ids("right")
    ids = _tokens(tokenizer, "go")
    reached = 1.0
    for _ in range(2):
        with torch.no_grad():
            reached *= float(model(torch.tensor([ids])).logits[0, -1].softmax(-1)[right])
        ids = [*ids, right]
    assert reached > 0.98 and history[-1]["score"] > 0.97


def test_an_update_stops_once_the_policy_has_gone_too_far(tmp_path):
    free, *_ = _play(tmp_path / "free", "pull a b c", "pull", 1, {("c",): 1.0}, updates=6, epochs=8)
    held, *_ = _play(tmp_path / "held", "pull a b c", "pull", 1, {("c",): 1.0}, updates=6, epochs=8, kl_stop=1e-3)
    assert all(line["steps"] == 8 and not line["stopped"] for line in free)
    assert any(line["stopped"] for line in held) and all(0 < line["steps"] <= 8 for line in held)
    assert held[-1]["kl"] < free[-1]["kl"]


def test_the_same_seed_gives_the_same_history(tmp_path):
    def one(name):
        return _play(tmp_path / name, "pull a b c", "pull", 1, {("c",): 1.0}, updates=3)[0]

    assert one("x") == one("y")


def test_settings_that_cannot_be_trained():
    with pytest.raises(TrainingError, match="batch that the parts divide"):
        PPO(updates=1, batch=4, learning_rate=1e-3, longest=2, parts=3)
    with pytest.raises(TrainingError, match="temperature and learning rate above 0"):
        PPO(updates=1, batch=4, learning_rate=1e-3, longest=2, temperature=0.0)


def test_a_reward_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(TrainingError, match="in update 0 of 2"):
        _play(tmp_path, "pull a", "pull", 1, {("a",): math.nan, ("pull",): math.nan}, updates=2)
