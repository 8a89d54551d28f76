"""From a released or generated question file to what training and testing need: cap, balance and split are made here.

The released files are neither the capped, balanced training sets nor the test sets of the paper (6 MB, ``*-train`` only),
so both are remade: a strictly label-balanced test set, at most 3,000 balanced training rows, exact amounts a condition.
Used by the Med-MAT studies at every profile.

    lung = prepare(root, registry.subsets["03"], registry=registry); len(lung.train), len(lung.test)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.files import DataError
from lib.streams import stream
from papers.med_mat.data.files import AbsentError, Record, load_subset
from papers.med_mat.data.registry import Registry
from papers.med_mat.data.selection import Subset
from papers.med_mat.data.volumes import SUBSET_CAP, TEST_SHARE, balanced_cap, balanced_split


@dataclass(frozen=True)
class Prepared:
    """Rows to train on and to test on, without an image in common; ``said``: what was left out, a sentence each."""

    subset: Subset
    train: list[Record]
    test: list[Record]
    said: list[str]


def label(one: Record) -> str:
    """The label of a row: the text of its right option. Raw captions of merged datasets may be synonyms of it."""
    return one.options[one.answer_choice]


def prepare(
    root: Path,
    subset: Subset,
    *,
    registry: Registry,
    missing: str = "stop",
    cap: int = SUBSET_CAP,
    test_share: float = TEST_SHARE,
    fewest: int = 10,
    most_tests: int | None = None,
    seed: int = 0,
) -> Prepared:
    """Load, split and cap one subset, in either layout.

    ``missing``: stop at, or skip, rows without image (:func:`papers.med_mat.data.files.load`). ``most_tests`` bounds the test set,
    which stays balanced; its questions have the subset's usual number of options, others are only trained on. Raises
    :class:`DataError` as ``load_subset`` does, and :class:`AbsentError` where too little is there to test.
    """
    loaded = load_subset(root, subset.no, registry=registry, missing=missing)
    rows, said = loaded.records, list(loaded.said)
    usual = Counter(len(one.options) for one in rows).most_common(1)[0][0]
    odd = [one for one in rows if len(one.options) != usual]
    if odd:
        said.append(
            f"subset {subset.no}: {len(odd)} questions have not the usual {usual} options, they are only trained on"
        )
    rows = [one for one in rows if len(one.options) == usual]
    labels = [label(one) for one in rows]
    if most_tests is not None:
        test_share = min(test_share, most_tests / len({one.image for one in rows}))
    try:
        split = balanced_split(labels, [one.image for one in rows], test_share=test_share, fewest=fewest, seed=seed)
    except DataError as error:
        raise AbsentError(f"Subset {subset.no} under {root}: {error}") from None
    if split.untested:
        rare = ", ".join(f"{name} ({count})" for name, count in split.untested.items())
        said.append(f"subset {subset.no}: labels with fewer than {fewest} images are only trained on: {rare}")
    test = [rows[i] for i in split.test]
    tested = {one.image for one in test}
    train = [rows[i] for i in split.train] + [one for one in odd if one.image not in tested]
    kept = balanced_cap([label(one) for one in train], cap=cap, seed=seed)
    return Prepared(subset, [train[i] for i in kept], test, said)


def without_tested(one: Prepared, test: Sequence[Record]) -> Prepared:
    """``one`` without the training rows whose image is in ``test`` (of a target that holds the same images); it says so.

    Dataset 44 is in subsets 18 and 22, and ten more image sets have two numbers.
    """
    tested = {row.image for row in test}
    kept = [row for row in one.train if row.image not in tested]
    lost = len(one.train) - len(kept)
    said = [f"subset {one.subset.no}: {lost} training rows left out, their images are tested"] if lost else []
    return replace(one, train=kept, said=[*one.said, *said])


def permute_images(rows: Sequence[Record], *, seed: int = 0) -> list[Record]:
    """The rows of one subset with their images exchanged: questions and answers stay, the rule between them is gone.

    The null of every training condition: format, labels and images are the same.
    """
    order = stream(seed, "exchanged images").permutation(len(rows))
    return [replace(one, image=rows[i].image, data_no=rows[i].data_no) for one, i in zip(rows, order, strict=True)]


def draw(
    prepared: Mapping[str, Prepared], amounts: Mapping[str, int], *, permuted: Collection[str] = (), seed: int = 0
) -> list[Record]:
    """The training rows of a condition: ``amounts`` of each subset number, label-balanced, in random order.

    Subsets whose number is in ``permuted`` have their images exchanged (:func:`permute_images`). Raises
    :class:`DataError` when a subset has fewer rows than asked for, or one to permute has no amount.
    """
    rows: list[Record] = []
    for no in permuted:
        if no not in amounts:
            raise DataError(f"Subset {no} is to be permuted and is not in this condition ({', '.join(amounts)}).")
    for no, amount in amounts.items():
        have = prepared[no].train
        if amount > len(have):
            raise DataError(f"Subset {no} has {len(have)} training rows, not {amount}; ask equalise() for the amounts.")
        mine = [have[i] for i in balanced_cap([label(one) for one in have], cap=amount, seed=seed)]
        rows += permute_images(mine, seed=seed) if no in permuted else mine
    return [rows[i] for i in stream(seed, "order of rows").permutation(len(rows))]
