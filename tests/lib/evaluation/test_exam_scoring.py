"""Exam scoring: cached, batched and padded answers equal those of one plain pass a prompt."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lib.evaluation import EvaluationError
from lib.evaluation.exam_prompts import CHINESE, ENGLISH, ask, chat_turns, encode_prompts, letter_ids
from lib.evaluation.exams import generate, option_likelihood, option_logits, shared_length
from lib.models import causal_lm

WORDS = [f"w{k}" for k in range(60)]


@dataclass(frozen=True)
class Item:
    text: str
    options: tuple
    answer: str | None = "B"


def items(count, seed=0):
    rng = random.Random(seed)

    def say(low, high):
        return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))

    return [Item(say(3, 12), tuple(say(1, 4) for _ in range(4)), rng.choice("ABCD")) for _ in range(count)]


SIZES = {
    "llama": {},
    "qwen3": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}


@pytest.fixture(scope="module", params=SIZES)
def loaded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    texts = [ask(item, wording) for item in items(40) for wording in (ENGLISH, CHINESE)]
    texts += [" ".join(WORDS), ENGLISH.header.format(topic="w1"), CHINESE.header.format(topic="w1"), "答案 A B C D"]
    causal_lm.write_checkpoint(
        folder, texts=texts, chat_template="mistral", architecture=request.param, width=32, depth=2,
        key_value_heads=2, initializer_range=0.3, **SIZES[request.param],
    )  # fmt: skip
    return causal_lm.load(folder)


@pytest.fixture(scope="module")
def prompts(loaded):
    return encode_prompts(items(11), loaded[1], exemplars=items(5, seed=1), topic="w1", wording=ENGLISH, chat=True)


def plain_logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([list(ids)]), use_cache=False).logits[0].float()


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_option_logits_equal_one_plain_pass_a_prompt(loaded, prompts, batch):
    model, tokenizer = loaded
    letters = letter_ids(tokenizer, before=" ")
    assert shared_length(prompts) > 100 and len({len(ids) for ids in prompts}) > 3
    plain = np.stack([plain_logits(model, ids)[-1, letters].numpy() for ids in prompts])
    for cached in (True, False):
        found = option_logits(model, prompts, letters=letters, batch=batch, cached=cached)
        np.testing.assert_allclose(found, plain, atol=1e-4)
        assert (found.argmax(axis=1) == plain.argmax(axis=1)).all()


def test_option_logits_do_not_depend_on_the_order_of_the_prompts(loaded, prompts):
    letters, order = letter_ids(loaded[1], before=" "), np.random.default_rng(0).permutation(len(prompts))
    straight = option_logits(loaded[0], prompts, letters=letters, batch=4)
    mixed = option_logits(loaded[0], [prompts[i] for i in order], letters=letters, batch=4)
    np.testing.assert_allclose(mixed, straight[order], atol=1e-4)


def test_option_likelihood_is_the_sum_over_the_options_tokens(loaded, prompts):
    model, tokenizer = loaded
    options = [[tokenizer(o, add_special_tokens=False)["input_ids"] for o in item.options] for item in items(11)]
    want = np.empty((len(prompts), 4))
    for n, prompt in enumerate(prompts):
        for k, ids in enumerate(options[n]):
            logp = plain_logits(model, [*prompt, *ids]).log_softmax(dim=-1)
            want[n, k] = sum(float(logp[len(prompt) + j - 1, token]) for j, token in enumerate(ids))
    for cached in (True, False):
        found = option_likelihood(model, prompts, options, batch=8, cached=cached)
        np.testing.assert_allclose(found, want, atol=1e-3)


def test_the_likelihoods_of_every_next_token_sum_to_one(loaded):
    model, _ = loaded
    every = [[[token] for token in range(model.config.vocab_size)]]
    total = np.exp(option_likelihood(model, [[5, 6, 7]], every, batch=64)).sum()
    assert total == pytest.approx(1.0, abs=1e-4)


def test_generate_equals_the_library(loaded, prompts):
    model, _ = loaded
    with torch.inference_mode():
        first = [
            model.generate(torch.tensor([list(ids)]), max_new_tokens=6, do_sample=False)[0, len(ids) :].tolist()
            for ids in prompts
        ]
    end = int(np.bincount(np.concatenate(first)).argmax())  # a token that does come up, so that stopping is tested
    cut = [ids[: ids.index(end)] if end in ids else ids for ids in first]
    assert any(len(a) < len(b) for a, b in zip(cut, first, strict=True))
    for cached in (True, False):
        assert generate(model, prompts, end=end, longest=6, batch=4, cached=cached) == cut


def test_prompts_with_nothing_or_everything_in_common(loaded):
    model, _ = loaded
    for prompts in ([[5, 6, 7], [8, 9]], [[5, 6, 7]], [[5, 6], [5, 6], [5, 6]], [[5], [5, 6, 7, 8]]):
        plain = np.stack([plain_logits(model, ids)[-1, [10, 11]].numpy() for ids in prompts])
        np.testing.assert_allclose(option_logits(model, prompts, letters=[10, 11], batch=2), plain, atol=1e-4)
    assert [shared_length(p) for p in ([[1, 2, 3], [1, 2, 4]], [[1], [1, 2]], [[1, 2], [1, 2]], [[1, 2]])] == [
        2,
        0,
        1,
        1,
    ]


def test_bad_prompts_are_told(loaded):
    for prompts, told in [([], "0 prompts"), ([[5], []], "prompt 1 is empty")]:
        with pytest.raises(EvaluationError, match=told):
            option_logits(loaded[0], prompts, letters=[1, 2])
    for options, told in [([[[1], [2]]], "options for 1"), ([[[1], []], [[1], [2]]], "at least one token")]:
        with pytest.raises(EvaluationError, match=told):
            option_likelihood(loaded[0], [[5], [6]], options)


def test_a_prompt_that_does_not_fit_the_models_context_is_named(loaded, prompts, monkeypatch):
    model, _ = loaded
    longest = max(range(len(prompts)), key=lambda n: len(prompts[n]))
    size = len(prompts[longest])
    limits = {"logits": size - 1, "likelihood": size + 1, "generated": size + 2}
    calls = {
        "logits": lambda: option_logits(model, prompts, letters=[1, 2]),
        "likelihood": lambda: option_likelihood(model, prompts, [[[1], [1, 2]]] * len(prompts)),
        "generated": lambda: generate(model, prompts, end=3, longest=3),
    }
    for name, call in calls.items():
        monkeypatch.setattr(model.config, "max_position_embeddings", limits[name])
        told = rf"prompt {longest} has {size} tokens and its reply \d, together more than the {limits[name]} positions"
        with pytest.raises(EvaluationError, match=told):
            call()
        monkeypatch.setattr(model.config, "max_position_embeddings", limits[name] + 1)  # the last that fits
        call()


def test_a_model_that_gives_no_number_is_not_scored(loaded, prompts, monkeypatch):
    model, _ = loaded
    monkeypatch.setattr(
        model.lm_head, "weight", torch.nn.Parameter(torch.full_like(model.lm_head.weight, float("nan")))
    )
    with pytest.raises(EvaluationError, match=r"logits\[0, 0\] is nan"):
        option_logits(model, prompts, letters=[1, 2])
    with pytest.raises(EvaluationError, match=r"log-likelihoods\[0, 0\] is nan"):
        option_likelihood(model, prompts, [[[1], [2]]] * len(prompts))


# ------------------------------------------------------------------------------------------------------------ prompts
def test_the_prompt_is_the_released_one():
    shot, target = Item("Q1?", ("a", "b", "c", "d"), "C"), Item("Q2?", ("e", "f", "g", "h"))
    turns = chat_turns(target, exemplars=[shot], topic="anatomy", wording=ENGLISH)
    assert turns == [
        {
            "role": "user",
            "content": "The following are multiple choice questions (with answers) about anatomy.\n\n"
            "Q1?\nA. a\nB. b\nC. c\nD. d\nAnswer: ",
        },
        {"role": "assistant", "content": "C"},
        {"role": "user", "content": "Q2?\nA. e\nB. f\nC. g\nD. h\nAnswer:"},  # the last turn alone is stripped
    ]
    zero = chat_turns(target, exemplars=[], topic="解剖学", wording=CHINESE)
    assert len(zero) == 1 and "解剖学" in zero[0]["content"] and zero[0]["content"].endswith("D. h\n答案：")


def test_plain_prompts_part_exemplars_by_a_blank_line():
    class Characters:
        def __call__(self, text):
            return {"input_ids": list(text)}

    shots = [Item("Q1?", ("a", "b", "c", "d"), "C"), Item("Q0?", ("a", "b", "c", "d"), "A")]
    (ids,) = encode_prompts(
        [Item("Q2?", "efgh")], Characters(), exemplars=shots, topic="x", wording=ENGLISH, chat=False
    )
    assert "".join(ids).endswith(
        "x.\n\nQ1?\nA. a\nB. b\nC. c\nD. d\nAnswer: C\n\nQ0?\nA. a\nB. b\nC. c\nD. d\nAnswer: A\n\n"
        "Q2?\nA. e\nB. f\nC. g\nD. h\nAnswer:"  # the blank is the letter's own token's
    )


def test_an_exemplar_without_an_answer_is_refused():
    for answer, told in [
        (None, "no answer"),
        ("b", "the answer 'b'"),
        ("E", "the answer 'E'"),
        ("AB", "the answer 'AB'"),
    ]:
        with pytest.raises(EvaluationError, match=f"'Q1\\?' has {told}.*draw exemplars from the dev split"):
            chat_turns(Item("Q", "abcd"), exemplars=[Item("Q1?", "abcd", answer)], topic="x", wording=ENGLISH)


@pytest.mark.parametrize("count", range(10))
def test_questions_have_two_to_seven_options(loaded, count):
    item, tokenizer = Item("w1 w2", tuple(WORDS[:count])), loaded[1]
    if not 2 <= count <= 7:
        for tried in (lambda: ask(item, ENGLISH), lambda: letter_ids(tokenizer, before=" ", options=count)):
            with pytest.raises(EvaluationError, match=f"has 2 to 7 options, not {count}; correct it"):
                tried()
        return
    assert ask(item, ENGLISH).count("\n") == count + 1 and f"{'ABCDEFG'[count - 1]}. {WORDS[count - 1]}\n" in ask(
        item, ENGLISH
    )

    class Characters:
        unk_token_id = None

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [ord(letter) for letter in text]}

    assert letter_ids(Characters(), before=" ", options=count) == [ord(letter) for letter in "ABCDEFG"[:count]]


def test_a_blank_question_or_option_is_refused():
    for item in (Item(" ", "abcd"), Item("", "abcd"), Item("Q", ("a", "\t", "c", "d"))):
        with pytest.raises(EvaluationError, match="has a blank text or option; complete it"):
            ask(item, CHINESE)


def test_a_tokenizer_without_chat_template_or_with_one_that_refuses_is_told(loaded):
    import copy

    other, given = copy.deepcopy(loaded[1]), {"exemplars": [], "topic": "w1", "wording": ENGLISH}
    other.chat_template = None
    with pytest.raises(EvaluationError, match="has no chat template; give a chat checkpoint, or ask in plain form"):
        encode_prompts(items(1), other, chat=True, **given)
    assert encode_prompts(items(1), other, chat=False, **given) == encode_prompts(
        items(1), loaded[1], chat=False, **given
    )
    other.chat_template = "{{ raise_exception('no user here') }}"
    with pytest.raises(EvaluationError, match="refuses the dialogue"):
        encode_prompts(items(1), other, chat=True, **given)


def test_an_end_token_that_a_tokenizer_adds_is_not_part_of_the_prompt():
    class Ends:
        eos_token_id = 9

        def __call__(self, text):
            return {"input_ids": [1, 2, 3, 9]}

    assert encode_prompts([Item("Q", "abcd")], Ends(), exemplars=[], topic="x", wording=ENGLISH, chat=False) == [
        [1, 2, 3]
    ]


def test_letter_ids_are_the_last_tokens_and_must_differ():
    class Spaced:  # "A" alone is token 1..4, behind a space 11..14, behind a line break the break and then 1..4
        unk_token_id = 0

        def __call__(self, text, add_special_tokens):
            assert not add_special_tokens
            number = ord(text[-1]) - 64
            return {"input_ids": {" ": [10 + number], "\n": [99, number], "?": [7]}.get(text[0], [number])}

    assert letter_ids(Spaced(), before=" ") == [11, 12, 13, 14]
    assert letter_ids(Spaced(), before="\n") == letter_ids(Spaced(), before="") == [1, 2, 3, 4]
    with pytest.raises(EvaluationError, match="must differ and be known"):
        letter_ids(Spaced(), before="?")
