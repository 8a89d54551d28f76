"""Masks of dropout: drawn from uniform numbers alone, of the right share, and put into models and adapters."""

import pytest
import torch
from torch import nn

from lib.models import causal_lm
from lib.models.dropout import Dropout, dropout, own_masks
from lib.training.sft import finetune


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_share_p_is_dropped_and_the_mean_stays(p):
    torch.manual_seed(0)
    x = torch.ones(200_000)
    found = dropout(x, p, training=True)
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.004)
    assert float(found.mean()) == pytest.approx(1.0 if p < 1 else 0.0, abs=0.03)
    assert dropout(x, p, training=False) is x


def test_the_gradient_goes_through_what_was_kept():
    x = torch.ones(1000, requires_grad=True)
    out = dropout(x, 0.3, training=True)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_masks_are_drawn_from_uniform_numbers_and_from_nothing_else():
    """``rand`` is the same on every processor; ``bernoulli_``, by which torch's own draws, is not."""
    layer = Dropout(0.4).train()
    torch.manual_seed(3)
    found = layer(torch.ones(50, 7))
    after = torch.get_rng_state()
    torch.manual_seed(3)
    assert torch.equal(found != 0, torch.rand(50, 7) >= 0.4)
    assert torch.equal(torch.get_rng_state(), after)


def test_half_precision_keeps_its_type_and_its_masks():
    torch.manual_seed(1)
    single = dropout(torch.ones(64), 0.5, training=True)
    torch.manual_seed(1)
    half = dropout(torch.ones(64, dtype=torch.bfloat16), 0.5, training=True)
    assert half.dtype is torch.bfloat16 and torch.equal(half.float(), single)


def test_layers_of_other_kinds_stay():
    model = nn.ModuleList([nn.Dropout(0.1), nn.Dropout1d(0.1), Dropout(0.1)])
    assert own_masks(model) == 1 and [type(m) for m in model] == [Dropout, nn.Dropout1d, Dropout]


def test_an_adapter_is_trained_with_them(tmp_path, monkeypatch):
    """No step of a fit with dropout asks torch for a mask of its own."""

    def refuse(*given, **more):
        raise AssertionError("a mask of torch's own")

    texts = ["say red", "say blue"]
    causal_lm.write_checkpoint(
        tmp_path / "base",
        texts=texts,
        chat_template="mistral",
        architecture="llama",
        width=16,
        depth=1,
        heads=2,
        seed=0,
    )
    row = '{"messages": [{"role": "user", "content": "say"}, {"role": "assistant", "content": "red"}]}\n'
    (tmp_path / "rows.jsonl").write_text(row * 4)
    monkeypatch.setattr(nn.functional, "dropout", refuse)
    lora = {"rank": 2, "targets": ["q_proj"], "dropout": 0.5}
    told = {"checkpoint": tmp_path / "base", "rows": tmp_path / "rows.jsonl", "lora": lora, "steps": 2}
    (tmp_path / "tuned").mkdir()
    finetune(tmp_path / "tuned", **told, batch=2, learning_rate=1e-2, max_length=32)
    assert (tmp_path / "tuned" / "losses.json").is_file()
