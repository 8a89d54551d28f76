"""Sentences of the training studies as the arms take them, and a tiny text encoder that has seen them. Cached artefacts.

make_texts(folder, root=world, style="aligned", noise={}, seed=0); read_texts(folder)["sentences"][0]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib.models.text_encoder import write_tiny_checkpoint
from papers.carzero import mimic
from papers.carzero.rewriter import with_errors

STYLES = {"raw": mimic.RAW, "aligned": mimic.REWRITTEN, "noisy": mimic.REWRITTEN}


def make_texts(folder: Path, *, root: Path, style: str, noise: dict[str, float], seed: int) -> None:
    """Sentences of the training studies, ``texts.json``: raw, aligned (rewritten) or noisy (rewritten with errors)."""
    studies = mimic.read_training(root, text=STYLES[style])
    listed = with_errors(studies.sentences, seed=seed, **noise) if style == "noisy" else studies.sentences
    (folder / "texts.json").write_text(json.dumps({"files": studies.files, "sentences": listed}))


def read_texts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "texts.json").read_text())


def make_text_checkpoint(folder: Path, *, texts: list[Path], width: int, depth: int, heads: int) -> None:
    """A tiny BERT as a Hugging Face folder, whose tokenizer has seen the sentences of all ``texts``."""
    said = [sentence for path in texts for study in read_texts(path)["sentences"] for sentence in study]
    write_tiny_checkpoint(folder, said, width=width, depth=depth, heads=heads)
