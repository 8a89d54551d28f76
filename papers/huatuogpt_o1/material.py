"""What the tiny models read: single facts for the base, and rows of SFT with one kind of reasoning or another.

A base knows facts of one hop (a disease has a finding or not; what is known of it, under both names) and no question. The problems
of two hops are split by their findings: no three findings of the test are in SFT or RL, in any order.

=================  ======================================================================================================
``none``           no reasoning: the response alone
``simple``         the teacher's first guess, asked again until it is right: one thought, for every problem
``first``          the same only where the very first guess was right, as the paper gets its simple chains: fewer problems
``complex``        the monologue of a search, wrong thoughts and corrections included
``swapped``        the complex chain of another problem in front of the own response (null)
``filler``         as many tokens as the simple chain, all the same word (null)
=================  ======================================================================================================

    run.build(write_rows, sizes={...}, arm="complex", seed=0, told={...}); problems_of(sizes, seed, told)["test"]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.data.files import write_json_lines
from lib.data.instructions import assistant, user
from lib.models.causal_lm import pieces
from lib.streams import stream
from papers.huatuogpt_o1.records import QUESTION, Record
from papers.huatuogpt_o1.replies import write_reply
from papers.huatuogpt_o1.search import Limits, is_label_guided, rewrite, search
from papers.huatuogpt_o1.search_study import problem
from papers.huatuogpt_o1.teacher import Teacher
from papers.huatuogpt_o1.verifiers import AliasTable
from papers.huatuogpt_o1.world import ATTRIBUTES, Case, Sizes, World, answers, cases, draw_world

ARMS = ("none", "simple", "first", "complex", "swapped", "filler")
FILLER = "well"
PARTS = ("sft", "rl", "test")
_OFTEN = 200  # first guesses, for a simple chain


def write_facts(folder: Path, *, sizes: dict[str, int], rows: int, seed: int) -> None:
    """``rows.jsonl``: documents that name three findings, say of one disease whether it has each, and one thing known of it.

    The disease is drawn without a look at the findings: reading a list and recalling facts is learnt, diagnosing is not.
    """
    world, rng, documents = draw_world(Sizes(**sizes), seed=seed), stream(seed, "facts"), []
    for row in range(rows):
        number = row % len(world.diseases)
        one, attribute = world.diseases[number], ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
        first, second, third = (str(f) for f in rng.choice(world.findings, size=3, replace=False))
        has = ", ".join(f"{finding} {'yes' if finding in one.findings else 'no'}" for finding in (first, second, third))
        name = world.names(number, attribute)[int(rng.integers(2))]
        documents.append(f"{first}, {second} and {third}. {one.name}: {has}. Which {attribute}? It is {name}.")
    write_json_lines(folder / "rows.jsonl", [{"text": documents[int(k)]} for k in rng.permutation(rows)])


def vocabulary(sizes: dict[str, int], seeds: Sequence[int]) -> list[str]:
    """Texts that hold every word of the worlds of ``seeds``, so that their bases share one tokenizer."""
    texts = [write_reply(f"Maybe x: yes, no. {FILLER}\nWait, maybe\nSo.", "It is x.")]
    for seed in seeds:
        world = draw_world(Sizes(**sizes), seed=seed)
        texts += [case.text() for case in cases(world)]
        texts += [*(one.name for one in world.diseases), *world.findings, *world.aliases()]
    return texts


def problems_of(sizes: dict[str, int], seed: int, told: dict[str, Any]) -> dict[str, list[Case]]:
    """Part -> its cases; ``told``: shares of the triples by part, and ``orders`` in which each question of SFT and RL is asked.

    Sound questions only. A test question is asked in one order.
    """
    world, rng = draw_world(Sizes(**sizes), seed=seed), stream(seed, "split")
    sound = [case for case in cases(world) if len(answers(world, case)) == 1]
    triples = sorted({case.findings for case in sound})
    mixed = [triples[int(k)] for k in rng.permutation(len(triples))]
    found, start = {}, 0
    for part in PARTS:
        end = min(len(mixed), start + round(told["shares"][part] * len(mixed)))
        chosen, start = set(mixed[start:end]), end
        found[part] = []
        for case in (one for one in sound if one.findings in chosen):
            for _ in range(1 if part == "test" else told["orders"]):
                order = tuple(case.findings[int(k)] for k in rng.permutation(3))
                found[part].append(Case(case.disease, order, case.attribute, int(rng.integers(2))))
    return found


def _simple(teacher: Teacher, row: Record, verifier: AliasTable, *, number: int, most: int) -> dict[str, str] | None:
    limits = Limits(refinements=0, attempts=most)
    return rewrite(search(row, process_id=number, chat=teacher, verifier=verifier, limits=limits, seed=0), chat=teacher)


def reasoned(
    world: World, problems: Sequence[Case], *, seed: int, limits: Limits
) -> dict[str, list[dict[str, str] | None]]:
    """Kind of chain -> the SFT row of each problem, ``None`` where there is none: ``complex``, ``simple`` and ``first``.

    Problems whose search was given up, or that were shown their truth, have no row in any kind.
    """
    teacher, verifier = Teacher(world, seed=seed), AliasTable(world.aliases())
    found: dict[str, list[dict[str, str] | None]] = {"complex": [], "simple": [], "first": []}
    for number, case in enumerate(problems):
        row = problem(world, case)
        record = search(row, process_id=number, chat=teacher, verifier=verifier, limits=limits, seed=seed)
        complex_row = None if is_label_guided(record) else rewrite(record, chat=teacher)
        found["complex"].append(complex_row)
        found["simple"].append(complex_row and _simple(teacher, row, verifier, number=number, most=_OFTEN))
        found["first"].append(complex_row and _simple(teacher, row, verifier, number=number, most=1))
    return found


def arm_rows(arm: str, found: dict[str, list[dict[str, str] | None]], *, seed: int) -> list[dict[str, Any]]:
    """The dialogues of an arm. All but ``first`` have the same problems: those with a complex and a simple chain."""
    if arm not in ARMS:
        raise ValueError(f"there is no arm '{arm}'; choose from {', '.join(ARMS)}")
    both = [(a, b) for a, b in zip(found["complex"], found["simple"], strict=True) if a and b]
    if arm == "first":
        return [_dialogue(one, one["Complex_CoT"]) for one in found["first"] if one]
    if arm == "none":
        return [_dialogue(one, None) for one, _ in both]
    if arm in ("simple", "filler"):
        chains = [one["Complex_CoT"] for _, one in both]
        if arm == "filler":
            chains = [" ".join([FILLER] * len(pieces(chain))) for chain in chains]
        return [_dialogue(one, chain) for (_, one), chain in zip(both, chains, strict=True)]
    chains = [one["Complex_CoT"] for one, _ in both]
    if arm == "swapped":
        shift = int(stream(seed, "swap").integers(1, len(chains)))
        chains = chains[shift:] + chains[:shift]
    return [_dialogue(one, chain) for (one, _), chain in zip(both, chains, strict=True)]


def _dialogue(row: dict[str, str], chain: str | None) -> dict[str, Any]:
    said = row["Response"] if chain is None else write_reply(chain, row["Response"])
    return {"messages": [user(row["Question"]), assistant(said)]}


def write_arms(folder: Path, *, sizes: dict[str, int], told: dict[str, Any], seed: int, limits: dict[str, Any]) -> None:
    """``<arm>.jsonl`` for every arm: SFT rows of the world of ``seed``."""
    world = draw_world(Sizes(**sizes), seed=seed)
    found = reasoned(world, problems_of(sizes, seed, told)["sft"], seed=seed, limits=Limits(**limits))
    for arm in ARMS:
        write_json_lines(folder / f"{arm}.jsonl", arm_rows(arm, found, seed=seed))


def asked(world: World, problems: Sequence[Case]) -> list[str]:
    """The questions as a model is asked them."""
    return [problem(world, case)[QUESTION] for case in problems]
