"""The plan of the long-context experiments: what is built from what, so that its notebooks only name their arms.

Everything is a cached artefact: worlds and exams, bases, row files of exact mixes, tuned models, marks. Bases and data
come from generated worlds or, when the profile's settings give paths, from real checkpoints and files in the same
formats. Under each replicate stands a base of its own and that base's world, or one of the first so many (``bases``).

    study = prepare(run); tuned = study.tune({"9:1": Arm(64, (9, 1), "heavy")}); study.scores(tuned)
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.models import checkpoints
from lib.training import sft
from lib.training.stacked import finetune_stacked, member
from lib.workflow.session import Run, SessionError, one_of
from papers.long_context import open_book
from papers.long_context import world as herb_world
from papers.long_context.look_up import pretrain_reader
from papers.long_context.mixing import mix_rows

RATIOS = ((1, 0), (9, 1), (4, 1), (1, 1), (1, 4), (1, 9), (0, 1))  # first : second; the paper's five and both ends
STACK = 35  # fits trained in one pass: all ratios of five seeds
ROWS = ("general", "medical", "medical_with_context", "general_without_context")  # row files
# What is mixed. Half the general rows are look-ups in the form of the exam and a quarter have option letters; the second
# mix differs from the first in domain alone, the third in context alone.
GENERAL, WITH_CONTEXT, WITHOUT_CONTEXT = ((name, "medical") for name in (ROWS[0], *ROWS[2:]))


@dataclass(frozen=True)
class Arm:
    """How one model is tuned. ``base``: a width, the name of a real checkpoint, or ``None`` for each of the study's in turn
    (:meth:`Study.grid`). ``shares``: of the two row files ``of``.

    ``budget`` names steps and learning rate in the settings; ``steps`` replaces its steps. ``pool``: so many different
    rows of the second file only, else all. ``after``: the arm whose models are tuned further, else the base. ``draw`` sets
    its random draws apart from those of an otherwise equal arm.
    """

    base: int | str | None
    shares: tuple[int, int]
    budget: str
    steps: int | None = None
    pool: int | None = None
    after: Arm | None = None
    draw: int = 0
    of: tuple[str, str] = GENERAL

    @property
    def is_plain(self) -> bool:
        """Whether only base, ratio and budget make it what it is."""
        return self == Arm(self.base, self.shares, self.budget) and self.shares in RATIOS

    def on(self, base: int | str) -> Arm:
        return replace(self, base=base, after=None if self.after is None else self.after.on(base))


def mixes(budget: str, *, of: tuple[str, str] = GENERAL, ratios: Sequence[str] | None = None) -> dict[str, Arm]:
    """An arm a ratio ("9:1"), by default of all. Without its first file a mix is the second alone, so 0:1 is one arm for all."""
    named = {f"{first}:{second}": (first, second) for first, second in RATIOS}
    chosen = named if ratios is None else {name: named[name] for name in ratios}
    return {name: Arm(None, shares, budget, of=of if shares[0] else GENERAL) for name, shares in chosen.items()}


@dataclass
class Study:
    """Data, bases and arms of one run. ``settings`` is the profile's section of ``experiments.yml``."""

    run: Run
    settings: dict[str, Any]
    files: dict[int, dict[str, Path]]  # seed -> Alpaca files by name, of its base's world
    bases: dict[int | str, dict[int, Path | str]]  # width or name -> seed -> checkpoint
    exams: dict[int, dict[str, Path]] = field(repr=False)  # seed -> exam name -> CMB-Exam folder

    @property
    def widths(self) -> list[int | str]:
        return list(self.bases)

    # ------------------------------------------------------------------ tuning
    def _recipe(self, arm: Arm) -> dict[str, Any]:
        """Steps, batch and the rest of an arm's budget."""
        budget = {**self.settings["tuning"], **self.settings["budgets"][arm.budget]}
        return {**budget, "steps": budget["steps"] if arm.steps is None else arm.steps}

    def _rows(self, jobs: Sequence[tuple[Arm, int]]) -> list[Path]:
        plan = []
        for arm, seed in jobs:
            recipe = self._recipe(arm)
            for name in arm.of:
                if name not in self.files[seed]:
                    raise SessionError(
                        f"this profile's files name no '{name}' rows; give their path in experiments.yml"
                    )
            first, second = (self.files[seed][name] for name in arm.of)
            drawn = {"total": recipe["steps"] * recipe["batch"], "seed": seed, "number": arm.draw, "pool": arm.pool}
            plan.append({"first": first, "second": second, "shares": list(arm.shares), **drawn})
        return [folder / "rows.jsonl" for folder in self.run.build_all(mix_rows, plan)]

    def tune(self, arms: Mapping[str, Arm]) -> dict[str, list[Path]]:
        """The model of every arm at every seed, tuned where missing: name -> models in seed order.

        Fits of one recipe are trained in stacks (``engine: stacked``) or one by one through TRL (``engine: trl``). A plain
        ratio is always trained in a stack of all ratios, so that notebooks share it.
        """
        found: dict[tuple[Arm, int], Path] = {}
        waiting = dict.fromkeys((arm, seed) for seed in self.run.seeds for arm in arms.values())
        while waiting:
            earlier = dict.fromkeys((arm.after, seed) for arm, seed in waiting if arm.after is not None)
            earlier = [job for job in earlier if job not in found]
            ready = [job for job in (earlier or waiting) if job[0].after is None or (job[0].after, job[1]) in found]
            if not ready:  # arms two stages deep: first the one at the bottom
                ready = [(arm.after, seed) for arm, seed in earlier]
            ready = sorted(ready, key=lambda job: self.run.seeds.index(job[1]))
            found |= dict(zip(ready, self._fit(ready, found), strict=True))
            waiting = {job: None for job in waiting if job not in found}
        return {name: [found[arm, seed] for seed in self.run.seeds] for name, arm in arms.items()}

    def _start(self, arm: Arm, seed: int, found: Mapping[tuple[Arm, int], Path]) -> Path | str:
        return self.bases[arm.base][seed] if arm.after is None else found[arm.after, seed]

    def _fit(self, jobs: Sequence[tuple[Arm, int]], found: Mapping[tuple[Arm, int], Path]) -> list[Path]:
        if self.settings["engine"] == "trl":
            plan = []
            for (arm, seed), path in zip(jobs, self._rows(jobs), strict=True):
                recipe, start = self._recipe(arm), self._start(arm, seed, found)
                if arm.after is not None and recipe.get("lora"):  # what was tuned is an adapter: it is tuned on
                    recipe, start = {**recipe, "lora": None, "adapter": start}, self.bases[arm.base][seed]
                plan.append({**recipe, "checkpoint": start, "rows": path, "seed": seed})
            return self.run.build_all(sft.finetune, plan)
        models: dict[tuple[Arm, int], Path] = {}
        stacks = self._stacks(jobs)
        rows = iter(self._rows([job for stack in stacks for job in stack]))
        plan = []
        for stack in stacks:
            starts = [self._start(arm, seed, found) for arm, seed in stack]
            plan.append({
                **self._recipe(stack[0][0]), "rows": [next(rows) for _ in stack], "seeds": [s for _, s in stack],
                "checkpoint": starts[0] if len(set(starts)) == 1 else starts,
            })  # fmt: skip
        for stack, folder in zip(stacks, self.run.build_all(finetune_stacked, plan), strict=True):
            models |= {job: member(folder, k) for k, job in enumerate(stack)}
        return [models[job] for job in jobs]

    def _stacks(self, jobs: Sequence[tuple[Arm, int]]) -> list[list[tuple[Arm, int]]]:
        """Jobs of one base and recipe, at most ``STACK`` at once."""
        plain = {(replace(arm, shares=r), seed) for arm, seed in jobs if arm.is_plain for r in RATIOS}
        order = {r: i for i, r in enumerate(RATIOS)}
        whole = sorted(plain, key=lambda job: (str(job[0].base), job[0].budget, job[1], order[job[0].shares]))
        groups: dict[str, list[tuple[Arm, int]]] = defaultdict(list)
        for arm, seed in [*whole, *(job for job in jobs if job not in plain)]:
            place = [arm.base, arm.after is None, self._recipe(arm), arm.is_plain]
            groups[json.dumps(place)].append((arm, seed))
        return [group[k : k + STACK] for group in groups.values() for k in range(0, len(group), STACK)]

    # ------------------------------------------------------------------ marking
    def scores(
        self, tuned: Mapping[str, Sequence[Path | str]], *, conditions: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Average over the six exams of every arm: arm -> condition (``name`` or ``name/scoring``) -> one value a seed.

        The seeds of an arm sit the exams of their seed.
        """
        names, plan = list(tuned), []
        conditions = {name: {**self.settings.get("asked", {}), **given} for name, given in conditions.items()}
        stacks = [names[k : k + STACK] for k in range(0, len(names), STACK)]
        shared = {"wording": self.settings["wording"], **self.settings["replies"]}
        for stack in stacks:
            for place, seed in enumerate(self.run.seeds):
                models = [tuned[name][place] for name in stack]
                exams = {one: self.exams[seed][one] for one in {c.get("exam", "held_out") for c in conditions.values()}}
                plan.append(
                    {**shared, "models": models, "exams_at": exams, "conditions": dict(conditions), "seed": seed}
                )
        read = [
            json.loads((folder / "scores.json").read_text()) for folder in self.run.build_all(open_book.score, plan)
        ]
        found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in names}
        for number, content in enumerate(read):
            for condition, scorings in content.items():
                for scoring, models in scorings.items():
                    key = condition if len(scorings) == 1 else f"{condition}/{scoring}"
                    for name, exams in zip(stacks[number // len(self.run.seeds)], models, strict=True):
                        found[name][key].append(float(np.mean(list(exams.values()))))
        return {name: {key: np.array(values) for key, values in one.items()} for name, one in found.items()}

    def untuned(self, base: int | str) -> list[Path | str]:
        """The base of each seed, as an arm."""
        return [self.bases[base][seed] for seed in self.run.seeds]

    def grid(self, arms: Mapping[str, Arm | None]) -> dict[str, dict[str, np.ndarray]]:
        """Every arm on every base: measure -> arm -> (widths, seeds). ``None`` is the untuned base.

        Measures: ``open`` (mean over the context sizes) and every condition of :attr:`open_conditions`.
        """
        marks = []
        for base in self.bases:
            tuned = self.tune({name: arm.on(base) for name, arm in arms.items() if arm is not None})
            models = {name: self.untuned(base) if arm is None else tuned[name] for name, arm in arms.items()}
            marks.append(self.scores(models, conditions=self.open_conditions))
        conditions = list(marks[0][next(iter(arms))])
        opened = {name: np.stack([self.over_sizes(one[name]) for one in marks]) for name in arms}
        return {"open": opened} | {
            key: {name: np.stack([one[name][key] for one in marks]) for name in arms} for key in conditions
        }

    @property
    def open_conditions(self) -> dict[str, dict[str, Any]]:
        """Context present at every size, shuffled, absent, contradicting memory, and memory itself (closed book)."""
        sizes, middle = self.settings["sizes"], self.settings["middle"]
        found = {f"open_{n}": {"size": n} for n in sizes}
        found |= {"shuffled": {"size": middle, "knowledge": "shuffled"}, "absent": {"knowledge": None}}
        if "taught" in next(iter(self.exams.values())):
            found["counterfactual"] = {"exam": "contradicted", "size": middle}
            found["closed_book"] = {"exam": "taught", "knowledge": None}
        return found

    def over_sizes(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Mean over the context sizes: the open-book accuracy that the claims are about."""
        return np.mean([scores[f"open_{n}"] for n in self.settings["sizes"]], axis=0)


def _exams(run: Run, worlds: Mapping[int, Path], settings: Mapping[str, Any]) -> dict[int, dict[str, Path]]:
    kinds = {
        "held_out": {},
        "contradicted": {"keys": "taught", "distractors": settings["middle"] - 1},
        "taught": {"keys": "taught", "distractors": settings["middle"] - 1, "contradict": False},
        "long": {"others": "all", **settings["long_exam"]},
    }
    jobs = [(seed, name, options) for seed in run.seeds for name, options in kinds.items()]
    plan = [{"world": worlds[seed], **settings["exam"], **options, "seed": seed} for seed, _, options in jobs]
    found: dict[int, dict[str, Path]] = defaultdict(dict)
    for (seed, name, _), folder in zip(jobs, run.build_all(herb_world.write_exam, plan), strict=True):
        found[seed][name] = folder
    return found


def check(run: Run, **parameters: Any) -> None:
    """Check a notebook's parameters against the profile's settings, before anything is built: ``budget``, ``base``,
    ``lengths``, ``places``, ``ratios``, ``ends``, ``trend``, ``volumes`` with ``epochs``. Raises ``SessionError``."""
    settings, names = run.settings, [f"{general}:{medical}" for general, medical in RATIOS]
    known = {
        "budget": list(settings["budgets"]),
        "base": list(settings.get("widths") or settings["checkpoints"]),
        "lengths": range(1, settings["long_exam"]["distractors"] + 2),
        "volumes": range(-(-settings["tuning"]["batch"] // parameters.pop("epochs", 1)), 10**9),  # a step, at least
        "ends": names,
        "trend": names,
    }
    for place in parameters.pop("places", ()):
        if not 0 <= place <= 1:
            raise SessionError(f"parameter 'places' holds {place}; a place is from 0 (first) to 1 (last)")
    for shares in parameters.pop("ratios", ()):
        if min(shares) < 0 or not sum(shares):
            raise SessionError(f"parameter 'ratios' holds {shares}; give shares from 0 up, one of them above 0")
    least = {"ends": (2,), "trend": (2,)}
    one_of(**{name: (value, known[name], *least.get(name, ())) for name, value in parameters.items()})


def _real(run: Run, settings: Mapping[str, Any]) -> Study:
    """``files``: of a source, the row files (Alpaca JSON) and questions (CMB-val, whose explanations serve as knowledge);
    ``checkpoints``: one for each name (:func:`lib.models.checkpoints.place`). They are the same under every seed."""
    told, folder = settings["files"], run.source(settings["files"]["source"])
    files = {name: folder / path for name, path in told.items() if name != "source"}
    kinds = {"held_out": settings["exam"], "long": settings["long_exam"]}
    built = [run.build(open_book.write_real_exam, questions=files["questions"], **kind) for kind in kinds.values()]
    exams = {seed: dict(zip(kinds, built, strict=True)) for seed in run.seeds}
    bases = {
        name: dict.fromkeys(run.seeds, checkpoints.place(run, one)) for name, one in settings["checkpoints"].items()
    }
    return Study(run=run, settings=settings, files=dict.fromkeys(run.seeds, files), bases=bases, exams=exams)


def prepare(run: Run) -> Study:
    """Worlds, exams and bases of a run, built where missing; real ones where the settings have ``files`` and ``checkpoints``."""
    settings = run.settings
    if "files" in settings:
        return _real(run, settings)
    own = list(dict.fromkeys(run.bases))
    built = run.build_all(herb_world.write_world, [{**settings["world"], "seed": one} for one in own])
    by_base = dict(zip(own, built, strict=True))
    worlds = {seed: by_base[run.base_of(seed)] for seed in run.seeds}
    files = {seed: {name: world / f"{name}.json" for name in ROWS} for seed, world in worlds.items()}
    texts = herb_world.vocabulary(herb_world.read_world(built[0]))
    places = [(width, one) for width in settings["widths"] for one in own]
    recipes = [
        {"words": by_base[one] / "world.json", "letters": list(herb_world.LETTERS), "texts": texts, "width": width,
         "seed": one, **settings["base"]}
        for width, one in places
    ]  # fmt: skip
    trained = dict(zip(places, run.build_all(pretrain_reader, recipes), strict=True))
    bases = {width: {s: trained[width, run.base_of(s)] for s in run.seeds} for width in settings["widths"]}
    return Study(run=run, settings=settings, files=files, bases=bases, exams=_exams(run, worlds, settings))
