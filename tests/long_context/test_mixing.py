"""Mixes: exact counts, no row preferred, the same seed the same mix."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.files import DataError
from lib.streams import stream
from papers.long_context.mixing import apportion, mix_datasets

GENERAL, MEDICAL = [("g", i) for i in range(300)], [("m", i) for i in range(300)]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 20), min_size=1, max_size=5), st.integers(1, 999)
)
def test_counts_sum_to_the_total_and_are_within_one_of_their_share(shares, total):
    if not any(shares.values()):
        with pytest.raises(DataError):
            apportion(shares, total)
        return
    counts = apportion(shares, total)
    assert sum(counts.values()) == total
    for name, share in shares.items():
        assert abs(counts[name] - total * share / sum(shares.values())) < 1
        assert share or counts[name] == 0


@pytest.mark.parametrize(
    ("ratio", "general"),
    [((1, 0), 200), ((9, 1), 180), ((4, 1), 160), ((1, 1), 100), ((1, 4), 40), ((1, 9), 20), ((0, 1), 0)],
)
def test_the_ratios_of_table_4_are_exact(ratio, general):
    mixed = mix_datasets(
        {"g": GENERAL, "m": MEDICAL}, shares=dict(zip("gm", ratio, strict=True)), total=200, rng=stream(1)
    )
    assert Counter(kind for kind, _ in mixed) == Counter({"g": general, "m": 200 - general}) and len(set(mixed)) == 200


def test_sources_are_shuffled_into_each_other_and_the_seed_decides():
    def mix(seed):
        return mix_datasets({"g": GENERAL, "m": MEDICAL}, shares={"g": 1, "m": 1}, total=200, rng=stream(seed))

    kinds = [kind for kind, _ in mix(0)]
    assert 60 < sum(a != b for a, b in pairwise(kinds)) < 140
    assert mix(0) == mix(0) != mix(1)


def test_repeats_are_even_and_only_on_request():
    few = [("f", i) for i in range(7)]
    with pytest.raises(DataError, match="24 rows of 'f' are wanted and it has 7; lower the total or allow repeats"):
        mix_datasets({"f": few}, shares={"f": 1}, total=24, rng=stream(0))
    counts = Counter(mix_datasets({"f": few}, shares={"f": 1}, total=24, rng=stream(0), repeat=True))
    assert set(counts.values()) == {3, 4} and len(counts) == 7


def test_shares_and_sources_must_be_the_same():
    with pytest.raises(DataError, match="shares name g, x and sources g, m; name the same"):
        mix_datasets({"g": GENERAL, "m": MEDICAL}, shares={"g": 1, "x": 1}, total=2, rng=stream(0))
