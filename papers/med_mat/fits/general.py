"""How much a base model has learnt in the general stage, on pictures it was not trained with: does a backbone see?

Used by the notebook ``tab4_backbones``: a comparison of backbones says little when one of them hardly sees.

    score_general(folder, base=base, count=2000, seed=999)      # accuracy.json: kind of question -> share of right letters
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from lib.evaluation.exam_prompts import LETTERS
from lib.streams import stream_seed
from papers.med_mat.checkpoints import TinyCheckpoint
from papers.med_mat.fits.pretraining import lettered
from papers.med_mat.world.general import draw_general

TEST_SEED = stream_seed(0, "test of the general stage")  # pictures no general stage is trained with


def score_general(folder: Path, *, base: Path, count: int, seed: int) -> None:
    """Ask ``count`` new pictures' questions by letter; write ``accuracy.json``: kind -> [share right, chance]."""
    checkpoint = TinyCheckpoint.read(base)
    images, _, asked = draw_general(count=count, seed=seed)
    found = {}
    for kind in sorted({one["kind"] for one in asked if "options" in one}):
        rows = [row for row, one in enumerate(asked) if one["kind"] == kind]
        options = [asked[row]["options"] for row in rows]
        texts = [lettered(asked[row]["question"], shown) for row, shown in zip(rows, options, strict=True)]
        letters = LETTERS[: len(options[0])]
        scores = checkpoint.letter_scores(images[rows], texts, letters=letters)
        right = [shown.index(asked[row]["answer"]) for row, shown in zip(rows, options, strict=True)]
        found[kind] = [float((scores.argmax(1) == right).mean()), 1 / len(letters)]
    (folder / "accuracy.json").write_text(json.dumps(found))


def general_table(run: Any, models: dict[str, Path], *, count: int = 2000) -> pd.DataFrame:
    """Accuracy on each kind of general question (columns) of named base models (rows), chance in the last row."""
    many = [{"base": model, "count": count, "seed": TEST_SEED} for model in models.values()]
    folders = run.build_all(score_general, many)
    read = [json.loads((folder / "accuracy.json").read_text()) for folder in folders]
    rows = {name: {kind: right for kind, (right, _) in one.items()} for name, one in zip(models, read, strict=True)}
    return pd.DataFrame({**rows, "chance": {kind: chance for kind, (_, chance) in read[0].items()}}).T
