"""The multimodal model on a Hugging Face causal LM: splicing, generation with its cache, weights that do not fit."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.models import ModelError, causal_lm
from lib.models.projectors import build_projector
from lib.models.visual_causal_lm import SLOT, VisualCausalLM, load_weights, save_weights, tokenizer_with_slot

GRID, WIDTH = (2, 2, 4), 6


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def built(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    causal_lm.write_checkpoint(
        folder, texts=["is there a nodule ? yes no in the left lung"], chat_template="plain", architecture=request.param,
        width=16, depth=2, heads=2,
    )  # fmt: skip
    language, tokenizer = causal_lm.load(folder)
    slot = tokenizer_with_slot(language, tokenizer)
    torch.manual_seed(0)
    projector = build_projector("convolution", grid=GRID, width=WIDTH, out=16)
    return VisualCausalLM(language, projector, slot=slot).eval(), tokenizer


def prompt(tokenizer, text, *, rows=2):
    ids = torch.tensor([tokenizer(SLOT * 2 + text, add_special_tokens=False)["input_ids"]] * rows)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_the_placeholder_is_one_token_and_is_added_once(built):
    model, tokenizer = built
    size = len(tokenizer)
    assert tokenizer(SLOT, add_special_tokens=False)["input_ids"] == [model.slot]
    assert tokenizer_with_slot(model.language, tokenizer) == model.slot and len(tokenizer) == size
    assert model.language.get_input_embeddings().num_embeddings == model.slot + 1


def test_visual_tokens_stand_in_the_placeholders_and_nowhere_else(built):
    model, tokenizer = built
    told, features = prompt(tokenizer, "is there a nodule ?"), torch.randn(2, 16, WIDTH)
    embedded = model.embed(features, told["input_ids"])
    words = model.language.get_input_embeddings()(told["input_ids"])
    assert torch.equal(embedded[:, :2], model.projector(features))
    assert torch.equal(embedded[:, 2:], words[:, 2:])


def test_the_loss_is_of_the_labels_alone(built):
    model, tokenizer = built
    told, features = prompt(tokenizer, "is there a nodule ? yes"), torch.randn(2, 16, WIDTH)
    labels = torch.full_like(told["input_ids"], -100)
    labels[:, -1] = told["input_ids"][:, -1]
    log = model.logits(features, **told).log_softmax(dim=-1)
    wanted = -log[:, -2].gather(1, labels[:, -1:]).mean()
    assert torch.allclose(model(features, **told, labels=labels), wanted, rtol=1e-5)


def test_generation_with_its_cache_is_what_repeated_passes_give(built):
    model, tokenizer = built
    told, features = prompt(tokenizer, "is there a nodule ?"), torch.randn(2, 16, WIDTH)
    new = model.generate(features, **told, max_new_tokens=5, eos=-1, pad=tokenizer.pad_token_id)
    ids = told["input_ids"]
    for step in range(5):
        logits = model.logits(features, input_ids=ids, attention_mask=torch.ones_like(ids))[:, -1]
        assert torch.equal(logits.argmax(dim=-1), new[:, step])
        ids = torch.cat([ids, new[:, step : step + 1]], dim=1)


def test_padding_on_the_left_changes_no_answer(built):
    model, tokenizer = built
    told, features = prompt(tokenizer, "is there a nodule ?"), torch.randn(2, 16, WIDTH)
    padded = {
        "input_ids": torch.nn.functional.pad(told["input_ids"], (3, 0), value=tokenizer.pad_token_id),
        "attention_mask": torch.nn.functional.pad(told["attention_mask"], (3, 0)),
    }
    both = [model.logits(features, **one)[:, -1] for one in (told, padded)]
    assert torch.allclose(*both, atol=1e-4)


def test_sampling_draws_by_torchs_seed(built):
    model, tokenizer = built
    told, features = prompt(tokenizer, "is there a nodule ?", rows=8), torch.randn(8, 16, WIDTH)
    how = {"max_new_tokens": 6, "eos": -1, "pad": tokenizer.pad_token_id, "temperature": 5.0}
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model.generate(features, **told, **how))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_a_wrong_number_of_placeholders_is_one_sentence(built):
    model, tokenizer = built
    ids = torch.tensor([tokenizer(SLOT + "yes", add_special_tokens=False)["input_ids"]])
    with pytest.raises(ModelError, match="1 placeholders <im_patch> for 2 visual tokens"):
        model.embed(torch.randn(1, 16, WIDTH), ids)


def test_a_blind_model_reads_words_alone(built):
    model, tokenizer = built
    blind, told = VisualCausalLM(model.language, None, slot=model.slot), prompt(tokenizer, "yes no")
    assert torch.equal(blind.embed(None, told["input_ids"]), model.language.get_input_embeddings()(told["input_ids"]))


def test_weights_go_out_and_in_and_those_that_do_not_fit_are_one_sentence(tmp_path):
    module, path = build_projector("average", grid=GRID, width=WIDTH, out=16), tmp_path / "projector.safetensors"
    save_weights(module, path)
    other = load_weights(build_projector("average", grid=GRID, width=WIDTH, out=16), path)
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    )
    state = load_file(path)
    save_file({**state, "head.bias": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"has the weight 'head.bias'"):
        load_weights(other, path)
    save_file({name: value for name, value in state.items() if name != "after.0.bias"}, path)
    with pytest.raises(ModelError, match=r"lacks the weight 'after.0.bias'"):
        load_weights(other, path)
    save_file({**state, "after.0.bias": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r"'after.0.bias' has shape \(3,\)"):
        load_weights(other, path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="is no safetensors file"):
        load_weights(other, path)
    with pytest.raises(ModelError, match="does not exist"):
        load_weights(other, tmp_path / "none.safetensors")
