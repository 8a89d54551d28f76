"""A stream depends on its seed and its name alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lib.streams import stream, stream_seed

NAMES = st.lists(st.one_of(st.text(max_size=8), st.integers(-5, 10**12)), max_size=3)


@given(seed=st.integers(0, 2**40), names=NAMES)
def test_the_same_name_gives_the_same_draws(seed, names):
    first, again = (stream(seed, *names).standard_normal(4) for _ in range(2))
    assert np.array_equal(first, again)
    assert 0 <= stream_seed(seed, *names) < 2**63


@given(one=st.tuples(st.integers(0, 50), NAMES), other=st.tuples(st.integers(0, 50), NAMES))
def test_another_seed_or_name_is_another_stream(one, other):
    same = one[0] == other[0] and one[1] == other[1]
    assert (stream_seed(one[0], *one[1]) == stream_seed(other[0], *other[1])) == same


def test_seeds_and_places_do_not_add_up():
    assert len({stream_seed(seed, "step", step) for seed in range(40) for step in range(40)}) == 1600


def test_numpy_integers_name_the_same_stream():
    assert stream_seed(np.int64(3), "scan", np.int32(2)) == stream_seed(3, "scan", 2)
