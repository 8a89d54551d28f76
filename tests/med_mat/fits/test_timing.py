"""The stacked benchmark: both ways end at the same weights, and the times are times."""

from papers.med_mat.fits.timing import measure_stacked


def test_both_ways_end_at_the_same_weights():
    timing = measure_stacked(members=3, steps=8, batch=4)
    assert 0 < timing.largest_difference < 1e-4  # other order of sums, same fits
    assert min(timing.alone, timing.stacked, timing.encoder) > 0
    assert timing.ratio_with_cached_features > timing.ratio > 0
