"""How many examples of which subset, and which: equal volumes, label-balanced caps, label-balanced test splits.

Used with ``selection``: that says which subsets a condition holds, this how much of each. Everything is a function
of its seed.

>>> share_out([3000, 800], 2000, rng=np.random.default_rng(0))
[1200, 800]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.files import DataError
from lib.streams import stream
from papers.med_mat.data.selection import Subset

SUBSET_CAP = 3_000  # training examples of one subset (section 2.1)
CONDITION_CAP = 15_000  # training examples of one condition in Figure 4
TEST_SHARE = 0.1  # "original split or 9:1"


def share_out(available: Sequence[int], total: int, *, rng: np.random.Generator) -> list[int]:
    """Whole numbers that sum to ``total``, as equal as ``available`` (upper bounds) allows.

    Those with the least are filled first and what they lack is shared by the others; a remainder goes to random ones.
    Raises :class:`DataError` when ``total`` is more than there is.
    """
    bounds = [int(value) for value in available]
    if total < 0 or min(bounds, default=0) < 0 or total > sum(bounds):
        raise DataError(f"{total} examples cannot be taken from {sum(bounds)}; ask for fewer or add subsets.")
    given = [0] * len(bounds)
    left = total
    while left:
        open_ = [i for i, bound in enumerate(bounds) if given[i] < bound]
        each = left // len(open_)
        if each == 0:
            for i in rng.choice(open_, size=left, replace=False):
                given[i] += 1
            return given
        for i in open_:
            more = min(each, bounds[i] - given[i])
            given[i] += more
            left -= more
    return given


def allocate(members: Sequence[Subset], available: Mapping[str, int], *, total: int, seed: int = 0) -> dict[str, int]:
    """Examples of each subset number so that a condition has exactly ``total``, as even over its subsets as it can be."""
    for subset in members:
        if subset.no not in available:
            raise DataError(f"Subset {subset.no} has no number of available examples; load it or take it out.")
    rng = stream(seed, "remainder", total)
    amounts = share_out([available[subset.no] for subset in members], total, rng=rng)
    return {subset.no: amount for subset, amount in zip(members, amounts, strict=True)}


def equalise(
    conditions: Mapping[str, Sequence[Subset]],
    available: Mapping[str, int],
    *,
    total: int = CONDITION_CAP,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """Examples of each subset in each condition, every condition with exactly the same number.

    That number is ``total`` (paper: 15,000), or what the smallest condition can supply. A condition without subsets
    (the untrained baseline) stays empty and does not count.
    """
    filled = {name: members for name, members in conditions.items() if members}
    if not filled:
        raise DataError("No condition holds a subset; there is nothing to equalise.")
    volume = min([total, *(sum(available.get(s.no, 0) for s in members) for members in filled.values())])
    return {
        name: allocate(members, available, total=volume, seed=seed) if members else {}
        for name, members in conditions.items()
    }


def balanced_cap(labels: Sequence[str], *, cap: int = SUBSET_CAP, seed: int = 0) -> list[int]:
    """Positions of at most ``cap`` examples, sorted, with labels as equally frequent as they can be.

    A label with fewer examples than its share gives all it has (section 2.1: "label-balanced as far as possible").
    """
    rng = stream(seed, "balanced rows")
    places = _places(labels)
    amounts = share_out([len(where) for where in places.values()], min(cap, len(labels)), rng=rng)
    kept = [rng.permutation(where)[:amount] for where, amount in zip(places.values(), amounts, strict=True)]
    return sorted(int(i) for i in np.concatenate(kept)) if kept else []


def _places(labels: Sequence[str]) -> dict[str, list[int]]:
    """Positions of each label, labels in alphabetical order."""
    places: dict[str, list[int]] = {label: [] for label in sorted(set(labels))}
    for i, label in enumerate(labels):
        places[label].append(i)
    return places


@dataclass(frozen=True)
class Split:
    """Positions of training and test examples. ``untested``: labels too rare for the test set, and their examples."""

    train: list[int]
    test: list[int]
    untested: dict[str, int]


def balanced_split(
    labels: Sequence[str], images: Sequence[str], *, test_share: float = TEST_SHARE, fewest: int = 10, seed: int = 0
) -> Split:
    """A test set with exactly as many images of each label, about ``test_share`` of the data, and the rest for training.

    No image is in both, also when it occurs in several rows: an image drawn for the test takes all its rows out of
    training and is tested once; an image with two labels is not tested. At most half of the rarest label is tested.
    Labels with fewer than ``fewest`` images are only trained on. Paper: test sets are strictly label-balanced, sizes
    not printed. Raises :class:`DataError` when fewer than two labels can be tested.
    """
    if len(labels) != len(images):
        raise DataError(f"{len(labels)} labels and {len(images)} images; give one image a label.")
    if fewest < 2:
        raise DataError(f"'fewest' is {fewest}; a label needs two images, one to train on and one to test.")
    rows: dict[str, list[int]] = {}
    for i, image in enumerate(images):
        rows.setdefault(image, []).append(i)
    single = {image: where for image, where in rows.items() if len({labels[i] for i in where}) == 1}
    pools: dict[str, list[str]] = {label: [] for label in sorted(set(labels))}
    for image, where in single.items():
        pools[labels[where[0]]].append(image)
    tested = {label: pool for label, pool in pools.items() if len(pool) >= fewest}
    if len(tested) < 2:
        raise DataError(
            f"{len(tested)} of {len(pools)} labels have {fewest} images or more; a balanced test needs two labels: "
            f"lower 'fewest' or merge labels."
        )
    rarest = min(len(pool) for pool in tested.values())
    each = min(max(1, round(test_share * len(rows) / len(tested))), rarest // 2)
    rng = stream(seed, "test images")
    drawn = {image for pool in tested.values() for image in rng.permutation(sorted(pool))[:each]}
    test = sorted(rows[image][0] for image in drawn)
    train = [i for i, image in enumerate(images) if image not in drawn]
    counts = {label: len(pool) for label, pool in pools.items() if label not in tested}
    return Split(train=train, test=test, untested=counts)
