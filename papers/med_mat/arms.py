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
from lib.streams import stream, stream_seed
from papers.med_mat.data.selection import DIRECTION_TYPES, ELEMENTS, Subset, related, select, shared, unrelated
from papers.med_mat.data.volumes import allocate, equalise
from papers.med_mat.fits import few_shot as med_mat_few_shot
from papers.med_mat.scores import accuracies
from papers.med_mat.study import Job, Pair, Study, by_seeds

WITHOUT = tuple(f"without_{element}" for element in ELEMENTS)
RANDOM = {f"random_like_{element}": f"without_{element}" for element in ELEMENTS}
CONDITIONS = ("all_related", "all_unrelated", *WITHOUT, *RANDOM, "all_data", "target_itself")
CHOICE_SEED = 42  # the paper's seed for choosing combinations


# ---------------------------------------------------------------------- Tables 1 and 2
def multitask_arms(study: Study, *, tested: Sequence[Subset], equal_steps: int) -> dict[str, pd.DataFrame]:
    """Accuracy (rows: seeds, columns: subset numbers) of the arms of Tables 1 and 2.

    ``multi_task``, ``multi_task_permuted_answers`` and ``baseline`` are tested on every subset of the world, the others
    on ``tested``. ``single_task``: one fit a subset. ``unrelated_partners``: the tested subset's rows and, for those of
    the other in-distribution subsets, as many rows of subsets that share no element with it, for as many steps as
    ``multi_task``. The same three at ``equal_steps`` steps each.
    """
    learnt = study.role("ID")
    everything = {subset.no: study.available[subset.no] for subset in learnt}
    each, every = max(everything.values()), sum(everything.values())

    def multi(tests: Sequence[Subset], permuted: Sequence[str] = ()):
        return lambda seed: [study.job(everything, tests, seed=seed, permuted=permuted)]

    def single(seed: int) -> list[Job]:
        return [study.job({one.no: everything[one.no]}, [one], seed=seed) for one in tested]

    def partners(seed: int) -> list[Job]:
        return [study.job(_unrelated_partners(study, one, everything, seed=seed), [one], seed=seed) for one in tested]

    together = {"multi_task": multi(study.cells), "multi_task_permuted_answers": multi(study.cells, list(everything))}
    found = study.fit(together | {"unrelated_partners": partners}, volume=every)
    found |= study.fit({"baseline": lambda seed: [study.job({}, study.cells, seed=seed)]})
    found |= study.fit({"single_task": single}, volume=each)
    short = {"multi_task": multi(tested), "single_task": single, "unrelated_partners": partners}
    found |= study.fit({f"{name}_equal_steps": jobs for name, jobs in short.items()}, steps=equal_steps, volume=every)
    return {name: _frame(values) for name, values in found.items()}


def _unrelated_partners(study: Study, one: Subset, everything: dict[str, int], *, seed: int) -> dict[str, int]:
    """Rows of ``one`` as in ``everything``, and as many others as it has, of subsets that share no element with ``one``.

    There are fewer such subsets, so their rows are gone through more often.
    """
    rest = sum(everything.values()) - everything[one.no]
    far = study.some(unrelated(one, study.cells), f"multi-task control of subset {one.no}")
    return {one.no: everything[one.no], **allocate(far, {s.no: rest for s in far}, total=rest, seed=seed)}


def _frame(scores: list[list[dict]]) -> pd.DataFrame:
    """Accuracies by seed (rows) and subset (columns) of an arm, in however many fits a seed."""
    return pd.DataFrame([{no: one.accuracy() for job in jobs for no, one in job.items()} for jobs in scores])


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

    ``random_like_E`` leaves out as many related subsets as the removal of E does, drawn at random; ``target_itself``
    trains on the target.
    """
    pool = study.role("ID")

    def chosen(name: str, target: Subset, seed: int) -> list[Subset]:
        if name == "target_itself":
            return [target]
        like = RANDOM.get(name, "")
        return select("without_random" if like else name, target, pool, like=like, seed=seed)

    def amounts(target: Subset, seed: int) -> dict[str, dict[str, int]]:
        conditions = {name: chosen(name, target, seed) for name in CONDITIONS}
        return equalise(conditions, study.available, total=examples, seed=seed)

    def jobs(name: str):
        return lambda seed: [study.job(amounts(t, seed)[name], [t], seed=seed) for t in targets]

    found = study.fit({name: jobs(name) for name in CONDITIONS}, volume=examples)
    found |= study.fit({"baseline": lambda seed: [study.job({}, [target], seed=seed) for target in targets]})
    return {name: accuracies(values) for name, values in found.items()}


# ---------------------------------------------------------------------- Figures 5 and 6
def one_a_type(pairs: Sequence[Pair]) -> list[Pair]:
    """One pair of each direction type, drawn with the paper's seed and never by what it scores here."""
    rng = stream(CHOICE_SEED, "one combination a type")
    groups = [[pair for pair in pairs if pair.direction_type == kind] for kind in DIRECTION_TYPES]
    return [group[rng.integers(len(group))] for group in groups if group]


def failing_in_the_paper(study: Study) -> list[Pair]:
    """The pairs that Table 3 of the paper marks as failures."""
    failed = {row.row for row in study.published if not row.mark}
    return study.some([pair for pair in study.pairs() if pair.row in failed], "failing combination")


def amount_arms(study: Study, pairs: Sequence[Pair], *, sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Accuracy (sizes, seeds, pairs) with that many examples of the related pair and of unrelated subsets; no example of
    the target."""
    found: dict[str, list[np.ndarray]] = {}
    for size in sizes:
        arms = {
            "related": lambda seed, n=size: [study.member_job(p, seed=seed, total=n) for p in pairs],
            "unrelated": lambda seed, n=size: [
                study.condition_job("baseline_plus", p.target, seed=seed, total=n) for p in pairs
            ],
        }
        for name, values in study.fit(arms, volume=size).items():
            found.setdefault(name, []).append(accuracies(values))
    return {name: np.stack(values) for name, values in found.items()}


def target_arms(study: Study, pairs: Sequence[Pair], *, sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Accuracy (sizes, seeds, pairs) with that many target examples, alone, with the related pair, and with as many
    examples of a pair that shares no element with the target. All arms of a size take the same number of steps."""
    found: dict[str, list[np.ndarray]] = {}
    more = {
        "target_only": lambda pair, seed: {},
        "target_plus_related": lambda pair, seed: study.member_job(pair, seed=seed)["amounts"],
        "target_plus_unrelated": lambda pair, seed: study.broken_job(pair, seed=seed)["amounts"],
    }

    def job(pair: Pair, seed: int, target: int, others: dict[str, int]) -> Job:
        return study.job({**others, pair.target.no: target}, [pair.target], seed=seed)

    for size in sizes:
        arms = {
            name: lambda seed, n=size, others=others: [job(p, seed, n, others(p, seed)) for p in pairs]
            for name, others in more.items()
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

    def run(number: int):
        return lambda seed: [study.member_job(pair, seed=stream_seed(seed, "repeat", number)) for pair in pairs]

    found = study.fit({f"run_{number}": run(number) for number in range(repeats)}).values()
    order = stream(CHOICE_SEED, "test sets").permutation(repeats * test)  # the rows are sorted by label
    right = [[[_right(next(iter(job.values())))[order] for job in jobs] for jobs in by_seed] for by_seed in found]
    accuracy = np.array(right).reshape(repeats, len(study.run.seeds), len(pairs), repeats, test).mean(-1)
    same, own = accuracy[..., 0], np.einsum("rspr->rsp", accuracy)  # (run, seed, pair); last axis: test set
    return {
        "accuracy": same.mean(0),
        "repeats_same_test": same.std(axis=0, ddof=1),
        "repeats_new_test": own.std(axis=0, ddof=1),
        "binomial_standard_error": np.sqrt(same * (1 - same) / test).mean(axis=0),
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
        "permuted_pair": lambda seed: [study.member_job(pair, seed=seed, permuted=True) for pair in pairs],
    }
    if not study.grounds:
        raise DataError(
            "Few-shot prompting is written for the generated world only; run tab16_few_shot at mini or gpu."
        )
    groups = {name: [jobs(seed) for seed in study.run.seeds] for name, jobs in arms.items()}
    told = {"shots": list(shots), "images": images}
    folders = study.build(med_mat_few_shot.fit_few_shot, groups.values(), **told)
    found = {}
    for (name, by_seed), folder in zip(groups.items(), folders, strict=True):
        found[name] = by_seeds(json.loads((folder / "accuracy.json").read_text()), by_seed)
    return {name: np.moveaxis(np.array(values), -1, 0) for name, values in found.items()}
