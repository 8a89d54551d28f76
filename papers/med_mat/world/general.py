"""The general stage: pictures of shapes on random textures with questions in words no medical question uses.

It stands for what a released multimodal model has learnt before it sees Med-MAT (LLaVA's data is almost free of medical
images): shapes, brightness, counts, sizes, places, and how to answer by word, by letter and by box. Nothing here says
what a modality shows or what is normal in an area. Used by :mod:`papers.med_mat.fits.pretraining` through files.

    write_general(folder, count=24_000, seed=0)       # images.npy, objects.npy, questions.json
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lib.streams import stream
from papers.med_mat.data.boxes import box_of_mask, box_text, mask_text
from papers.med_mat.world.shapes import SHAPES, SIDE, blur, clouds, draw_ellipses, draw_shapes

NAMES = ("circle", "hoop", "stick", "plus", "asterisk")  # of SHAPES, in order
TONES = ("pale", "inky")
COUNTS, SIZES, FOUND = ("zero", "one", "two", "three"), ("tiny", "small", "big", "huge"), ("present", "missing")
RADII = ((1.2, 1.6), (2.0, 2.5), (3.0, 3.6), (4.3, 5.0))  # pixels, of the four sizes
ASKS = {  # kind of question -> its share and its words
    "exists": (0.15, "spot {tone} {name}"),
    "which": (0.25, "name {tone} item"),
    "count": (0.20, "tally {tone} {name}"),
    "size": (0.20, "measure {tone} {name}"),
    "box": (0.20, "locate {tone} {name}"),
}
OUTLINE = "trace {tone} {name}"
MOST = 5  # shapes in a picture
BINS = 16  # steps of a side of a box or mask written as text
CHUNK = 2000


def _background(rng: np.random.Generator, count: int) -> np.ndarray:
    """Textures none of which is a modality's: gratings, chequers, clouds, grain; with a blotch or two."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    turn, pitch, phase = (rng.uniform(low, high, (count, 1, 1)) for low, high in ((0, np.pi), (3, 14), (0, 7)))
    wave = np.sin(2 * np.pi * (np.cos(turn) * x + np.sin(turn) * y) / pitch + phase)
    chequer = np.sign(np.sin(2 * np.pi * x / pitch + phase) * np.sin(2 * np.pi * y / pitch))
    kind = rng.integers(0, 4, (count, 1, 1))
    texture = np.select([kind == 0, kind == 1, kind == 2], [wave, chequer, clouds(rng, count, 3.0)], 0.0)
    grain = rng.standard_normal((count, SIDE, SIDE), dtype=np.float32)
    grain = np.where(rng.random((count, 1, 1)) < 0.3, 2.5 * blur(grain, 0.8), grain)
    blotches = np.concatenate([rng.uniform(10, 22, (count, 2, 2)), rng.uniform(6, 18, (count, 2, 2))], axis=-1)
    image = rng.uniform(0.36, 0.6, (count, 1, 1)) + rng.uniform(0.01, 0.06, (count, 1, 1)) * texture
    image += rng.uniform(0, 0.08, (count, 1, 1)) * grain
    return (image + rng.uniform(-0.15, 0.15, (count, 1, 1)) * draw_ellipses(blotches)).astype(np.float32)


def _scene(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Shapes of ``count`` pictures such that each picture's question has one answer; slot 0 is what is asked about."""
    kind = rng.choice(list(ASKS), count, p=[share for share, _ in ASKS.values()])
    tone, name, level = rng.integers(0, 2, count), rng.integers(0, len(SHAPES), count), rng.integers(0, 4, count)
    names, tones = rng.integers(0, len(SHAPES), (count, MOST)), rng.integers(0, 2, (count, MOST))
    drawn = np.arange(MOST) < rng.integers(0, MOST + 1, count)[:, None]
    wanted = np.select([kind == "exists", kind == "count"], [rng.integers(0, 2, count), level], 1)
    rival = (tones == tone[:, None]) & ((names == name[:, None]) | (kind == "which")[:, None])
    tones = np.where(rival, 1 - tones, tones)  # nothing else answers the question
    mine = np.arange(MOST) < wanted[:, None]
    radius = rng.uniform(1.7, 3.4, (count, MOST))
    sized = rng.uniform(*np.array(RADII)[level].T)
    radius[:, 0] = np.select([kind == "size", kind == "count"], [sized, radius[:, 0]], rng.uniform(1.7, 4.2, count))
    return {
        "kind": kind, "tone": tone, "name": name, "level": level, "wanted": wanted, "radius": radius, "drawn": drawn | mine,
        "names": np.where(mine, name[:, None], names), "tones": np.where(mine, tone[:, None], tones),
    }  # fmt: skip


def _draw(rng: np.random.Generator, scene: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures (N, SIDE, SIDE) uint8, objects (N, MOST, 5): name, tone, x, y, radius (-9: not drawn), masks of slot 0."""
    count = len(scene["kind"])
    image, busy = _background(rng, count), np.zeros((count, 0, 3), np.float32)
    mask = np.zeros((count, SIDE, SIDE), bool)
    for slot in range(MOST):
        radius, drawn = scene["radius"][:, slot], scene["drawn"][:, slot]
        tries = rng.uniform(4, SIDE - 5, (count, 12, 2)).astype(np.float32)
        away = np.hypot(*np.moveaxis(tries[:, :, None] - busy[:, None, :, :2], -1, 0)) - busy[:, None, :, 2]
        room = away.min(2, initial=9.0) - radius[:, None]
        place = tries[np.arange(count), np.where((room > 1).any(1), (room > 1).argmax(1), room.argmax(1))]
        rows = np.flatnonzero(drawn)
        shape = draw_shapes(
            np.array(SHAPES)[scene["names"][rows, slot]], x=place[rows, 0], y=place[rows, 1], radius=radius[rows],
            angle=rng.uniform(0, np.pi, rows.size),
        )  # fmt: skip
        sign = np.where(scene["tones"][rows, slot] == 0, 1, -1) * rng.uniform(0.2, 0.4, rows.size)
        image[rows] += sign[:, None, None] * shape
        busy = np.concatenate([busy, np.column_stack([place, np.where(drawn, radius, -9)])[:, None]], 1)
        if slot == 0:
            mask[rows] = shape > 0.4
    objects = np.concatenate([scene["names"][..., None], scene["tones"][..., None], busy], axis=2)
    return (255 * image.clip(0, 1)).round().astype(np.uint8), objects.astype(np.float32), mask


def _question(rng: np.random.Generator, scene: dict[str, np.ndarray], row: int, mask: np.ndarray) -> dict:
    kind, tone, name = str(scene["kind"][row]), TONES[scene["tone"][row]], NAMES[scene["name"][row]]
    asked = {"kind": kind, "question": ASKS[kind][1].format(tone=tone, name=name)}
    if kind == "box":
        box = box_text(box_of_mask(mask), width=SIDE, height=SIDE, bins=BINS)
        outline = {"outline": OUTLINE.format(tone=tone, name=name), "mask": mask_text(mask, bins=BINS)}
        return {**asked, "answer": box, **outline}
    level = scene["level"][row]
    others = rng.permutation([n for n in NAMES if n != name])[:3]
    options, answer = {
        "exists": (FOUND, FOUND[1 - min(scene["wanted"][row], 1)]),
        "which": ((name, *map(str, others)), name),
        "count": (COUNTS, COUNTS[level]),
        "size": (SIZES, SIZES[level]),
    }[kind]
    return {**asked, "options": [str(o) for o in rng.permutation(options)], "answer": answer}


def draw_general(*, count: int, seed: int, part: int = 0) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Pictures (count, SIDE, SIDE) uint8, their objects (count, MOST, 5) and one question each; every ``part`` has others."""
    rng = stream(seed, "general stage", part)
    scene = _scene(rng, count)
    images, objects, masks = _draw(rng, scene)
    return images, objects, [_question(rng, scene, row, masks[row]) for row in range(count)]


def texts() -> list[str]:
    """Everything a question or a one-word answer can say, whatever the pictures: the words a model must know."""
    asked = [*(words for _, words in ASKS.values()), OUTLINE]
    said = [text.format(tone=tone, name=name) for text in asked for tone in TONES for name in NAMES]
    return [*said, *COUNTS, *SIZES, *FOUND]


def write_general(folder: Path, *, count: int, seed: int) -> None:
    """Write ``images.npy``, ``objects.npy`` and ``questions.json`` of ``count`` pictures (rounded up to whole chunks)."""
    parts = [draw_general(count=min(CHUNK, count), seed=seed, part=part) for part in range(-(-count // CHUNK))]
    np.save(folder / "images.npy", np.concatenate([images for images, _, _ in parts]))
    np.save(folder / "objects.npy", np.concatenate([objects for _, objects, _ in parts]))
    (folder / "questions.json").write_text(json.dumps([one for _, _, asked in parts for one in asked]))
