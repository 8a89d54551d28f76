"""Replies in batches: the greedy tokens of one prompt at a time, sampling by its seed, and rewards of what was said."""

import pytest
import torch

from lib.evaluation import exams
from lib.models import causal_lm
from papers.huatuogpt_o1.generation import generate, one_at_a_time
from papers.huatuogpt_o1.replies import write_reply
from papers.huatuogpt_o1.rewards import Reward, final_answers, spoken
from papers.huatuogpt_o1.verifiers import ExactMatch

WORDS = write_reply("maybe flu .", "It is flu .") + " cold a b c d e"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    sizes = {"architecture": "llama", "width": 32, "depth": 2, "heads": 4, "initializer_range": 0.5}
    causal_lm.write_checkpoint(folder, texts=[WORDS], chat_template="plain", seed=3, **sizes)
    return causal_lm.load(folder)


def _prompts(tokenizer, texts):
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_a_batch_says_what_each_prompt_is_told_alone(loaded):
    model, tokenizer = loaded
    prompts = _prompts(tokenizer, ["a", "a b c", "d e flu cold", "b", "e e e e e e"])
    for longest in (1, 12):
        told = {"end": tokenizer.eos_token_id, "longest": longest}
        together = generate(model, prompts, **told)
        assert together == one_at_a_time(model, prompts, **told)
        stripped = [[token for token in reply if token != tokenizer.eos_token_id] for reply in together]
        assert stripped == exams.generate(model, prompts, cached=False, **told)  # without any cache
    assert len({tuple(reply) for reply in together}) > 1


def test_a_reply_ends_with_its_end_and_not_before(loaded):
    model, tokenizer = loaded
    prompts = _prompts(tokenizer, ["a", "b", "c"])
    whole = generate(model, prompts, end=-1, longest=8)
    assert all(len(reply) == 8 for reply in whole)
    ended = generate(model, prompts, end=whole[0][3], longest=8)
    assert ended[0] == whole[0][: whole[0].index(whole[0][3]) + 1]


def test_sampling_follows_its_seed_and_its_shares(loaded):
    model, tokenizer = loaded
    prompts = _prompts(tokenizer, ["a b"]) * 2000
    told = {"end": tokenizer.eos_token_id, "longest": 1, "temperature": 0.7}
    one = generate(model, prompts, seed=1, **told)
    assert one == generate(model, prompts, seed=1, **told) != generate(model, prompts, seed=2, **told)
    with torch.no_grad():
        shares = (model(torch.tensor(prompts[:1])).logits[0, -1] / 0.7).softmax(-1)
    best = int(shares.argmax())
    share = sum(reply[0] == best for reply in one) / len(one)
    assert share == pytest.approx(float(shares[best]), abs=4 * (0.25 / len(one)) ** 0.5)


def test_what_cannot_be_generated(loaded):
    model, _ = loaded
    for prompts, told in [([], {}), ([[]], {}), ([[1]], {"longest": 0}), ([[1]], {"temperature": -1.0})]:
        with pytest.raises(ValueError, match=r"give (one prompt|>= 1)"):
            generate(model, prompts, **{"end": 0, "longest": 1, **told})


def test_rewards_of_right_wrong_and_lost_format(loaded):
    _, tokenizer = loaded
    said = [write_reply("maybe flu .", "It is flu ."), write_reply("maybe .", "It is cold ."), "It is flu .", ""]
    replies = _prompts(tokenizer, said)
    assert spoken(tokenizer, replies)[0] == write_reply("maybe flu.", "It is flu.")
    reward = Reward(tokenizer, ["cold", "flu"], ExactMatch())
    assert reward([1, 1, 1, 1], replies) == [1.0, 0.1, 0.0, 0.0]
    assert reward([0, 0, 0, 0], replies) == [0.1, 1.0, 0.0, 0.0]
    assert Reward(tokenizer, ["flu"], ExactMatch(), wrong=0.0)([0, 0], replies[:2]) == [1.0, 0.0]
    assert Reward(tokenizer, ["flu"], ExactMatch(), formatted=False)([0, 0], replies[2:]) == [1.0, 0.0]


def test_noise_turns_verdicts_over_and_the_null_pays_at_random(loaded):
    _, tokenizer = loaded
    replies = _prompts(tokenizer, [write_reply("maybe .", "It is flu .")] * 400 + ["a"])
    places = [0] * 401
    noisy = Reward(tokenizer, ["flu"], ExactMatch(), noise=0.25)(places, replies)
    assert noisy[-1] == 0 and sum(one == 1.0 for one in noisy[:-1]) == pytest.approx(300, abs=40)
    null = Reward(tokenizer, ["cold"], ExactMatch(), random=0.5)(places, replies)
    assert null[-1] == 0 and sum(one == 1.0 for one in null[:-1]) == pytest.approx(200, abs=45)


def test_an_empty_final_response_is_no_answer():
    assert final_answers([write_reply("hm", ""), write_reply("hm", "x"), "x"], formatted=True) == [None, "x", None]
    assert final_answers(["", "x"], formatted=False) == [None, "x"]
