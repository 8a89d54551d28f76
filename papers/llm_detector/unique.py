"""A corpus without the near duplicates that its making leaves: the same text of a human, kept from other places on.

The pairs of Fast-DetectGPT hold a human text up to three times, once a model, and each time it shares another number of words
with the model's: what follows begins earlier or later in one and the same text. Left in, they give the human class away: its
words stand three times, a machine's once, and a count of words that stand once alone parts the classes.

    run.build(write_unique, corpus=folder)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from papers.llm_detector.seqxgpt import shingles
from papers.llm_detector.texts import Text, read_texts, write_texts


def unique(texts: Sequence[Text]) -> list[Text]:
    """Texts that share no eight words in a row with an earlier one of their source by the same writer, in order."""
    seen: dict[tuple[str, str], set[str]] = {}
    kept = []
    for one in texts:
        known, own = seen.setdefault((one.source, one.generator), set()), shingles(one.text)
        if not own & known:
            kept.append(one)
            known |= own
    return kept


def write_unique(folder: Path, *, corpus: Path) -> None:
    """``texts.jsonl`` of ``corpus`` without near duplicates; ``counts.json``: its counts, how many were dropped, what is kept."""
    texts = read_texts(Path(corpus) / "texts.jsonl")
    kept = unique(texts)
    counts = json.loads((Path(corpus) / "counts.json").read_text())
    write_texts(Path(folder) / "texts.jsonl", kept)
    content = {**counts, "near duplicates": len(texts) - len(kept), "kept": len(kept)}
    (Path(folder) / "counts.json").write_text(json.dumps(content))
