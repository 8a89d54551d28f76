"""The plan of the Med-MAT experiments: the bases replicates stand on, and the fits of every notebook.

Everything is a cached artefact; two notebooks that need the same fits train them once. A *job* is one fit (what it is
trained on, what it is tested on, its seed); an arm is one artefact, the jobs of all its seeds on all their bases.

    study = prepare(run); pairs = study.pairs()
    scores = study.fit({"related_pair": lambda seed: [study.pair_job(pair, seed=seed) for pair in pairs]})
    study.by_target(scores["related_pair"], [pair.target for pair in pairs])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

from lib.data.files import DataError
from lib.streams import stream
from lib.workflow.session import Run
from papers.med_mat import released as med_mat_released
from papers.med_mat.bases import Ground, prepare_grounds
from papers.med_mat.data.published import PublishedRow, read_combinations
from papers.med_mat.data.registry import Registry, read_registry
from papers.med_mat.data.selection import Subset, select, unrelated
from papers.med_mat.data.volumes import allocate
from papers.med_mat.fits import arms as med_mat_fits
from papers.med_mat.scores import Scored, read_scores
from papers.med_mat.world import world as mat_world
from papers.med_mat.world.world import rule

Job = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """A related combination (two or three members) on the world: the printed row and the subsets that stand for it."""

    row: str
    direction_type: str
    members: tuple[Subset, ...]
    target: Subset


@dataclass
class Study:
    """Subsets, bases and how they are fitted, for one run. ``settings`` is the profile's section of ``experiments.yml``.

    ``cells``: the subsets there are (of released ones those that were fetched); ``available``: training examples of
    each, ``tests``: test images, ``options``: of its questions. ``fitter`` is told ``source`` besides its jobs.
    ``grounds``: by the seed of their base; none with a released model, whose fits all start from it.
    """

    run: Run
    settings: dict[str, Any]
    registry: Registry
    published: list[PublishedRow]
    cells: list[Subset]
    available: dict[str, int]
    tests: dict[str, int]
    options: dict[str, int]
    fitter: Callable
    source: dict[str, Any]
    grounds: dict[int, Ground] = field(default_factory=dict)

    # ------------------------------------------------------------------ structure
    def role(self, role: str) -> list[Subset]:
        """Subsets that are trained on in the multi-task experiment (``ID``) or only tested there (``OOD``).

        Raises :class:`DataError` when none of them was fetched.
        """
        return self.some([subset for subset in self.cells if subset.role == role], f"{role} subset")

    def some(self, found: list, what: str) -> list:
        """``found``, or :class:`DataError` if nothing was: too few subsets were fetched for ``what``."""
        if not found:
            there = ", ".join(subset.no for subset in self.cells)
            raise DataError(f"No {what} can be run with subsets {there} alone; fetch the others from the release.")
        return found

    def cell(self, subset: Subset) -> Subset | None:
        """The subset itself, or the one of the generated world with its triplet: there equal triplets are one subset.

        ``None`` for a released subset that was not fetched.
        """
        if subset in self.cells:
            return subset
        if not self.grounds:
            return None
        same = (subset.modality, subset.area, rule(subset))
        return next(c for c in self.cells if (c.modality, c.area, rule(c)) == same)

    def pairs(self, table: str = "tab3_combinations") -> list[Pair]:
        """The printed combinations of a table laid onto the world, each pair of members once a target.

        Where a printed name fits several subsets, the first choice that no earlier row has taken. Combinations of
        released subsets that cannot be run (:meth:`left_out`) are not among them; :class:`DataError` if that leaves none.
        """
        taken: dict[tuple, Pair] = {}
        for row in self.published:
            if row.table != table:
                continue
            for members in row.fits:
                if not self._runs(members, row.target):
                    continue
                mine, target = tuple(self.cell(m) for m in members), self.cell(row.target)
                key = (frozenset(m.no for m in mine), target.no)
                if key not in taken and len(key[0]) == len(mine) and target not in mine:
                    taken[key] = Pair(row.row, row.direction_type, mine, target)
                    break
        return self.some(list(taken.values()), f"combination of {table}")

    def repeated(self) -> list[Pair]:
        """The eight combinations that Tables 4, 9, 11, 12 and 15 repeat (where they are pairs of this world)."""
        again = {row.row for row in self.published if row.repeated_as}
        return self.some([pair for pair in self.pairs() if pair.row in again], "repeated combination")

    def _runs(self, members: Sequence[Subset], target: Subset) -> bool:
        """Whether members, target and what the combination is compared with are there; always in a generated world."""
        if self.grounds:
            return True
        if not all(self.cell(subset) for subset in (*members, target)):
            return False
        try:
            for condition in ("baseline_plus", "task_only")[: 2 if len(members) == 2 else 1]:
                select(condition, target, self.cells)
        except DataError:
            return False
        return True

    def left_out(self, table: str) -> list[str]:
        """The printed combinations of a table of which no choice of subsets can be run, by row."""
        rows = [row for row in self.published if row.table == table and row.fits]
        return [row.row for row in rows if not any(self._runs(members, row.target) for members in row.fits)]

    # ------------------------------------------------------------------ jobs
    def job(
        self, amounts: Mapping[str, int], tests: Sequence[Subset], *, seed: int, permuted: Sequence[str] = ()
    ) -> Job:
        """One fit: examples of each subset number, tested subsets, numbers of subsets whose images are exchanged."""
        return {"amounts": dict(amounts), "permuted": list(permuted), "tests": [t.no for t in tests], "seed": seed}

    def share(self, members: Sequence[Subset], *, total: int, seed: int) -> dict[str, int]:
        """``total`` examples over ``members``, as even as can be."""
        most = sum(self.available[subset.no] for subset in members)
        amounts = allocate(members, self.available, total=min(total, most), seed=seed)
        return {no: amount for no, amount in amounts.items() if amount}

    @property
    def volume(self) -> int:
        """Training examples of a related combination and of what it is compared with."""
        return self.settings["volume"]

    def member_job(self, pair: Pair, *, seed: int, permuted: bool = False, total: int | None = None) -> Job:
        """Training on the members of a combination; ``permuted``: their images exchanged inside each."""
        amounts = self.share(pair.members, total=total or self.volume, seed=seed)
        return self.job(amounts, [pair.target], seed=seed, permuted=list(amounts) if permuted else [])

    def broken_job(self, pair: Pair, *, seed: int) -> Job:
        """As many examples of as many subsets as the combination has, none of which shares an element with the target.

        Drawn by seed and row, each with as many options as the member it stands for where there is such a subset. (Of
        released ones there may be fewer subsets than members, but one at least.)
        """
        rng, chosen = stream(seed, "broken pair", pair.row), []
        for member in pair.members:
            left = [subset for subset in unrelated(pair.target, self.cells) if subset not in chosen]
            alike = [subset for subset in left if self.options[subset.no] == self.options[member.no]] or left
            chosen += [alike[rng.integers(len(alike))]] if alike else []
        return self.job(self.share(chosen, total=self.volume, seed=seed), [pair.target], seed=seed)

    def condition_job(
        self, condition: str, target: Subset, *, seed: int, total: int | None = None, like: str = "", pool=None
    ) -> Job:
        """Training on one of the conditions of :func:`papers.med_mat.data.selection.select`, ``total`` examples."""
        chosen = select(condition, target, pool or self.cells, like=like, seed=seed)
        return self.job(self.share(chosen, total=total or self.volume, seed=seed), [target], seed=seed)

    # ------------------------------------------------------------------ fitting
    def fit(
        self, arms: Mapping[str, Callable[[int], list[Job]]], *, volume: int | None = None, steps: int | None = None
    ) -> dict[str, list[list[dict[str, Scored]]]]:
        """Scores of every arm: name -> seed -> job -> tested subset -> :class:`Scored`; trained where missing.

        Every fit sees its examples ``epochs`` times (the settings' number); ``volume`` is their number where an arm's
        jobs do not have the study's usual one. ``steps`` overrides it.
        """
        groups = {name: [jobs(seed) for seed in self.run.seeds] for name, jobs in arms.items()}
        folders = self.build(self.fitter, groups.values(), volume=volume, steps=steps)
        found = {}
        for (name, by_seed), folder in zip(groups.items(), folders, strict=True):
            found[name] = by_seeds(read_scores(folder, list(chain.from_iterable(by_seed))), by_seed)
        return found

    def build(
        self, fitter: Callable, groups: Iterable[list[list[Job]]], *, volume: int | None = None, steps: int | None = None,
        **more: Any,
    ) -> list[Path]:  # fmt: skip
        """The artefact of each group: all jobs of all seeds, seed after seed; ``more``: what ``fitter`` is told besides."""
        shared = {**self.recipe(volume=volume, steps=steps), **more}
        return self.run.build_all(
            fitter, [{**shared, **self.stand(group), "jobs": list(chain.from_iterable(group))} for group in groups]
        )

    def stand(self, by_seed: Sequence[Sequence[Job]]) -> dict[str, list]:
        """Rows and models of the bases, and on which of them each job of a group stands, seed after seed."""
        if not self.grounds:
            return {}
        places = {seed: place for place, seed in enumerate(self.grounds)}
        under = [places[self.run.base_of(seed)] for seed in self.run.seeds]
        grounds = [place for place, jobs in zip(under, by_seed, strict=True) for _ in jobs]
        known = self.grounds.values()
        return {"rows": [one.rows for one in known], "models": [one.model for one in known], "grounds": grounds}

    def recipe(self, *, volume: int | None = None, steps: int | None = None) -> dict[str, Any]:
        """What every fit of this study is told besides its jobs; ``volume``: examples it sees ``epochs`` times."""
        tuning, size = dict(self.settings["tuning"]), volume or self.volume
        steps = steps or max(1, round(tuning.pop("epochs") * size / tuning["batch"]))
        tuning.pop("epochs", None)
        return {**self.source, "steps": steps, **tuning}


def by_seeds(values: Sequence, groups: Sequence[Sequence[Job]]) -> list[list]:
    """What was found for all jobs, one after the other, by seed again."""
    ends = [0, *accumulate(map(len, groups))]
    return [list(values[start:end]) for start, end in pairwise(ends)]


def prepare(
    run: Run,
    *,
    encoder: str = "convolution",
    blind: bool = False,
    tests: dict[str, Any] | None = None,
) -> Study:
    """Worlds, base models and rows of a run, built where missing.

    ``encoder``: the image encoder of the base models. ``blind``: random features instead of the encoder's. ``tests``
    (``images``, ``test``, ``only``): another world for each base, from which so many test images are taken instead, of
    the subsets numbered ``only``.
    """
    settings, registry = run.settings, read_registry(run.facts / "datasets.csv")
    published = read_combinations(run.facts / "combinations.csv", registry)
    if "released" in settings:
        return _released(run, registry, published, encoder=encoder, blind=blind, tests=tests)
    cells, parts = mat_world.cells(registry.classification), {"only": (), **(tests or settings["rows"])}
    return Study(
        run, settings, registry, published, cells,
        available={subset.no: settings["rows"]["train"] for subset in cells},
        tests={one.no: parts["test"] for one in cells if not parts["only"] or one.no in parts["only"]},
        options={subset.no: len(mat_world.TASKS[rule(subset)].labels) for subset in cells},
        fitter=med_mat_fits.fit_group, source={},
        grounds=prepare_grounds(run, encoder=encoder, blind=blind, tests=tests),
    )  # fmt: skip


def _released(run: Run, registry: Registry, published: list[PublishedRow], **how: Any) -> Study:
    """A study of a released model on the released question files (profile `full`): same jobs, same scores."""
    source = _source(run, **how)
    sizes = {key: source[key] for key in ("missing", "cap", "tests", "pool")}
    ready = med_mat_released.prepare_all(source["root"], registry, **sizes)
    study = Study(
        run, run.settings, registry, published, [subset for subset in registry.classification if subset.no in ready],
        available={no: min(source["cap"], len(one.rows.train)) for no, one in ready.items()},
        tests={no: len(one.rows.test) for no, one in ready.items()},
        options={no: one.options for no, one in ready.items()},
        fitter=med_mat_released.fit_released, source=source,
    )  # fmt: skip
    for table in ("tab3_combinations", "tab10_triples"):
        if lost := study.left_out(table):
            print(f"{table}: {len(lost)} printed combinations need a subset that is left out, and are left out too")
    return study


def _source(run: Run, *, encoder: str, blind: bool, tests: dict[str, Any] | None) -> dict[str, Any]:
    """What every fit of a run is told besides jobs and steps, from the profile's settings ``released``.

    ``root``, ``model`` and ``second_model`` name sources; a second ``encoder`` is the second model. ``tests``: other bounds
    on the test sets (``test``).
    """
    given = {"second_model": "", **run.settings["released"]}
    root, first, second = (given.pop(name) for name in ("root", "model", "second_model"))
    model = first if encoder == "convolution" else second
    if not model:
        raise DataError(
            f"The profile '{run.profile}' names one model; name the source of another under 'released: second_model:' in "
            "experiments.yml."
        )
    if tests:
        given["tests"] = tests["test"]
    places = {"root": run.source(root), "source": run.source(model), "table": run.facts / "datasets.csv"}
    return {**places, "blind": blind, **given}
