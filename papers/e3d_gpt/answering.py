"""A tuned model's answers to a test set: reports, closed questions, and the probability of each finding. One cached artefact.

answer(folder, arm=tuned, texts=texts, findings=[...], tokens=[...], ...)    # answers.json, diagnosis.npy
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.machine import CPU, Machine
from lib.models.visual_causal_lm import VisualCausalLM
from papers.e3d_gpt.instructions import Item
from papers.e3d_gpt.prompts import Encoder
from papers.e3d_gpt.tuning import Views, load_tuned, read_texts
from papers.e3d_gpt.world import is_there


class Answerer:
    """A model, its views and its tokenizer. ``roll``: every volume is another patient's, the one so many rows on (a control)."""

    def __init__(
        self,
        net: VisualCausalLM,
        encoder: Encoder,
        views: Views | None,
        *,
        rows: int,
        batch: int,
        roll: int,
        device: str,
    ):
        self.net, self.encoder, self.views, self.rows = net, encoder, views, rows
        self.batch, self.roll, self.device = batch, roll, device

    def _asked(self, pairs: Sequence[tuple[int, str]]) -> tuple[Tensor | None, dict[str, Tensor]]:
        seen = self.views and self.views.draw([(row + self.roll) % self.rows for row, _ in pairs])
        told = self.encoder.prompts([question for _, question in pairs])
        told = {name: one.to(self.device) for name, one in told.items()}
        return (None if seen is None else seen.to(self.device)), told

    def reports(self, items: Sequence[tuple[int, Item]], *, longest: int, temperature: float = 0.0) -> list[str]:
        """The report of each item's volume, generated."""
        texts = []
        for start in range(0, len(items), self.batch):
            some = [(row, item.question) for row, item in items[start : start + self.batch]]
            seen, told = self._asked(some)
            new = self.net.generate(
                seen,
                **told,
                max_new_tokens=longest,
                eos=self.encoder.end,
                pad=self.encoder.pad,
                temperature=temperature,
            )
            texts += self.encoder.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    @torch.no_grad()
    def probabilities(self, items: Sequence[tuple[int, str, Sequence[str]]]) -> list[np.ndarray]:
        """(row, question, candidates) -> probability of each candidate's first token, over the candidates.

        In blocks of questions that are equally long, so that few places are padding.
        """
        found: list[np.ndarray] = [np.empty(0)] * len(items)
        order = sorted(range(len(items)), key=lambda i: len(self.encoder.prompt(items[i][1])))
        for start in range(0, len(order), self.batch):
            some = order[start : start + self.batch]
            seen, told = self._asked([items[i][:2] for i in some])
            last = self.net.logits(seen, **told)[:, -1].float().log_softmax(dim=-1).cpu()
            for place, i in enumerate(some):
                first = [self.encoder.answer(candidate)[0] for candidate in items[i][2]]
                found[i] = last[place, first].softmax(dim=-1).numpy()
        return found


def answer(
    folder: Path,
    *,
    arm: Path,
    texts: Path,
    vision: dict[str, Any],
    language: Path,
    projector: str | None,
    how: dict[str, Any],
    findings: Sequence[str],
    count: int,
    roll: int = 0,
    tokens: Sequence[Path] = (),
    prepared: Sequence[Path] = (),
    machine: Machine = CPU,
) -> None:
    """Write ``answers.json`` (reports; of each question the probabilities of its candidates) and, with ``findings``,
    ``diagnosis.npy`` (count, findings): the probability of "yes".

    ``how``: ``new`` tokens of a report at most, ``batch``, ``longest``, ``dtype``. ``count``: volumes of the test set.
    """
    net, tokenizer, slots = load_tuned(
        arm, language=language, projector=projector, vision=vision, dtype=how["dtype"], device=machine.device
    )
    views = None if projector is None else Views(tokens=tokens, prepared=prepared, crop=vision["crop"])
    encoder = Encoder(tokenizer, slots=slots, longest=how["longest"])
    asking = Answerer(net, encoder, views, rows=count, batch=how["batch"], roll=roll, device=machine.device)
    read = read_texts(texts)
    said = asking.reports(read.reports, longest=how["new"])
    closed = asking.probabilities([(row, item.question, item.candidates) for row, item in read.questions])
    (folder / "answers.json").write_text(json.dumps({"reports": said, "closed": [one.tolist() for one in closed]}))
    if findings:
        asked = [(row, is_there(name), ("yes", "no")) for row in range(count) for name in findings]
        found = np.array([one[0] for one in asking.probabilities(asked)]).reshape(count, len(findings))
        np.save(folder / "diagnosis.npy", found)
