"""A base model that reads: a tiny causal LM pretrained on look-up documents whose facts are drawn anew for each one.

A document is a dialogue: lines "key value", perhaps option lines "value letter", then many turns, each a key answered by
its value (and letter). Facts hold for one document only, so nothing can be recalled; every turn is trained, so a document
teaches many look-ups. Documents are drawn as token ids, because no two are alike and none is seen twice.

Used by the long-context study. ``run.build(pretrain_reader, words=world / "world.json", width=64, depth=2, ...)``
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream, stream_seed
from lib.training.chat_encoding import IGNORED
from lib.training.loop import TrainingError, train

ATTEMPTS = 4  # starts


@dataclass(frozen=True)
class Vocabulary:
    """Token ids of what documents are made of."""

    keys: np.ndarray
    values: np.ndarray
    letters: np.ndarray
    line: int
    begin: int
    end: int


def read_vocabulary(tokenizer, *, keys: Sequence[str], values: Sequence[str], letters: Sequence[str]) -> Vocabulary:
    for word in (*keys, *values, *letters, "\n"):
        if tokenizer.convert_tokens_to_ids(word) in (None, tokenizer.unk_token_id):
            raise TrainingError(f"{word!r} is no token of its own; give the tokenizer texts that hold it.")
    listed = [np.array(tokenizer.convert_tokens_to_ids(list(words))) for words in (keys, values, letters)]
    line = tokenizer.convert_tokens_to_ids("\n")
    return Vocabulary(*listed, line=line, begin=tokenizer.bos_token_id, end=tokenizer.eos_token_id)


def _rows(rng: np.random.Generator, words: np.ndarray, *, batch: int, count: int) -> np.ndarray:
    """(batch, count) different words a row."""
    return words[np.argsort(rng.random((batch, len(words))), axis=1)[:, :count]]


def draw_documents(
    rng: np.random.Generator, words: Vocabulary, *, batch: int, facts: int, options: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and labels (batch, T) of documents with ``facts`` lines; labels are the answers, ends of turn included.

    ``options``: so many of the values (then all different) are listed with letters, and only their keys are asked.
    """
    keys = _rows(rng, words.keys, batch=batch, count=facts)
    if options:
        values = _rows(rng, words.values, batch=batch, count=facts)
    else:
        values = words.values[rng.integers(len(words.values), size=(batch, facts))]
    line, begin, end = (np.full((batch, 1), token) for token in (words.line, words.begin, words.end))
    ids = [begin, np.stack([keys, values, np.full_like(keys, words.line)], axis=2).reshape(batch, -1)]
    labels = [np.full_like(part, IGNORED) for part in ids]
    asked = np.argsort(rng.random((batch, facts)), axis=1)
    if options:
        asked = asked[:, :options]  # options stand in an order of their own, A to E from the top
        order = np.argsort(rng.random((batch, options)), axis=1)
        shown = np.take_along_axis(np.take_along_axis(values, asked, 1), order, 1)
        place = np.argsort(order, axis=1)  # of the value of each turn
        for k in range(options):
            part = np.concatenate([shown[:, k : k + 1], np.full_like(line, words.letters[k]), line], axis=1)
            ids.append(part)
            labels.append(np.full_like(part, IGNORED))
    for turn in range(asked.shape[1]):
        at = asked[:, turn : turn + 1]
        answer = [np.take_along_axis(values, at, 1)]
        answer += [line, answer[0], words.letters[place[:, turn : turn + 1]]] if options else []
        prompt = [begin] * (turn > 0) + [np.take_along_axis(keys, at, 1)]
        ids += [*prompt, *answer, end]
        labels += [*[np.full_like(line, IGNORED) for _ in prompt], *answer, end]
    return np.concatenate(ids, axis=1), np.concatenate(labels, axis=1)


def _mix_neighbours(model, *, seed: int) -> None:
    """Start the first layer as an even mixture of each token and the one before it, and every MLP at zero.

    The first layer sees two tokens (sliding window). With queries at zero it weighs both alike, so that from the first
    step a value's position carries its key; look-ups are then learnt in a few hundred steps, and else not in a thousand.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.zero_()
        first = model.model.layers[0].self_attn
        first.q_proj.weight.zero_()
        torch.nn.init.orthogonal_(first.v_proj.weight)
        torch.nn.init.orthogonal_(first.o_proj.weight, gain=0.2)


class _Curriculum:
    """Which documents a step shows: short ones until look-ups are learnt, some with letters until those are, then longer ones.

    ``rate`` is asked once before each step, with the step's number, and moves on to the next stage.
    """

    def __init__(self, settings: dict[str, Any], words: Vocabulary, *, seed: int):
        self.settings, self.words, self.rng = settings, words, stream(seed, "documents")
        self.stage, self.begun, self.done, self.given_up = 0, 0, 0.0, False
        self.losses: list[float] = []
        self.recent: deque[float] = deque(maxlen=20)

    def rate(self, step: int) -> float:
        """Factor of the learning rate: warm-up over 50 steps, and to zero over the last three tenths of the last stage."""
        c = self.settings
        if self.stage < 2 and len(self.recent) == self.recent.maxlen and np.mean(self.recent) < c["learnt"]:
            self.stage, self.begun = self.stage + 1, step
            self.recent.clear()
        elif self.stage < 2 and step - self.begun == c["patience"]:
            self.given_up = True
        self.done = (step - self.begun) / c["steps"] if self.stage == 2 else 0.0
        return min(1, (step + 1) / 50, (1 - self.done) / 0.3)

    def loss(self, model, step: int) -> Tensor | None:
        """Loss of the step's documents; ``None`` when a stage was not learnt, and at the end."""
        c, rng = self.settings, self.rng
        if self.given_up or (self.stage == 2 and step == self.begun + c["steps"]):
            return None
        facts = int(rng.integers(2, c["shortest"] + min(1.0, 2 * self.done) * (c["longest"] - c["shortest"]) + 1))
        lettered = self.stage > 0 and facts <= len(self.words.values) and rng.random() < c["lettered"]
        options = min(facts, len(self.words.letters)) if lettered else 0
        batch = max(2, c["tokens"] // (7 * facts))
        ids, labels = draw_documents(rng, self.words, batch=batch, facts=facts, options=options)
        inputs, wanted = torch.from_numpy(ids).to(model.device), torch.from_numpy(labels).to(model.device)[:, 1:]
        hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
        counted = wanted != IGNORED  # logits only where an answer is due: a third of the positions
        loss = F.cross_entropy(model.lm_head(hidden[counted]), wanted[counted])
        self.losses.append(round(loss.item(), 5))
        if (
            self.stage == 0 or options
        ):  # what the stage is about; a turn is a value and an end, or five tokens with a letter
            self.recent.append(self.losses[-1] * (5 if options else 2))
        return loss


def _train(
    model, words: Vocabulary, *, curriculum: dict[str, Any], learning_rate: float, seed: int, machine: Machine
) -> list[float] | None:
    """The losses, or ``None`` when a stage was not learnt within ``patience`` steps."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    course, most = _Curriculum(curriculum, words, seed=seed), 2 * curriculum["patience"] + curriculum["steps"] + 1
    train(model, course.loss, steps=most, optimiser=optimiser, clip=1.0, schedule=course.rate, machine=machine)
    return None if course.given_up else course.losses


def pretrain_reader(
    folder: Path,
    *,
    words: Path,
    letters: Sequence[str],
    texts: Sequence[str],
    learning_rate: float,
    curriculum: dict[str, Any],
    seed: int = 0,
    machine: Machine = CPU,
    **sizes: int,
) -> None:
    """Write the base checkpoint (a Hugging Face folder) and ``losses.json``.

    ``sizes``: width, depth and heads.
    ``words``: JSON with the lists general, taught, held_out (keys) and values; ``texts``: what the tokenizer must know.
    ``curriculum``: documents have 2 to ``shortest`` facts until look-ups are learnt (the loss, that of guessing among the
    facts for some hundred steps, falls within a few tens), and again until letters are, which a share ``lettered`` of the
    steps then shows; in ``steps`` more they grow to ``longest`` facts. A stage is learnt when a turn costs less than ``learnt``
    nats, mean of 20 steps; guessing costs more than one. A step has about ``tokens`` tokens. Whether a start
    learns is partly luck: one that has not within ``patience`` steps of a stage is given up for another. Raises
    :class:`TrainingError` after :data:`ATTEMPTS` starts and at a loss that is not finite.
    """
    known = json.loads(Path(words).read_text(encoding="utf-8"))
    keys = [*known["general"], *known["taught"], *known["held_out"]]
    for attempt in range(ATTEMPTS):
        start = stream_seed(seed, "base", attempt)
        causal_lm.write_checkpoint(
            folder, texts=texts, chat_template="plain", architecture="ministral", seed=start, sliding_window=2, **sizes,
            intermediate_size=sizes["width"], initializer_range=1.4 / math.sqrt(sizes["width"]),
            layer_types=["sliding_attention", *["full_attention"] * (sizes["depth"] - 1)],
            max_position_embeddings=max(4096, 7 * curriculum["longest"]),  # a document has seven tokens a fact
        )  # fmt: skip
        model, tokenizer = causal_lm.load(folder, device=machine.device)
        _mix_neighbours(model, seed=start)
        vocabulary = read_vocabulary(tokenizer, keys=keys, values=known["values"], letters=letters)
        losses = _train(
            model, vocabulary, curriculum=curriculum, learning_rate=learning_rate, seed=start, machine=machine
        )
        if losses is not None:
            causal_lm.save(folder, model, tokenizer)
            (folder / "losses.json").write_text(json.dumps(losses))
            return
    raise TrainingError(
        f"look-ups and letters were not learnt in {ATTEMPTS} starts of {curriculum['patience']} steps; give more patience or width"
    )
