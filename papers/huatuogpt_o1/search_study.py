"""Searches of the generated world's problems by the scripted teacher, and what is counted over their records.

found = searched(run, seed=0, limits=Limits()); depths(found), by_strategy(found)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lib.streams import stream
from papers.huatuogpt_o1.records import QUESTION, TRUTH, Record
from papers.huatuogpt_o1.search import Limits, is_label_guided, search
from papers.huatuogpt_o1.teacher import Teacher
from papers.huatuogpt_o1.verifiers import AliasTable, ExactMatch, Verifier
from papers.huatuogpt_o1.world import Case, Sizes, World, answers, cases, draw_world

VERIFIERS = ("alias table", "exact match")


def problem(world: World, case: Case) -> Record:
    """The verifiable problem of a case."""
    return {QUESTION: case.text(), TRUTH: world.names(case.disease, case.attribute)[case.name]}


def sound_cases(world: World, *, seed: int) -> list[Case]:
    """Every question with one right answer, in mixed order; the name that its answer bears and the order of findings are drawn."""
    rng = stream(seed, "cases")
    sound = [case for case in cases(world) if len(answers(world, case)) == 1]
    mixed = [sound[int(k)] for k in rng.permutation(len(sound))]
    return [
        Case(one.disease, tuple(one.findings[int(k)] for k in rng.permutation(3)), one.attribute, int(rng.integers(2)))
        for one in mixed
    ]


def verifier_of(world: World, name: str) -> Verifier:
    """One that needs no training, by its name in :data:`VERIFIERS`."""
    if name not in VERIFIERS:
        raise ValueError(f"there is no verifier '{name}' here; choose from {', '.join(VERIFIERS)}")
    return AliasTable(world.aliases()) if name == VERIFIERS[0] else ExactMatch()


def searched(
    sizes: dict[str, int], *, seed: int, limits: Limits, count: int, verifier: str = VERIFIERS[0], broken: float = 0.05
) -> list[dict[str, Any]]:
    """The work records of the first ``count`` problems of the world of ``seed``."""
    world = draw_world(Sizes(**sizes), seed=seed)
    teacher, judge = Teacher(world, seed=seed, broken=broken), verifier_of(world, verifier)
    rows = [problem(world, case) for case in sound_cases(world, seed=seed)[:count]]
    return [
        search(row, process_id=n, chat=teacher, verifier=judge, limits=limits, seed=seed) for n, row in enumerate(rows)
    ]


def solved(records: Sequence[dict[str, Any]]) -> float:
    """Share of the problems whose last conclusion is right."""
    return sum(one["solved"] for one in records) / len(records)


def depths(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Share of all problems by how they ended: at the first answer, after so many refinements, by a label, or not at all."""
    ends: Counter[str] = Counter()
    for one in records:
        if not one["solved"]:
            ends["discarded"] += 1
        elif is_label_guided(one):
            ends["label-guided"] += 1
        else:
            ends[f"refined {len(one['verify']) - 1}" if len(one["verify"]) > 1 else "first answer"] += 1
    return {name: count / len(records) for name, count in sorted(ends.items())}


def by_strategy(records: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Strategy -> (refinements that ended right, refinements), over all trajectories, failed ones too."""
    tried, right = Counter(), Counter()
    for record in records:
        for one in (record, *record["prior_fail_try"]):
            for kind, verdict in zip(one["response_type"], one["verify"], strict=True):
                if kind.startswith("Re_CoT_"):
                    tried[kind.removeprefix("Re_CoT_")] += 1
                    right[kind.removeprefix("Re_CoT_")] += verdict
    return {name: (right[name], count) for name, count in sorted(tried.items())}


def right_for_wrong_reasons(records: Sequence[dict[str, Any]], sizes: dict[str, int], *, seed: int) -> float:
    """Of the solved problems, the share whose last thought is a disease that lacks one of the findings."""
    world, wrong, count = draw_world(Sizes(**sizes), seed=seed), 0, 0
    by_name = {one.name: one for one in world.diseases}
    for case, record in zip(sound_cases(world, seed=seed), records, strict=False):
        if record["solved"]:
            last = [one["content"] for one in record["Long_CoT"] if one["action"] == "Inner Thinking"][-1]
            count += 1
            wrong += not set(case.findings) <= set(by_name[last.removeprefix("Maybe ").rstrip(".")].findings)
    return wrong / max(count, 1)
