"""Marks of replies by hand; bases that share a tokenizer; RL stages whose reward is what its words say."""

import numpy as np
import pytest

from lib.models import causal_lm
from lib.training.stacked import member
from papers.huatuogpt_o1 import material, reasoner_study, reasoners, reinforcing
from papers.huatuogpt_o1.replies import write_reply
from papers.huatuogpt_o1.world import Sizes, draw_world

SIZES = {"diseases": 12, "findings": 8, "each": 4, "shared": 3, "values": 6}
SHARES = {"sft": 0.45, "rl": 0.25, "test": 0.3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    material.write_arms(folder, sizes=SIZES, shares=SHARES, base=0, seed=0)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    reasoners.pretrain(
        folder, sizes=SIZES, seeds=[0, 1], rows=64, architecture={"architecture": "llama", "width": 16, "depth": 1, "heads": 2},
        fit={"steps": 6, "batch": 8, "learning_rate": 1e-2, "max_length": 128},
    )  # fmt: skip
    return folder


def test_marks_by_hand(data):
    part = material.read_part(data, "test")
    world = draw_world(Sizes(**SIZES), seed=0)
    truth, other = part.truths[0], next(name for name in part.aliases if name not in part.aliases[part.truths[0]])
    alias = next(name for name in part.aliases[truth] if name != truth)
    findings = reasoners._ASKED.search(part.questions[0]).groups()
    fitting = world.diseases[world.fitting(findings)[0]].name
    wrong = next(one.name for one in world.diseases if not set(findings) <= set(one.findings))
    one = material.Part(part.questions[:1] * 5, part.truths[:1] * 5, part.aliases, part.diseases)
    texts = [
        write_reply(f"Maybe {wrong} x no\nWait maybe {fitting} y yes\nSo.", f"It is {alias}."),
        write_reply(f"Maybe {wrong} x no\nSo.", f"It is {truth}."),
        write_reply(f"Maybe {fitting} x yes\nSo.", f"It is {truth} or {other}."),  # cheats the verifier
        write_reply(f"Maybe {fitting} x yes\nSo.", f"It is {other}."),
        f"It is {truth}.",  # no format
    ]
    found = reasoners.marks(texts, [4, 4, 4, 4, 9], one, formatted=True)
    assert found == {"accuracy": 0.4, "paid": 0.6, "format": 0.8, "sound": 0.6, "tokens": 5.0}
    bare = reasoners.marks(
        texts[-1:],
        [9],
        material.Part(part.questions[:1], part.truths[:1], part.aliases, part.diseases),
        formatted=False,
    )
    assert bare["accuracy"] == bare["format"] == 1.0


def test_bases_share_a_tokenizer_and_have_their_own_weights(bases):
    (first, words), (second, others) = (causal_lm.load(member(bases, k)) for k in (0, 1))
    assert words.get_vocab() == others.get_vocab()
    assert not np.allclose(first.lm_head.weight.detach(), second.lm_head.weight.detach())
    assert not (bases / "made").exists()


def test_rewards_are_what_their_words_say(bases, data):
    model, tokenizer = causal_lm.load(member(bases, 0))
    part = material.read_part(data, "rl")
    told = {"formatted": False, "longest": 4, "seed": 0}
    right = [tokenizer(f"It is {truth}.")["input_ids"] for truth in part.truths]
    places = list(range(len(right)))
    assert set(reinforcing.reward_of(model, tokenizer, part, **told)(places, right)) == {1.0}
    assert np.mean(reinforcing.reward_of(model, tokenizer, part, **told, permuted=True, wrong=0.0)(places, right)) < 0.5
    rate = reinforcing.reward_of(model, tokenizer, part, **told, random=True).random
    assert 0.0 <= rate < 0.5  # an untaught model's own rate, whatever is judged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("ppo", {"updates": 4, "batch": 8, "learning_rate": 1e-3}),
        ("rloo", {"updates": 2, "batch": 4, "learning_rate": 1e-3}),
        ("dpo", {"steps": 2, "batch": 2, "learning_rate": 1e-3, "beta": 1.0}),
    ],
)
def test_a_stage_leaves_marks_and_a_history(method, how, bases, data, tmp_path):
    reinforcing.reinforce(
        tmp_path,
        checkpoint=member(bases, 0),
        data=data,
        method=method,
        how=how,
        pay={},
        formatted=False,
        longest=6,
        every=2,
        seed=0,
    )
    found, history = reasoners.read_marks(tmp_path), reinforcing.read_history(tmp_path)
    assert set(found) == {"accuracy", "paid", "format", "sound", "tokens"} and found["format"] == 1.0
    if method == "ppo":
        assert [place for place, line in enumerate(history) if "test_accuracy" in line] == [0, 1, 3]
        assert history[0]["first_ratio_away"] < 1e-4 and history[0]["kl"] == pytest.approx(0.0, abs=1e-5)
        assert history[-1]["test_accuracy"] == found["accuracy"]  # the last look is at what is marked
    stage = reasoner_study.Stage(reasoner_study.gathered([found]), [history])
    if method != "dpo":
        assert stage.largest("kl")[0] == max(line["kl"] for line in history)


def test_a_stage_is_stable_only_with_its_format_and_near_its_start():
    marks = {"format": [0.96, 0.94, 1.0]}
    histories = [[{"kl": 0.5}, {"kl": 2.0}], [{"kl": 0.1}], [{"kl": 12.0}, {"kl": 0.1}]]
    stage = reasoner_study.Stage(marks, histories)
    assert stage.stable(most_kl=10.0) == [True, False, False] and stage.largest("kl") == [2.0, 0.1, 12.0]


def test_an_unknown_method(bases, data, tmp_path):
    with pytest.raises(ValueError, match="no method 'grpo'; choose from ppo, rloo, dpo"):
        reinforcing.reinforce(
            tmp_path,
            checkpoint=member(bases, 0),
            data=data,
            method="grpo",
            how={},
            pay={},
            formatted=True,
            longest=4,
            every=1,
            seed=0,
        )
