"""The generated world: what a human has that a machine lacks, and nothing by which form, length or question would tell."""

from collections import Counter

import numpy as np
import pytest

from lib.models import causal_lm
from lib.streams import stream
from papers.llm_detector import hc3, world_files
from papers.llm_detector.corpora import read_shares
from papers.llm_detector.texts import WRITTEN, read_mixed
from papers.llm_detector.world import Human, Size, typo, vocabulary, written
from papers.llm_detector.writers import LATE, WRITERS, NGram, Sampling, draw

SIZE = {"domains": 2, "function": 12, "shared": 12, "own": 12}
COUNTS = {"writers": 40, "scorer": 4, "unlabelled": 12, "labelled": 12, "polished": 14, "shares": 24}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    for name in ("human", "corpus", "start"):
        (root / name).mkdir()
    told = {"size": SIZE, "languages": ["A", "B"]}
    world_files.write_human(root / "human", seed=3, size=SIZE, language="A", counts=COUNTS)
    world_files.write_tokenizer(root / "start", **told, width=16, depth=1, heads=2, seed=0)
    world_files.write_corpus(
        root / "corpus", human=root / "human", transformers=[root / "start"] * 2, size=SIZE, answers=2, seed=3
    )
    return root


def test_words_are_those_of_the_language_and_typos_those_of_words():
    words = vocabulary(Size(**SIZE), ("A", "B"))
    assert len(words) == len(set(words)) and typo("ba") == "baa"
    human = Human(Size(**SIZE), language="A", seed=0)
    rng = stream(0, "test")
    seen = Counter(w for _ in range(60) for s in human.document("A0", rng).sentences for w in s)
    assert set(seen) <= set(words) and seen["."] == 60 * 5
    ends = sum(number for word, number in seen.items() if word[-1:] == word[-2:-1])
    assert 0 < ends / seen.total() < 0.03


def again(documents):
    """Share of content words that the document has had before, less what is expected of its words in any order elsewhere."""
    found = []
    for said in documents:
        words = [w for w in said if w != "."]
        found.append(1 - len(set(words)) / len(words))
    return float(np.mean(found))


def test_a_human_uses_words_again_and_an_n_gram_does_so_less(made):
    texts, _ = hc3.read_hc3(made / "corpus" / "hc3")
    by = {
        name: [t.text.replace(".", " .").split() for t in texts if t.generator == name] for name in ("human", *WRITERS)
    }
    assert len(by["human"]) == 24 and all(listed for listed in by.values())
    assert again(by["human"]) > again(by["bigram"]) + 0.03


def test_two_machines_answer_every_question_in_sentences_of_the_humans_length(made):
    texts, counts = hc3.read_hc3(made / "corpus" / "hc3")
    assert counts["empty"] == 0 and len(texts) == 24 * (1 + 2)
    assert {one.generator for one in texts} == {"human", *WRITERS}  # by turns
    shapes = {}
    for one in texts:
        shapes.setdefault(one.source, set()).add(tuple(len(s.split()) for s in one.text.split(".") if s.strip()))
    assert all(len(found) == 1 for found in shapes.values())
    answered = [one.source for one in texts if one.generator != "human"]
    assert all(answered.count(one.source) == 2 for one in texts if one.generator == "human")


def test_no_part_shares_a_document_with_another(made):
    parts = world_files.read_human(made / "human")
    assert [len(parts[name]) for name in world_files.PARTS] == [2 * COUNTS[name] for name in world_files.PARTS]
    texts = [written([w for s in one.sentences for w in s]) for found in parts.values() for one in found]
    assert len(texts) == len(set(texts))


def test_polishing_changes_what_it_says_it_changes(made):
    parts, documents = world_files.read_human(made / "human"), read_mixed(made / "corpus" / "mixed.jsonl")
    known = {written(s) for one in parts["polished"] for s in one.sentences}
    kept = [text in known for one in documents for text, label in one.sentences if label == "human"]
    new = [text in known for one in documents for text, label in one.sentences if label == "machine"]
    assert all(kept) and np.mean(new) < 0.1 and 0.3 < len(new) / (len(new) + len(kept)) < 0.7
    assert not {one.generator for one in documents} & set(LATE)
    shares = read_shares(made / "corpus" / "shares.jsonl")
    for (count, place), one in zip(shares, read_mixed(made / "corpus" / "shares.jsonl"), strict=True):
        assert one.labels.count("machine") == count
        if place == "end":
            assert one.labels == sorted(one.labels)
        if place == "beginning":
            assert one.labels == sorted(one.labels, reverse=True)
    assert {count for count, _ in shares} == {1, 2, 3, 4}


def test_the_corpus_is_the_same_again_and_another_seed_gives_another(made, tmp_path):
    for seed, same in ((3, True), (4, False)):
        (tmp_path / str(seed)).mkdir()
        world_files.write_human(tmp_path / str(seed), seed=seed, size=SIZE, language="A", counts=COUNTS)
        equal = (tmp_path / str(seed) / "human.json").read_bytes() == (made / "human" / "human.json").read_bytes()
        assert equal is same


def test_sampling_cuts_and_sharpens_as_it_says():
    chances, rng = np.tile([0.5, 0.3, 0.15, 0.05], (4000, 1)), np.random.default_rng(0)
    for how, expected in {
        Sampling(): [0.5, 0.3, 0.15, 0.05], Sampling(top_k=2): [0.625, 0.375, 0, 0], Sampling(top_p=0.6): [0.625, 0.375, 0, 0],
        Sampling(temperature=0.5): np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365,
    }.items():  # fmt: skip
        found = np.bincount(draw(chances.copy(), how, rng), minlength=4) / 4000
        np.testing.assert_allclose(found, expected, atol=0.03)


def test_an_n_gram_writes_what_it_has_read():
    lines = {"A0": [["ki", "ki", "."]], "A1": [["ba", "du", "."], ["ba", "ki", "."]]}
    for order in (2, 3):
        model = NGram(lines, ["ba", "du", "ki", "."], order=order, sampling=Sampling(top_k=2))
        chances = model.chances(np.array([1]), np.array([3]), np.array([0]))[0]  # in A1 behind ". ba"
        assert chances.sum() == pytest.approx(1) and chances[1] == chances[2] > 0.4
    said = model.write(["A0", "A1"], [[], ["ba"]], [3, 2], np.random.default_rng(0))
    assert [len(one) for one in said] == [3, 2] and all(one[-1] == "." and "." not in one[:-1] for one in said)


def test_the_tokenizer_knows_every_word_and_both_labels(made):
    _, tokenizer = causal_lm.load(made / "start")
    for label in WRITTEN:
        assert tokenizer(label, add_special_tokens=False)["input_ids"] == [tokenizer.convert_tokens_to_ids(label)]
    texts, _ = hc3.read_hc3(made / "corpus" / "hc3")
    assert tokenizer.unk_token_id not in tokenizer(texts[0].text)["input_ids"]
