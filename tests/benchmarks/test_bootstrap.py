"""The bootstrap's benchmark at full size: equal to the released loop, and faster by the bar that was set."""

import pytest

from benchmarks.bootstrap import measure_bootstrap


@pytest.mark.slow
def test_the_full_size_bar():
    timing = measure_bootstrap(rows=3630, classes=18, resamples=5000, loop_resamples=5)
    assert timing.largest_difference < 1e-12
    assert timing.seconds < 20
    assert timing.ratio > 10
