"""Split by source, the four cells, shuffled labels; what the audit counts, takes out and cuts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lib.data.files import DataError
from papers.llm_detector import audit, split
from papers.llm_detector.texts import Text


def corpus(domains="abc", generators="xyz", sources=6):
    found = []
    for domain in domains:
        for k in range(sources):
            for generator in ("human", *generators):
                source = f"{domain}{k}"
                found.append(
                    Text(f"{source}-{generator}", source, domain, generator, f"word {k} of {source} {generator}")
                )
    return found


@settings(max_examples=25, deadline=None)
@given(some.integers(2, 9), some.floats(0.1, 0.9), some.integers(0, 99))
def test_no_source_stands_on_both_sides_and_nothing_is_lost(sources, share, seed):
    texts = corpus(sources=sources)
    train, test = split.by_source(texts, share=share, seed=seed)
    assert sorted(train + test) == list(range(len(texts))) and train and test
    assert not {texts[k].source for k in train} & {texts[k].source for k in test}
    assert {texts[k].domain for k in train} == {texts[k].domain for k in test} == set("abc")


def test_a_domain_of_one_source_cannot_be_split():
    with pytest.raises(DataError, match="the domain 'a' has 1 source; give two or more"):
        split.by_source(corpus(sources=1), share=0.5, seed=0)


def test_cells_part_the_machine_texts_and_share_the_human_ones():
    texts, held = corpus(), split.Holdout(("a",), ("x",))
    cells = split.cells_of(texts, held)
    machine = np.array([one.generator != "human" for one in texts])
    assert (np.sum([cells[name] for name in split.CELLS], axis=0)[machine] == 1).all()
    assert (np.sum([cells[name] for name in split.CELLS], axis=0)[~machine] == 2).all()
    assert Counter((texts[k].domain, texts[k].generator) for k in np.flatnonzero(cells[split.BOTH])) == {
        ("a", "human"): 6, ("a", "x"): 6,
    }  # fmt: skip
    able = split.pairs_that_train(texts, range(len(texts)), held)
    assert not {texts[k].domain for k in able} & {"a"} and not {texts[k].generator for k in able} & {"x"}


def test_a_human_text_without_a_version_that_trains_stays_out():
    texts = [one for one in corpus(sources=2) if one.generator in ("human", "x")]
    assert split.pairs_that_train(texts, range(len(texts)), split.Holdout((), ("x",))) == []


def test_every_holdout_and_the_diagonal():
    every = split.holdouts(corpus())
    assert len(every) == 9 and len({str(one) for one in every}) == 9
    few = split.diagonal(every)
    assert (
        len(few) == 3
        and {one.domains[0] for one in few} == set("abc")
        and {one.generators[0] for one in few} == set("xyz")
    )


def test_shuffled_labels_keep_the_base_rate_of_a_domain_and_forget_the_text():
    texts = corpus(sources=30)
    places = list(range(len(texts)))
    truth = np.array([int(one.generator != "human") for one in texts])
    shuffled = split.shuffled_labels(texts, places, seed=0)
    for domain in "abc":
        inside = np.array([one.domain == domain for one in texts])
        assert shuffled[inside].sum() == truth[inside].sum()
    assert abs(np.corrcoef(truth, shuffled)[0, 1]) < 0.15
    assert (shuffled == split.shuffled_labels(texts, places, seed=0)).all()
    assert (shuffled != split.shuffled_labels(texts, places, seed=1)).any()


# ---------------------------------------------------------------------- audit
def text(said, generator="human", source="s", id=None):
    return Text(id or f"{source}-{generator}-{hash(said)}", source, "d", generator, said)


def test_what_is_taken_out_is_counted_and_nothing_else_is():
    texts = [
        text("A human text."), text("a  human TEXT.", "x"), text("As an AI language model, I cannot.", "x", "t"),
        text("He said: I am sorry, but no.", "human", "u"), text("Short", "x", "v"), text("A machine text.", "x", "w"),
    ]  # fmt: skip
    kept, counts = audit.clean(texts, audit.Rules(fewest_words=2))
    assert counts == {"read": 6, "duplicates": 1, "refusals": 1, "too short": 1, "near duplicates": 0, "kept": 3}
    assert [one.source for one in kept] == ["s", "u", "w"]  # a human who declines is no refusal
    assert audit.clean(texts, audit.Rules(duplicates=False, refusals=False))[1]["kept"] == 6
    assert audit.clean([text("作为一个人工智能语言模型，我不能。", "x")], audit.Rules())[1]["refusals"] == 1


def test_versions_of_a_text_become_as_long_as_the_shortest():
    texts = [
        text("one two three four five"),
        text("1 2 3", "x"),
        text("1 2", "human", "t"),
        text("1\n2 3 4", "x", "t"),
        text("alone", "x", "u"),
    ]
    kept, dropped = audit.match_lengths(texts, most=3, fewest=3)
    assert [one.text for one in kept] == ["one two three", "1 2 3"] and dropped == 3
    kept, _ = audit.match_lengths(texts, most=9)
    assert Counter(len(one.text.split()) for one in kept) == {3: 2, 2: 2} and kept[3].text == "1\n2"
    lengths = audit.shortcut_features(kept, "length")[:, 0]
    assert lengths[0] == lengths[1] and lengths[2] == lengths[3]


def test_plain_text_has_no_form_left():
    said = "* It rose .\n* “Twice”,  he said — no"
    assert audit.plain(said) == 'it rose. "twice", he said - no'
    assert not audit.shortcut_features([text(audit.plain(said))], "form")[0][:-1].any()


def test_shortcuts_see_what_they_are_named_after_and_nothing_else():
    texts = [text("a word, a word."), text("a word a word ."), text("a wrod a word")]
    marks = audit.shortcut_features(texts, "punctuation")
    assert marks[:, 0].tolist() == [0.25, 0.2, 0.0] and marks[:, 1].tolist() == [0.25, 0.0, 0.0]
    assert audit.shortcut_features(texts, "typos")[:, 0].tolist() == [0.0, 0.0, 0.25]
    with pytest.raises(ValueError, match="give length, punctuation, typos or form"):
        audit.shortcut_features(texts, "colour")
