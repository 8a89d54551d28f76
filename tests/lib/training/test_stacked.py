"""Stacked fits: each member must end where it would have ended alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lib.models import causal_lm
from lib.training import stacked
from lib.training.chat_encoding import encode
from lib.training.loop import TrainingError, train, warmup_cosine
from lib.training.stacked import fit_stacked, language_batches, language_loss

STEPS, RATE = 12, 5e-2


def _mlp(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, 3))


def _data(member: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 * member + step)
    return torch.randn(6, 5, generator=generator), torch.randint(3, (6,), generator=generator)


def _batch(members):
    def batch_of_step(step: int):
        x, y = zip(*(_data(member, step) for member in members), strict=True)
        return {"x": torch.stack(x), "y": torch.stack(y)}

    return batch_of_step


def _loss(call, batch):
    return nn.functional.cross_entropy(call(batch["x"]), batch["y"])


def test_members_end_where_they_would_have_ended_alone(monkeypatch):
    """Clipping must bite on each member by itself."""
    monkeypatch.setattr(stacked, "CLIP", 0.05)
    schedule, alone, losses = warmup_cosine(STEPS, warmup=3), [], []
    for member in range(4):
        model = _mlp(member)
        losses.append(
            train(
                model,
                lambda m, s, k=member: _loss(m, dict(zip("xy", _data(k, s), strict=True))),
                steps=STEPS,
                clip=0.05,
                schedule=schedule,
                optimiser=torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0),
            )
        )
        alone.append(model)
    models = [_mlp(member) for member in range(4)]
    together = fit_stacked(models, _batch(range(4)), _loss, steps=STEPS, learning_rate=RATE, schedule=schedule)
    assert together.shape == (STEPS, 4)
    np.testing.assert_allclose(together, np.array(losses).T, atol=1e-5)
    for one, other in zip(alone, models, strict=True):
        for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, msg=name)


def test_a_member_does_not_feel_the_others():
    models = [_mlp(0), _mlp(1)]
    pair = fit_stacked(models, _batch([0, 1]), _loss, steps=STEPS, learning_rate=RATE)
    twin = [_mlp(0), _mlp(9)]
    other = fit_stacked(twin, _batch([0, 5]), _loss, steps=STEPS, learning_rate=RATE)
    np.testing.assert_allclose(pair[:, 0], other[:, 0], atol=1e-6)
    assert np.abs(pair[:, 1] - other[:, 1]).max() > 1e-3


def test_frozen_parameters_stay_and_the_rest_moves():
    models = [_mlp(0), _mlp(1)]
    for model in models:
        model[0].weight.requires_grad_(False)
    before = copy.deepcopy(models)
    fit_stacked(models, _batch([0, 1]), _loss, steps=3, learning_rate=RATE)
    for old, new in zip(before, models, strict=True):
        assert torch.equal(old[0].weight, new[0].weight) and not torch.equal(old[3].weight, new[3].weight)


def test_a_loss_that_is_not_finite_names_step_and_member():
    def poisoned(step):
        batch = _batch([0, 1])(step)
        if step == 2:
            batch["x"][1] = torch.inf
        return batch

    with pytest.raises(TrainingError, match=r"member 1 is nan at step 2 of 5"):
        fit_stacked([_mlp(0), _mlp(1)], poisoned, _loss, steps=5, learning_rate=RATE)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    causal_lm.write_checkpoint(
        folder, texts=["a b c d e f g h i j"], chat_template="plain", architecture="llama", width=32, depth=2
    )
    return folder


def _rows(seed: int) -> list[dict]:
    rng, words = np.random.default_rng(seed), list("abcdefghij")
    return [
        {"messages": [{"role": "user", "content": " ".join(rng.choice(words, rng.integers(1, 6)))},
                      {"role": "assistant", "content": str(rng.choice(words))}]} for _ in range(8)
    ]  # fmt: skip


def test_language_models_stacked_equal_the_trl_trainer_on_the_same_rows(tiny, tmp_path):
    """Full batches, so that the order of rows, which the two draw differently, does not matter."""
    import json

    from lib.data.files import write_json_lines
    from lib.training import sft

    expected, weights = [], []
    for seed in range(3):
        out = tmp_path / f"trl_{seed}"
        out.mkdir()
        write_json_lines(tmp_path / "rows.jsonl", _rows(seed))
        sft.finetune(
            out, checkpoint=tiny, rows=tmp_path / "rows.jsonl", steps=6, batch=8, learning_rate=1e-2, max_length=16
        )
        expected.append(json.loads((out / "losses.json").read_text()))
        weights.append(causal_lm.load(out)[0])
    loaded = [causal_lm.load(tiny, attention="eager") for _ in range(3)]
    tokenizer = loaded[0][1]
    encoded = [encode(_rows(seed), tokenizer, max_length=16) for seed in range(3)]
    models = [model for model, _ in loaded]
    losses = fit_stacked(
        models, language_batches(encoded, batch=8, seeds=[0, 1, 2], pad=tokenizer.pad_token_id), language_loss, steps=6,
        learning_rate=1e-2, schedule=warmup_cosine(6, warmup=0),
    )  # fmt: skip
    np.testing.assert_allclose(losses, np.array(expected).T, atol=1e-4)
    for one, other in zip(weights, models, strict=True):
        for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3, msg=name)


def test_bases_that_cannot_be_stacked_and_lengths_over_the_context_are_told(tiny, tmp_path):
    from lib.data.files import write_json_lines

    causal_lm.write_checkpoint(
        tmp_path / "other", texts=["j i h g f"], chat_template="plain", architecture="llama", width=32, depth=2
    )
    write_json_lines(tmp_path / "rows.jsonl", [*_rows(0), {"text": "a z"}])
    given = {"rows": [tmp_path / "rows.jsonl"] * 2, "seeds": [0, 1], "batch": 2, "learning_rate": 1e-3, "steps": 1}
    with pytest.raises(TrainingError, match="the bases have different tokenizers"):
        stacked.finetune_stacked(tmp_path, checkpoint=[tiny, tmp_path / "other"], max_length=16, **given)
    with pytest.raises(TrainingError, match="max_length 5000 exceeds the 4096 positions of the model"):
        stacked.finetune_stacked(tmp_path, checkpoint=tiny, max_length=5000, **given)
    with pytest.raises(TrainingError, match=r"rows.jsonl, line 9 has a word that the tokenizer does not know: 'a z'"):
        stacked.finetune_stacked(tmp_path, checkpoint=tiny, max_length=16, **given)
