"""Dialogues as token ids and labels: the loss counts on assistant turns only, on every one of them.

A row is ``{"messages": [{"role": ..., "content": ...}, ...]}``, or ``{"text": ...}`` for plain documents, whose every
token counts. Used by ``sft`` and by the stacked fits.

    encoded = encode(rows, tokenizer, max_length=1024); encoded.input_ids[0], encoded.labels[0], encoded.shortened
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.data.files import DataError, read_json_lines
from lib.training.loop import TrainingError

IGNORED = -100  # label of a token that the loss does not count


@dataclass
class Encoded:
    """Token ids and labels of each row, in order; ``shortened``: rows cut to ``max_length``."""

    input_ids: list[list[int]] = field(default_factory=list)
    labels: list[list[int]] = field(default_factory=list)
    shortened: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.input_ids))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file; :class:`~lib.data.files.DataError` names the line that is none."""
    rows = []
    for place, row in read_json_lines(path):
        if not isinstance(row, dict) or not ({"messages", "text"} & set(row)):
            raise DataError(f"{place} has neither 'messages' nor 'text'; write the rows again.")
        rows.append(row)
    return rows


def _ids(tokenizer, messages: list[dict], *, prompt: bool) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def turns(messages: Sequence[dict[str, str]], tokenizer) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) of each assistant turn, whose concatenation is the dialogue in the chat template.

    The answer ends with its end-of-text token; what the template writes after it opens the next prompt. Raises
    :class:`TrainingError` for a dialogue without an answer and for a template that rewrites earlier turns.
    """
    answered = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not answered or any(not messages[i]["content"] for i in answered):
        raise TrainingError("has no answer, or an empty one; take it out or give it one.")
    messages = list(messages[: answered[-1] + 1])
    whole, done, found = _ids(tokenizer, messages, prompt=False), 0, []
    for i in answered:
        start, end = len(_ids(tokenizer, messages[:i], prompt=True)), _ids(tokenizer, messages[: i + 1], prompt=False)
        if whole[: len(end)] != end or not done < start < len(end):
            raise TrainingError("is written differently when turns follow it; use a chat template that only appends.")
        stop = next((k + 1 for k in range(start, len(end)) if end[k] == tokenizer.eos_token_id), len(end))
        found.append((whole[done:start], whole[start:stop]))
        done = stop
    return found


def _shorten(source: list[int], target: list[int], room: int) -> tuple[list[int], list[int]]:
    """One turn cut from the right to ``room`` tokens, source and target in proportion (Aurora: LLaMA-Factory's rule)."""
    kept = max(1, room * len(target) // (len(source) + len(target)))
    return source[: room - kept], target[:kept]


def encode(rows: Sequence[dict[str, Any]], tokenizer, *, max_length: int) -> Encoded:
    """Token ids and labels of every row, at most ``max_length`` tokens each.

    A turn longer than ``max_length`` keeps source and target in proportion, each cut from the right; the dialogue is then
    cut at ``max_length`` (sheet of Aurora, 2.3). Rows that were cut are listed, never dropped. Raises :class:`TrainingError`
    for a word that the tokenizer does not know.
    """
    found = Encoded()
    for number, row in enumerate(rows):
        try:
            if "text" in row:
                ids = tokenizer(row["text"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
                listed = [([], ids)]
            else:
                listed = turns(row["messages"], tokenizer)
        except TrainingError as error:
            raise TrainingError(f"row {number} {error}") from None
        ids, labels, length = [], [], sum(len(source) + len(target) for source, target in listed)
        for source, target in listed:
            if len(source) + len(target) > max_length:
                source, target = _shorten(source, target, max_length)
            ids += source + target
            labels += [IGNORED] * len(source) + target
        if length > max_length:
            found.shortened.append(number)
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
            text = row.get("text") or " ".join(message["content"] for message in row["messages"])
            raise TrainingError(
                f"row {number} has a word that the tokenizer does not know: {text[:80]!r}; train it on this."
            )
        found.input_ids.append(ids[:max_length])
        found.labels.append(labels[:max_length])
    return found
