"""The two from-scratch models of the world, S and L: initial weights, and how any of them answers a task's items.

Both are word-level causal transformers that read the same kind of rows (:func:`world.write_readings`); L is larger, reads longer
and more of the general pool.

    run.build(write_initial, architecture={...}, seed=0); run.build(answer_tasks, base=member(folder, 0), world=world, ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.data.files import write_json, write_json_lines
from lib.data.instructions import assistant, dialogue, user
from lib.evaluation.exam_prompts import chat_ids
from lib.evaluation.exams import generate
from lib.machine import CPU, Machine
from lib.models import causal_lm
from lib.models.lending import lend
from lib.streams import stream, stream_seed
from papers.anytasktune.subtasks import Pair
from papers.anytasktune.world import asked, draw_pairs, read_pairs
from papers.anytasktune.world_tasks import Task, find, words

TEMPLATE = "plain"  # a prompt, then its answer


def write_initial(folder: Path, *, architecture: dict[str, Any], seed: int) -> None:
    """A tiny causal LM with random weights that knows exactly the words of the world."""
    causal_lm.write_checkpoint(
        folder, texts=words(), chat_template=TEMPLATE, seed=stream_seed(seed, "initial weights"), **architecture
    )


def write_rows(
    folder: Path,
    *,
    world: Path,
    tasks: Sequence[str],
    each: int,
    shuffled: bool = False,
    dealt: Sequence[int] | None = None,
    prompt: str = "own",
    seed: int,
) -> None:
    """``rows.jsonl``: ``each`` training pairs of every one of the tasks, which of them by the seed.

    ``shuffled``: the outputs dealt anew among a task's pairs. ``dealt``: (k, n): of all rows, in random order, only every n-th
    from the k-th on. ``prompt``: what stands before an input (:func:`world.asked`).
    """
    rows = []
    for name in tasks:
        chosen = draw_pairs(world, name, each, seed=seed)
        outputs = [pair.output for pair in chosen]
        if shuffled:
            outputs = [outputs[i] for i in stream(seed, "shuffled outputs", name).permutation(len(outputs))]
        draw = stream(seed, "random prompts", name)
        rows += [
            dialogue([(asked(find(name), pair.input, prompt=prompt, draw=draw), output)])
            for pair, output in zip(chosen, outputs, strict=True)
        ]
    if dealt is not None:
        rows = [rows[i] for i in stream(seed, "dealt").permutation(len(rows))[dealt[0] :: dealt[1]]]
    write_json_lines(folder / "rows.jsonl", rows)


def _messages(task: Task, text: str, examples: Sequence[Pair]) -> list[dict[str, str]]:
    before = [part for one in examples for part in (user(asked(task, one.input)), assistant(one.output))]
    return [*before, user(text)]


def answer_tasks(
    folder: Path,
    *,
    base: Path,
    world: Path,
    tasks: Sequence[str],
    part: str,
    count: int,
    longest: int,
    batch: int,
    shots: int = 0,
    prompt: str = "own",
    seed: int = 0,
    machine: Machine = CPU,
) -> None:
    """``answers.json``: task -> greedy replies to its first ``count`` pairs of a part (held, suite, train).

    ``shots``: training pairs put before each item as turns, drawn by ``seed`` for each item. ``longest``: words of a reply.
    ``prompt``: what stands before an item (:func:`world.asked`).
    """
    found = {}
    with lend(base, device=machine.device) as (model, tokenizer):
        for name in tasks:
            task, pairs = find(name), read_pairs(world, part, name)[:count]
            known = read_pairs(world, "train", name) if shots else []
            prompts, dealt = [], stream(seed, "random prompts asked", name)
            for number, pair in enumerate(pairs):
                draw = stream(seed, "shots", name, number)
                examples = [known[i] for i in draw.choice(len(known), shots, replace=False)] if shots else []
                prompts.append(
                    chat_ids(tokenizer, _messages(task, asked(task, pair.input, prompt=prompt, draw=dealt), examples))
                )
            said = generate(model, prompts, end=causal_lm.end_of_turn(tokenizer), longest=longest, batch=batch)
            found[name] = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in said]
    write_json(folder / "answers.json", found)
