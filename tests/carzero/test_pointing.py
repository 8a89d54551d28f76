"""The two rules of the pointing game, where they differ, and the control that looks nowhere."""

import numpy as np
import pytest

from lib.evaluation import EvaluationError
from papers.carzero.images import frame_of
from papers.carzero.pointing import hits, padded, place, stretched


def peak(row, column, side=7):
    map_ = np.zeros((side, side))
    map_[row, column] = 1
    return map_


def test_crop_and_padding_are_undone():
    frame = frame_of(1024, 512, size=256)  # 128 rows of picture between 64 and 64 of padding
    assert (frame.scale, frame.left, frame.top) == (0.25, 0, 64)
    x, y = place(peak(3, 0), frame=frame, crop=224)
    assert (x, y) == ((16 + 16) / 0.25, (3.5 * 32 + 16 - 64) / 0.25)


def test_the_rules_differ_as_their_names_say():
    frame, size = frame_of(1024, 1024, size=256), (1024, 1024)
    told = {"frame": frame, "crop": 224, "size": size}
    at_corner = peak(0, 0)  # the crop's corner cell: pixel 128 with the crop undone, 73 when it is stretched
    first, second = (0.0, 0.0, 100.0, 100.0), (110.0, 110.0, 200.0, 200.0)
    assert padded(at_corner, [first, second], **told) and not padded(at_corner, [first], **told)
    assert stretched(at_corner, [first, second], **told) and not stretched(at_corner, [second, first], **told)
    near = [(90.0, 60.0, 200.0, 90.0)]
    assert stretched(at_corner, near, **told) and not padded(at_corner, near, **told)  # 73 is 17 outside: tolerated


def test_a_case_is_an_image_and_a_class():
    maps = np.stack([np.stack([peak(0, 0), peak(6, 6)])] * 2)
    boxes = ({0: [(0, 0, 300, 300)], 1: [(0, 0, 300, 300)]}, {0: [(800, 800, 900, 900), (50, 50, 200, 200)]})
    told = {"sizes": [(1024, 1024)] * 2, "frames": [frame_of(1024, 1024, size=256)] * 2, "crop": 224, "classes": 3}
    many = np.concatenate([maps, maps[:, :1]], axis=1)
    found = hits(many, boxes, rule="padded", **told)
    assert found[:2].tolist() == [1.0, 0.0] and np.isnan(found[2])
    middle = ({0: [(500, 500, 530, 530)]}, {0: [(0, 0, 100, 100)]})
    assert hits(None, middle, rule="padded", **told)[0] == 0.5
    with pytest.raises(EvaluationError, match="give one map each"):
        hits(maps[:1], boxes, rule="padded", **told)
