"""The benchmark of generation compares the same tokens, and a batch is faster."""

from benchmarks.generation import measure


def test_a_batch_says_the_same_tokens_in_less_time():
    table = measure([1, 16], width=16, depth=1, longest=12, prompts=16)
    assert table["same tokens"].all() and table.loc[16, "ratio"] > 2 > table.loc[1, "ratio"]
