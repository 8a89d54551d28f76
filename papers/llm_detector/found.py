"""What detectors said of texts, and what it comes to: tables, nulls, and the two sides of a claim.

Of replicates (generated worlds) a number has one value each and their Student interval; of real texts it has a value and an
interval over resampled sources and hold-outs. Both are asked for in the same way.

    found.table("in domain", like="llm_detector"); found.nulls(["llm_detector_shuffled_labels"]); found.judge("C1")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from lib.evaluation.statistics import paired_difference
from lib.workflow.session import Run
from papers.llm_detector import measures, split
from papers.llm_detector.split import CELLS, DOMAIN, IN_DOMAIN, Holdout
from papers.llm_detector.texts import HUMAN, Text

RESAMPLES = 1000
SHUFFLED = "_shuffled_labels"  # behind the name of a detector that was trained on them
MEASURES: dict[str, Callable[..., np.ndarray]] = {
    "AUROC": measures.area,
    "TPR at 1 % FPR": measures.hits_at_false_alarms,
    "balanced accuracy": measures.balanced_accuracy,
}


def leave(run: Run, claim_id: str, why: str) -> None:
    """Say of a claim, here and in the tables, that it is invalid, because what it rests on is off chance or at it."""
    run.decline(claim_id, f"invalid control: {why}")


@dataclass(frozen=True, eq=False)
class Case:
    """One hold-out of one replicate: all texts, the places that train and those that test."""

    seed: int
    held: Holdout
    texts: list[Text]
    train: tuple[int, ...]
    test: tuple[int, ...]

    @property
    def machine(self) -> np.ndarray:
        return np.array([one.generator != HUMAN for one in self.texts])


@dataclass
class Found:
    """``scores``: arm -> case -> a score a text, nan where it was not asked; ``written``: what was generated, where it was."""

    run: Run
    cases: list[Case]
    scores: dict[str, dict[Case, np.ndarray]] = field(default_factory=dict)
    written: dict[str, dict[Case, dict[int, int | None]]] = field(default_factory=dict)

    def __post_init__(self):
        self._drawn = cache(self._draw)
        self._cells = cache(lambda case: split.cells_of(case.texts, case.held))

    @property
    def real(self) -> bool:
        """Whether one set of texts is resampled, instead of replicates being drawn anew."""
        return self.run.evidence == "real"

    def _draw(self, seed: int) -> np.ndarray:
        case = next(one for one in self.cases if one.seed == seed)
        resamples = RESAMPLES if self.real else 0
        return measures.resample([one.source for one in case.texts], resamples=resamples, seed=seed)

    def inside(self, case: Case, cell: str, arms: Sequence[str]) -> np.ndarray:
        """Places of a case's test texts in a cell that every one of ``arms`` was asked of."""
        test = np.zeros(len(case.texts), dtype=bool)
        test[list(case.test)] = True
        for arm in arms:
            test &= np.isfinite(self.scores[arm][case])
        return np.flatnonzero(test & self._cells(case)[cell])

    def samples(
        self, arm: str, cell: str, *, measure: str = "AUROC", like: Sequence[str] = (), **options: float
    ) -> np.ndarray:
        """Replicates (R,), or of real texts the estimate and its resamples (1 + B,). ``like``: only the cases and texts that
        these arms were asked of as well, so that what is compared stands on the same."""
        arms = [arm, *like]
        rows = []
        for case in [one for one in self.cases if all(one in self.scores[name] for name in arms)]:
            places = self.inside(case, cell, arms)
            weights = self._drawn(case.seed)[:, places]
            rows.append(MEASURES[measure](self.scores[arm][case][places], case.machine[places], weights, **options))
        return (
            measures.over_holdouts(np.stack(rows), seed=self.run.seeds[0])
            if self.real
            else np.array([r[0] for r in rows])
        )

    def triple(self, samples: np.ndarray) -> measures.Triple:
        """(mean, low, high): over resamples, or over replicates."""
        if self.real:
            return measures.interval(samples)
        found = paired_difference(samples, 0.0)
        return (found.mean, found.low, found.high)

    def table(
        self, arms: Sequence[str], *, measure: str = "AUROC", cells: Sequence[str] = CELLS, like: Sequence[str] = ()
    ) -> dict[str, dict[str, measures.Triple]]:
        """arm -> cell -> (mean, low, high)."""
        return {
            arm: {cell: self.triple(self.samples(arm, cell, measure=measure, like=like)) for cell in cells}
            for arm in arms
        }

    def curve(self, arm: str, cell: str, at: Sequence[float], *, like: Sequence[str] = ()) -> list[measures.Triple]:
        """The ROC curve: at each share of false alarms the share of machine texts found, (mean, low, high)."""
        return [self.triple(self.samples(arm, cell, rate=rate, measure="TPR at 1 % FPR", like=like)) for rate in at]

    def human_texts(self, arm: str, cell: str) -> int:
        """How many human texts the threshold of the first case rests on: at 1 % of under 100 none may be above it."""
        case = next(iter(self.scores[arm]))
        return int((~case.machine[self.inside(case, cell, [arm])]).sum())

    def written_accuracy(self, arm: str, cell: str) -> tuple[float, float]:
        """(balanced accuracy of the written answers, an invalid one being wrong; share of invalid answers)."""
        right: dict[bool, list[float]] = {True: [], False: []}
        invalid = []
        for case, answers in self.written[arm].items():
            for place in self.inside(case, cell, [arm]):
                said, truth = answers[int(place)], bool(case.machine[place])
                invalid.append(said is None)
                right[truth].append(float(said is not None and bool(said) == truth))
        return float(np.mean([np.mean(side) for side in right.values()])), float(np.mean(invalid))

    def recall(self, arm: str, *, seen: bool | None = None) -> dict[str, dict[str, list[float]]]:
        """domain -> generator -> share found with a score above 0, a value a case (human: share taken for a machine). ``seen``:
        only cases that did, or did not, train on both the domain and the generator."""
        found: dict[str, dict[str, list[float]]] = {}
        for case, scores in self.scores[arm].items():
            groups: dict[tuple[str, str], list[float]] = {}
            for place in case.test:
                one = case.texts[place]
                known = split.may_train(one, case.held)
                if np.isfinite(scores[place]) and (seen is None or known == seen):
                    groups.setdefault((one.domain, one.generator), []).append(float(scores[place] > 0))
            for (domain, generator), hits in groups.items():
                found.setdefault(domain, {}).setdefault(generator, []).append(float(np.mean(hits)))
        return found

    # ------------------------------------------------------------------ nulls and claims
    def at_chance(self, arm: str, cell: str, like: Sequence[str] = ()) -> bool:
        """Whether 0.5 is inside the 95 % interval of an arm's area, the one that tables and figures show. Printed in one line:
        the mean and the ends are those of this machine, the word is what counts."""
        mean, low, high = self.triple(self.samples(arm, cell, like=like))
        fine = bool(low <= 0.5 <= high)
        said = "at chance" if fine else "NOT at chance: outcomes that rest on it are invalid"
        print(f"null {arm}, {cell}: AUROC {mean:.3f} [{low:.3f}, {high:.3f}], {said}")
        return fine

    def nulls(
        self, arms: Sequence[str], *, cells: Sequence[str] = (IN_DOMAIN,), like: Sequence[str] = ()
    ) -> dict[str, bool]:
        """Whether each arm is at chance in all of ``cells``, each by its own 95 % interval: of twenty sound ones about one is not,
        and an outcome is then called invalid rather than read."""
        found = {arm: [self.at_chance(arm, cell, like) for cell in cells] for arm in arms}
        return {arm: all(fine) for arm, fine in found.items()}

    def rests_on(self, claim_id: str) -> list[tuple[str, str]]:
        """(arm, cell) of the nulls under a claim: each detector that it or its control names, on shuffled labels, in the cell it
        names, where it was trained so."""
        claim = self.run.paper.claim(claim_id)
        names = [n for sides in (claim.arms, claim.counterpart.arms) for n in (sides.treatment, sides.baseline)]
        pairs = [(arm.removesuffix(SHUFFLED) + SHUFFLED, cell) for arm, cell in map(detector_and_cell, names)]
        return [(arm, cell) for arm, cell in dict.fromkeys(pairs) if arm in self.scores]

    def judge(self, claim_id: str, *, measure: str, like: Sequence[str] = ()) -> None:
        """Judge a claim whose arms are named ``<detector>[_in_domain | _out_of_domain]``. Where a null that it rests on is not at
        chance there is nothing to judge, and that is said."""
        claim = self.run.paper.claim(claim_id)
        told = [(arm, cell, self.triple(self.samples(arm, cell, like=like))) for arm, cell in self.rests_on(claim_id)]
        broken = [f"{arm}, {cell}" for arm, cell, (_, low, high) in told if not low <= 0.5 <= high]
        if broken:
            leave(self.run, claim_id, f"not at chance on shuffled labels: {'; '.join(broken)}")
            return
        if claim.direction == "equal" and not self._has_learnt(
            detector_and_cell(claim.arms.baseline)[0], measure, like
        ):
            leave(self.run, claim_id, f"{claim.arms.baseline} is at chance, so it has nothing to keep")
            return
        names = [n for sides in (claim.arms, claim.counterpart.arms) for n in (sides.treatment, sides.baseline)]
        measured = {n: self.samples(*detector_and_cell(n), measure=measure, like=like) for n in names}
        if not self.real:
            self.run.judge(claim_id, {name: values.tolist() for name, values in measured.items()})
            return
        effect, control = (
            measured[one.treatment] - measured[one.baseline] for one in (claim.arms, claim.counterpart.arms)
        )
        self.run.record(claim.quantity, {name: [values[0]] for name, values in measured.items()})
        sides = {"effect": effect, "control": control, "excess": effect - control}
        tested = len({case.texts[k].source for case in self.cases for k in case.test})
        self.run.judge_cases(claim_id, **{name: measures.interval(values) for name, values in sides.items()}, n=tested)

    def _has_learnt(self, arm: str, measure: str, like: Sequence[str]) -> bool:
        """Whether a detector is above one half in the training domains, its whole interval."""
        return bool(self.triple(self.samples(arm, IN_DOMAIN, measure=measure, like=like))[1] > 0.5)

    def first_line(
        self, table: Mapping[str, Mapping[str, measures.Triple]], arm: str, cell: str, measure: str = "AUROC"
    ) -> str:
        """Whether a baseline beats the paper's method, which a table says before anything else."""
        own = table[arm][cell][0]
        better = {name: row[cell][0] for name, row in table.items() if name != arm and row[cell][0] > own}
        if not better:
            return f"No baseline beats the paper's method ({measure}, {cell}: {own:.3f})."
        best = max(better, key=better.get)
        return (
            f"A baseline beats the paper's method ({len(better)} of {len(table) - 1} do): {measure}, {cell}, "
            f"{best} {better[best]:.3f}, {arm} {own:.3f}."
        )


def detector_and_cell(name: str) -> tuple[str, str]:
    """The detector and the cell of an arm of a claim.

    >>> detector_and_cell("encoder_detector_out_of_domain"), detector_and_cell("llm_detector")
    (('encoder_detector', 'unseen domain'), ('llm_detector', 'in domain'))
    """
    for ending, cell in {"_in_domain": IN_DOMAIN, "_out_of_domain": DOMAIN}.items():
        if name.endswith(ending):
            return name.removesuffix(ending), cell
    return name, IN_DOMAIN


def shown(table: Mapping[str, Mapping[str, Any]], label: Callable[[str], str] = str) -> dict[str, dict[str, str]]:
    """A table of triples as text: value and interval."""
    return {
        label(arm): {cell: f"{one[0]:.3f} [{one[1]:.3f}, {one[2]:.3f}]" for cell, one in row.items()}
        for arm, row in table.items()
    }
