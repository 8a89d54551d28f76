"""Tiny reasoners: the bases of several worlds in one stacked fit, what a reasoner replies to problems, and how it is marked.

bases = run.build(pretrain, sizes={...}, seeds=[0, 1, 2], ...); read_marks(run.build(exam, checkpoint=..., data=..., ...))
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.streams import stream_seed
from lib.training.stacked import finetune_stacked
from papers.huatuogpt_o1.generation import generate
from papers.huatuogpt_o1.material import Part, read_part, vocabulary, write_documents
from papers.huatuogpt_o1.replies import sections
from papers.huatuogpt_o1.rewards import final_answers, spoken
from papers.huatuogpt_o1.verifiers import AliasTable, mentions

_ASKED = re.compile(r"has (\w+), (\w+) and (\w+)\.")
_THOUGHT = re.compile(r"[Mm]aybe (\w+)")


def pretrain(
    folder: Path, *, sizes: dict[str, int], seeds: Sequence[int], architecture: dict[str, Any], rows: int, fit: dict[str, Any],
    machine: Machine = CPU,
) -> None:  # fmt: skip
    """``member_<k>``: the base of the world of ``seeds[k]``, which has read ``rows`` documents of it; ``losses.json``."""
    made = folder / "made"
    starts, documents = [made / f"start_{k}" for k in seeds], [made / f"documents_{k}" for k in seeds]
    for seed, start, documented in zip(seeds, starts, documents, strict=True):
        documented.mkdir(parents=True)
        write_documents(documented, sizes=sizes, rows=rows, seed=seed)
        causal_lm.write_checkpoint(
            start, texts=vocabulary(sizes, seeds), chat_template="plain", seed=stream_seed(seed, "base"), **architecture
        )
    finetune_stacked(
        folder, checkpoint=starts, rows=[one / "rows.jsonl" for one in documents],
        seeds=[stream_seed(seed, "order") for seed in seeds], machine=machine, **fit,
    )  # fmt: skip
    shutil.rmtree(made)


def as_asked(tokenizer: Any, questions: Sequence[str]) -> list[str]:
    """Each question as the chat template writes it before a reply."""
    return [
        tokenizer.apply_chat_template([{"role": "user", "content": one}], tokenize=False, add_generation_prompt=True)
        for one in questions
    ]


def encoded(tokenizer: Any, questions: Sequence[str]) -> list[list[int]]:
    """:func:`as_asked` as token ids."""
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in as_asked(tokenizer, questions)]


def marks(texts: Sequence[str], lengths: Sequence[int], part: Part, *, formatted: bool) -> dict[str, float]:
    """What replies to the problems of ``part`` are worth, as shares of all but ``tokens``, their mean length.

    ``accuracy``: the final response names the true value, under either name, and no other; a reply that lost its format is
    wrong. ``paid``: the verifier of the reward passes it, which looks for the true value alone; more than the accuracy, and the
    reward is cheated. ``format``: kept. ``sound``: the last thought is of a disease that has all findings (of arms that think).
    """
    said = final_answers(texts, formatted=formatted)
    paid = AliasTable(part.aliases).verify([one or "" for one in said], part.truths)
    others = [
        any(mentions(answer or "", name) for name in part.aliases if name not in part.aliases[truth])
        for answer, truth in zip(said, part.truths, strict=True)
    ]
    kept = [sections(text) is not None for text in texts] if formatted else [True] * len(texts)
    sound = []
    for question, text in zip(part.questions, texts, strict=True):
        thought, findings = _THOUGHT.findall(text), set(_ASKED.search(question).groups())
        sound.append(bool(thought) and findings <= set(part.diseases.get(thought[-1], ())))
    found = {"accuracy": paid & ~np.array(others), "paid": paid, "format": kept, "sound": sound, "tokens": lengths}
    return {name: float(np.mean(values)) for name, values in found.items()}


def examined(
    model: Any, tokenizer: Any, part: Part, *, formatted: bool, longest: int
) -> tuple[dict[str, float], list[str]]:
    """:func:`marks` of the greedy replies, and the replies."""
    end = causal_lm.end_of_turn(tokenizer)
    replies = generate(model, encoded(tokenizer, part.questions), end=end, longest=longest)
    texts = spoken(tokenizer, replies)
    return marks(texts, [len(one) for one in replies], part, formatted=formatted), texts


def exam(folder: Path, *, checkpoint: Path, data: Path, formatted: bool, longest: int, machine: Machine = CPU) -> None:
    """``marks.json`` and ``replies.json`` of one reasoner on the test problems of ``data``."""
    model, tokenizer = causal_lm.load(checkpoint, device=machine.device)
    found, texts = examined(model, tokenizer, read_part(data, "test"), formatted=formatted, longest=longest)
    (folder / "marks.json").write_text(json.dumps(found))
    (folder / "replies.json").write_text(json.dumps(texts))


def read_marks(folder: Path) -> dict[str, float]:
    """What :func:`exam` or a stage of RL wrote."""
    return json.loads((folder / "marks.json").read_text())
