"""Detection and segmentation for Med-MAT's miniature: generated subsets on disc, read back, scored by cIoU.

A detection subset shows one large lesion; what is a lesion, and not an artefact or a normal structure, depends on
modality and area as in every other subset. Each image has two rows: where (a box) and outline (a mask), both as text.
Used by ``tab5_tab6_detection``; training is :mod:`papers.med_mat.study`'s.

    write_detection(folder, table=table, numbers=["38", "39"], count=600, seed=0)
    skin = load_located(folder, registry.subsets["38"], mask=False); len(skin.train)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.files import DataError
from lib.evaluation.localisation import cumulative_iou, cumulative_mask_iou
from lib.streams import stream
from papers.med_mat.data.boxes import (
    Located,
    ask_where,
    box_of_mask,
    box_text,
    mask_text,
    read_box,
    read_located,
    read_mask,
    text_of_steps,
    write_located,
)
from papers.med_mat.data.files import SUBSET_FILES, subset_file
from papers.med_mat.data.registry import Registry, read_registry
from papers.med_mat.data.selection import Subset
from papers.med_mat.data.volumes import TEST_SHARE
from papers.med_mat.world.general import BINS
from papers.med_mat.world.shapes import SIDE
from papers.med_mat.world.world import render

WHAT = "lesion"
SHOWN, LARGE = "Level", (2, 3)  # the family whose lesions are drawn, and its two largest; see README, "What we tried"


@dataclass(frozen=True)
class LocatedSet:
    """Rows to train on and to test on, without an image in common."""

    subset: Subset
    train: list[Located]
    test: list[Located]


def write_detection(folder: Path, *, table: str, numbers: Sequence[str], count: int, seed: int) -> None:
    """Write ``count`` images of each detection subset and one file of questions a subset, in the release's layout.

    ``table``: the text of the CSV of subsets, from which modality and area are read; a copy is written. Raises
    :class:`DataError` for a number that is no detection subset of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "datasets.csv").write_text(table, encoding="utf-8")
    registry = read_registry(folder / "datasets.csv")
    for no in numbers:
        subset = registry.subsets.get(no)
        if subset is None or subset.role != "det/seg":
            known = ", ".join(s.no for s in registry.role("det/seg"))
            raise DataError(f"{folder / 'datasets.csv'}: {no} is no detection subset; use one of {known}.")
        write_located(folder / SUBSET_FILES[0].format(no=no), _drawn(folder, subset, registry, count=count, seed=seed))


def _drawn(folder: Path, subset: Subset, registry: Registry, *, count: int, seed: int) -> list[Located]:
    """Draw the images of one subset into ``folder``; two rows an image."""
    from PIL import Image

    rng = stream(seed, "detection pictures", subset.no)
    labels = rng.choice(LARGE, count)
    images, masks = render(subset.modality, subset.area, SHOWN, labels, rng)
    (folder / "med-mat" / subset.no).mkdir(parents=True, exist_ok=True)
    source, rows = registry.members[subset.no][0], []
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        name = f"med-mat/{subset.no}/{i:05d}.png"
        Image.fromarray(image).save(folder / name)
        box = box_text(box_of_mask(mask), width=SIDE, height=SIDE, bins=BINS)
        outline = mask_text(mask, bins=BINS)
        rows.append(Located(2 * i, WHAT, name, ask_where(WHAT, subset), box, source))
        rows.append(Located(2 * i + 1, WHAT, name, ask_where(WHAT, subset, mask=True), outline, source))
    return rows


def load_located(
    root: Path, subset: Subset, *, mask: bool, test_share: float = TEST_SHARE, seed: int = 0
) -> LocatedSet:
    """Box rows (or with ``mask`` mask rows) of a subset, split by image; ``seed`` draws the split."""
    path = subset_file(root, subset.no)
    rows = [one for one in read_located(path) if one.is_mask == mask]
    images = sorted({one.image for one in rows})
    if len(images) < 2:
        raise DataError(f"{path} has {len(images)} images with a {'mask' if mask else 'box'}; a split needs two.")
    drawn = stream(seed, "detection split", subset.no).permutation(images)
    tested = set(drawn[: min(max(1, round(test_share * len(images))), len(images) - 1)])
    return LocatedSet(
        subset, [one for one in rows if one.image not in tested], [one for one in rows if one.image in tested]
    )


def score(answers: Sequence[str], rows: Sequence[Located]) -> float:
    """cIoU in [0, 1] of what a model wrote for ``rows``, all boxes or all masks; an unreadable answer overlaps nothing.

    The truth is the row's own text read back, so a model that copies it scores 1. Raises ``EvaluationError`` for unequal
    lengths or no rows.
    """
    frame = {"width": SIDE, "height": SIDE, "bins": BINS}
    mask = any(one.is_mask for one in rows)
    read, overlap = (read_mask, cumulative_mask_iou) if mask else (read_box, cumulative_iou)
    found = [read(text_of_steps(answer, mask=mask), **frame) for answer in answers]
    return overlap(found, [read(one.answer, **frame) for one in rows])


def blind_answer(rows: Sequence[Located]) -> str:
    """The box a model gives that sees no image: the median of each side of the training boxes (a null of detection)."""
    boxes = np.array([read_box(one.answer, width=BINS, height=BINS, bins=BINS) for one in rows])
    left, top, right, bottom = np.median(boxes, axis=0).round()
    return box_text((left, top, max(right, left + 1), max(bottom, top + 1)), width=BINS, height=BINS, bins=BINS)
