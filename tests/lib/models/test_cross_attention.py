"""The alignment module gives the official module's numbers (made with it in float64), both heads, and its names."""

import pytest
import torch

from lib.models import ModelError
from lib.models.cross_attention import CrossAttentionAlignment, memory_of
from lib.models.cross_attention_scoring import Tokens, ask_blocks, block_sizes, score_blocks, score_one_by_one

# head, width, layers, tokens -> scores of 2 images x 3 queries
GOLDEN = {
    ("mlp", 32, 2, 5): [
        [-0.0185433099, -0.0184161581, -0.0185111368],
        [-0.0185649625, -0.0184354920, -0.0185314405],
    ],
    ("linear", 32, 2, 5): [[0.1333434273, 0.1349240419, 0.1336467712], [0.1330738551, 0.1346643127, 0.1333838038]],
    ("mlp", 768, 4, 197): [[4.2009698419, 3.0105628472, 4.5577685074], [4.2009936605, 3.0105535366, 4.5577913773]],
}
ATTENTION = [0.2002310164, 0.1997803418, 0.1996389412, 0.2001044442, 0.2002452564]


def golden_module(head, width, layers):
    """Tensor j of the state dict holds 0.05 sin(0.37 j + 0.011 k) at its element k, and 1 more for a norm's weight."""
    module = CrossAttentionAlignment(width=width, layers=layers, head=head).double()
    state = module.state_dict()
    for j, (name, value) in enumerate(state.items()):
        k = torch.arange(value.numel(), dtype=torch.float64)
        filled = 0.05 * torch.sin(0.37 * j + 0.011 * k)
        filled += float("norm" in name and name.endswith("weight"))
        state[name] = filled.view(value.shape)
    for end in ("weight", "bias"):
        state[f"decoder_norm.{end}"] = state[f"decoder.norm.{end}"]  # one tensor: the later key wins
    module.load_state_dict(state, strict=True)
    return module.eval()


def golden_inputs(width, tokens):
    memory = torch.sin(0.05 * torch.arange(2 * tokens * width, dtype=torch.float64)).view(2, tokens, width)
    return torch.cos(0.03 * torch.arange(3 * width, dtype=torch.float64)).view(3, width), memory


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: "-".join(map(str, case)))
def test_the_official_scores(case):
    head, width, layers, tokens = case
    module, inputs = golden_module(head, width, layers), golden_inputs(width, tokens)
    with torch.no_grad():
        found = module(*inputs)
    assert (found - torch.tensor(GOLDEN[case], dtype=torch.float64)).abs().max() < 1e-8


def test_the_official_attention():
    with torch.no_grad():
        found = golden_module("linear", 32, 2).attention(*golden_inputs(32, 5))
    assert (found[0, 0] - torch.tensor(ATTENTION, dtype=torch.float64)).abs().max() < 1e-8
    assert torch.allclose(found.sum(dim=-1), torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize(("head", "keys", "parameters"), [("mlp", 85, 26_661_378), ("linear", 79, 25_218_306)])
def test_names_and_shapes_are_the_released_ones(head, keys, parameters):
    with torch.device("meta"):
        module = CrossAttentionAlignment(head=head)
    state = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert len(state) == keys and sum(p.numel() for p in module.parameters()) == parameters
    assert state["logit_scale"] == () and state["decoder_norm.weight"] == state["decoder.norm.weight"] == (768,)
    layer = "decoder.layers.3."
    for attention in ("self_attn", "multihead_attn"):
        assert state[f"{layer}{attention}.in_proj_weight"] == (2304, 768)
        assert state[f"{layer}{attention}.out_proj.weight"] == (768, 768)
    assert state[f"{layer}linear1.weight"] == (1024, 768) and state[f"{layer}linear2.weight"] == (768, 1024)
    assert {f"{layer}norm{i}.bias" for i in (1, 2, 3)} <= set(state)
    heads = {name: shape for name, shape in state.items() if name.startswith("mlp_head") and name.endswith("weight")}
    places = {0: (1024, 768), 3: (512, 1024), 6: (256, 512), 9: (1, 256)} if head == "mlp" else {0: (1, 768)}
    assert heads == {f"mlp_head.{i}.weight": shape for i, shape in places.items()}


def test_the_weights_that_count_are_those_the_sheet_counts():
    module = CrossAttentionAlignment(dropout=0.0)
    module(torch.randn(2, 768), torch.randn(2, 3, 768)).sum().backward()
    used = [p.numel() for p in module.parameters() if p.grad is not None]
    assert sum(used) == 17_205_761


def test_queries_do_not_see_each_other():
    module = CrossAttentionAlignment(width=16, layers=2, feedforward=32).eval()
    queries, memory = torch.randn(4, 16), torch.randn(3, 5, 16)
    with torch.no_grad():
        alone = torch.cat([module(one[None], memory) for one in queries], dim=1)
        assert torch.allclose(module(queries, memory), alone, atol=1e-6)


def test_memories_and_heads_have_names():
    whole, parts = torch.zeros(2, 4), torch.ones(2, 3, 4)
    assert memory_of(whole, parts, "local").shape == (2, 3, 4) and memory_of(whole, parts, "global").shape == (2, 1, 4)
    both = memory_of(whole, parts, "both")
    assert both.shape == (2, 4, 4) and not both[:, 0].any()
    with pytest.raises(ModelError, match="'words' is no memory; choose one of local, global, both"):
        memory_of(whole, parts, "words")
    with pytest.raises(ModelError, match="'deep' is no head"):
        CrossAttentionAlignment(width=8, head="deep")


@pytest.mark.parametrize("memory", ["local", "global", "both"])
@pytest.mark.parametrize("budget", [2**28, 200_000])
def test_blocks_give_the_scores_of_the_loop(memory, budget):
    torch.manual_seed(0)
    module = CrossAttentionAlignment(width=32, layers=3, feedforward=64).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # scores that differ
    images, texts = (
        Tokens(torch.randn(13, 32), torch.randn(13, 6, 32)),
        Tokens(torch.randn(7, 32), torch.randn(7, 9, 32)),
    )
    blocks = score_blocks(module, images, texts, memory=memory, budget=budget)
    loop = score_one_by_one(module, images, texts, memory=memory)
    assert blocks.shape == (13, 7) and loop.std() > 1e-3
    assert ((blocks - loop).abs() <= 1e-5 * (1 + loop.abs())).all()


def test_keys_and_values_are_projected_once_a_memory_and_layer(monkeypatch):
    module, seen = CrossAttentionAlignment(width=8, layers=2, feedforward=16).eval(), []
    for layer in module.layers:
        project = layer.project
        monkeypatch.setattr(
            layer, "project", lambda memory, project=project: seen.append(len(memory)) or project(memory)
        )
    ask_blocks(
        module, torch.randn(50, 8), Tokens(torch.randn(11, 8), torch.randn(11, 4, 8)), memory="both", budget=60_000
    )
    assert sum(seen) == 2 * 11


def test_a_budget_bounds_the_block_or_is_refused():
    module = CrossAttentionAlignment(width=768, layers=4)
    few, many = (block_sizes(module, 197, bytes_each=4, budget=budget) for budget in (2**24, 2**28))
    assert few[0] * few[1] < many[0] * many[1]
    with pytest.raises(ModelError, match="raise the budget"):
        block_sizes(module, 197, bytes_each=4, budget=1000)


def test_recomputing_gives_the_same_gradients():
    module = CrossAttentionAlignment(width=8, layers=2, feedforward=16, dropout=0.0)
    queries, memory, found = torch.randn(3, 8), torch.randn(2, 4, 8), []
    for module.recompute in (False, True):
        module.zero_grad()
        module(queries, memory).sum().backward()
        found.append(module.layers[0].linear1.weight.grad.clone())
    assert torch.allclose(*found)
