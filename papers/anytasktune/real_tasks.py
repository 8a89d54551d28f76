"""Real tasks as artefacts: splits of a task's items, answers without a language model, rows for a chat model and its replies.

folder = run.build(write_split, data=data, task="2-4", eligible=[...], train=300, test=200, seed=0)
run.build(answer_simply, data=data, task="2-4", split=folder / "split.json", way="linear", seed=0)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lib.data.files import DataError, write_json_lines
from lib.data.instructions import dialogue, user
from lib.evaluation.exam_prompts import chat_ids
from lib.evaluation.exams import generate
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.models.lending import lend
from lib.streams import stream
from papers.anytasktune import linear
from papers.anytasktune.character_model import legible
from papers.anytasktune.lawbench import Items, read_task
from papers.anytasktune.splits import documents, groups, together

QUESTION = "句子:"  # what stands before every question of the task whose file keeps its order


def write_groups(folder: Path, *, data: Path, task: str) -> None:
    """``groups.json``: for each item the number of its group: near duplicates by what is asked and, where the file keeps its
    order, sentences of one document, which repeat its names and things."""
    items = read_task(data, task)
    found = groups([item.question for item in items.items])
    if items.task.in_order:
        found = together(found, documents([item.question.removeprefix(QUESTION) for item in items.items]))
    (folder / "groups.json").write_text(json.dumps(found))


def draw(member: Sequence[int], eligible: Sequence[int], *, train: int, test: int, seed: int) -> dict[str, list[int]]:
    """Positions of the items to train on and to ask: groups in random order, into the test while it holds them.

    ``member``: the group of each item. The test has ``test`` items, or a few less where groups are large; the rest is for training,
    ``train`` of it at most. Raises :class:`DataError` when nine tenths of the test cannot be had, or nothing is left to train on.
    """
    by_group: dict[int, list[int]] = {}
    for i in eligible:
        by_group.setdefault(member[i], []).append(i)
    names = list(by_group)
    parts: dict[str, list[int]] = {"train": [], "test": []}
    for k in stream(seed, "split").permutation(len(names)):
        group = by_group[names[k]]
        parts["test" if len(parts["test"]) + len(group) <= test else "train"] += group
    if len(parts["test"]) < 0.9 * test or not parts["train"]:
        raise DataError(f"{len(eligible)} items cannot give {test} to ask and some to train on; ask fewer.")
    return {"train": sorted(parts["train"][:train]), "test": sorted(parts["test"])}


def write_split(folder: Path, *, groups: Path, eligible: Sequence[int], train: int, test: int, seed: int) -> None:
    """``split.json``: the items that a replicate trains on and asks (:func:`draw`)."""
    member = json.loads((Path(groups) / "groups.json").read_text())
    (folder / "split.json").write_text(json.dumps(draw(member, eligible, train=train, test=test, seed=seed)))


def _read(split: Path) -> tuple[list[int], list[int]]:
    parts = json.loads((Path(split) / "split.json").read_text())
    return parts["train"], parts["test"]


def _write(folder: Path, asked: Sequence[int], texts: Sequence[str]) -> None:
    content = {"items": list(asked), "texts": list(texts)}
    (folder / "answers.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def answer_simply(folder: Path, *, data: Path, task: str, split: Path, way: str, seed: int) -> None:
    """``answers.json``: positions of the items asked and the answers to them, in one of :data:`linear.WAYS`."""
    train, test = _read(split)
    _write(folder, test, linear.answer(read_task(data, task), train, test, way=way, seed=seed))


# --------------------------------------------------------------------------------------------------- language models
def shortened(items: Items, position: int, longest: int | None, *, instruction: bool = True) -> str:
    """An item's prompt, its question cut to ``longest`` characters (``None``: whole); the instruction stays, as the cards ask, but
    where the profile leaves it out."""
    item = items.items[position]
    question = item.question[:longest]
    return f"{item.instruction}\n{question}" if instruction else question


def write_rows(
    folder: Path,
    *,
    data: Path,
    task: str,
    split: Path,
    longest: int | None,
    shuffled: bool,
    seed: int,
    instruction: bool = True,
    character_model: Path | None = None,
) -> None:
    """``rows.jsonl``: the training items as dialogues; ``shuffled``: the answers dealt anew; of a ``character_model``, in the
    pieces that it knows."""
    items, (train, _) = read_task(data, task), _read(split)
    order = stream(seed, "shuffled answers").permutation(len(train)) if shuffled else range(len(train))
    known = None if character_model is None else causal_lm.load(character_model)[1].get_vocab()
    rows = []
    for i, k in zip(train, order, strict=True):
        texts = [shortened(items, i, longest, instruction=instruction), items.task.text(items.items[train[k]].gold)]
        asked, said = texts if known is None else [legible(text, known) for text in texts]
        if said:  # nothing to find is no answer that a loss could be put on
            rows.append(dialogue([(asked, said)]))
    write_json_lines(folder / "rows.jsonl", rows)


def answer_by_model(
    folder: Path,
    *,
    base: Path,
    adapter: Path | None = None,
    data: Path,
    task: str,
    split: Path,
    longest: int | None,
    asked: int,
    reply: int,
    batch: int,
    instruction: bool = True,
    characters: bool = False,
    chat_template: str | None = None,
    dtype: str = "float32",
    machine: Machine = CPU,
) -> None:
    """``answers.json`` as of :func:`answer_simply`: greedy replies, ``reply`` tokens at most, to the first ``asked`` test items.

    ``characters``: of a character model, asked in the pieces that it knows, its replies without the blanks between them.
    """
    items, (_, test) = read_task(data, task), _read(split)
    with lend(base, adapter=adapter, device=machine.device, dtype=dtype, chat_template=chat_template) as (
        model,
        tokenizer,
    ):
        texts = [shortened(items, i, longest, instruction=instruction) for i in test[:asked]]
        if characters:
            texts = [legible(text, tokenizer.get_vocab()) for text in texts]
        prompts = [chat_ids(tokenizer, [user(text)]) for text in texts]
        said = generate(model, prompts, end=causal_lm.end_of_turn(tokenizer), longest=reply, batch=batch)
        texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in said]
    _write(folder, test[:asked], [text.replace(" ", "") for text in texts] if characters else texts)
