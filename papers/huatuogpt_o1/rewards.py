"""The reward of a reply (section 3.2): 1 where the verifier agrees, 0.1 where it does not, 0 where the format is lost.

Reward(tokenizer, references, verifier)([0, 1], replies)      # [1.0, 0.1]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib.streams import stream
from papers.huatuogpt_o1.replies import sections
from papers.huatuogpt_o1.verifiers import Verifier


def spoken(tokenizer: Any, replies: Sequence[Sequence[int]]) -> list[str]:
    """Replies as text; the tiny word tokenizer writes the header's signs apart, and they are put together again."""
    return [text.replace("# #", "##") for text in tokenizer.batch_decode(replies, skip_special_tokens=True)]


def final_answers(texts: Sequence[str], *, formatted: bool) -> list[str | None]:
    """What goes to the verifier: behind the last header, or the whole text of an arm that has no format; ``None``: format lost."""
    if not formatted:
        return [text.strip() or None for text in texts]
    parts = [sections(text) for text in texts]
    return [part[1] if part and part[1] else None for part in parts]


class Reward:
    """``references``: the truth of each prompt. ``wrong``: paid where the verifier disagrees. ``noise``: the share of verdicts that
    are turned over. ``random``: the share of replies in format that are paid 1 whatever they say (the null)."""

    def __init__(
        self, tokenizer: Any, references: Sequence[str], verifier: Verifier, *, formatted: bool = True, wrong: float = 0.1,
        noise: float = 0.0, random: float | None = None, seed: int = 0,
    ):  # fmt: skip
        self.tokenizer, self.references, self.verifier, self.formatted = tokenizer, references, verifier, formatted
        self.wrong, self.noise, self.random = wrong, noise, random
        self._rng: np.random.Generator = stream(seed, "reward")

    def __call__(self, places: Sequence[int], replies: Sequence[Sequence[int]]) -> list[float]:
        answers = final_answers(spoken(self.tokenizer, replies), formatted=self.formatted)
        known = [k for k, answer in enumerate(answers) if answer is not None]
        paid = np.zeros(len(replies))
        if known:
            said = self.verifier.verify([answers[k] for k in known], [self.references[places[k]] for k in known])
            if self.random is not None:
                said = self._rng.random(len(known)) < self.random
            said = said ^ (self._rng.random(len(known)) < self.noise)
            paid[known] = np.where(said, 1.0, self.wrong)
        return paid.tolist()
