"""Products by numpy's library: torch's values and gradients, alone, in a layer and under vmap, and what stays with torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.models import product as products
from lib.models.product import Linear, linear, product, use_products


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch):
    monkeypatch.setattr(products, "LEAST", 0)


def _gradients(call, *tensors):
    leaves = [t.clone().requires_grad_() for t in tensors]
    out = call(*leaves)
    out.square().sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(
    "ours, theirs, shapes",
    [
        (linear, F.linear, ((2, 3, 4), (5, 4))),
        (linear, F.linear, ((2, 3, 4), (5, 4), (5,))),
        (linear, F.linear, ((4,), (5, 4), (5,))),
        (product, torch.matmul, ((2, 3, 4, 6), (2, 3, 6, 5))),
        (torch.vmap(linear), torch.vmap(F.linear), ((7, 2, 3, 4), (7, 5, 4))),
        (torch.vmap(linear, in_dims=(0, None)), torch.vmap(F.linear, in_dims=(0, None)), ((7, 3, 4), (5, 4))),
        (torch.vmap(product), torch.vmap(torch.matmul), ((7, 2, 4, 6), (7, 2, 6, 5))),
    ],
)
def test_values_and_gradients_are_those_of_torch(ours, theirs, shapes, monkeypatch):
    torch.manual_seed(0)
    tensors, asked = [torch.randn(shape) for shape in shapes], []
    times = products._times
    monkeypatch.setattr(products, "_times", lambda a, b: asked.append(1) or times(a, b))
    for mine, its in zip(_gradients(ours, *tensors), _gradients(theirs, *tensors), strict=True):
        torch.testing.assert_close(mine, its)
    assert len(asked) == 3  # forwards, and back to either factor


def test_inputs_that_are_not_contiguous():
    x, weight = torch.randn(300, 9).T, torch.randn(40, 300)
    for mine, its in zip(_gradients(linear, x, weight), _gradients(F.linear, x, weight), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-3, rtol=1e-5)


def test_what_needs_no_gradient_gets_none_and_a_second_derivative_is_refused():
    x, weight = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    linear(x, weight).sum().backward()
    assert weight.grad.shape == (5, 4) and x.grad is None
    (gradient,) = torch.autograd.grad(linear(x, weight).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_other_precisions_autocast_nothing_and_tensors_without_values_stay_with_torch():
    x, layer = torch.randn(3, 4), nn.Linear(4, 5)
    use_products(nn.Sequential(layer))
    assert linear(x.double(), layer.weight.double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer(torch.zeros(0, 4)).shape == (0, 5) and layer.to("meta")(x.to("meta")).shape == (3, 5)


def test_small_products_stay_with_torch(monkeypatch):
    asked = []
    monkeypatch.setattr(products, "LEAST", 4 * 5 * 6)
    monkeypatch.setattr(products, "_times", lambda a, b: asked.append(len(a)) or a.detach() @ b.detach())
    for rows in (5, 6):
        linear(torch.randn(rows, 4), torch.randn(5, 4))
    assert asked == [6]


def test_only_plain_linear_layers_are_changed_and_names_stay():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(256, 8), Own(8, 8), nn.Conv1d(300, 8, 1))
    names = set(model.state_dict())
    assert use_products(model) == 1 and [type(layer) for layer in model] == [Linear, Own, nn.Conv1d]
    assert set(model.state_dict()) == names and use_products(model) == 0


def test_an_adapter_goes_on_top_and_learns_the_same():
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    ids = torch.arange(24).view(2, 12)
    gradients = []
    for ours in (False, True):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        if ours:
            assert use_products(model) == 8  # four of attention, three of the feed-forward part, the head
        tuned = get_peft_model(model, lora)
        tuned(input_ids=ids, labels=ids).loss.backward()
        gradients.append([p.grad for p in tuned.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == 4
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
