"""The paper's detector: its rows, its answers by likelihood and by writing; the encoder that it is compared with."""

import json

import numpy as np
import pytest
import torch

from lib.data.files import DataError
from lib.models import ModelError, causal_lm
from lib.training import stacked
from papers.llm_detector import detector, encoder
from papers.llm_detector.texts import WRITTEN, Mixed, Text, write_mixed, write_texts

WORDS = ["red", "blue", "green", "sun", "moon", "star"]
RNG = np.random.default_rng(1)


def said(number, words=WORDS):
    return " ".join(RNG.choice(words, size=number))


# A machine has only the first three words, a human only the others: a detector of any kind can learn it.
TEXTS = [
    Text(f"{k}-{who}", str(k), "d", who, said(3 + k % 4, WORDS[:3] if who == "x" else WORDS[3:]))
    for k in range(16)
    for who in ("human", "x")
]
MIXED = [
    Mixed(f"m{k}", f"m{k}", "d", "x", tuple(
        (said(3, WORDS[:3] if machine else WORDS[3:]), "machine" if machine else "human")
        for machine in RNG.random(2 + k % 3) < 0.5
    ))
    for k in range(24)
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    write_texts(root / "texts.jsonl", TEXTS)
    write_mixed(root / "mixed.jsonl", MIXED)
    causal_lm.write_checkpoint(
        root / "base", texts=[" ".join([*WORDS, *WRITTEN])], chat_template="plain", architecture="llama", width=16, depth=2,
        heads=2, max_position_embeddings=32,
    )  # fmt: skip
    return root


def rows(root, name, **given):
    folder = root / f"rows-{name}-{len(given)}"
    folder.mkdir(exist_ok=True)
    told = {"places": list(range(16)), "labels": None, "wording": "{text}", **given}
    detector.write_rows(folder, texts=root / f"{name}.jsonl", **told)
    return folder / "rows.jsonl"


def tuned(root, name):
    folder = root / f"tuned-{name}"
    if not folder.exists():
        folder.mkdir()
        stacked.finetune_stacked(
            folder, checkpoint=root / "base", rows=[rows(root, name)], seeds=[0], batch=8, learning_rate=1e-2, steps=80,
            max_length=32,
        )  # fmt: skip
    return stacked.member(folder, 0)


def asked(root, name, checkpoint, folder, **given):
    folder.mkdir(exist_ok=True)
    told = {"places": list(range(16, 24)), "wording": "{text}", "batch": 3, **given}
    detector.ask(folder, texts=root / f"{name}.jsonl", checkpoint=checkpoint, **told)
    return detector.read_answers(folder)


def test_a_row_is_the_text_and_its_labels_in_the_words_of_the_released_models(files):
    lines = [json.loads(line)["messages"] for line in rows(files, "texts").read_text().splitlines()]
    assert [one[1]["content"] for one in lines[:2]] == ["Human", "AI"] and lines[0][0]["content"] == TEXTS[0].text
    lines = [json.loads(line)["messages"] for line in rows(files, "mixed").read_text().splitlines()]
    assert lines[3][1]["content"] == " ".join(WRITTEN[label == "machine"] for label in MIXED[3].labels)
    flipped = rows(files, "texts", places=[0, 1], labels=[[1], [0]]).read_text().splitlines()
    assert [json.loads(line)["messages"][1]["content"] for line in flipped] == ["AI", "Human"]
    with pytest.raises(DataError, match=r"'m0': 1 labels for 2 sentences"):
        rows(files, "mixed", places=[0], labels=[[1]])


@pytest.mark.slow
def test_the_detector_learns_what_can_be_learnt_and_says_it_in_both_ways(files, tmp_path):
    answers = asked(files, "texts", tuned(files, "texts"), tmp_path / "a", places=list(range(16, 32)))
    truth = np.array([int(one.label == "machine") for one in TEXTS[16:]])
    assert ((np.array([one[0] for one in answers.scores]) > 0) == truth).mean() >= 0.9
    assert answers.invalid == 0 and [one[0] for one in answers.written] == [
        int(one[0] > 0) for one in answers.scores
    ]  # written and likeliest label agree


@pytest.mark.slow
def test_scores_in_a_padded_batch_with_a_cache_are_those_of_one_text_at_a_time(files, tmp_path):
    """Brute force: the whole text read anew for every label, nothing padded, no cache."""
    checkpoint = tuned(files, "mixed")
    answers = asked(files, "mixed", checkpoint, tmp_path / "m")
    model, tokenizer = causal_lm.load(checkpoint)
    ids = [tokenizer.convert_tokens_to_ids(label) for label in WRITTEN]
    for place, found in zip(range(16, 24), answers.scores, strict=True):
        line = [tokenizer.bos_token_id, *tokenizer(MIXED[place].text, add_special_tokens=False)["input_ids"]]
        expected = []
        for _ in MIXED[place].labels:
            with torch.no_grad():
                logits = model(torch.tensor([line])).logits[0, -1]
            expected.append(float(logits[ids[1]] - logits[ids[0]]))
            line.append(ids[int(expected[-1] > 0)])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_anything_but_so_many_labels_is_invalid_and_counted(files, tmp_path):
    answers = asked(files, "mixed", files / "base", tmp_path / "b")  # untrained: it writes anything
    assert len(answers.said) == 8 and 0 < answers.invalid <= 1
    for said_, written, place in zip(answers.said, answers.written, range(16, 24), strict=True):
        assert (written is None) == (detector.parse(said_, len(MIXED[place].labels)) is None)
    assert detector.parse("AI Human Human", 3) == [1, 0, 0] and detector.parse("ai", 1) is None


def test_a_text_that_is_longer_than_the_model_and_a_label_of_two_tokens_are_refused(files, tmp_path):
    write_texts(tmp_path / "texts.jsonl", [Text("long", "l", "d", "x", " ".join(["sun"] * 40))])
    with pytest.raises(DataError, match=r"text 'long' asked for its label has 41 tokens, more than the 32 positions"):
        detector.ask(
            tmp_path, texts=tmp_path / "texts.jsonl", places=[0], checkpoint=files / "base", wording="{text}", batch=1
        )
    causal_lm.write_checkpoint(
        tmp_path / "other",
        texts=["A", "I", *WORDS],
        chat_template="plain",
        architecture="llama",
        width=8,
        depth=1,
        heads=2,
    )
    tokenizer = causal_lm.load(tmp_path / "other")[1]
    tokenizer.add_tokens(["Human"])
    tokenizer_ids = tokenizer("AI", add_special_tokens=False)["input_ids"]
    assert tokenizer_ids == [tokenizer.unk_token_id]
    with pytest.raises(ModelError, match="a label must be one"):
        detector._label_tokens(_Pieces(tokenizer))


class _Pieces:
    """A tokenizer that cuts every word into letters."""

    def __init__(self, inner):
        self.inner, self.eos_token_id, self.chat_template = inner, inner.eos_token_id, inner.chat_template
        self.all_special_ids, self.added_tokens_decoder = inner.all_special_ids, inner.added_tokens_decoder

    def apply_chat_template(self, *given, **told):
        return self.inner.apply_chat_template(*given, **told)

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) for letter in text]}


# ---------------------------------------------------------------------- the encoder
def test_the_encoder_reads_both_ways_and_padding_tells_it_nothing(files):
    model, tokenizer = causal_lm.load(files / "base", attention="eager")
    one = torch.tensor([[2, 4, 5, 6]])
    ends = one.clone()
    ends[0, -1] = 7
    with torch.no_grad():
        first = encoder.both_ways(model, one, torch.ones_like(one))[0, 0]
        other = encoder.both_ways(model, ends, torch.ones_like(one))[0, 0]
        assert (first - other).abs().max() > 1e-4  # the last word reaches the first place
        longer = torch.tensor([[2, 4, 5, 6, 0, 0]])
        padded = encoder.both_ways(model, longer, (longer != 0).long())[0, 0]
    torch.testing.assert_close(first, padded, atol=1e-5, rtol=0)
    assert tokenizer.pad_token_id == 0


def encoders(folder, files, seeds, labels):
    folder.mkdir()
    encoder.tune_encoders(
        folder, checkpoints=[files / "base"] * len(seeds), texts=[files / "texts.jsonl"] * len(seeds),
        places=[list(range(24))] * len(seeds), labels=labels, seeds=seeds, steps=60, batch=8, learning_rate=1e-2,
    )  # fmt: skip
    return [stacked.member(folder, k) for k in range(len(seeds))]


@pytest.mark.slow
def test_encoders_in_one_pass_become_what_each_would_alone_and_learn_their_labels(files, tmp_path):
    own = [[int(one.label == "machine")] for one in TEXTS[:24]]
    flipped = [[1 - label] for (label,) in own]
    together = encoders(tmp_path / "both", files, [0, 1], [own, flipped])
    alone = encoders(tmp_path / "alone", files, [1], [flipped])
    found = []
    for k, model in enumerate([*together, *alone]):
        (tmp_path / f"c{k}").mkdir()
        encoder.classify(
            tmp_path / f"c{k}", checkpoint=model, texts=files / "texts.jsonl", places=list(range(24, 32)), batch=4
        )
        found.append(np.concatenate(encoder.read_classified(tmp_path / f"c{k}")))
    truth = np.array([one.label == "machine" for one in TEXTS[24:]])
    assert ((found[0] > 0) == truth).mean() >= 0.85 and ((found[1] > 0) == truth).mean() <= 0.15
    np.testing.assert_allclose(found[1], found[2], atol=1e-3)


@pytest.mark.slow
def test_hidden_words_are_learnt_from_both_sides(files, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": "red blue green sun moon star"}) + "\n" for _ in range(8))
    )
    encoder.pretrain_encoders(
        tmp_path,
        checkpoints=[files / "base"],
        rows=[tmp_path / "rows.jsonl"],
        seeds=[0],
        steps=150,
        batch=8,
        learning_rate=1e-2,
    )
    losses = np.array(json.loads((tmp_path / "losses.json").read_text()))[:, 0]
    assert losses[:10].mean() > 1.5 and losses[-10:].mean() < 0.3
