"""RLOO through TRL reaches the bandit's optimum under the reward that PPO is given; DPO's pairs are right against wrong."""

import pytest
import torch

from lib.data.files import write_json_lines
from lib.models import causal_lm
from lib.training.dpo import prefer
from lib.training.loop import TrainingError
from papers.huatuogpt_o1.rloo import RLOO, offline_pairs, train_rloo

PAY = {"a": 0.2, "b": 0.9, "c": 1.0}


@pytest.fixture
def bandit(tmp_path):
    folder = tmp_path / "start"
    causal_lm.write_checkpoint(
        folder, texts=["pull a b c"], chat_template="plain", architecture="llama", width=16, depth=1, heads=2
    )
    return folder


def _reward(tokenizer):
    return lambda places, replies: [PAY.get(tokenizer.decode(list(reply)[:1]), 0.0) for reply in replies]


def _shares(model, tokenizer, text="pull"):
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        shares = model(ids).logits[0, -1].softmax(-1)
    return {arm: float(shares[tokenizer.convert_tokens_to_ids(arm)]) for arm in PAY}


def test_rloo_plays_the_bandit_near_its_optimum(bandit):
    model, tokenizer = causal_lm.load(bandit)
    before = _shares(model, tokenizer)
    how = RLOO(updates=50, batch=64, learning_rate=1e-2, longest=1, beta=0.0)
    history = train_rloo(model, tokenizer, ["pull"] * 64, _reward(tokenizer), how=how, seed=0)
    after = _shares(model, tokenizer)
    assert len(history) == 50 and history[0]["score"] < 0.5
    assert (
        sum(after[arm] * paid for arm, paid in PAY.items())
        > 0.95
        > sum(before[arm] * paid for arm, paid in PAY.items())
    )


def test_pairs_are_right_against_wrong_and_dpo_learns_them(bandit, tmp_path):
    model, tokenizer = causal_lm.load(bandit)
    prompt = tokenizer(tokenizer.bos_token + "pull", add_special_tokens=False)["input_ids"]
    rows, dropped = offline_pairs(
        model,
        tokenizer,
        [prompt] * 60,
        ["pull"] * 60,
        _reward(tokenizer),
        longest=1,
        temperature=1.0,
        seed=0,
        samples=8,
    )
    assert 0 < len(rows) == 60 - dropped < 60
    assert all(row["chosen"][0]["content"] == "c" != row["rejected"][0]["content"] for row in rows)
    write_json_lines(tmp_path / "pairs.jsonl", rows)
    (tmp_path / "dpo").mkdir()
    prefer(
        tmp_path / "dpo", checkpoint=bandit, rows=tmp_path / "pairs.jsonl", reference="start", beta=1.0, batch=8, steps=20,
        learning_rate=1e-2, max_length=16,
    )  # fmt: skip
    tuned, _ = causal_lm.load(tmp_path / "dpo")
    text = tokenizer.bos_token + "pull"
    assert _shares(tuned, tokenizer, text)["c"] > 2 * _shares(model, tokenizer, text)["c"]


def test_settings_that_cannot_be_trained():
    with pytest.raises(TrainingError, match="a batch that they divide"):
        RLOO(updates=1, batch=5, learning_rate=1e-3, longest=1)
