"""What stands under each replicate: a corpus with its scoring pass, the detector's base, in a generated world the encoder's.

``prepare`` gives one :class:`Ground` a base: of a generated world (its human, its nine machines, the models trained on it), or
of real files and a real checkpoint, the same for all. What trains and measures (:mod:`papers.llm_detector.study`) knows
neither.

    ground = prepare(run)[run.base_of(seed)]; ground.texts, ground.scores["curvature"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.models import checkpoints
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run
from papers.llm_detector import corpora, encoder, scoring, split, world_files
from papers.llm_detector.split import Holdout
from papers.llm_detector.texts import HUMAN, Mixed, Text, read_mixed, read_texts
from papers.llm_detector.world import LANGUAGES
from papers.llm_detector.writers import LATE

TRANSFORMERS = 2  # of the nine machines of a world


@dataclass(frozen=True)
class Ground:
    """``corpus``: folder of ``texts.jsonl``; ``mixed``: path of the polished or continued documents; ``scored``, ``scored_mixed``:
    their scoring passes; ``scored_alone``: that of the sentences one at a time, where no encoder is trained. ``base``: what the
    detector is tuned from; ``encoder_base``: what the encoder is, where there is one. ``other``: the corpus in another language;
    ``shares``: documents of known polished share; both of a world alone."""

    corpus: Path
    mixed: Path
    scored: Path
    scored_mixed: Path
    base: Path
    holdouts: tuple[Holdout, ...]
    share: float
    encoder_base: Path | None = None
    scored_alone: Path | None = None
    other: Path | None = None
    shares: Path | None = None

    @cached_property
    def texts(self) -> list[Text]:
        return read_texts(self.corpus / "texts.jsonl")

    @cached_property
    def documents(self) -> list[Mixed]:
        return read_mixed(self.mixed)

    @cached_property
    def scores(self) -> Mapping[str, Any]:
        return scoring.read_scores(self.scored)

    @cached_property
    def sentence_scores(self) -> Mapping[str, Any]:
        return scoring.read_scores(self.scored_mixed)

    @cached_property
    def alone(self) -> Mapping[str, Any]:
        return scoring.read_scores(self.scored_alone)

    @cached_property
    def counts(self) -> dict[str, Any]:
        return read_counts(self.corpus)

    def sides(self, seed: int) -> tuple[list[int], list[int]]:
        """Places of the texts whose sources train and of those whose sources test."""
        return split.by_source(self.texts, share=self.share, seed=seed)


def prepare(run: Run) -> dict[int, Ground]:
    """The ground under each base of a run, built where missing."""
    return _real(run) if "checkpoint" in run.settings else _world(run)


def corpus(run: Run, name: str, source: Path, *, seed: int, **given: Any) -> Path:
    """The folder of ``texts.jsonl`` that the settings' ``name`` says, with other rules where ``given``."""
    told = {key: value for key, value in run.settings[name].items() if key != "source"}
    return run.build(corpora.write_corpus_texts, source=source, seed=seed, **{**told, **given})


def _real(run: Run) -> dict[int, Ground]:
    told = run.settings
    seed = run.seeds[0]
    base = checkpoints.place(run, told["checkpoint"])
    texts = corpus(run, "corpus", run.source(told["corpus"]["source"]), seed=seed)
    windows = {key: value for key, value in told["windows"].items() if key != "source"}
    mixed = run.build(corpora.write_windows, source=run.source(told["windows"]["source"]), seed=seed, **windows)
    alone = run.build(corpora.write_sentences, mixed=mixed / "mixed.jsonl")
    files = [texts / "texts.jsonl", mixed / "mixed.jsonl", alone / "texts.jsonl"]
    scored = run.build_all(scoring.score, [{"texts": one, "model": base, **told["scoring"]} for one in files])
    holdouts = tuple(split.holdouts(read_texts(files[0])))
    ground = Ground(
        texts, files[1], *scored[:2], base=base, holdouts=holdouts, share=told["share"], scored_alone=scored[2]
    )
    return dict.fromkeys(dict.fromkeys(run.bases), ground)


@dataclass(frozen=True)
class _Worlds:
    """Of each base, by its place: the untrained network, the models trained on human texts, the corpora in both languages."""

    starts: list[Path]
    trained: dict[tuple[int, int], Path]
    written: dict[str, list[Path]]


def _worlds(run: Run) -> _Worlds:
    told, own = run.settings, list(dict.fromkeys(run.bases))
    spoken = {"size": told["world"]["size"], "languages": list(LANGUAGES)}
    counts = told["world"]["counts"]
    starts = run.build_all(world_files.write_tokenizer, [{**spoken, **told["network"], "seed": seed} for seed in own])
    humans = {
        name: run.build_all(
            world_files.write_human,
            [{"seed": seed, "size": spoken["size"], "language": name, "counts": counts[name]} for seed in own],
        )
        for name in LANGUAGES
    }
    # In one pass the two transformers among the machines and the model that scores, of every world: they share no text.
    jobs = [(b, part, k) for b in range(len(own)) for k, part in enumerate(["writers"] * TRANSFORMERS + ["scorer"])]
    stack = run.build(
        finetune_stacked, checkpoint=[starts[b] for b, *_ in jobs],
        rows=[humans["A"][b] / f"{part}.jsonl" for b, part, _ in jobs], seeds=[100 * own[b] + k for b, _, k in jobs],
        **told["pretraining"],
    )  # fmt: skip
    trained = {(b, k): member(stack, place) for place, (b, _, k) in enumerate(jobs)}
    plans = {
        name: [
            {
                "size": spoken["size"],
                "answers": told["world"]["answers"],
                "human": humans[name][b],
                "seed": seed,
                "transformers": [trained[b, k] for k in range(TRANSFORMERS)] if name == "A" else [],
            }
            for b, seed in enumerate(own)
        ]
        for name in LANGUAGES
    }
    return _Worlds(
        starts, trained, {name: run.build_all(world_files.write_corpus, plan) for name, plan in plans.items()}
    )


def world_sources(run: Run) -> dict[int, Path]:
    """The folder of HC3 files of each base's world."""
    return dict(zip(dict.fromkeys(run.bases), (one / "hc3" for one in _worlds(run).written["A"]), strict=True))


def _world(run: Run) -> dict[int, Ground]:
    told, own, worlds = run.settings, list(dict.fromkeys(run.bases)), _worlds(run)
    files = [[worlds.written[name][b] / "unlabelled.jsonl" for name in LANGUAGES] for b in range(len(own))]
    rows = [one / "rows.jsonl" for one in run.build_all(corpora.join_rows, [{"files": one} for one in files])]
    same = {"rows": rows, "seeds": own}
    read = run.build(finetune_stacked, checkpoint=worlds.starts, **same, **told["pretraining"])
    fit = {key: value for key, value in told["pretraining"].items() if key != "max_length"}
    encoders = run.build(encoder.pretrain_encoders, checkpoints=worlds.starts, **same, **fit)
    found = {}
    for b, seed in enumerate(own):
        written = worlds.written["A"][b]
        texts = corpus(run, "corpus", written / "hc3", seed=seed)
        mixed = written / "mixed.jsonl"
        scorer = worlds.trained[b, TRANSFORMERS]
        passes = [{"texts": one, "model": scorer, **told["scoring"]} for one in (texts / "texts.jsonl", mixed)]
        domains = sorted({one.domain for one in read_texts(texts / "texts.jsonl")})
        held = Holdout(tuple(domains[-told["held_domains"] :]), LATE)
        found[seed] = Ground(
            texts, mixed, *run.build_all(scoring.score, passes), base=member(read, b), holdouts=(held,), share=told["share"],
            encoder_base=member(encoders, b), other=corpus(run, "corpus", worlds.written["B"][b] / "hc3", seed=seed),
            shares=written / "shares.jsonl",
        )  # fmt: skip
    return found


def read_counts(folder: Path) -> dict[str, Any]:
    """What was read, left out and kept for the corpus in ``folder``."""
    return json.loads((folder / "counts.json").read_text())


def balanced(texts: list[Text], places: list[int], held: Holdout, *, seed: int) -> list[int]:
    """Of ``places`` a human and a machine text of each source, as far as they may train: the machine's by turns."""
    able = split.pairs_that_train(texts, places, held)
    versions: dict[str, dict[bool, list[int]]] = {}
    for place in able:
        one = texts[place]
        versions.setdefault(one.source, {True: [], False: []})[one.generator == HUMAN].append(place)
    order = np.random.default_rng(seed).permutation(len(versions))
    turn = {source: int(k) for source, k in zip(versions, order, strict=True)}
    chosen = []
    for source, sides in versions.items():
        if sides[True] and sides[False]:
            chosen += [sides[True][0], sides[False][turn[source] % len(sides[False])]]
    return sorted(chosen)
