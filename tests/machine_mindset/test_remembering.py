"""A remembering tokenizer writes what the tokenizer itself does, and asks it once."""

import pytest

from lib.models import causal_lm
from lib.training.chat_encoding import turns
from papers.machine_mindset.remembering import Remembering

DIALOGUE = [{"role": "user", "content": "say red"}, {"role": "assistant", "content": "blue green"}]


@pytest.fixture
def tokenizer(tmp_path):
    causal_lm.write_checkpoint(
        tmp_path, texts=["say red blue green"], chat_template="mistral", seed=0, architecture="llama", width=16, depth=1, heads=2
    )  # fmt: skip
    return causal_lm.load(tmp_path)[1]


def test_the_same_tokens_as_without_and_none_shared_with_the_caller(tokenizer):
    own = Remembering(tokenizer)
    for _ in range(2):
        assert turns(DIALOGUE, own) == turns(DIALOGUE, tokenizer)
        got = own("red blue", add_special_tokens=False)["input_ids"]
        assert got == tokenizer("red blue", add_special_tokens=False)["input_ids"]
        got.append(0)  # the caller's own list
        dialogue = own.apply_chat_template(DIALOGUE[:1], tokenize=False, add_generation_prompt=True)
        assert dialogue == tokenizer.apply_chat_template(DIALOGUE[:1], tokenize=False, add_generation_prompt=True)
        assert own.decode(got) == tokenizer.decode(got) and own.eos_token_id == tokenizer.eos_token_id
    assert own("red")["input_ids"] == tokenizer("red")["input_ids"]  # with special tokens: another question


def test_a_text_is_encoded_once_for_all_tokenizers_of_one_content(tokenizer, monkeypatch):
    asked = []
    plain = type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, text, **how: asked.append(text) or plain(self, text, **how)
    )
    for _ in range(3):
        Remembering(tokenizer)("green red green", add_special_tokens=False)
    assert asked == ["green red green"]


def test_another_template_or_vocabulary_has_a_memory_of_its_own(tokenizer, tmp_path):
    before = turns(DIALOGUE, Remembering(tokenizer))
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    assert Remembering(tokenizer).apply_chat_template(DIALOGUE, tokenize=False).startswith("say red")
    causal_lm.write_checkpoint(
        tmp_path / "other", texts=["green blue red say more"], chat_template="mistral", seed=0, architecture="llama", width=16,
        depth=1, heads=2,
    )  # fmt: skip
    other = causal_lm.load(tmp_path / "other")[1]
    assert turns(DIALOGUE, Remembering(other)) == turns(DIALOGUE, other) != before
