"""Which subsets a condition of Med-MAT trains on: related, unrelated, everything with one element left out; types of pairs.

Pure functions on (Modality, Area, Task) triplets, the same for the paper's 53 subsets and for a generated world. A
condition never holds its target. Used by the Med-MAT notebooks and by ``published``; amounts are ``volumes``.

    select("without_area", target, pool)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lib.data.files import DataError
from lib.streams import stream

ELEMENTS = ("modality", "area", "task")
DIRECTION_TYPES = ("fixed modality", "fixed area", "fixed task", "modality-area pair")
CONDITIONS = (
    "baseline",
    "baseline_plus",
    "task_only",
    "all_related",
    "all_unrelated",
    "without_modality",
    "without_area",
    "without_task",
    "without_random",
    "all_data",
)


@dataclass(frozen=True)
class Subset:
    """Datasets of one triplet, the unit of every experiment (section 2.1).

    ``family`` is the task family that decides who is related; ``names`` are further names under which the paper's
    tables use the subset (03 is "COVID" in one row of Table 3 and "State" in the next). ``role``: ``ID``, ``OOD`` or
    ``det/seg``. ``task`` is the task in words.
    """

    no: str
    modality: str
    area: str
    task: str
    family: str
    names: tuple[str, ...] = ()
    role: str = "ID"

    @property
    def readings(self) -> tuple[str, ...]:
        """Every task name of the subset, the family first."""
        return tuple(dict.fromkeys((self.family, *self.names)))


# ---------------------------------------------------------------------- relations
def shared(subset: Subset, target: Subset) -> frozenset[str]:
    """The elements ``subset`` has in common with ``target``; the task by its family."""
    same = {
        "modality": subset.modality == target.modality,
        "area": subset.area == target.area,
        "task": subset.family == target.family,
    }
    return frozenset(element for element in ELEMENTS if same[element])


def _others(target: Subset, pool: Iterable[Subset]) -> list[Subset]:
    """``pool`` without the target, by number; raises :class:`DataError` when two subsets have one number."""
    members = list(pool)
    numbers = [subset.no for subset in members]
    for no in numbers:
        if numbers.count(no) > 1:
            raise DataError(f"Subset {no} is in the pool {numbers.count(no)} times; list each subset once.")
    return sorted((s for s in members if s.no != target.no), key=lambda s: s.no)


def related(target: Subset, pool: Iterable[Subset]) -> list[Subset]:
    """Subsets that share at least one element with ``target``, by number; the target itself is left out."""
    return [subset for subset in _others(target, pool) if shared(subset, target)]


def unrelated(target: Subset, pool: Iterable[Subset]) -> list[Subset]:
    """Subsets that share no element with ``target``, by number."""
    return [subset for subset in _others(target, pool) if not shared(subset, target)]


def tied_pairs(pool: Iterable[Subset]) -> set[tuple[str, str]]:
    """(modality, area) of which neither occurs without the other, e.g. dermoscopy and skin: one element, not two."""
    pairs = {(subset.modality, subset.area) for subset in pool}
    modalities, areas = [m for m, _ in pairs], [a for _, a in pairs]
    return {(m, a) for m, a in pairs if modalities.count(m) == 1 and areas.count(a) == 1}


# ---------------------------------------------------------------------- pairs
def direction_type(
    first: tuple[str, str, str], second: tuple[str, str, str], target: tuple[str, str, str], *, tied: bool
) -> str | None:
    """Direction type of two (modality, area, task) triplets for a third, or ``None``.

    ``first`` and ``second`` in the order of the paper's table; ``tied``: the target's modality and area count as one
    element, so that only the modality-area pair exists for it.
    """
    (m1, a1, t1), (m2, a2, t2), (m, a, t) = first, second, target
    if tied:
        pair = (m1, a1) == (m, a) and t1 != t and t2 == t and m2 != m and a2 != a
        return "modality-area pair" if pair else None
    if (m1, a1) == (m, a) and t1 != t and t2 == t:
        if m2 == m and a2 != a:
            return "fixed modality"
        if m2 != m and a2 == a:
            return "fixed area"
    if (m1, t1) == (m, t) and a1 != a and (a2, t2) == (a, t) and m2 != m:
        return "fixed task"
    return None


def direction_types(first: Subset, second: Subset, target: Subset, *, tied: bool) -> set[str]:
    """Direction types over every reading of the three subsets' tasks; one reading each gives at most one type."""
    found = {
        direction_type(
            (first.modality, first.area, t1),
            (second.modality, second.area, t2),
            (target.modality, target.area, t),
            tied=tied,
        )
        for t1 in first.readings
        for t2 in second.readings
        for t in target.readings
    }
    return found - {None}


# ---------------------------------------------------------------------- conditions
def _covered(subsets: Iterable[Subset], target: Subset) -> frozenset[str]:
    return frozenset().union(*(shared(subset, target) for subset in subsets))


def _without_random(target: Subset, kin: list[Subset], *, remove: int, seed: int) -> list[Subset]:
    """``kin`` less ``remove`` random subsets: the first draw that keeps every element on offer, else the widest one.

    A draw that lost an element would be a breaking condition itself and no null of one.
    """
    rng = stream(seed, "left out at random", target.no, remove)
    best: list[Subset] = []
    for _ in range(1_000):
        kept = [kin[i] for i in sorted(rng.choice(len(kin), size=len(kin) - remove, replace=False))]
        if _covered(kept, target) == _covered(kin, target):
            return kept
        if len(_covered(kept, target)) > len(_covered(best, target)):
            best = kept
    return best


def select(
    condition: str,
    target: Subset,
    pool: Iterable[Subset],
    *,
    like: str = "",
    seed: int = 0,
) -> list[Subset]:
    """The subsets ``condition`` trains on for ``target``; never the target. One of :data:`CONDITIONS`.

    ``baseline``: none. ``baseline_plus`` and ``all_unrelated``: every unrelated subset (they differ in volume). ``without_E``: all
    related less those that share E. ``without_random``: as many left out as ``like`` (a ``without_E``) leaves out, drawn
    by ``seed`` so that every element stays on offer where the number left allows it. ``task_only``: two subsets, drawn
    by ``seed``, that share the task and nothing else. ``all_data``: every other subset of the pool.

    Raises :class:`DataError` for an unknown condition and for one that is empty here.
    Source: sections 3.1-3.4, Figure 4; ``task_only`` and ``without_random`` are this project's controls.
    """
    others, kin = _others(target, pool), related(target, pool)
    if condition == "baseline":
        return []
    if condition in ("baseline_plus", "all_unrelated"):
        chosen = unrelated(target, pool)
    elif condition == "all_related":
        chosen = kin
    elif condition in ("without_modality", "without_area", "without_task"):
        chosen = [subset for subset in kin if condition.removeprefix("without_") not in shared(subset, target)]
    elif condition == "without_random":
        if like not in ("without_modality", "without_area", "without_task"):
            raise DataError(f"without_random needs like='without_modality', '..._area' or '..._task', not {like!r}.")
        remove = len(kin) - len(select(like, target, others))
        chosen = _without_random(target, kin, remove=remove, seed=seed)
    elif condition == "task_only":
        only = [subset for subset in kin if shared(subset, target) == {"task"}]
        draw = stream(seed, "task only", target.no).permutation(len(only))[:2]
        chosen = [only[i] for i in sorted(draw)]
        if len(chosen) < 2:
            raise DataError(f"Subset {target.no}: {len(only)} subsets share only its task; a pair needs two.")
    elif condition == "all_data":
        chosen = others
    else:
        raise DataError(f"There is no condition '{condition}'; use one of {', '.join(CONDITIONS)}.")
    if not chosen:
        raise DataError(f"Subset {target.no}: the condition '{condition}' holds no subset of this pool.")
    return chosen
