"""The paper's detector: a causal language model, instruction-tuned to write the label, of a document or of each sentence.

Training rows are dialogues whose answer is the label (``Human`` or ``AI``, the strings of the released models), or one label a
sentence; they go through the one fine-tuning path (:mod:`lib.training.sft`, or stacked). It is asked in two ways: by the
likelihood of the labels, s = log p(AI) - log p(Human), sentence by sentence behind its own earlier labels; and by what it
writes, where anything but the right number of labels is invalid and counted.

    rows = run.build(write_rows, texts=path, places=[0, 1], labels=[0, 1], wording="{text}")
    answers = read_answers(run.build(ask, texts=path, places=[2], checkpoint=tuned, wording="{text}", batch=32))
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import DataError
from lib.data.instructions import assistant, dialogue, user, write_messages
from lib.machine import CPU, Machine
from lib.models import ModelError, causal_lm
from lib.models.lending import lend
from papers.llm_detector.texts import WRITTEN, Mixed, Text, read_mixed, read_texts


def read_items(file: Path) -> list[Text] | list[Mixed]:
    """Texts or mixed documents, by the name of the file."""
    return read_texts(file) if Path(file).name.startswith("texts") else read_mixed(file)


def wanted(item: Text | Mixed) -> list[int]:
    """Its labels, 1: machine; one of a text, one a sentence of a mixed document."""
    listed = item.labels if isinstance(item, Mixed) else [item.label]
    return [int(label == "machine") for label in listed]


def write_rows(folder: Path, *, texts: Path, places: list[int], labels: list[list[int]] | None, wording: str) -> None:
    """``rows.jsonl``: a dialogue for each of ``places``, asked as ``wording`` with ``{text}`` says and answered by its labels.

    ``labels``: others than its own (shuffled ones). Raises :class:`DataError` when they do not fit.
    """
    items = read_items(texts)
    rows = []
    for number, place in enumerate(places):
        own = wanted(items[place]) if labels is None else labels[number]
        if len(own) != len(wanted(items[place])):
            raise DataError(
                f"{texts}, {items[place].id!r}: {len(own)} labels for {len(wanted(items[place]))} sentences; give one each."
            )
        rows.append(dialogue([(wording.format(text=items[place].text), " ".join(WRITTEN[one] for one in own))]))
    write_messages(folder / "rows.jsonl", rows)


@dataclass(frozen=True)
class Answers:
    """``scores``: log p(AI) - log p(Human), a list a text. ``said``: what was written; ``written``: its labels, ``None`` when it
    is no list of the right number of labels."""

    scores: list[np.ndarray]
    said: list[str]
    written: list[list[int] | None]

    @property
    def invalid(self) -> float:
        """Share of texts without a valid written answer."""
        return float(np.mean([one is None for one in self.written]))


def parse(said: str, number: int) -> list[int] | None:
    """The labels of a written answer; ``None`` when it is not exactly so many of the two strings.

    >>> parse("AI Human", 2), parse("AI.", 1), parse("Human", 2)
    ([1, 0], None, None)
    """
    words = said.split()
    return [WRITTEN.index(word) for word in words] if len(words) == number and set(words) <= set(WRITTEN) else None


# ---------------------------------------------------------------------- asking
def _label_tokens(tokenizer) -> tuple[list[int], list[int]]:
    """(tokens of the two labels as the first word of an answer, as a later one); each must be one token.

    Raises :class:`ModelError` when a label is several, because their likelihoods would not be those of single choices.
    """

    def ids(answer: str) -> list[int]:
        dialogue_ = [user("?"), assistant(answer)]
        prompt = tokenizer.apply_chat_template(dialogue_[:1], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(dialogue_, tokenize=False)
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        after = tokenizer(whole, add_special_tokens=False)["input_ids"]
        end = causal_lm.end_of_turn(tokenizer)
        answered = after[len(before) :]
        return answered[: answered.index(end)] if end in answered else answered

    first, later = [], []
    for label in WRITTEN:
        one, two = ids(label), ids(f"{label} {label}")
        if len(one) != 1 or len(two) != 2 or two[0] != one[0]:
            raise ModelError(
                f"the label '{label}' is {len(one)} tokens of this model; a label must be one: choose another model."
            )
        first.append(one[0])
        later.append(two[1])
    return first, later


class _Asked:
    """One batch of prompts, padded on the left, and the cache behind them: labels and replies follow without reading again."""

    def __init__(self, model, prompts: Sequence[Sequence[int]], pad: int):
        import torch

        self.model, self.cache = model, None
        longest = max(map(len, prompts))
        device = model.device
        self.ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts], device=device)
        self.mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        self.start = self._feed(self.ids)

    def _feed(self, ids):
        """Log-probabilities (B, V) of what follows ``ids``, which are put behind all that was read."""
        import torch

        if self.cache is not None:
            self.mask = torch.cat([self.mask, torch.ones_like(ids)], dim=1)
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.inference_mode():
            out = self.model(
                input_ids=ids, attention_mask=self.mask, position_ids=positions, past_key_values=self.cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        self.cache = out.past_key_values
        return out.logits[:, -1].float().log_softmax(dim=-1)

    def _back(self) -> None:
        """Forget what was put behind the prompts."""
        extra = self.mask.shape[1] - self.ids.shape[1]
        if extra:
            self.cache.crop(-extra)
            self.mask = self.mask[:, : self.ids.shape[1]]

    def labels(self, numbers: Sequence[int], first: Sequence[int], later: Sequence[int]) -> list[np.ndarray]:
        """Score of each label of each prompt, the likelier one being put behind it before the next."""
        import torch

        found: list[list[float]] = [[] for _ in numbers]
        said, tokens = self.start, first
        for step in range(max(numbers)):
            scores = (said[:, tokens[1]] - said[:, tokens[0]]).cpu()
            for one, number, value in zip(found, numbers, scores.tolist(), strict=True):
                if step < number:
                    one.append(value)
            if step + 1 < max(numbers):
                chosen = torch.tensor(tokens, device=self.ids.device)[(scores > 0).long().to(self.ids.device)]
                said, tokens = self._feed(chosen[:, None]), later
        self._back()
        return [np.array(one) for one in found]

    def reply(self, longest: int, end: int) -> list[list[int]]:
        """The greedy continuation of each prompt up to ``end``, at most ``longest`` tokens."""
        found: list[list[int]] = [[] for _ in self.ids]
        open_, said = [True] * len(found), self.start
        for step in range(longest):
            token = said.argmax(dim=-1)
            for k, value in enumerate(token.tolist()):
                open_[k] = open_[k] and value != end
                if open_[k]:
                    found[k].append(value)
            if not any(open_) or step + 1 == longest:
                break
            said = self._feed(token[:, None])
        self._back()
        return found


def ask(
    folder: Path,
    *,
    texts: Path,
    places: list[int],
    checkpoint: Path | str,
    wording: str,
    batch: int,
    adapter: Path | str | None = None,
    chat_template: str | None = None,
    dtype: str = "float32",
    quantisation: str | None = None,
    machine: Machine = CPU,
) -> None:
    """``answers.json``: of each of ``places`` the scores of its labels and what the model writes.

    Raises :class:`DataError` for a text that, asked, is longer than the model's positions.
    """
    items = read_items(texts)
    told = {"device": machine.device, "dtype": dtype, "quantisation": quantisation, "chat_template": chat_template}
    with lend(checkpoint, adapter=adapter, **told) as (model, tokenizer):
        first, later = _label_tokens(tokenizer)
        end, room = (
            causal_lm.end_of_turn(tokenizer),
            getattr(model.config.get_text_config(), "max_position_embeddings", None),
        )
        prompts, numbers = [], [len(wanted(items[place])) for place in places]
        for place, number in zip(places, numbers, strict=True):
            asked = [user(wording.format(text=items[place].text))]
            text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            prompts.append(tokenizer(text, add_special_tokens=False)["input_ids"])
            if room and len(prompts[-1]) + number + 1 > room:
                raise DataError(
                    f"{texts}, text {items[place].id!r} asked for its label has {len(prompts[-1])} tokens, more than the {room} "
                    "positions of the model; cut it to fewer words."
                )
        order = sorted(range(len(prompts)), key=lambda k: (numbers[k], len(prompts[k])))
        found: list[dict[str, Any]] = [{} for _ in prompts]
        for start in range(0, len(order), machine.at_a_time(batch)):
            chosen = order[start : start + machine.at_a_time(batch)]
            asked = _Asked(model, [prompts[k] for k in chosen], tokenizer.pad_token_id)
            longest = max(numbers[k] for k in chosen) + 1
            replies = asked.reply(longest, end)
            scores = asked.labels([numbers[k] for k in chosen], first, later)
            for k, reply, one in zip(chosen, replies, scores, strict=True):
                said = tokenizer.decode(reply, skip_special_tokens=True)
                found[k] = {"scores": [round(float(value), 6) for value in one], "said": said}
    content = {"numbers": numbers, "answers": found}
    (Path(folder) / "answers.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def read_answers(folder: Path) -> Answers:
    """The answers of :func:`ask`, in the order of its places."""
    content = json.loads((Path(folder) / "answers.json").read_text(encoding="utf-8"))
    found = content["answers"]
    written = [parse(one["said"], number) for one, number in zip(found, content["numbers"], strict=True)]
    return Answers([np.array(one["scores"]) for one in found], [one["said"] for one in found], written)
