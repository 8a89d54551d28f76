"""Instructions as token ids: placeholders for the volume, the question in the model's own chat template, the answer.

encode(tokenizer, "Is there atelectasis?", "yes", slots=8)   # (prompt ids, answer ids)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.models.causal_lm import end_of_turn
from lib.models.visual_causal_lm import SLOT

IGNORED = -100


def prompt_ids(tokenizer, question: str, *, slots: int) -> list[int]:
    """Ids of a prompt: ``slots`` placeholders, then the question, as the chat template frames a user's turn (M3D's order)."""
    content = SLOT * slots + question
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": content}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    else:
        text = (tokenizer.bos_token or "") + content + "\n"
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def answer_ids(tokenizer, answer: str) -> list[int]:
    """Ids of an answer, without the token that ends it."""
    return tokenizer(" " + answer, add_special_tokens=False)["input_ids"]


class Encoder:
    """Encodes each different question and answer once."""

    def __init__(self, tokenizer, *, slots: int, longest: int):
        self.tokenizer, self.slots, self.longest = tokenizer, slots, longest
        self.end, self.pad = end_of_turn(tokenizer), tokenizer.pad_token_id
        self._prompts: dict[str, list[int]] = {}
        self._answers: dict[str, list[int]] = {}

    def prompt(self, question: str) -> list[int]:
        if question not in self._prompts:
            self._prompts[question] = prompt_ids(self.tokenizer, question, slots=self.slots)
        return self._prompts[question]

    def answer(self, answer: str) -> list[int]:
        if answer not in self._answers:
            self._answers[answer] = answer_ids(self.tokenizer, answer)
        return self._answers[answer]

    def batch(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """Questions with answers, padded on the right; the loss is counted on answers. Longer ones lose the answer's end."""
        rows = []
        for question, answer in pairs:
            asked = self.prompt(question)
            rows.append((asked, [*self.answer(answer), self.end][: max(1, self.longest - len(asked))]))
        length = max(len(asked) + len(said) for asked, said in rows)
        ids = np.full((len(rows), length), self.pad)
        labels, mask = np.full_like(ids, IGNORED), np.zeros_like(ids)
        for place, (asked, said) in enumerate(rows):
            end = len(asked) + len(said)
            ids[place, :end], mask[place, :end], labels[place, len(asked) : end] = [*asked, *said], 1, said
        return {
            name: torch.from_numpy(one)
            for name, one in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))
        }

    def prompts(self, questions: Sequence[str]) -> dict[str, Tensor]:
        """Prompts alone, padded on the left, for answering."""
        rows = [self.prompt(question) for question in questions]
        length = max(map(len, rows))
        ids = np.array([[self.pad] * (length - len(row)) + row for row in rows])
        mask = np.array([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
