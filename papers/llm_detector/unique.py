"""Texts without the near duplicates that a corpus's making leaves: the same text of a human, kept from other places on.

The pairs of Fast-DetectGPT hold a human text up to three times, once a model, and each time it shares another number of words
with the model's: what follows begins earlier or later in one and the same text. Left in, they give the human class away: its
words stand three times, a machine's once, and a count of words that stand once alone parts the classes. They are looked for
before texts are cut to length, when all of a text that stands again is there to be seen.

    kept = unique(texts)
"""

from __future__ import annotations

from collections.abc import Sequence

from papers.llm_detector.seqxgpt import shingles
from papers.llm_detector.texts import Text


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
