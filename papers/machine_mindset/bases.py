"""The data of a run, and the tiny models that are trained from scratch on both poles: they know the domain and have no pole.

data = data_of(run, "en"); words, bases = pretrained(run, "en", data)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.models import causal_lm
from lib.streams import stream_seed
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run
from papers.machine_mindset import material
from papers.machine_mindset.exam_world import write_exam_world
from papers.machine_mindset.questionnaire import read_items, texts
from papers.machine_mindset.texts import read_words

ENGLISH = "en"  # the language that the exam, the questionnaire and the self-awareness texts are in


def data_of(run: Run, language: str) -> dict[int, dict[str, Any]]:
    """Base -> where its texts are: what :func:`material.draw_rows` takes as ``data``. A generated exam is drawn for each base."""
    told, seeds = run.settings["exam"], list(dict.fromkeys(run.bases))
    texts_of = {"folder": run.source("texts"), "language": language, "self_awareness": None, "exam": None}
    if language != ENGLISH:
        return dict.fromkeys(seeds, texts_of)
    texts_of["self_awareness"] = run.source("self_awareness")
    if "source" in told:
        return dict.fromkeys(seeds, texts_of | {"exam": run.source(told["source"]) / told["under"]})
    exams = run.build_all(write_exam_world, [{"count": told["things"], "seed": seed} for seed in seeds])
    return {seed: texts_of | {"exam": folder} for seed, folder in zip(seeds, exams, strict=True)}


def write_initial(folder: Path, *, words: Path, architecture: dict[str, Any], seed: int) -> None:
    """A tiny causal LM with random weights that knows exactly the words of ``words``."""
    known = sorted(read_words(words))
    causal_lm.write_checkpoint(
        folder, texts=known, chat_template="mistral", seed=stream_seed(seed, "initial weights"), **architecture
    )


def _kept(run: Run, language: str) -> Sequence[str]:
    """Texts that the vocabulary must hold whole: what is asked, besides the released texts."""
    if language != ENGLISH:
        return []
    return [*texts(read_items(run.facts)), run.settings["wording"], run.settings["naming"]["lead"]]


def pretrained(run: Run, language: str, data: dict[int, dict[str, Any]]) -> tuple[Path, dict[int, Path]]:
    """(words, base by seed): one vocabulary, and for each base its own initial weights, split, rows and order."""
    settings = run.settings
    recipe, first = dict(settings["base"]), next(iter(data.values()))
    mix = recipe.pop("mix")[language]
    axes = [name.partition(":")[0] for name, _ in mix if name.endswith(":both")]
    words = run.build(
        material.write_words, data=first, axes=axes, most=settings["vocabulary"], kept=_kept(run, language), texts=settings["texts"]
    ) / "words.json"  # fmt: skip
    initial = run.build_all(
        write_initial, [{"words": words, "architecture": settings["architecture"], "seed": seed} for seed in data]
    )
    rows = run.build_all(
        material.draw_rows,
        [
            {
                "data": one, "mix": mix, "count": recipe["steps"] * recipe["batch"], "texts": settings["texts"], "words": words,
                "split": {"seed": seed, "share": settings["held"]}, "shortest": settings["shortest"], "seed": seed,
                "longest_question": settings["exam"].get("longest"),
            }
            for seed, one in data.items()
        ],
    )  # fmt: skip
    folder = run.build(
        finetune_stacked, checkpoint=initial, rows=[one / "rows.jsonl" for one in rows], seeds=list(data), **recipe
    )
    return words, {seed: member(folder, k) for k, seed in enumerate(data)}
