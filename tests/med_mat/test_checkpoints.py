"""The multimodal language model: parity with Llama, padding, causality, checkpoints, released models."""

import json

import numpy as np
import pytest
import torch
from tiny_llava import write_tiny_llava

from lib.models import ModelError
from lib.models.multimodal_lm import ENCODERS, GRID, MultimodalLM
from papers.med_mat.checkpoints import TinyCheckpoint, load, padded_length, pieces

WORDS = ["<pad>", "A", "B", "C", "D", *(f"<{i}>" for i in range(17)), "lung", "brain", "normal", "abnormal", "cyst"]
SETTINGS = {"encoder": "convolution", "vocabulary": len(WORDS), "width": 24, "depth": 3}


def _checkpoint(seed: int = 0, **changes) -> TinyCheckpoint:
    torch.manual_seed(seed)
    settings = {**SETTINGS, **changes}
    return TinyCheckpoint(MultimodalLM(**settings), WORDS, settings)


def _images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32), dtype=np.uint8)


def _as_llama(model: MultimodalLM):
    """The same language model as ``LlamaForCausalLM``, its weights copied name by name."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width, heads = model.norm.shape[0], model.blocks[0].heads
    hidden = model.blocks[0].down.in_features
    config = LlamaConfig(
        vocab_size=model.words.num_embeddings, hidden_size=width, intermediate_size=hidden, num_hidden_layers=len(model.blocks),
        num_attention_heads=heads, num_key_value_heads=heads, rms_norm_eps=1e-6, tie_word_embeddings=True,
        attn_implementation="eager", rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    llama = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        llama.model.embed_tokens.weight.copy_(model.words.weight)
        llama.model.norm.weight.copy_(model.norm)
        for layer, block in zip(llama.model.layers, model.blocks, strict=True):
            projections = (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
            for projection, weight in zip(projections, block.qkv.weight.chunk(3), strict=True):
                projection.weight.copy_(weight)
            layer.self_attn.o_proj.weight.copy_(block.out.weight)
            for projection, weight in zip(
                (layer.mlp.gate_proj, layer.mlp.up_proj), block.gate_up.weight.chunk(2), strict=True
            ):
                projection.weight.copy_(weight)
            layer.mlp.down_proj.weight.copy_(block.down.weight)
            layer.input_layernorm.weight.copy_(block.attention_norm)
            layer.post_attention_layernorm.weight.copy_(block.mlp_norm)
    return llama


def test_the_language_model_is_a_llama():
    model = _checkpoint().model
    for block in model.blocks:  # not the identity, or a swapped norm would pass
        torch.nn.init.normal_(block.attention_norm, 1, 0.2)
        torch.nn.init.normal_(block.mlp_norm, 1, 0.2)
    ids = torch.randint(1, len(WORDS), (3, 7))
    features = model.see(torch.rand(3, 32, 32))
    with torch.no_grad():
        ours = model(features, ids, torch.ones(3, 7), answers=7)
        embedded = torch.cat([model.project(features), model.words(ids)], 1)
        theirs = _as_llama(model)(inputs_embeds=embedded).logits[:, -7:]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_last_block_may_be_computed_at_the_answer_only():
    model = _checkpoint().model
    ids, mask, features = torch.randint(1, 20, (2, 6)), torch.ones(2, 6), torch.randn(2, 4, 256)
    whole = model(features, ids, mask, answers=6)
    torch.testing.assert_close(model(features, ids, mask, answers=2), whole[:, -2:], rtol=1e-5, atol=1e-6)


def test_padding_on_the_left_changes_nothing():
    model = _checkpoint().model
    ids, features = torch.randint(1, 20, (2, 5)), torch.randn(2, 4, 256)
    padded = torch.cat([torch.zeros(2, 4, dtype=torch.long), ids], 1)
    mask = torch.cat([torch.zeros(2, 4), torch.ones(2, 5)], 1)
    bare = model(features, ids, torch.ones(2, 5))
    torch.testing.assert_close(model(features, padded, mask), bare, rtol=1e-5, atol=1e-5)


def test_a_later_word_changes_no_earlier_logit_and_the_picture_does():
    model = _checkpoint().model
    ids, mask, features = torch.randint(1, 20, (1, 6)), torch.ones(1, 6), torch.randn(1, 4, 256)
    changed = ids.clone()
    changed[0, -1] = (ids[0, -1] + 1) % 20
    first, second = model(features, ids, mask, 6), model(features, changed, mask, 6)
    assert torch.equal(first[:, :-1], second[:, :-1]) and not torch.allclose(first[:, -1], second[:, -1])
    assert not torch.allclose(model(features + 0.5 * torch.randn_like(features), ids, mask), first[:, -1:])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_visual_tokens_are_the_quadrants_of_the_picture(encoder):
    """A change in one corner moves that quadrant's token most (the first of GRID x GRID, in rows)."""
    model = _checkpoint(encoder=encoder).model.eval()
    plain = torch.full((1, 32, 32), 0.5)
    for quadrant, corner in enumerate([(2, 2), (2, 26), (26, 2), (26, 26)]):
        spotted = plain.clone()
        spotted[0, corner[0] : corner[0] + 4, corner[1] : corner[1] + 4] = 1.0
        with torch.no_grad():
            moved = (model.see(spotted) - model.see(plain)).abs().sum(-1)[0]
        assert moved.shape == (GRID**2,) and int(moved.argmax()) == quadrant


def test_sizes_are_those_of_a_miniature():
    for encoder in ENCODERS:
        count = sum(p.numel() for p in MultimodalLM(encoder=encoder, vocabulary=110).parameters())
        assert 80_000 <= count <= 151_000


# ---------------------------------------------------------------------- words and files
def test_words_the_model_does_not_know_are_passed_over():
    checkpoint = _checkpoint()
    assert pieces("lung: {<3><12>} (T-2)") == ["lung", "<3>", "<12>", "T-2"]
    assert checkpoint.encode("What does the lung show?\nA: normal") == [WORDS.index(w) for w in ("lung", "A", "normal")]
    with pytest.raises(ModelError, match="knows no word of 'what now'"):
        checkpoint.prompts(["lung", "what now"])
    with pytest.raises(ModelError, match="give them one length"):
        checkpoint.with_answers(["lung", "brain"], ["A", "<1><2>"])


def test_prompts_are_whole_vectors_long():
    assert [padded_length(n) + GRID**2 for n in (1, 4, 5, 12, 13)] == [5, 8, 16, 16, 32]


def test_the_answers_follow_the_prompt():
    checkpoint = _checkpoint()
    ids, mask, wanted = checkpoint.with_answers(["lung", "brain"], ["<1><2>", "<3><4>"])
    assert ids[0][mask[0] == 1].tolist() == checkpoint.encode("lung <1>")
    assert wanted.tolist() == [checkpoint.encode("<1> <2>"), checkpoint.encode("<3> <4>")]


def test_new_words_leave_the_old_ones_alone_and_depend_on_the_seed():
    first, again, other = _checkpoint(), _checkpoint(), _checkpoint()
    before = first.model.words.weight.detach().clone()
    for checkpoint, seed in ((first, 1), (again, 1), (other, 2)):
        checkpoint.add_words(["CT", "lung", "OCT"], seed=seed)
    assert first.words == [*WORDS, "CT", "OCT"] and len(first.encode("CT lung OCT")) == 3
    torch.testing.assert_close(first.model.words.weight[: len(WORDS)], before)
    assert torch.equal(first.model.words.weight, again.model.words.weight)
    assert not torch.equal(first.model.words.weight[-2:], other.model.words.weight[-2:])


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    checkpoint = _checkpoint()
    checkpoint.add_words(["CT"], seed=0)
    checkpoint.save(tmp_path)
    again = load(tmp_path)
    questions = ["CT lung A normal B abnormal", "brain A abnormal B normal"]
    scores = checkpoint.letter_scores(_images(2), questions, letters="AB")
    assert np.array_equal(again.letter_scores(_images(2), questions, letters="AB"), scores)
    assert scores.shape == (2, 2) and (scores < 0).all()


def test_the_written_answer_is_the_likeliest_token():
    checkpoint = _checkpoint(3)
    questions = ["lung A normal B abnormal"] * 4
    everything = checkpoint.letter_scores(_images(4), questions, letters=WORDS)
    assert checkpoint.generate(_images(4), questions) == [WORDS[i] for i in everything.argmax(1)]
    longer = checkpoint.generate(_images(4), questions, tokens=3)
    assert [text.split()[0] for text in longer] == checkpoint.generate(_images(4), questions)
    assert all(len(text.split()) == 3 for text in longer)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "reprise_multimodal.json").write_text(
            json.dumps({**SETTINGS, "width": 48, "words": WORDS})
        ),
        lambda folder: (folder / "reprise_multimodal.json").write_text("{"),
        lambda folder: (folder / "reprise_multimodal.json").write_text(json.dumps({"words": WORDS})),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    _checkpoint().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError, match=r"is no checkpoint of this model .*; build it again") as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_pictures_of_another_form_are_refused():
    for wrong in (
        np.zeros((2, 16, 16), np.uint8),
        np.zeros((2, 32, 32), np.float32),
        np.zeros((2, 32, 32, 3), np.uint8),
    ):
        with pytest.raises(ModelError, match=r"give uint8 \(N, 32, 32\)"):
            _checkpoint().see(wrong)


# ---------------------------------------------------------------------- released models
def test_a_source_that_is_neither_kind_is_named(tmp_path):
    with pytest.raises(ModelError, match="is no image-text checkpoint") as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def llava(tmp_path):
    write_tiny_llava(tmp_path, texts=["Which tone is it dark bright"])
    return load(tmp_path)


def test_a_released_model_names_the_question_that_does_not_fit(llava, monkeypatch):
    pictures, asked = [np.zeros((16, 16), np.uint8)] * 2, ["Which tone is it", "Which tone is it dark bright"]
    size = int(llava.inputs(pictures, asked)["attention_mask"].sum(1).max())
    text = llava.model.config.get_text_config()
    monkeypatch.setattr(text, "max_position_embeddings", size - 1)
    for call in (lambda: llava.letter_scores(pictures, asked, letters="AB"), lambda: llava.inputs(pictures, asked)):
        with pytest.raises(
            ModelError, match=f"'{asked[1]}' and its picture have {size} tokens, the reply 0, .* {size - 1} pos"
        ):
            call()
    monkeypatch.setattr(text, "max_position_embeddings", size + 2)
    with pytest.raises(ModelError, match="the reply 3, together more"):
        llava.generate(pictures, asked, tokens=3)
    assert len(llava.generate(pictures, asked, tokens=2)) == 2


def test_letters_and_chat_forms_that_a_model_does_not_have_are_told(llava):
    pictures, asked = [np.zeros((16, 16), np.uint8)], ["Which tone is it"]
    with pytest.raises(ModelError, match=r"the letters ABE have the tokens .*, which must differ and be known"):
        llava.letter_scores(pictures, asked, letters="ABE")
    for questions, answers in ([" "], None), (asked, ["\n"]):
        with pytest.raises(ModelError, match=r"question 0 .* or its answer is blank; take it out"):
            llava.inputs(pictures, questions, answers)
    llava.processor.chat_template = None
    with pytest.raises(ModelError, match="processor has no chat template; give an instruction-tuned image-text model"):
        llava.inputs(pictures, asked)
    small = TinyCheckpoint(MultimodalLM(encoder="convolution", vocabulary=4), ["<pad>", "A", "B", "tone"], {})
    with pytest.raises(ModelError, match="the model does not know the letter C"):
        small.letter_scores(np.zeros((1, 32, 32), np.uint8), ["tone"], letters="ABC")
