"""Tiny causal checkpoints: real folders, exact tokenizers, 4-bit bases."""

import json

import pytest
import torch

from lib.models import ModelError, causal_lm

TEXTS = ["the key is red, and blue.\nquestion: where? A B C D", "你好吗？好的。甲是乙", "x_1 (y) + 3"]
SIZES = {"width": 32, "depth": 2, "heads": 4, "key_value_heads": 2}


def _write(folder, **changed):
    given = {"texts": TEXTS, "chat_template": "mistral", "architecture": "llama", **SIZES, **changed}
    causal_lm.write_checkpoint(folder, **given)
    return folder


@pytest.mark.parametrize(
    ("architecture", "template"), [("llama", "plain"), ("qwen3", "chatml"), ("mixtral", "mistral")]
)
def test_a_checkpoint_is_a_folder_that_transformers_loads(tmp_path, architecture, template):
    more = {"num_local_experts": 4, "num_experts_per_tok": 2} if architecture == "mixtral" else {}
    folder = _write(tmp_path, architecture=architecture, chat_template=template, **more)
    model, tokenizer = causal_lm.load(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == architecture == model.config.model_type
    assert not model.training and model.config.eos_token_id == tokenizer.eos_token_id
    assert not list(folder.glob("*.bin")) and not list(folder.glob("*.pt"))
    for text in TEXTS[:2]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text and tokenizer.unk_token_id not in ids
        assert len(ids) == len(causal_lm.pieces(text))


def test_a_chinese_character_and_a_word_are_one_token_each_wherever_they_stand():
    assert causal_lm.pieces("你好 key,\nkey") == ["你", "好", "key", ",", "\n", "key"]


def test_the_same_arguments_give_the_same_files_and_another_seed_other_weights(tmp_path):
    first, again, other = (_write(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    assert (first / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
    shuffled = _write(tmp_path / "d", texts=TEXTS[::-1])
    assert (first / "tokenizer.json").read_bytes() == (shuffled / "tokenizer.json").read_bytes()


def test_writing_a_checkpoint_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    _write(tmp_path)
    assert torch.equal(torch.rand(2), expected)


def test_templates_end_every_answer_and_begin_every_prompt(tmp_path):
    _, tokenizer = causal_lm.load(_write(tmp_path))
    said = [("user", "key"), ("assistant", "red"), ("user", "where"), ("assistant", "blue")]
    text = tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in said], tokenize=False)
    assert text == "<s>[INST] key [/INST] red</s><s>[INST] where [/INST] blue</s>"  # Aurora: every turn has its own <s>


def _bytes(model) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def test_nf4_holds_linear_layers_and_fused_experts_in_four_bits(tmp_path):
    sizes = {"width": 64, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 128}
    folder = _write(tmp_path, architecture="mixtral", **sizes)
    full, small = causal_lm.load(folder)[0], causal_lm.load(folder, quantisation="nf4")[0]
    kept = {name for name, p in small.named_parameters() if p.dtype != torch.uint8}
    assert all("norm" in name or "embed" in name or name.endswith("mlp.gate.weight") for name in kept)
    assert _bytes(small) < 0.2 * _bytes(full)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        a, b = full(input_ids=ids).logits, small(input_ids=ids).logits
    error = ((a - b).norm() / a.norm()).item()
    assert 0 < error < 0.3  # rounded to 16 levels, and not something else


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"architecture": "gpt9"}, "architecture 'gpt9' is not known; give one of llama, ministral, qwen3, mixtral"),
        ({"chat_template": "none"}, "chat_template 'none' is not known; give one of mistral, chatml, plain"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_written(tmp_path, broken, says):
    with pytest.raises(ModelError, match=says):
        _write(tmp_path / "new", **broken)
    assert not (tmp_path / "new").exists()


def test_what_is_no_checkpoint_is_told_in_one_sentence(tmp_path):
    with pytest.raises(ModelError, match=r"has no config\.json; give the folder"):
        causal_lm.load(tmp_path)
    folder = _write(tmp_path / "cut")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])
    with pytest.raises(ModelError, match=r"cut cannot be loaded .*; give a complete folder"):
        causal_lm.load(folder)
    with pytest.raises(ModelError, match="quantisation 'int3' is not known; give nf4"):
        causal_lm.load(_write(tmp_path / "good"), quantisation="int3")


def _without(folder, **changed):
    """Special tokens of a written tokenizer taken out (None) or renamed."""
    for file in (folder / "tokenizer_config.json", folder / "special_tokens_map.json"):
        if file.is_file():
            content = json.loads(file.read_text()) | changed
            file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


def test_padding_is_done_with_the_end_token_where_there_is_no_other(tmp_path):
    _, tokenizer = causal_lm.load(_without(_write(tmp_path), pad_token=None))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id is not None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"eos_token": None}, "has no eos_token among the words of its model; name one in tokenizer_config.json"),
        ({"eos_token": None, "pad_token": None}, "has no eos_token among the words of its model"),
        ({"eos_token": "<end>"}, "has no eos_token among the words of its model"),  # new to the tokenizer alone
        ({"pad_token": "<padding>"}, "has no pad_token among the words of its model"),
    ],
)
def test_a_tokenizer_without_an_end_or_padding_token_is_refused(tmp_path, changed, says):
    with pytest.raises(ModelError, match=says):
        causal_lm.load(_without(_write(tmp_path), **changed))


def test_a_chat_template_can_be_given_in_the_place_of_the_checkpoints_own(tmp_path):
    folder = _write(tmp_path, chat_template="plain")
    said = [{"role": "user", "content": "the key"}, {"role": "assistant", "content": "red"}]
    written = {
        name: causal_lm.load(folder, chat_template=name)[1].apply_chat_template(said, tokenize=False)
        for name in (None, "mistral")
    }
    assert written == {None: "<s>the key red</s>", "mistral": "<s>[INST] the key [/INST] red</s>"}
    with pytest.raises(ModelError, match="chat_template 'llama' is not known; give one of mistral, chatml, plain"):
        causal_lm.load(folder, chat_template="llama")
