"""The histogram that is drawn with a point a value."""

import numpy as np

from papers.brgsa.pictures import stacked


def test_every_value_is_one_point_in_its_bin():
    values = np.random.default_rng(0).normal(size=200).clip(-1, 0.999)
    points = stacked(values, bins=8, ends=(-1, 1))
    counts, _ = np.histogram(values, bins=8, range=(-1, 1))
    for middle, count in zip(np.arange(-0.875, 1, 0.25), counts, strict=True):
        assert sorted(points[points[:, 0] == middle, 1]) == list(range(1, count + 1))
    assert len(points) == 200


def test_what_lies_outside_goes_into_the_first_or_the_last_bin():
    assert stacked([-7, 7, 1], bins=2, ends=(0, 1)).tolist() == [[0.25, 1], [0.75, 1], [0.75, 2]]
