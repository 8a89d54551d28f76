"""Look-up documents as token ids: they are the text that the exam's prompts are made of, and memory cannot help them."""

import json

import numpy as np
import pytest
import torch

from lib.models import causal_lm
from lib.training.chat_encoding import IGNORED, encode
from lib.training.loop import TrainingError
from lib.training.stacked import encode_all, finetune_stacked, fit_stacked, language_loss, member
from papers.long_context import look_up
from papers.long_context.look_up import draw_documents, pretrain_reader, read_vocabulary

KEYS = [f"key{i}" for i in range(20)]
VALUES = [f"Value{i}" for i in range(12)]
LETTERS = ["A", "B", "C"]
TEXTS = [" ".join([*KEYS, *VALUES, *LETTERS]), "\n"]
SIZES = {"width": 16, "depth": 2, "heads": 2, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    causal_lm.write_checkpoint(
        folder, texts=TEXTS, chat_template="plain", architecture="ministral", width=16, depth=2, heads=2, seed=0,
        sliding_window=2, layer_types=["sliding_attention", "full_attention"], initializer_range=0.3,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tokenizer(base):
    return causal_lm.load(base)[1]


def documents(tokenizer, seed=0, **options):
    vocabulary = read_vocabulary(tokenizer, keys=KEYS, values=VALUES, letters=LETTERS)
    return draw_documents(np.random.default_rng(seed), vocabulary, **{"batch": 6, "facts": 5, **options})


def test_a_word_that_is_no_token_of_its_own_is_told(tokenizer):
    for given in ({"keys": ["key1 key2"]}, {"values": ["Basil"]}, {"letters": ["Z"]}):
        with pytest.raises(TrainingError, match="is no token of its own; give the tokenizer texts that hold it"):
            read_vocabulary(tokenizer, **{"keys": KEYS, "values": VALUES, "letters": LETTERS, **given})


@pytest.mark.parametrize("options", [0, 3])
def test_a_document_is_a_dialogue_in_the_chat_template(tokenizer, options):
    """Decoded, split into turns and encoded as any fine-tuning row, it gives the same ids and the same labels."""
    for ids, labels in zip(*documents(tokenizer, options=options), strict=True):
        text = tokenizer.decode(ids).removeprefix("<s>").strip()
        messages = []
        for turn in text.split("<s>"):
            lines, tail = turn.replace("</s>", "").strip().split("\n"), 2 if options else 1
            head, last = lines[:-tail], lines[-tail:]
            question, *answer = last[0].split()
            prompt = "\n".join([*head, question])
            messages += [{"role": "user", "content": prompt}]
            messages += [{"role": "assistant", "content": "\n".join([*answer, *last[1:]])}]
        again = encode([{"messages": messages}], tokenizer, max_length=200)
        assert again.input_ids[0] == ids.tolist()
        assert again.labels[0] == labels.tolist()


def test_every_answer_stands_in_the_document_and_only_there(tokenizer):
    ids, _ = documents(tokenizer, batch=200)
    first: dict[int, set[int]] = {}
    for row in ids:
        facts = {row[1 + 3 * i]: row[2 + 3 * i] for i in range(5)}
        assert len(facts) == 5
        turns = row[1 + 15 :]
        asked = [(turns[4 * t], turns[4 * t + 1]) for t in range(5)]
        assert sorted(k for k, _ in asked) == sorted(facts) and all(facts[k] == v for k, v in asked)
        for key, value in facts.items():
            first.setdefault(int(key), set()).add(int(value))
    assert min(map(len, first.values())) > 8, "a key's value is drawn anew in each document"


def test_the_letter_is_that_of_the_value(tokenizer):
    ids, labels = documents(tokenizer, options=3, batch=50)
    letters = tokenizer.convert_tokens_to_ids(LETTERS)
    orders = set()
    for row, wanted in zip(ids.tolist(), labels.tolist(), strict=True):
        shown = {row[16 + 3 * k]: row[17 + 3 * k] for k in range(3)}
        assert list(shown.values()) == letters
        places = [i for i, token in enumerate(row) if token in letters and wanted[i] != IGNORED]
        assert len(places) == 3 and all(shown[row[i - 1]] == row[i] for i in places)
        orders.add(tuple(row[i] for i in places))
    assert len(orders) > 3, "questions come in another order than options"


def test_the_stacked_loss_sees_the_window_of_the_model(base, tokenizer):
    """Masks given whole must be those that the library makes itself: window 2 in the first layer, causal in the second."""
    ids, labels = map(torch.from_numpy, documents(tokenizer))
    eager, _ = causal_lm.load(base, attention="eager")
    plain, _ = causal_lm.load(base)
    with torch.no_grad():
        logits = plain(input_ids=ids).logits[:, :-1]
        expected = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
        )
        batch = {"input_ids": ids, "labels": labels}
        assert torch.isclose(language_loss(eager, batch, window=2), expected, atol=1e-5)
        assert not torch.isclose(language_loss(eager, batch), expected, atol=1e-3), "the window matters"


def test_a_stack_of_mixes_ends_where_each_would_alone(base, tmp_path):
    rows = [tmp_path / f"{name}.jsonl" for name in "ab"]
    for k, path in enumerate(rows):
        turns = [
            [{"role": "user", "content": KEYS[i]}, {"role": "assistant", "content": VALUES[i % 3 + k]}]
            for i in range(8)
        ]
        path.write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns))
    options = {"checkpoint": base, "batch": 4, "learning_rate": 3e-3, "steps": 5, "max_length": 16}
    for name in ("both", "second"):
        (tmp_path / name).mkdir()
    finetune_stacked(tmp_path / "both", rows=rows, seeds=[0, 1], **options)
    finetune_stacked(tmp_path / "second", rows=rows[1:], seeds=[1], **options)
    first, second, alone = (
        causal_lm.load(folder)[0].state_dict()
        for folder in (member(tmp_path / "both", 0), member(tmp_path / "both", 1), member(tmp_path / "second", 0))
    )
    assert all(torch.allclose(second[name], alone[name], atol=1e-5) for name in alone)
    assert any(not torch.allclose(first[name], alone[name], atol=1e-3) for name in alone)
    (counts,) = json.loads((tmp_path / "second" / "counts.json").read_text())
    assert counts == {"rows": 8, "tokens": 8 * 4, "trained": 8 * 2}, "bos, key, value, eos; the last two are trained"


def test_rows_that_would_be_cut_are_refused(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    turn = [{"role": "user", "content": " ".join(KEYS)}, {"role": "assistant", "content": "Value1"}]
    path.write_text(json.dumps({"messages": turn}) + "\n")
    with pytest.raises(TrainingError, match="1 rows have more than 16 tokens"):
        encode_all([path], tokenizer, max_length=16)


def test_a_reader_that_does_not_learn_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(look_up, "ATTEMPTS", 2)
    words = tmp_path / "world.json"
    words.write_text(json.dumps({"general": KEYS[:10], "taught": KEYS[10:15], "held_out": KEYS[15:], "values": VALUES}))
    curriculum = {
        "steps": 5,
        "tokens": 128,
        "shortest": 3,
        "longest": 4,
        "patience": 22,
        "lettered": 0.5,
        "learnt": 0.5,
    }
    with pytest.raises(TrainingError, match="letters were not learnt in 2 starts of 22 steps"):
        pretrain_reader(tmp_path / "base", words=words, letters=LETTERS, texts=TEXTS, curriculum=curriculum, **SIZES)


def test_fit_stacked_is_the_engine(base, tokenizer):
    """One step on one batch lowers the loss on it: the gradient goes through the whole mask."""
    ids, labels = map(torch.from_numpy, documents(tokenizer))
    model, _ = causal_lm.load(base, attention="eager")
    batch = {"input_ids": ids[None], "labels": labels[None]}

    def loss(call, one):
        return language_loss(call, one, window=2)

    losses = fit_stacked([model], lambda step: batch, loss, steps=8, learning_rate=3e-3)
    assert losses[-1, 0] < losses[0, 0]
