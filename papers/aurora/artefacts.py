"""The files of the Aurora study as cached artefacts: world, initial weights, tuning sets, training rows, pairs.

Apart from the plan (:mod:`papers.aurora.study`), so that a new arm or table trains nothing again.

    run.build(write_rows, sets=sets, use=["alpaca_zh"], rules={"near": 0.8}, shuffle=False, seed=0)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.instructions import (
    Row,
    dialogue,
    read_alpaca,
    read_comparisons,
    read_sharegpt,
    turns_of,
    write_messages,
)
from lib.models import causal_lm
from lib.streams import stream, stream_seed
from papers.aurora import cleaning as instruction_cleaning
from papers.aurora import letters as aurora_letters
from papers.aurora import world_files as files
from papers.aurora.world import make_world


def write_world(folder: Path, *, world: dict[str, Any], chat: int, replies_in_a: float) -> None:
    """Pretraining rows and exams of ``make_world(**world)``."""
    made = make_world(**world)
    files.write_pretraining(folder, made, chat=chat, replies_in_a=replies_in_a, seed=made.seed)
    files.write_exams(folder / "exams", made, seed=made.seed)


def write_initial(folder: Path, *, world: dict[str, Any], architecture: dict[str, Any]) -> None:
    """The mixture of experts before pretraining; it knows exactly the words of the world and of the exam prompts.

    Its weights are drawn by the world's seed: another world stands under another model.
    """
    made = make_world(**world)
    causal_lm.write_checkpoint(
        folder, texts=[*files.vocabulary(made), *aurora_letters.words()], chat_template="mistral", architecture="mixtral",
        seed=stream_seed(made.seed, "initial weights"), **architecture,
    )  # fmt: skip


def write_sets(folder: Path, *, world: dict[str, Any], language: str, dialogues: int, seed: int) -> None:
    """The three tuning sets of one seed in one language, in their real formats, and ``faults.json``."""
    counts = files.write_tuning_sets(folder, make_world(**world), language=language, dialogues=dialogues, seed=seed)
    (folder / "faults.json").write_text(json.dumps(counts))


def read_sets(folder: Path) -> dict[str, list[Row]]:
    """The three sets as canonical rows, by the readers of the real files."""
    return {
        name: (read_sharegpt if file.endswith(".jsonl") else read_alpaca)(folder / file)
        for name, (file, _) in files.SETS.items()
    }


def read_faults(folder: Path) -> dict[str, dict[str, int]]:
    """How many faults of each kind were put into each set."""
    return json.loads((folder / "faults.json").read_text())


def write_rows(
    folder: Path,
    *,
    sets: Path,
    use: Sequence[str],
    rules: dict[str, Any],
    shuffle: bool,
    seed: int,
    translated: Path | None = None,
) -> None:
    """``rows.jsonl`` of an arm: the sets of ``use``, cleaned by ``rules``, merged, perhaps with answers shuffled.

    ``shuffle`` gives each prompt the answer of another prompt whose answer is about as long. ``translated``: the same
    sets in the other language, from which the rows that cleaning keeps of ``sets`` are then taken, in their order.
    """
    known = read_sets(sets)
    cleaned = instruction_cleaning.clean({name: known[name] for name in use}, rules=instruction_cleaning.Rules(**rules))
    rows = cleaned.rows
    if translated is not None:
        other = read_sets(translated)
        rows = [other[name][number - 1] for name, number in cleaned.origins]
    if shuffle:
        rows = _shuffled(rows, stream(seed, "shuffled answers"))
    write_messages(folder / "rows.jsonl", rows)


def _shuffled(rows: list[Row], rng: np.random.Generator) -> list[Row]:
    """Answers moved among the prompts whose answers are about as long: the language stays, the facts go."""
    listed = [turns_of(row)[1] for row in rows]
    answers = [(len(a) < 6, r, t) for r, turns in enumerate(listed) for t, (_, a) in enumerate(turns)]
    drawn = {}
    for short in (True, False):
        places = [(r, t) for is_short, r, t in answers if is_short == short]
        for place, other in zip(places, rng.permutation(len(places)), strict=True):
            drawn[place] = listed[places[other][0]][places[other][1]][1]
    return [dialogue([(q, drawn[r, t]) for t, (q, _) in enumerate(turns)]) for r, turns in enumerate(listed)]


def write_pairs(folder: Path, *, world: dict[str, Any], seed: int) -> None:
    """Comparison pairs in the format of the release's DPO data, and the same as ``pairs.jsonl`` for the trainer."""
    files.write_comparison_set(folder / "comparison_gpt4_data_zh.json", make_world(**world), seed=seed)
    pairs = read_comparisons(folder / "comparison_gpt4_data_zh.json")
    lines = [json.dumps(pair, ensure_ascii=False) for pair in pairs]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
