"""The files of the two-language world: pretraining rows, the three tuning sets in their real formats, three exams.

Tuning sets are named and written like Aurora's: two Alpaca lists, one of terse and one of full answers, and ShareGPT
JSON lines with one to four turns, each with the faults that cleaning is for, injected in known numbers. The same sets
exist in language A, a translation row for row. All are about entities that no exam asks about, and about facts that the
base read in B: tuning teaches no fact. The exams are written in the layouts of MMLU (in A), C-Eval (in B, facts told in
B) and CMMLU (in B, facts the base read in A only). Everything is read back by the readers of the real files.

    write_tuning_sets(folder, world, language="B", seed=0); write_exams(folder / "exams", world)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.data.exams import FOLDERS, Exam, Subject, write_exam
from lib.data.files import write_json_lines
from lib.data.instructions import (
    Row,
    assistant,
    dialogue,
    user,
    write_alpaca,
    write_comparisons,
    write_messages,
    write_sharegpt,
)
from lib.streams import stream
from papers.aurora.world import RELATIONS, Fact, World

# set -> (file, style of its answers); names as in the release's dataset_info.json
SETS = {
    "alpaca_zh": ("alpaca_data_zh_51k.json", "terse"),
    "alpaca_gpt4_zh": ("alpaca_gpt4_data_zh.json", "full"),
    "sharegpt": ("common_zh_70k.jsonl", "both"),
}
STYLES = ("terse", "full")
# Faults put into each set, as shares of its rows. Empty answers and zero-turn dialogues are what the real sets are
# known to have, truncated answers too (6,103 of the GPT-4 set); the shares are ours.
FAULTS = {"empty": 0.04, "truncated": 0.06, "exact": 0.05, "near": 0.05, "other_language": 0.05}
NEAR = {"。": "！", ".": "!"}  # a near duplicate ends otherwise


# ------------------------------------------------------------------------------------------------------- pretraining
def pretraining_texts(world: World) -> list[str]:
    """Every fact told in A, and in B where the world says so: plain documents."""
    return [
        world.tell(fact, language) for fact in world.facts for language in ("A", "B") if language == "A" or fact.in_b
    ]


def pretraining_chat(world: World, *, count: int, replies_in_a: float, rng: np.random.Generator) -> list[Row]:
    """Dialogues of one turn about any fact, prompts half in A and half in B.

    A prompt in B is answered in A with probability ``replies_in_a``, and always when the fact was not told in B: what
    users of Mixtral-Instruct saw.
    """
    rows = []
    for _ in range(count):
        fact, language = world.facts[rng.integers(len(world.facts))], "AB"[rng.integers(2)]
        style = STYLES[rng.integers(2)]
        reply = "A" if rng.random() < replies_in_a or not fact.in_b else language
        rows.append(dialogue([(world.ask(fact, language, style), world.tell(fact, reply, style))]))
    return rows


def vocabulary(world: World) -> list[str]:
    """Texts that hold every word of the world, for the tokenizer."""
    said = [
        function(fact, language, style)
        for fact in world.facts
        for language in ("A", "B")
        for style in STYLES
        for function in (world.ask, world.tell)
    ]
    values = [word for relation in RELATIONS for pair in relation.values for word in pair]
    return [*said, *values, *NEAR.values()]


def write_pretraining(folder: Path, world: World, *, chat: int, replies_in_a: float, seed: int) -> None:
    """``documents.jsonl`` and ``chat.jsonl``: the rows the base model is pretrained on."""
    write_json_lines(Path(folder) / "documents.jsonl", ({"text": text} for text in pretraining_texts(world)))
    rng = stream(seed, "pretraining chat")
    write_messages(Path(folder) / "chat.jsonl", pretraining_chat(world, count=chat, replies_in_a=replies_in_a, rng=rng))


# ------------------------------------------------------------------------------------------------------------ tuning
def write_tuning_sets(
    folder: Path, world: World, *, language: str, dialogues: int, seed: int
) -> dict[str, dict[str, int]]:
    """The three sets in one language, faults and all; returns how many faults of each kind each set got.

    The Alpaca sets ask for every taught fact once; `dialogues` is the number of multi-turn rows. The truth of a reply
    is the world's; a few rows carry their question in ``input``. No draw depends on the language, so row i of a set says
    in A what it says in B.
    """
    taught, counts = world.select(examined=False, in_b=True), {}
    for name, (file, style) in SETS.items():
        rng = stream(seed, "tuning set", name)
        if name == "sharegpt":
            rows, counts[name] = _dialogues(world, taught, language, dialogues, rng)
            write_sharegpt(Path(folder) / file, rows)
            continue
        order = [taught[i] for i in rng.permutation(len(taught))]
        rows = [dialogue([(world.ask(f, language, style), world.tell(f, language, style))]) for f in order]
        rows, counts[name] = _with_faults(rows, world, order, language, style, rng)
        write_alpaca(Path(folder) / file, rows, history=False)
    return counts


def _dialogues(world: World, taught: Sequence[Fact], language: str, count: int, rng: np.random.Generator):
    rows, first = [], []
    for _ in range(count):
        facts = [taught[i] for i in rng.choice(len(taught), size=rng.integers(1, 5), replace=False)]
        styles = [STYLES[i] for i in rng.integers(2, size=len(facts))]
        rows.append(
            dialogue(
                [(world.ask(f, language, s), world.tell(f, language, s)) for f, s in zip(facts, styles, strict=True)]
            )
        )
        first.append(facts[-1])
    rows, counts = _with_faults(rows, world, first, language, "full", rng)
    empty = max(1, round(FAULTS["empty"] * count))
    return [*rows, *({"messages": []} for _ in range(empty))], {**counts, "no turn": empty}


def _replace_answer(row: Row, answer: str) -> Row:
    return {"messages": [*row["messages"][:-1], {"role": "assistant", "content": answer}]}


def _with_faults(
    rows: list[Row], world: World, facts: Sequence[Fact], language: str, style: str, rng: np.random.Generator
):
    """`rows` with faulty ones among them; row i is about ``facts[i]`` (its last turn)."""
    counts = {kind: max(1, round(share * len(rows))) for kind, share in FAULTS.items()}
    drawn = rng.permutation(len(rows))[: sum(counts.values())].tolist()
    faulty: list[Row] = []
    for kind, count in counts.items():
        for i in [drawn.pop() for _ in range(count)]:
            row, answer = rows[i], rows[i]["messages"][-1]["content"]
            if kind == "empty":
                rows[i] = _replace_answer(row, "")
            elif kind == "truncated":
                full = world.tell(facts[i], language, "full")
                rows[i] = _replace_answer(row, full[: full.rindex(world.word(facts[i], language))].rstrip())
            elif kind == "other_language":
                rows[i] = _replace_answer(row, world.tell(facts[i], "B" if language == "A" else "A", style))
            elif kind == "exact":
                faulty.append(row)
            else:
                faulty.append(_replace_answer(row, answer[:-1] + NEAR[answer[-1]]))
    mixed = [*rows, *faulty]
    return [mixed[i] for i in rng.permutation(len(mixed))], counts


def write_comparison_set(path: Path, world: World, *, seed: int) -> None:
    """Preference pairs about the taught facts, prompts in B: the true answer in B is chosen; rejected is, by turns, a
    false answer in B or the true one in A."""
    rng, rows = stream(seed, "comparisons"), []
    taught = world.select(examined=False, in_b=True)
    for k, i in enumerate(rng.permutation(len(taught))):
        fact, style = taught[i], STYLES[rng.integers(2)]
        shift = int(rng.integers(1, len(RELATIONS[fact.relation].values)))
        false = replace(fact, value=(fact.value + shift) % len(RELATIONS[fact.relation].values))
        worse = world.tell(false, "B", style) if k % 2 else world.tell(fact, "A", style)
        prompt = [user(world.ask(fact, "B", style))]
        rows.append(
            {"prompt": prompt, "chosen": [assistant(world.tell(fact, "B", style))], "rejected": [assistant(worse)]}
        )
    write_comparisons(path, rows)


# ------------------------------------------------------------------------------------------------------------- exams
def write_exams(folder: Path, world: World, *, seed: int) -> None:
    """The three exams about examined entities, each below its own folder; exemplars (dev) are about the others."""
    spare = world.select(examined=False, in_b=True)
    asked = {
        "MMLU": ("A", world.select(examined=True)),
        "C-Eval": ("B", world.select(examined=True, in_b=True)),
        "CMMLU": ("B", world.select(examined=True, in_b=False)),
    }
    for name, (language, facts) in asked.items():
        rng = stream(seed, "exam", name)
        splits = {"dev": spare, "val": spare, "test": facts}
        if name == "CMMLU":
            del splits["val"]
        elif name == "C-Eval":  # as in the real one, only dev and val carry answers
            splits = {"dev": spare, "val": facts, "test": facts}
        questions = {}
        for split, chosen in splits.items():
            answered = not (name == "C-Eval" and split == "test")
            questions[split] = {
                relation.key: _questions(world, chosen, r, language, rng, split, name, answered)
                for r, relation in enumerate(RELATIONS)
            }
        subjects = {r.key: Subject(r.words["AB".index(language)], r.category) for r in RELATIONS}
        write_exam(Path(folder) / FOLDERS[name], Exam(name, subjects, questions))


def _questions(world, facts, relation, language, rng, split, name, answered):
    chosen = [fact for fact in facts if fact.relation == relation]
    if split == "dev":
        chosen = chosen[:5]
    found = []
    for number, fact in enumerate(chosen):
        question = world.question(fact, language, number=number, rng=rng, answered=answered)
        if name == "C-Eval" and split == "dev":
            question = replace(question, explanation=world.tell(fact, language))
        found.append(question)
    return found
