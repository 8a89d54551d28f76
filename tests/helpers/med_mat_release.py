"""A release of Med-MAT in miniature: question files in both layouts, images whose tone is the label, a tiny LLaVA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_llava import write_tiny_llava

from papers.med_mat.data.files import SUBSET_FILES, record, write_records
from papers.med_mat.data.questions import ask
from papers.med_mat.data.registry import Registry

TONES = {"dark": 20, "bright": 230, "grey": 120, "pale": 180}


def write_release(root: Path, registry: Registry, *, count: int, labels: Sequence[str] = ("bright", "dark")) -> None:
    """``count`` images of each classification subset below ``root``, question files in either layout in turn, the model."""
    texts = []
    for subset, layout in zip(registry.classification, cycle(SUBSET_FILES)):
        rows = []
        for i in range(count):
            label, image = labels[i % len(labels)], f"med-mat/{subset.no}/{i}.png"
            question = ask(label, labels, subset, image=image, seed=0)
            row = record(question, id=i, caption=label, image=image, data_no=registry.members[subset.no][0])
            rows.append(replace(row, question="Describe the picture.", answer=f"It is {label}."))
            (root / image).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 24), TONES[label] + i % 5, np.uint8)).save(root / image)
        write_records(root / layout.format(no=subset.no), rows)
        texts += [one.question_choice for one in rows]
    write_tiny_llava(root / "llava", texts=texts)
