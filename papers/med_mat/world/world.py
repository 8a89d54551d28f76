"""The generated Med-MAT world: images whose modality, area and task are separate factors.

A picture is ``physics_m( silhouette_a + normal structures_a + artefacts + lesions_t(label) )``. To read it one needs all
three: the *modality* says whether a lesion is brighter or darker than the tissue (artefacts have the other sign), the
*area* says which structures are normal (they have the sign and the shapes of lesions), the *task* says which lesions count
and what they are called. Nothing but the lesions depends on the label.

Used by :mod:`papers.med_mat.study`; images and questions are written in the layout of the release.

>>> images, masks = render("CT", "Lung", "Level", np.array([0, 3, 1]), np.random.default_rng(0))   # (3, 32, 32) uint8, bool
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.streams import stream
from papers.med_mat.data.files import record, write_records
from papers.med_mat.data.questions import ask
from papers.med_mat.data.registry import read_registry
from papers.med_mat.data.selection import Subset
from papers.med_mat.world.shapes import PHYSICS, SHAPES, SIDE, apply_physics, blur, draw_ellipses, draw_shapes


@dataclass(frozen=True)
class Area:
    """Body: ellipses (x, y, half-width, half-height). Normal structures: (shape, x, y, radius, angle). In pixels."""

    body: tuple[tuple[float, float, float, float], ...]
    normal: tuple[tuple[str, float, float, float, float], ...]


AREAS = {
    "Cervix": Area(((16, 16, 13, 13),), (("ring", 16, 16, 3.2, 0),)),
    "Kidney": Area(((9, 16, 7, 11), (23, 16, 7, 11)), (("ring", 9, 16, 2.8, 0), ("ring", 23, 16, 2.8, 0))),
    "Lung": Area(((8.5, 17, 7, 13), (23.5, 17, 7, 13)), (("disc", 11, 10, 2.4, 0), ("disc", 21, 10, 2.4, 0))),
    "Brain": Area(((16, 16, 12.5, 14.5),), (("bar", 13, 15, 2.6, 1.57), ("bar", 19, 15, 2.6, 1.57))),
    "Intestine": Area(((16, 16, 14.5, 14.5),), (("ring", 16, 17, 4.4, 0),)),
    "Bladder": Area(((16, 17, 13, 11),), (("cross", 16, 9, 2.6, 0),)),
    "Skin": Area(((16, 16, 30, 30),), (("disc", 6, 7, 2.2, 0), ("disc", 26, 25, 2.2, 0))),
    "Mouth": Area(
        ((16, 16, 15, 10),), (("cross", 8, 11, 2.0, 0), ("cross", 16, 10, 2.0, 0), ("cross", 24, 11, 2.0, 0))
    ),
    "Fundus": Area(((16, 16, 15, 15),), (("disc", 23, 16, 3.4, 0), ("bar", 20, 7, 3.0, 0.9))),
    "Cell": Area(((9, 10, 7, 7), (23, 11, 7, 8), (15, 23, 9, 7)), (("star", 9, 10, 2.8, 0), ("disc", 23, 11, 2.4, 0))),
    "Retina": Area(((16, 17, 30, 10),), (("bar", 9, 12, 3.6, 0.1), ("bar", 23, 22, 3.6, 0.1))),
    "Breast": Area(((12, 17, 15, 13),), (("disc", 24, 17, 2.6, 0), ("star", 9, 9, 2.6, 0))),
    "Bones": Area(((16, 8, 9, 7), (16, 24, 9, 7)), (("bar", 16, 15.5, 3.4, 0), ("cross", 20, 24, 2.2, 0))),
    "Chest": Area(((16, 17, 15, 14),), (("bar", 8, 10, 3.2, 0.6), ("bar", 24, 10, 3.2, -0.6))),
}


@dataclass(frozen=True)
class Task:
    """A task family: label words, and for each label which lesions are drawn and how many of what radius."""

    labels: tuple[str, ...]
    shapes: tuple[str, ...]
    counts: tuple[int, ...]
    radii: tuple[tuple[float, float], ...]


_MIDDLE = (2.4, 3.4)
# Three binary families, which the paper merges as "State", say the same two words of different lesions.
TASKS = {
    "State": Task(("normal", "abnormal"), ("disc", "disc"), (0, 1), (_MIDDLE,) * 2),
    "COVID": Task(("normal", "abnormal"), ("disc", "disc"), (0, 2), ((1.7, 2.4),) * 2),
    "Cancer": Task(("normal", "abnormal"), ("star", "star"), (0, 1), (_MIDDLE,) * 2),
    "Level": Task(
        ("grade-0", "grade-1", "grade-2", "grade-3"), ("disc",) * 4, (1,) * 4,
        ((1.2, 1.5), (2.1, 2.5), (3.1, 3.6), (4.4, 5.0)),
    ),
    "Diseases": Task(("nodule", "cyst", "fissure", "plaque"), ("disc", "ring", "bar", "cross"), (1,) * 4, (_MIDDLE,) * 4),
    "Recognition": Task(("solitary", "paired", "threefold", "fourfold"), ("disc",) * 4, (1, 2, 3, 4), ((1.9, 2.5),) * 4),
    "Quality": Task(("adequate", "inadequate"), ("disc", "disc"), (1, 1), (_MIDDLE,) * 2),
}  # fmt: skip


class _Scene:
    """N pictures being drawn: tissue, what is occupied already, and the mask of the lesions."""

    def __init__(self, area: Area, count: int, rng: np.random.Generator):
        self.rng, self.count = rng, count
        self.shift = rng.uniform(-1.2, 1.2, (count, 2))
        body = np.tile(np.array(area.body, np.float32), (count, 1, 1))
        body[..., :2] += self.shift[:, None]
        body[..., 2:] *= rng.uniform(0.95, 1.05, (count, 1, 1))
        self.body = draw_ellipses(body)
        inside, outside = rng.uniform(0.46, 0.56, (count, 1, 1)), rng.uniform(0.24, 0.34, (count, 1, 1))
        self.tissue = outside + (inside - outside) * self.body
        self.busy = np.zeros((count, 0, 3), np.float32)  # x, y, radius of everything drawn
        self.mask = np.zeros((count, SIDE, SIDE), bool)

    def _free_place(self, radius: np.ndarray) -> np.ndarray:
        """Centres (N, 2) inside the body, clear of what is drawn; the clearest of 60 tries where none is clear."""
        tries = self.rng.uniform(4, SIDE - 5, (self.count, 60, 2))
        at = tries.round().astype(int)
        inside = self.body[np.arange(self.count)[:, None], at[..., 1], at[..., 0]] > 0.9
        away = np.linalg.norm(tries[:, :, None] - self.busy[:, None, :, :2], axis=-1) - self.busy[:, None, :, 2]
        room = away.min(axis=2, initial=9.0) - radius[:, None] - 1.2
        good = inside & (room > 0)
        best = np.where(good.any(1), good.argmax(1), np.where(inside, room, -99).argmax(1))
        return tries[np.arange(self.count), best]

    def draw(self, kinds, radius, sign: float, *, drawn=None, place=None, angle=None, lesion: bool = False) -> None:
        """One structure in each picture where ``drawn``; without ``place`` where there is room."""
        drawn = np.ones(self.count, bool) if drawn is None else drawn
        place = self._free_place(radius) if place is None else place
        angle = self.rng.uniform(0, np.pi, self.count) if angle is None else angle
        shape = draw_shapes(kinds, x=place[:, 0], y=place[:, 1], radius=radius, angle=angle) * drawn[:, None, None]
        self.tissue = self.tissue + sign * self.rng.uniform(0.30, 0.42, (self.count, 1, 1)) * shape
        self.busy = np.concatenate([self.busy, np.column_stack([place, np.where(drawn, radius, -9)])[:, None]], axis=1)
        if lesion:
            self.mask |= shape > 0.5


def render(
    modality: str, area: str, family: str, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, SIDE, SIDE) uint8 of one cell and the masks (N, SIDE, SIDE) bool of their lesions.

    ``labels`` (N,): indices into ``TASKS[family].labels``. Raises ``KeyError`` for a name the world does not know.
    """
    task, sign, count = TASKS[family], 1.0 if PHYSICS[modality][1] else -1.0, len(labels)
    scene = _Scene(AREAS[area], count, rng)
    for kind, x, y, radius, angle in AREAS[area].normal:
        place = np.array([x, y]) + scene.shift + rng.uniform(-0.6, 0.6, (count, 2))
        turn = angle + rng.uniform(-0.15, 0.15, count)
        scene.draw(np.full(count, kind), radius * rng.uniform(0.93, 1.07, count), sign, place=place, angle=turn)
    kinds, wanted = np.array(task.shapes)[labels], np.array(task.counts)[labels]
    for lesion in range(max(task.counts)):
        radius = rng.uniform(*np.array(task.radii)[labels].T)
        scene.draw(kinds, radius, sign, drawn=lesion < wanted, lesion=True)
    for _ in range(2):  # artefacts: any shape, the sign no lesion has in this modality
        shape, drawn = rng.choice(SHAPES, count), rng.random(count) < 0.6
        scene.draw(shape, rng.uniform(1.8, 3.4, count), -sign, drawn=drawn)
    tissue = scene.tissue
    if family == "Quality":
        tissue = blur(tissue, np.where(labels == 1, rng.uniform(1.6, 2.2, count), 0.05))
    return apply_physics(modality, tissue, rng), scene.mask


def rule(subset: Subset) -> str:
    """The task family of the world by which a subset's pictures are labelled: its first name in the paper's tables.

    The paper's "State" holds COVID and cancer as well; here they are drawn as different lesions, so that a combination
    that fits only by the wider name is one only by name.
    """
    return next((name for name in subset.names if name in TASKS), subset.family)


def cells(subsets: Iterable[Subset]) -> list[Subset]:
    """The subsets a world can hold: the first of each (modality, area, rule), since equal triplets are one subset."""
    found: dict[tuple[str, str, str], Subset] = {}
    for subset in subsets:
        if subset.modality in PHYSICS and subset.area in AREAS and rule(subset) in TASKS:
            found.setdefault((subset.modality, subset.area, rule(subset)), subset)
    return list(found.values())


def write_world(folder: Path, *, table: str, images: int, seed: int, only: Collection[str] = ()) -> None:
    """Write a world in the layout of the release: ``images`` pictures a cell, their questions, the table of subsets.

    ``table``: the CSV text of the subsets whose triplets the world populates; ``only``: numbers of some of them. Pictures of
    different seeds have nothing in common. Read back by :func:`papers.med_mat.data.prepare.prepare` like the release.
    """
    from PIL import Image

    (folder / "datasets.csv").write_text(table, encoding="utf-8")
    registry = read_registry(folder / "datasets.csv")
    for subset in cells(registry.classification):
        if only and subset.no not in only:
            continue
        rng, task = stream(seed, "pictures", subset.no), TASKS[rule(subset)]
        truth = rng.permutation(np.arange(images) % len(task.labels))
        pictures, _ = render(subset.modality, subset.area, rule(subset), truth, rng)
        source, asked = registry.members[subset.no][0], replace(subset, task=rule(subset))
        place = Path("med-mat") / f"generated-{subset.no}"
        (folder / place).mkdir(parents=True)
        rows = []
        for number, (picture, label) in enumerate(zip(pictures, truth, strict=True)):
            image = str(place / f"{number}.png")
            Image.fromarray(picture).save(folder / image, compress_level=1)
            question = ask(task.labels[label], task.labels, asked, image=image, seed=seed)
            rows.append(record(question, id=number, caption=task.labels[label], image=image, data_no=source))
        write_records(folder / "Aggregated_Subsets" / f"Subset--{subset.no}-train.json", rows)


def words() -> list[str]:
    """Every word of the world's questions that carries meaning: modalities, areas, tasks and labels."""
    said = {*PHYSICS, *(area.lower() for area in AREAS), *TASKS, *(label for t in TASKS.values() for label in t.labels)}
    return sorted(said)
