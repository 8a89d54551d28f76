"""Retrieval: hand-made ranks, duplicate reports, and chance against enumeration and simulation."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.evaluation import EvaluationError
from papers.brgsa.retrieval import (
    chance_recall,
    measure_retrieval,
    rank_of_first_match,
    retrieval_from_similarity,
)


def test_both_directions_by_hand():
    # rows are images. Image ranks of their own text: 1, 3, 2. Text ranks of their own image: 1, 3, 1.
    similarity = np.array([[0.9, 0.8, 0.1], [0.5, 0.2, 0.3], [0.7, 0.6, 0.65]])
    result = retrieval_from_similarity(similarity, ks=(1, 2, 3))
    assert result["image_to_text"].recall == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 1.0})
    assert result["text_to_image"].recall == pytest.approx({1: 2 / 3, 2: 2 / 3, 3: 1.0})
    assert (result["image_to_text"].median_rank, result["text_to_image"].median_rank) == (2, 1)
    turned = retrieval_from_similarity(similarity.T, ks=(1, 2, 3))
    assert turned["image_to_text"] == result["text_to_image"]


def test_a_duplicate_report_counts_in_both_directions():
    similarity = np.array([[0.2, 0.9, 0.1], [0.8, 0.3, 0.1], [0.0, 0.1, 0.5]])  # images 0 and 1 find each other's text
    alone = retrieval_from_similarity(similarity, ks=(1,))
    shared = retrieval_from_similarity(similarity, captions=["normal", "normal", "nodule"], ks=(1,))
    for direction in ("image_to_text", "text_to_image"):
        assert alone[direction].recall[1] == pytest.approx(1 / 3)
        assert shared[direction].recall[1] == 1.0
        assert shared[direction].chance[1] == pytest.approx((2 + 2 + 1) / 9)
        assert alone[direction].chance[1] == pytest.approx(1 / 3)


def test_captions_must_be_identical_to_count():
    similarity = np.array([[0.2, 0.9], [0.9, 0.2]])
    assert retrieval_from_similarity(similarity, captions=["normal", "Normal"], ks=(1,))["image_to_text"].recall[1] == 0


def test_a_collapsed_encoder_gets_no_credit():
    result = measure_retrieval(np.ones((8, 3)), np.ones((8, 3)), ks=(1, 5))
    assert result["image_to_text"].recall == {1: 0.0, 5: 0.0}
    assert result["text_to_image"].median_rank == 8


def test_perfect_pairs_and_the_invariances_of_the_cosine():
    generator = np.random.default_rng(0)
    image = generator.normal(size=(30, 6))
    text = image + 0.6 * generator.normal(size=(30, 6))
    assert measure_retrieval(image, 3 * image, ks=(1,))["text_to_image"].recall[1] == 1
    plain = measure_retrieval(image, text)
    order = generator.permutation(30)
    assert measure_retrieval(image[order], text[order]) == plain
    assert measure_retrieval(image * generator.uniform(1, 5, (30, 1)), text) == plain
    assert 0 < plain["image_to_text"].recall[1] < 1


@pytest.mark.parametrize("matches", [1, 2, 3])
def test_chance_equals_the_enumeration_of_all_orders(matches):
    relevant = np.arange(5) < matches
    firsts = [1 + int(np.argmax(relevant[list(order)])) for order in permutations(range(5))]
    expected = [np.mean(np.array(firsts) <= k) for k in range(1, 6)]
    np.testing.assert_allclose(chance_recall(relevant[None]), expected, atol=1e-12)


def test_chance_is_what_random_embeddings_reach():
    generator = np.random.default_rng(1)
    captions = ["normal"] * 60 + [f"report {i}" for i in range(140)]
    found, middle = [], []
    for _ in range(20):
        result = measure_retrieval(generator.normal(size=(200, 8)), generator.normal(size=(200, 8)), captions=captions)
        found.append(result["image_to_text"].recall[10])
        middle.append(result["image_to_text"].median_rank)
    chance = result["image_to_text"]
    assert np.mean(found) == pytest.approx(chance.chance[10], abs=0.02)
    assert np.mean(middle) == pytest.approx(chance.chance_median_rank, rel=0.15)


def test_chance_median_rank_without_duplicates_is_the_middle():
    result = retrieval_from_similarity(np.eye(11), ks=(1,))
    assert result["image_to_text"].chance_median_rank == 6


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_ranks_equal_a_stable_sort_with_matches_last(seed, size):
    generator = np.random.default_rng(seed)
    similarity = generator.integers(0, 4, (size, size)).astype(float)  # many ties
    match = np.eye(size, dtype=bool) | (generator.random((size, size)) < 0.2)
    for query, rank in enumerate(rank_of_first_match(similarity, match)):
        order = sorted(range(size), key=lambda item: (-similarity[query, item], match[query, item]))
        assert rank == 1 + next(place for place, item in enumerate(order) if match[query, item])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval_from_similarity(np.zeros((2, 3))), "must be square"),
        (lambda: retrieval_from_similarity(np.eye(3), ks=(5,)), "recall at 5 needs 1 <= k <= 3"),
        (lambda: retrieval_from_similarity(np.eye(3), ks=(0,)), "recall at 0"),
        (lambda: retrieval_from_similarity(np.eye(3), captions=["a"], ks=(1,)), "1 captions for 3 pairs"),
        (lambda: rank_of_first_match(np.eye(2), [[True, False], [False, False]]), "query 1 matches nothing"),
        (lambda: rank_of_first_match(np.eye(2), [[True]]), r"match \(1, 1\)"),
        (lambda: measure_retrieval(np.eye(3), np.eye(3) * [1, 0, 1]), r"text\[1\] is the zero vector"),
    ],
)
def test_bad_input_names_the_remedy(call, message):
    with pytest.raises(EvaluationError, match=message):
        call()
