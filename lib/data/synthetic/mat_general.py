"""The general stage: pictures of shapes on random textures with questions in words no medical question uses.

It stands for the pre-training of a released multimodal model (LLaVA's is almost free of medical images): it teaches
shapes, brightness, counts, sizes, places and how to answer by letter, and nothing about modalities or areas.

>>> images, records = draw_general(count=1000, seed=0)       # (1000, 32, 32) uint8, list of dicts
"""

from __future__ import annotations

import numpy as np

from lib.data.synthetic.mat_shapes import SHAPES, SIDE, blur, clouds, draw_ellipses, draw_shapes

NAMES = dict(zip(SHAPES, ("circle", "hoop", "stick", "plus", "asterisk"), strict=True))
TONES = ("pale", "inky")
COUNTS, SIZES, FOUND = ("zero", "one", "two", "three", "four"), ("tiny", "small", "big", "huge"), ("present", "missing")
LETTERS = "ABCD"


def _background(rng: np.random.Generator, count: int) -> np.ndarray:
    """Textures none of which is a modality's: gratings, chequers, clouds and plain grey, with or without a silhouette."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    turn, pitch, phase = rng.uniform(0, np.pi, (count, 1, 1)), rng.uniform(3, 14, (count, 1, 1)), rng.uniform(0, 7, (count, 1, 1))
    wave = np.sin(2 * np.pi * (np.cos(turn) * x + np.sin(turn) * y) / pitch + phase)
    chequer = np.sign(np.sin(2 * np.pi * x / pitch + phase) * np.sin(2 * np.pi * y / pitch))
    kind = rng.integers(0, 4, (count, 1, 1))
    texture = np.select([kind == 0, kind == 1, kind == 2], [wave, chequer, clouds(rng, count, 3.0)], 0.0)
    grain = rng.standard_normal((count, SIDE, SIDE), dtype=np.float32)
    grain = np.where(rng.random((count, 1, 1)) < 0.3, blur(grain, 0.8) * 2.5, grain) * rng.uniform(0, 0.08, (count, 1, 1))
    parts = np.stack([rng.uniform(10, 22, (count, 2)), rng.uniform(10, 22, (count, 2))], axis=-1)
    parts = np.concatenate([parts, rng.uniform(6, 18, (count, 2, 2))], axis=-1)
    body = draw_ellipses(parts) * rng.uniform(-0.15, 0.15, (count, 1, 1))
    return (rng.uniform(0.36, 0.6, (count, 1, 1)) + rng.uniform(0.01, 0.06, (count, 1, 1)) * texture + body + grain).astype(np.float32)


def draw_general(*, count: int, seed: int) -> tuple[np.ndarray, list[dict], np.ndarray]:
    """Pictures (count, SIDE, SIDE) uint8 with up to six shapes, and for each a record: question, options, letter or box."""
    rng = np.random.default_rng([seed, 77])
    most = 5
    task = rng.choice(["exists", "which", "count", "size", "box"], count, p=[0.2, 0.3, 0.2, 0.15, 0.15])
    tone = rng.integers(0, 2, count)  # the tone the question is about
    asked = rng.integers(0, 5, count)
    number = rng.integers(0, most + 1, count)
    kinds, tones = rng.integers(0, 5, (count, most)), rng.integers(0, 2, (count, most))
    drawn = np.arange(most) < number[:, None]
    # exists / count: how many of the asked shape in the asked tone; which / size / box: exactly one
    level = rng.integers(0, 4, count)
    wanted = np.select([task == "exists", task == "count"], [rng.integers(0, 2, count), level], 1)
    same = (tones == tone[:, None]) & ((kinds == asked[:, None]) | (task == "which")[:, None])
    tones = np.where(same, 1 - tones, tones)  # others never answer the question
    mine = np.arange(most) < wanted[:, None]
    kinds, tones, drawn = np.where(mine, asked[:, None], kinds), np.where(mine, tone[:, None], tones), drawn | mine
    radius = rng.uniform(1.7, 3.4, (count, most))
    sized = rng.uniform(*np.array([(1.2, 1.6), (2.0, 2.5), (3.0, 3.6), (4.3, 5.0)])[level].T)
    radius[:, 0] = np.where(task == "size", sized, np.where(task == "count", radius[:, 0], rng.uniform(1.7, 4.2, count)))
    image, busy = _background(rng, count), np.zeros((count, 0, 3), np.float32)
    mask = np.zeros((count, SIDE, SIDE), bool)
    for slot in range(most):
        tries = rng.uniform(4, SIDE - 5, (count, 12, 2)).astype(np.float32)
        away = np.hypot(*np.moveaxis(tries[:, :, None] - busy[:, None, :, :2], -1, 0)) - busy[:, None, :, 2]
        room = away.min(2, initial=9.0) - radius[:, slot, None]
        place = tries[np.arange(count), np.where((room > 1).any(1), (room > 1).argmax(1), room.argmax(1))]
        rows = np.flatnonzero(drawn[:, slot])
        shape = draw_shapes(
            np.array(SHAPES)[kinds[rows, slot]], x=place[rows, 0], y=place[rows, 1], radius=radius[rows, slot],
            angle=rng.uniform(0, np.pi, rows.size),
        )  # fmt: skip
        sign = np.where(tones[rows, slot] == 0, 1, -1) * rng.uniform(0.2, 0.4, rows.size)
        image[rows] += sign[:, None, None] * shape
        size = np.where(drawn[:, slot], radius[:, slot], -9)
        busy = np.concatenate([busy, np.column_stack([place, size])[:, None]], 1)
        if slot == 0:
            mask[rows] = shape > 0.5
    objects = np.concatenate([kinds[..., None], tones[..., None], busy], axis=2).astype(np.float32)
    records = []
    names = list(NAMES.values())
    for row in range(count):
        what, shade, thing = task[row], TONES[tone[row]], names[asked[row]]
        if what == "exists":
            options, truth, text = list(FOUND), FOUND[0 if wanted[row] else 1], f"spot any {shade} {thing} please"
        elif what == "which":
            others = [n for n in names if n != thing]
            options = [thing, *rng.choice(others, 3, replace=False)]
            truth, text = thing, f"name that {shade} item please"
        elif what == "count":
            options, truth, text = list(COUNTS[:4]), COUNTS[level[row]], f"tally every {shade} {thing} please"
        elif what == "size":
            options, truth, text = list(SIZES), SIZES[level[row]], f"measure that {shade} {thing} please"
        else:
            options, truth, text = [], "", f"locate that {shade} {thing} please"
        options = [str(o) for o in rng.permutation(options)] if options else []
        record = {"task": str(what), "question": text, "options": options}
        record["answer"] = LETTERS[options.index(truth)] if options else ""
        if not options:
            y, x = np.nonzero(mask[row])
            record["box"] = [int(x.min()), int(y.min()), int(x.max()), int(y.max())] if x.size else [int(busy[row, 0, 0])] * 2 + [int(busy[row, 0, 1])] * 2
        records.append(record)
    return (255 * image.clip(0, 1)).round().astype(np.uint8), records, objects
