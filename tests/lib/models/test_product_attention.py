"""Attention by products: logits and gradients of the library's own eager attention, causal with groups, and of both directions."""

import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from lib.models import product as products
from lib.models.product_attention import PRODUCTS, register

register()
SMALL = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def _models():
    yield LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=2, bos_token_id=1, eos_token_id=2))
    yield BertModel(BertConfig(**SMALL), add_pooling_layer=False)


@pytest.mark.parametrize("number", [0, 1], ids=["causal, grouped", "both directions"])
def test_values_and_gradients_are_those_of_the_librarys_own_attention(number, monkeypatch):
    monkeypatch.setattr(products, "LEAST", 0)
    torch.manual_seed(0)
    model = list(_models())[number].eval()
    ids, mask = torch.randint(3, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, 6:] = mask[2, :2] = 0
    found = {}
    for kind in ("eager", PRODUCTS):
        model.set_attn_implementation(kind)
        model.zero_grad()
        out = model(input_ids=ids, attention_mask=mask)[0]
        out[mask.bool()].square().mean().backward()
        found[kind] = [out.detach()[mask.bool()], *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
    asked = []
    times = products._times
    monkeypatch.setattr(products, "_times", lambda a, b: asked.append(a.shape) or times(a, b))
    model(input_ids=ids, attention_mask=mask)
    assert len([shape for shape in asked if len(shape) == 4]) == 4  # two a layer
    for one, other in zip(found["eager"], found[PRODUCTS], strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_generation_with_a_cache_says_the_same():
    torch.manual_seed(1)
    model = next(_models()).eval()
    ids, said = torch.randint(3, 50, (2, 7)), []
    for kind in ("sdpa", PRODUCTS):
        model.set_attn_implementation(kind)
        said.append(
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=0)
        )
    assert torch.equal(*said)
