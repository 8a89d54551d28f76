"""Splits by hash: near duplicates together, other rows unmoved, shares as asked."""

from collections import Counter

import numpy as np
import pytest

from lib.data.files import DataError
from papers.anytasktune.splits import NEAR, documents, groups, overlap, split, together, triples


def _texts(count, *, seed=0):
    generator = np.random.default_rng(seed)
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]
    return ["".join(generator.choice(letters, 60)) for _ in range(count)]


def test_near_duplicates_are_in_one_group_and_strangers_are_not():
    base = _texts(20)
    altered = [text[:30] + "改" + text[31:] for text in base]  # 3 of some 58 triples differ
    assert overlap(triples(base[0]), triples(altered[0])) >= NEAR
    member = groups(base + altered)
    assert member[:20] == list(range(20)) and member[20:] == list(range(20))


def test_a_chain_of_near_duplicates_is_one_group():
    first = _texts(1)[0]
    chain = [first]
    for k in range(6, 30, 6):
        chain.append(chain[-1][:k] + "改" + chain[-1][k + 1 :])
    assert overlap(triples(chain[0]), triples(chain[-1])) < NEAR
    assert set(groups(chain)) == {0}


def test_an_overlap_below_the_threshold_does_not_join():
    one = "".join(chr(0x4E00 + k) for k in range(40))
    two = one[:30] + "".join(chr(0x5E00 + k) for k in range(10))
    assert 0.5 < overlap(triples(one), triples(two)) < NEAR
    assert groups([one, two]) == [0, 1] and groups([one, two], near=0.5) == [0, 0]


def test_parts_do_not_depend_on_the_order_or_on_other_rows():
    texts = _texts(60) + [text[:-1] for text in _texts(10)]
    parts = dict(zip(texts, split(texts, seed=3), strict=True))
    again = dict(zip(texts[::-1], split(texts[::-1], seed=3), strict=True))
    assert parts == again
    more = _texts(30, seed=9) + texts
    assert dict(zip(more, split(more, seed=3), strict=True)).items() >= parts.items()
    assert split(texts, seed=4) != split(texts, seed=3)
    assert all(parts[text] == parts[text[:-1]] for text in _texts(10))


def test_shares_are_those_asked_for():
    parts = Counter(split(_texts(600), seed=0))
    assert parts["train"] == pytest.approx(540, abs=25) and min(parts["validation"], parts["test"]) >= 15
    halves = Counter(split(_texts(600), seed=0, shares={"one": 0.5, "other": 0.5}))
    assert halves["one"] == pytest.approx(300, abs=50)


@pytest.mark.parametrize("shares", [{"train": 0.9}, {"train": 1.1, "test": -0.1}, {}])
def test_shares_that_do_not_add_up_are_refused(shares):
    with pytest.raises(DataError, match="add up to 1"):
        split(["a"], seed=0, shares=shares)


def test_white_space_and_short_texts():
    assert triples("a b\nc") == triples("abc") == {"abc"} and triples("a") == {"a"}
    with pytest.raises(DataError, match="near duplicates overlap"):
        groups(["a"], near=0.0)


def test_sentences_of_a_document_are_together_with_all_between_them():
    texts = ["被告人张某某来到", "他推门进去", "后被告人张某某逃走", "被害人李某某报案", "被害人李某某获赔"]
    assert documents(texts) == [0, 0, 0, 3, 3]
    assert documents(texts, reach=1) == [0, 1, 2, 3, 3] and documents(texts, shared=7) == [0, 1, 2, 3, 4]


def test_groupings_are_joined_where_either_joins():
    assert together([0, 1, 2, 3], [0, 1, 2, 3]) == [0, 1, 2, 3]
    assert together([0, 0, 2, 2], [0, 1, 1, 3]) == [0, 0, 0, 0]
