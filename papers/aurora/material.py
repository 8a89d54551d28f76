"""What the arms are tuned on and asked: of a generated world, or of files. What is fitted and measured knows neither.

Both give a replicate its training rows, the held-out prompts with their references, the exams, and the sets that rows come
from, and preference pairs, all as files in the formats of the real data.

    material = of(run)[run.base_of(seed)]; material.rows({}, seed); material.prompts()
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.data.files import DataError, write_json_lines
from lib.data.instructions import Row, read_alpaca, read_comparisons, turns_of, write_messages
from lib.streams import stream
from lib.workflow.session import Run
from papers.aurora import artefacts, cleaning
from papers.aurora import world_files as files
from papers.aurora.exam_sample import sample_exams
from papers.aurora.world import LANGUAGES, World, make_world

HELD = 10  # one prompt in so many is held out
UNCLEANED = {"complete_after": None, "least_cjk": None, "exact": False, "near": None}  # the release drops nothing else


def write_prompts(folder: Path, *, world: dict[str, Any]) -> None:
    """``prompts.json``: language -> prompts about every examined fact, each in both styles, with the true reply.

    ``words``: the fact's value in each language, one of which a right reply contains; ``in_b``: whether the base read it in B.
    """
    made = make_world(**world)
    asked = [(fact, style) for fact in made.select(examined=True) for style in files.STYLES]
    found = {
        language: [
            {
                "prompt": made.ask(fact, language, style),
                "reference": made.tell(fact, language, style),
                "in_b": fact.in_b,
                "words": {spoken: made.word(fact, spoken) for spoken in LANGUAGES},
            }
            for fact, style in asked
        ]
        for language in LANGUAGES
    }
    (folder / "prompts.json").write_text(json.dumps(found, ensure_ascii=False))


@dataclass(frozen=True)
class Generated:
    """Of a world; ``told``: how it is made, ``folder``: its pretraining rows, and its exams below ``exams``."""

    run: Run
    told: dict[str, Any]
    world: World
    folder: Path

    @property
    def exams(self) -> Path:
        return self.folder / "exams"

    def sets(self, language: str, seed: int) -> Path:
        """Folder of the three tuning sets of one replicate."""
        dialogues = self.run.settings["dialogues"]
        return self.run.build(artefacts.write_sets, world=self.told, language=language, dialogues=dialogues, seed=seed)

    def rows(self, arm: Mapping[str, Any], seed: int) -> Path:
        """The training rows of an arm; those in A are the cleaned rows in B, translated."""
        rules = dict(self.run.settings["rules"]) if arm.get("clean", True) else UNCLEANED
        translated = self.sets("A", seed) if arm.get("language", "B") == "A" else None
        folder = self.run.build(
            artefacts.write_rows, sets=self.sets("B", seed), translated=translated, seed=seed, rules=rules,
            use=arm.get("sets", list(files.SETS)), shuffle=arm.get("shuffle", False),
        )  # fmt: skip
        return folder / "rows.jsonl"

    def pairs(self, seed: int) -> Path:
        """Preference pairs, as the trainer takes them."""
        return self.run.build(artefacts.write_pairs, world=self.told, seed=seed) / "pairs.jsonl"

    def prompts(self) -> Path:
        return self.run.build(write_prompts, world=self.told) / "prompts.json"

    def instruction_sets(self, seed: int) -> dict[str, list[Row]]:
        """The tuning sets in B before cleaning, by name."""
        return artefacts.read_sets(self.sets("B", seed))

    def faults(self, seed: int) -> dict[str, dict[str, int]]:
        """How many faults of each kind stand in each of the sets."""
        return artefacts.read_faults(self.sets("B", seed))

    def about_exams(self) -> str:
        """What the exams ask, in one line."""
        world = self.world
        return (
            f"exams about {len(world.examined)} of {len(world.names)} entities, {len(world.facts)} facts told in A, "
            f"{sum(fact.in_b for fact in world.facts)} of them also in B"
        )

    def about(self) -> str:
        """What the prompts ask, in one line."""
        asked = self.world.select(examined=True)
        return (
            f"{len(asked)} held-out facts, asked tersely and for a full sentence: {2 * len(asked)} prompts a language; "
            f"{sum(fact.in_b for fact in asked)} of the facts were told in B"
        )


# ---------------------------------------------------------------------- files
def _read(paths: Sequence[Path], *, longest: int) -> list[Row]:
    """Rows of one turn of Alpaca files, prompt and answer together at most ``longest`` characters."""
    rows = [row for path in paths for row in read_alpaca(Path(path))]
    return [row for row in rows if len(turns_of(row)[1]) == 1 and sum(map(len, turns_of(row)[1][0])) <= longest]


def _held(row: Row) -> bool:
    """Whether a row's prompt is held out, by the prompt alone: every file and every seed holds out the same."""
    prompt = turns_of(row)[1][0][0]
    return int.from_bytes(hashlib.sha256(prompt.strip().encode()).digest()[:4]) % HELD == 0


def draw_rows(
    folder: Path, *, paths: Sequence[Path], rules: dict[str, Any], count: int, longest: int, seed: int
) -> None:
    """``rows.jsonl``: ``count`` rows drawn by ``seed`` from Alpaca files, cleaned, short, none with a held-out prompt.

    Raises :class:`DataError` when the files have fewer.
    """
    cleaned = cleaning.clean({"rows": _read(paths, longest=longest)}, rules=cleaning.Rules(**rules)).rows
    able = [row for row in cleaned if not _held(row)]
    if len(able) < count:
        raise DataError(
            f"{', '.join(map(str, paths))} have {len(able)} such rows, {count} are asked for; ask for fewer."
        )
    write_messages(folder / "rows.jsonl", [able[i] for i in stream(seed, "rows").permutation(len(able))[:count]])


def hold_prompts(folder: Path, *, paths: Mapping[str, Sequence[Path]], count: int, longest: int) -> None:
    """``prompts.json``: language -> ``count`` held-out prompts and their answers, the first by a drawing without a seed."""
    found = {}
    for language, listed in paths.items():
        held = {
            turns_of(row)[1][0][0].strip(): turns_of(row)[1][0][1]
            for row in _read(listed, longest=longest)
            if _held(row)
        }
        if len(held) < count:
            raise DataError(
                f"{', '.join(map(str, listed))} hold {len(held)} prompts out, {count} are asked for; ask for fewer."
            )
        prompts = sorted(held, key=lambda prompt: hashlib.sha256(prompt.encode()).hexdigest())[:count]
        found[language] = [{"prompt": prompt, "reference": held[prompt]} for prompt in prompts]
    (folder / "prompts.json").write_text(json.dumps(found, ensure_ascii=False))


def _short(row: Row, longest: int) -> bool:
    """Whether a preference pair is of one turn, short, and of two different answers in Chinese that say something."""
    answers = [row[key][0]["content"] for key in ("chosen", "rejected")]
    return (
        len(row["prompt"]) == 1
        and len(row["prompt"][0]["content"]) + max(map(len, answers)) <= longest
        and answers[0].strip() != answers[1].strip()
        and all((cleaning.cjk_share(text) or 0) >= 0.5 for text in answers)
    )


def draw_pairs(folder: Path, *, paths: Sequence[Path], count: int, longest: int, seed: int) -> None:
    """``pairs.jsonl``: ``count`` preference pairs drawn by ``seed`` from comparison files, for the trainer.

    Both answers are Chinese; prompt and longer answer have at most ``longest`` characters together. Left out are blank and
    equal answers, repeated pairs, and the prompts that :func:`hold_prompts` asks. Raises :class:`DataError` for too few.
    """
    able = {}
    for row in (row for path in paths for row in read_comparisons(Path(path))):
        prompt = [
            {**one, "content": one["content"].strip()} for one in row["prompt"]
        ]  # the files' empty input is a blank
        row = {**row, "prompt": prompt}
        if _short(row, longest) and not _held({"messages": [*prompt, *row["chosen"]]}):
            able[json.dumps(row, sort_keys=True)] = row
    if len(able) < count:
        raise DataError(
            f"{', '.join(map(str, paths))} have {len(able)} such pairs, {count} are asked for; ask for fewer."
        )
    listed = list(able.values())
    write_json_lines(
        folder / "pairs.jsonl", [listed[i] for i in stream(seed, "pairs").permutation(len(listed))[:count]]
    )


@dataclass(frozen=True)
class Files:
    """Of instruction files: ``files`` of the profile says which, language by language (A English, B Chinese)."""

    run: Run

    @property
    def exams(self) -> Path | None:
        """The real exams, where the profile says which: whole, or a sample of so many questions ``each``."""
        told = dict(self.run.settings.get("exams", {}))
        if not told:
            return None
        place = self.run.source(told.pop("source")) / told.pop("under")
        return self.run.build(sample_exams, exams=place, **told) if told else place

    def _paths(self, language: str) -> list[Path]:
        told = self.run.settings["files"]
        return [self.run.source(told["source"]) / path for path in told[language]]

    def rows(self, arm: Mapping[str, Any], seed: int) -> Path:
        """The training rows of an arm, drawn by the seed: as many in either language, or of the files that it names among
        the profile's ``sets``. :class:`DataError` for an arm that is made of a generated set's faults."""
        language, told = arm.get("language", "B"), self.run.settings["files"]
        if odd := {"clean", "shuffle"} & set(arm):
            raise DataError(
                f"rows of files cannot be drawn for an arm with '{min(odd)}'; it is made for generated sets."
            )
        folder = self.run.source(told["source"])
        paths = [folder / self.run.settings["sets"][name] for name in arm.get("sets", ())] or self._paths(language)
        rules = dict(self.run.settings["rules"]) | ({"least_cjk": None} if language == "A" else {})
        folder = self.run.build(
            draw_rows, paths=paths, rules=rules, count=told["rows"], longest=told["longest"][language],
            seed=seed,
        )  # fmt: skip
        return folder / "rows.jsonl"

    def pairs(self, seed: int) -> Path:
        """The preference pairs that ``pairs`` of the profile names."""
        told = dict(self.run.settings["pairs"])
        folder = self.run.source(told.pop("source"))
        paths = [folder / path for path in told.pop("paths")]
        return self.run.build(draw_pairs, paths=paths, seed=seed, **told) / "pairs.jsonl"

    def prompts(self) -> Path:
        told = self.run.settings["files"]
        paths = {language: self._paths(language) for language in LANGUAGES}
        return (
            self.run.build(hold_prompts, paths=paths, count=told["prompts"], longest=max(told["longest"].values()))
            / "prompts.json"
        )

    def instruction_sets(self, seed: int) -> dict[str, list[Row]]:
        """The sets that ``sets`` of the profile names, before cleaning; the same at every seed."""
        folder = self.run.source(self.run.settings["files"]["source"])
        return {name: read_alpaca(folder / path) for name, path in self.run.settings["sets"].items()}

    def faults(self, seed: int) -> dict[str, dict[str, int]]:
        """Nobody counted the faults of real sets."""
        return {}

    def about_exams(self) -> str:
        """What the exams ask, in one line."""
        each = self.run.settings["exams"].get("each")
        return f"{each} short questions of each medical subject of the real exams" if each else "the real exams, whole"

    def about(self) -> str:
        """What the prompts are, in one line."""
        told = self.run.settings["files"]
        return f"{told['prompts']} held-out real prompts a language; {told['rows']} real rows a fit, other prompts"


def of(run: Run) -> dict[int, Generated | Files]:
    """The material under each base of a run: files where the profile names some, else a world of its own."""
    seeds = list(dict.fromkeys(run.bases))
    if "files" in run.settings:
        return dict.fromkeys(seeds, Files(run))
    told = [{**run.settings["world"], "seed": seed} for seed in seeds]
    folders = run.build_all(artefacts.write_world, [{"world": one, **run.settings["pretraining_rows"]} for one in told])
    return {
        seed: Generated(run, one, make_world(**one), folder)
        for seed, one, folder in zip(seeds, told, folders, strict=True)
    }
