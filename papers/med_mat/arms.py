"""The arms of the Med-MAT notebooks that compare conditions: multi-task training, breaking composition, data curves.

Each function names the fits of one exhibit and returns accuracies by arm. Used by the notebooks ``tab1_tab2_multitask``,
``fig4_breaking_cg``, ``fig5_data_curve``, ``fig6_few_target_data`` and ``tab9_repeats``.

    arms = breaking_arms(study, targets, examples=480)     # arm -> accuracy (seeds, targets)
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.data.files import DataError
from papers.med_mat.data.selection import DIRECTION_TYPES, ELEMENTS, Subset, related, select, shared, unrelated
from papers.med_mat.data.volumes import equalise
from papers.med_mat.fits import few_shot as med_mat_few_shot
from papers.med_mat.scores import accuracies
from papers.med_mat.study import Pair, Study

WITHOUT = tuple(f"without_{element}" for element in ELEMENTS)
CONDITIONS = ("all_related", "all_unrelated", *WITHOUT, "without_random", "all_data")
CHOICE_SEED = 42  # the paper's seed for choosing combinations


# ---------------------------------------------------------------------- Tables 1 and 2
def multitask_arms(study: Study, *, tested: Sequence[Subset], equal_steps: int) -> dict[str, pd.DataFrame]:
    """Accuracy (rows: seeds, columns: subset numbers) of the arms of Tables 1 and 2.

    ``multi_task`` and ``multi_task_permuted_answers`` are tested on every subset of the world, ``single_task`` (one fit
    a subset) on ``tested``, all for the settings' number of epochs. The arms at equal steps take ``equal_steps`` each:
    ``multi_task_equal_steps``, ``single_task_equal_steps`` and ``multi_task_permuted_partners``, in which every subset
    but the tested one has its images exchanged.
    """
    learnt = study.role("ID")
    everything = {subset.no: study.available[subset.no] for subset in learnt}
    each = max(everything.values())
    numbers = list(everything)

    def multi(seed: int, permuted: Sequence[str] = (), tests: Sequence[Subset] | None = None) -> dict:
        return study.job(everything, study.cells if tests is None else tests, seed=seed, permuted=permuted)

    def single(seed: int) -> list[dict]:
        return [study.job({one.no: everything[one.no]}, [one], seed=seed) for one in tested]

    def partners(seed: int) -> list[dict]:
        return [multi(seed, [no for no in numbers if no != one.no], [one]) for one in tested]

    seeds = study.run.seeds
    together = {
        "multi_task": lambda _: [multi(seed) for seed in seeds],
        "multi_task_permuted_answers": lambda _: [multi(seed, numbers) for seed in seeds],
    }
    found = study.fit(together, seeds=[0], volume=sum(everything.values()))  # all seeds in one stacked pass
    found |= study.fit({"baseline": lambda _: [study.job({}, study.cells, seed=seed) for seed in seeds]}, seeds=[0])
    apart = study.fit({"single_task": single}, volume=each)
    every = sum(everything.values())
    apart |= study.fit({"single_task_equal_steps": single}, steps=equal_steps, volume=each)
    apart |= study.fit({"multi_task_permuted_partners": partners}, steps=equal_steps, volume=every)
    short = {"multi_task_equal_steps": lambda _: [multi(seed, (), tested) for seed in seeds]}
    found |= study.fit(short, seeds=[0], steps=equal_steps, volume=every)
    frames = {name: _frame(values[0]) for name, values in found.items()}
    columns = [one.no for one in tested]
    return frames | {name: pd.DataFrame(accuracies(values), columns=columns) for name, values in apart.items()}


def _frame(jobs: list) -> pd.DataFrame:
    return pd.DataFrame([{no: scored.accuracy() for no, scored in job.items()} for job in jobs])


def chance(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Chance, mean accuracy over seeds and the distance in standard errors of one test set, for each subset."""
    guess = pd.Series({no: 1 / study.options[no] for no in table.columns})
    error = np.sqrt(guess * (1 - guess) / pd.Series(study.tests))
    return pd.DataFrame({"chance": guess, "accuracy": table.mean(), "errors away": (table.mean() - guess) / error})


# ---------------------------------------------------------------------- Figure 4
def balanced_targets(study: Study, count: int) -> list[Subset]:
    """Subsets 03 and 28 of the paper, then those of the ID pool with the most balanced numbers of (un)related subsets.

    Only subsets for which every condition of Figure 4 holds a subset.
    """
    pool = study.role("ID")

    def possible(target: Subset) -> bool:
        kin = [shared(subset, target) for subset in related(target, pool)]
        left = [sum(element not in common for common in kin) for element in ELEMENTS]
        return min(*left, len(unrelated(target, pool))) > 0

    def order(target: Subset) -> tuple:
        spread = abs(len(related(target, pool)) - len(unrelated(target, pool)))
        return (target.no not in ("03", "28"), spread, target.no)

    return study.some(sorted(filter(possible, pool), key=order)[:count], "target of Figure 4")


def breaking_arms(study: Study, targets: Sequence[Subset], *, examples: int) -> dict[str, np.ndarray]:
    """Accuracy (seeds, targets) of Figure 4's conditions, each with exactly the same number of examples.

    ``without_random`` leaves out as many related subsets as the removal of the modality, the area or the task does, in
    turn by seed.
    """
    pool = study.role("ID")

    def amounts(target: Subset, seed: int) -> dict[str, dict[str, int]]:
        like = WITHOUT[seed % len(WITHOUT)]
        chosen = {name: select(name, target, pool, like=like, seed=seed) for name in CONDITIONS}
        return equalise(chosen, study.available, total=examples, seed=seed)

    def jobs(name: str):
        return lambda seed: [study.job(amounts(t, seed)[name], [t], seed=seed) for t in targets]

    found = study.fit({name: jobs(name) for name in CONDITIONS}, volume=examples)
    found |= study.fit({"baseline": lambda seed: [study.job({}, [target], seed=seed) for target in targets]})
    return {name: accuracies(values) for name, values in found.items()}


# ---------------------------------------------------------------------- Figures 5 and 6
def one_a_type(pairs: Sequence[Pair]) -> list[Pair]:
    """One pair of each direction type, drawn with the paper's seed and never by what it scores here."""
    rng = np.random.default_rng(CHOICE_SEED)
    groups = [[pair for pair in pairs if pair.direction_type == kind] for kind in DIRECTION_TYPES]
    return [group[rng.integers(len(group))] for group in groups if group]


def failing_in_the_paper(study: Study) -> list[Pair]:
    """The pairs that Table 3 of the paper marks as failures."""
    failed = {row.row for row in study.published if not row.mark}
    return study.some([pair for pair in study.pairs() if pair.row in failed], "failing combination")


def amount_arms(study: Study, pairs: Sequence[Pair], *, sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Accuracy (sizes, seeds, pairs) with that many examples of the related pair, of unrelated subsets, and of the pair
    with exchanged images (``permuted_related``); no example of the target."""
    found: dict[str, list[np.ndarray]] = {}
    for size in sizes:
        arms = {
            "related": lambda seed, n=size: [study.member_job(p, seed=seed, total=n) for p in pairs],
            "unrelated": lambda seed, n=size: [
                study.condition_job("baseline_plus", p.target, seed=seed, total=n) for p in pairs
            ],
            "permuted_related": lambda seed, n=size: [
                study.member_job(p, seed=seed, total=n, permuted="all") for p in pairs
            ],
        }
        for name, values in study.fit(arms, volume=size).items():
            found.setdefault(name, []).append(accuracies(values))
    return {name: np.stack(values) for name, values in found.items()}


def target_arms(study: Study, pairs: Sequence[Pair], *, sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Accuracy (sizes, seeds, pairs) with that many target examples, alone, with the related pair, and with the pair's
    images exchanged. All arms of a size take the same number of steps, so that more steps cannot be the gain."""
    found: dict[str, list[np.ndarray]] = {}

    def job(pair: Pair, seed: int, target: int, related_examples: int, permuted: bool) -> dict:
        kin = study.share(pair.members, total=related_examples, seed=seed) if related_examples else {}
        return study.job({**kin, pair.target.no: target}, [pair.target], seed=seed, permuted=list(kin) * permuted)

    for size in sizes:
        options = {
            "target_only": (0, False),
            "target_plus_related": (study.volume, False),
            "target_plus_permuted_related": (study.volume, True),
        }
        arms = {
            name: lambda seed, n=size, how=how: [job(p, seed, n, *how) for p in pairs] for name, how in options.items()
        }
        for name, values in study.fit(arms, volume=study.volume + size).items():
            found.setdefault(name, []).append(accuracies(values))
    return {name: np.stack(values) for name, values in found.items()}


# ---------------------------------------------------------------------- Table 9
def repeat_arms(study: Study, pairs: Sequence[Pair], *, repeats: int, test: int) -> dict[str, np.ndarray]:
    """Spread of ``repeats`` runs, (seeds, pairs): with one test set of ``test`` images, with a new one for each run, and
    the binomial standard error of the test set. The study's test sets must hold ``repeats`` times ``test`` images.
    """
    for pair in pairs:
        if (there := study.tests[pair.target.no]) < repeats * test:
            raise DataError(
                f"Subset {pair.target.no} has {there} test images, not {repeats} times {test}; give the notebook "
                f"test={there // repeats} or fewer."
            )
    runs = [seed * repeats + run for seed in study.run.seeds for run in range(repeats)]
    found = study.fit({"run": lambda run: [study.member_job(pair, seed=run) for pair in pairs]}, seeds=runs)["run"]
    order = np.random.default_rng(CHOICE_SEED).permutation(repeats * test)  # the rows are sorted by label
    right = np.array([[_right(next(iter(job.values())))[order] for job in jobs] for jobs in found])
    right = right.reshape(
        len(study.run.seeds), repeats, len(pairs), repeats, test
    )  # (seed, run, pair, test set, image)
    accuracy = right.mean(-1)
    same, own = accuracy[..., 0], np.einsum("srpr->srp", accuracy)
    error = np.sqrt(same * (1 - same) / test).mean(axis=1)
    return {
        "accuracy": same.mean(1),
        "repeats_same_test": same.std(axis=1, ddof=1),
        "repeats_new_test": own.std(axis=1, ddof=1),
        "binomial_standard_error": error,
    }


def _right(scored) -> np.ndarray:
    """Share of rotations answered right, image by image."""
    return (scored.test.argmax(-1) == scored.right).mean(-1)


# ---------------------------------------------------------------------- Table 16
def few_shot_arms(study: Study, pairs: Sequence[Pair], *, shots: Sequence[int], images: int) -> dict[str, np.ndarray]:
    """Accuracy (shots, seeds, pairs) on the pairs' targets with labelled target images in the prompt."""
    arms = {
        "baseline": lambda seed: [study.job({}, [pair.target], seed=seed) for pair in pairs],
        "related_pair": lambda seed: [study.member_job(pair, seed=seed) for pair in pairs],
        "permuted_pair": lambda seed: [study.member_job(pair, seed=seed, permuted="all") for pair in pairs],
    }
    if study.rows is None:
        raise DataError(
            "Few-shot prompting is written for the generated world only; run tab16_few_shot at mini or gpu."
        )
    shared = study.recipe() | {"shots": list(shots), "images": images}
    groups = [(name, jobs(seed)) for name, jobs in arms.items() for seed in study.run.seeds]
    folders = study.run.build_all(med_mat_few_shot.fit_few_shot, [{**shared, "jobs": jobs} for _, jobs in groups])
    found: dict[str, list] = {name: [] for name in arms}
    for (name, _), folder in zip(groups, folders, strict=True):
        found[name].append(json.loads((folder / "accuracy.json").read_text()))
    return {name: np.moveaxis(np.array(values), -1, 0) for name, values in found.items()}
