"""Dialogues as token ids and labels: the loss counts on assistant turns only, on every one of them.

A row is ``{"messages": [{"role": ..., "content": ...}, ...]}``, or ``{"text": ...}`` for plain documents, whose every
token counts. Used by ``sft`` and by the stacked fits.

    encoded = encode(rows, tokenizer, max_length=1024); encoded.input_ids[0], encoded.labels[0], encoded.shortened
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, check_text, read_json_lines
from lib.models import causal_lm
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


def check_row(row: Any, place: str) -> None:
    """Raises :class:`DataError`, beginning with `place`, unless `row` can be trained on: no text blank, one answer or more."""
    if not isinstance(row, dict) or ("messages" in row) == ("text" in row):
        raise DataError(f"{place} has neither 'messages' nor 'text', or both; write the row again.")
    said = row.get("messages", [{"role": "text", "content": row.get("text")}])
    if not isinstance(said, list):
        raise DataError(f"{place}: 'messages' is a {type(said).__name__}; give a list of role and content.")
    for k, message in enumerate(said, start=1):
        check_keys(message, f"{place}, message {k}", required=("role", "content"))
        check_text(message["content"], f"{place}, message {k}", "content")
        if not message["content"].strip():
            raise DataError(f"{place}, message {k} is blank; complete it or take the row out.")
    roles = "".join({"system": "s", "user": "u", "assistant": "a"}.get(str(one["role"]), "?") for one in said)
    if "messages" in row and not re.fullmatch("s?(ua)+u?", roles):
        raise DataError(f"{place} has no answer, or other turns than user and assistant in turn; correct it.")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file; :class:`~lib.data.files.DataError` names file and line of one that cannot be trained on."""
    rows = []
    for place, row in read_json_lines(path):
        check_row(row, place)
        rows.append(row)
    return rows


def _ids(tokenizer, messages: list[dict], *, prompt: bool) -> list[int]:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, ValueError) as error:
        why = str(error) if tokenizer.chat_template else "it has none"
        raise TrainingError(f"the chat template cannot write a dialogue ({why}); give a chat_template.") from None
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def turns(
    messages: Sequence[dict[str, str]], tokenizer, *, place: str = "the dialogue"
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) of each assistant turn, whose concatenation is the dialogue in the chat template.

    The answer ends with the template's token for that; what the template writes after it opens the next prompt. Raises
    :class:`TrainingError` for no template and for one that rewrites earlier turns.
    """
    answered = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    messages = list(messages[: answered[-1] + 1])
    whole, done, found = _ids(tokenizer, messages, prompt=False), 0, []
    ends = causal_lm.end_of_turn(tokenizer)
    for i in answered:
        start, end = len(_ids(tokenizer, messages[:i], prompt=True)), _ids(tokenizer, messages[: i + 1], prompt=False)
        if whole[: len(end)] != end or not done < start < len(end):
            raise TrainingError(f"{place} is written differently when turns follow it; use a template that appends.")
        if end[start:].count(ends) > 1:
            raise TrainingError(f"{place} has the end token inside an answer, which would be cut there; take it out.")
        stop = next((k + 1 for k in range(start, len(end)) if end[k] == ends), len(end))
        found.append((whole[done:start], whole[start:stop]))
        done = stop
    return found


def _shorten(source: list[int], target: list[int], room: int) -> tuple[list[int], list[int]]:
    """One turn cut from the right to ``room`` tokens, source and target in proportion (Aurora: LLaMA-Factory's rule)."""
    kept = max(1, room * len(target) // (len(source) + len(target)))
    return source[: room - kept], target[:kept]


def encode(
    rows: Sequence[dict[str, Any]], tokenizer, *, max_length: int, places: Sequence[str] | None = None
) -> Encoded:
    """Token ids and labels of every row, at most ``max_length`` tokens each; ``places`` are their names in errors.

    A turn longer than ``max_length`` keeps source and target in proportion, each cut from the right; the dialogue is then
    cut at ``max_length`` (sheet of Aurora, 2.3). Rows that were cut are listed, never dropped. Raises what :func:`check_row`
    does, and :class:`TrainingError` for a word that the tokenizer does not know.
    """
    found = Encoded()
    for number, row in enumerate(rows):
        place = places[number] if places else f"row {number}"
        check_row(row, place)
        if "text" in row:
            listed = [([], tokenizer(row["text"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id])]
        else:
            listed = turns(row["messages"], tokenizer, place=place)
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
                f"{place} has a word that the tokenizer does not know: {text[:80]!r}; train it on this."
            )
        found.input_ids.append(ids[:max_length])
        found.labels.append(labels[:max_length])
    return found


def encode_file(path: Path, tokenizer, *, max_length: int) -> Encoded:
    """:func:`encode` of the rows of a JSONL file, each named by its line."""
    rows = read_rows(path)
    return encode(rows, tokenizer, max_length=max_length, places=[f"{path}, line {n + 1}" for n in range(len(rows))])


def check_positions(model, max_length: int) -> None:
    """Raises :class:`TrainingError` when rows may become longer than the model can read."""
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if room and max_length > room:
        raise TrainingError(f"max_length {max_length} exceeds the {room} positions of the model; lower it")
