"""Scoring in blocks: the scores of the one-image loop, faster, within the memory that was given."""

import pytest

from benchmarks.cross_attention_scoring import measure_scoring


def test_small_sizes_agree():
    timing = measure_scoring(images=9, prompts=5, loop_images=9, width=32, layers=2, image_tokens=12, text_tokens=8)
    assert timing.largest_difference <= 1e-5
    assert timing.pairs_a_second > 0 and timing.ratio > 0


@pytest.mark.slow
def test_the_full_width_is_faster_than_the_loop_by_the_bar():
    timing = measure_scoring(images=40, prompts=100, loop_images=2)
    assert timing.largest_difference <= 1e-5
    assert timing.ratio >= 5
