"""Texts as long as a model of the profile can take, in words that it has: cut behind so many words, or behind a sentence.

Paper: whole answers. Here: their first words (a tiny model trained from scratch) or first sentences (a small real one on a
processor); at `full` whole. Because: of time.
"""

from __future__ import annotations

import json
from pathlib import Path

from lib.models.causal_lm import pieces
from papers.machine_mindset.released_sets import Row

UNKNOWN = "□"  # what stands for a word that a tiny model does not have
_ENDS = (". ", "! ", "? ", "。", "！", "？")


def shorten(text: str, characters: int) -> str:
    """The first sentences of a text, as many as end within so many characters; "" when none does.

    >>> shorten("I agree. It is late, and I should go home.", 20)
    'I agree.'
    """
    if len(text) <= characters:
        return text
    head = text[: characters + 1]
    return head[: max(head.rfind(end) + len(end.rstrip()) if end in head else 0 for end in _ENDS)]


def say(text: str, words: frozenset[str] | None, most: int | None = None) -> str:
    """The first ``most`` pieces of a text, each that is not among ``words`` as :data:`UNKNOWN`; the text itself without either.

    >>> say("The hall was grand.", frozenset({"The", "was", "."}))
    'The □ was □ .'
    """
    if words is None and most is None:
        return text
    listed = pieces(text)[:most]
    return " ".join(piece if words is None or piece in words else UNKNOWN for piece in listed)


def fitted(row: Row, texts: dict[str, int], words: frozenset[str] | None) -> Row | None:
    """The row with texts as long as ``texts`` says; ``None`` for one that cannot be made so.

    ``prompt`` and ``answer``: pieces at most, cut behind them. ``characters``: of an answer's first sentences, and of an
    instruction, which is never cut. None of them: the texts as they are.
    """
    if most := texts.get("characters"):
        answers = {one: shorten(text.strip(), most) for one, text in row.answers.items()}
        same = len(set(answers.values())) < len(answers)  # what parted them came later
        return (
            None if len(row.instruction) > most or same or not all(answers.values()) else Row(row.instruction, answers)
        )
    answers = {one: say(text.strip(), words, texts.get("answer")) for one, text in row.answers.items()}
    same = len(set(answers.values())) < len(answers)
    return None if same else Row(say(row.instruction, words, texts.get("prompt")), answers)


def read_words(path: Path | None) -> frozenset[str] | None:
    return None if path is None else frozenset(json.loads(Path(path).read_text(encoding="utf-8")))
