"""Linear layers by oneDNN: the same numbers and gradients, and who is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.models.onednn import Linear, use_onednn


def _both(layer: nn.Linear, x: torch.Tensor) -> list[list[torch.Tensor]]:
    """Output and gradients (input, weight, bias) of the layer as it is, and by oneDNN."""
    found = []
    for kind in (nn.Linear, Linear):
        layer.__class__, given = kind, x.clone().requires_grad_()
        layer.zero_grad()
        out = layer(given)
        out.square().mean().backward()
        found.append([out.detach(), given.grad, *(p.grad.clone() for p in layer.parameters())])
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 300), (7, 300), (3, 5, 300), (2, 3, 4, 300)])
def test_output_and_gradients_are_those_of_a_linear_layer(shape, bias):
    torch.manual_seed(0)
    ours, theirs = _both(nn.Linear(300, 77, bias=bias), torch.randn(shape))[::-1]
    assert len(ours) == (4 if bias else 3)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 2e-6 * other.abs().max()


def test_inputs_that_are_not_contiguous():
    layer = nn.Linear(300, 40)
    x = torch.randn(300, 9).T
    ours, theirs = _both(layer, x)[::-1]
    assert torch.allclose(ours[0], theirs[0], atol=1e-5) and torch.allclose(ours[2], theirs[2], atol=1e-6)


def test_other_precisions_and_autocast_stay_with_torch():
    layer = nn.Linear(300, 40, dtype=torch.float64)
    layer.__class__ = Linear
    x = torch.randn(2, 300, dtype=torch.float64)
    assert torch.allclose(layer(x), x @ layer.weight.T + layer.bias, atol=1e-12)
    single = nn.Linear(300, 40)
    single.__class__ = Linear
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert single(torch.randn(2, 300)).dtype == torch.bfloat16
    assert single(torch.zeros(0, 300)).shape == (0, 40)


def test_only_wide_plain_linear_layers_are_changed():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(256, 8), nn.Linear(255, 8), Own(512, 8), nn.Conv1d(300, 8, 1))
    names = set(model.state_dict())
    assert use_onednn(model) == 1
    assert [type(layer) for layer in model] == [Linear, nn.Linear, Own, nn.Conv1d]
    assert set(model.state_dict()) == names and use_onednn(model) == 0


def test_small_products_stay_with_torch(monkeypatch):
    model = nn.Sequential(nn.Linear(64, 8))
    assert use_onednn(model, narrowest=32, least=64 * 8 * 5) == 1
    asked = []
    monkeypatch.setattr("lib.models.onednn._product", lambda a, b, bias: asked.append(len(a)) or a @ b.T + bias)
    for rows in (4, 5):
        model(torch.randn(rows, 64))
    assert asked == [5]


def test_an_adapter_goes_on_top_and_learns_the_same():
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=2
    )
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    ids = torch.arange(24).view(2, 12)
    gradients = []
    for ours in (False, True):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        if ours:
            assert use_onednn(model) == 8  # four of attention, three of the feed-forward part, the head
        tuned = get_peft_model(model, lora)
        tuned(input_ids=ids, labels=ids).loss.backward()
        gradients.append([p.grad for p in tuned.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == 4
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
