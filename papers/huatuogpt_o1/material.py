"""What the tiny reasoners read: documents for the base, and SFT rows with one kind of reasoning or another.

A base knows every fact of one hop (a disease has a finding or not; what is known of it, under both names) and the think-then-answer
format, and no diagnosis: its documents think of diseases that were drawn without a look at the findings. The problems of two hops
are split by their findings: no three findings of the test are in SFT or RL.

=================  ======================================================================================================
``none``           no reasoning: the response alone
``simple``         the teacher's first guess, asked again until it is right: one thought, for every problem
``first``          the same only where the very first guess was right, as the paper gets its simple chains: fewer problems
``complex``        the monologue of a search, wrong thoughts and corrections included
``swapped``        the complex chain of another problem in front of the own response (null)
``filler``         as many tokens as the simple chain, all the same word (null)
``permuted``       the complex chain and response of a search that was told another problem's truth (null)
=================  ======================================================================================================

    run.build(write_arms, sizes={...}, base=0, seed=3, told={...}); problems_of(world, told, seed=0)["test"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.files import write_json_lines
from lib.data.instructions import assistant, user
from lib.models.causal_lm import pieces
from lib.streams import stream
from papers.huatuogpt_o1.records import QUESTION, TRUTH, Record
from papers.huatuogpt_o1.replies import write_reply
from papers.huatuogpt_o1.search import Limits, rewrite, search
from papers.huatuogpt_o1.search_study import problem
from papers.huatuogpt_o1.teacher import Teacher
from papers.huatuogpt_o1.verifiers import AliasTable
from papers.huatuogpt_o1.world import ATTRIBUTES, Case, Sizes, World, answers, cases, draw_world

ARMS = ("none", "simple", "first", "complex", "swapped", "filler", "permuted")
PARTS = ("sft", "rl", "test")
FILLER = "well"
_OFTEN = 200  # first guesses, for a simple chain
_THOUGHTS = 4  # diseases that a document of the base thinks of, at most: as many as a search of three refinements


class BriefTeacher(Teacher):
    """The scripted teacher with a monologue in few words, which a tiny model can write: no comma, one line a disease."""

    def monologue(self, findings: list[str], diseases: list[int]) -> str:
        return "\n".join([*thoughts(self.world, findings, diseases), "So."])


def thoughts(world: World, findings: Sequence[str], diseases: Sequence[int]) -> list[str]:
    """A line a disease: its name, then whether it has each finding, up to the first that it has not."""
    lines = []
    for place, number in enumerate(diseases):
        one, said = world.diseases[number], []
        for finding in findings:
            said.append(f"{finding} {'yes' if finding in one.findings else 'no'}")
            if said[-1].endswith("no"):
                break
        lines.append(f"{'Wait maybe' if place else 'Maybe'} {one.name} {' '.join(said)}")
    return lines


def write_documents(folder: Path, *, sizes: dict[str, int], rows: int, seed: int) -> None:
    """``rows.jsonl``: a question, thoughts of one to four diseases, and what is known of the last one.

    No disease is drawn with a look at the findings: reading a list, the format and every fact are learnt, diagnosing is not.
    """
    world, rng, documents = draw_world(Sizes(**sizes), seed=seed), stream(seed, "documents"), []
    for _ in range(rows):
        chosen = tuple(world.findings[k] for k in sorted(rng.choice(len(world.findings), size=3, replace=False)))
        diseases = [
            int(k) for k in rng.choice(len(world.diseases), size=int(rng.integers(1, _THOUGHTS + 1)), replace=False)
        ]
        attribute = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
        name = world.names(diseases[-1], attribute)[int(rng.integers(2))]
        said = write_reply("\n".join([*thoughts(world, chosen, diseases), "So."]), f"It is {name}.")
        asked = Case(diseases[-1], chosen, attribute).text()
        documents.append({"messages": [user(asked), assistant(said)]})
    write_json_lines(folder / "rows.jsonl", documents)


def vocabulary(sizes: dict[str, int], seeds: Sequence[int]) -> list[str]:
    """Texts that hold every word of the worlds of ``seeds``, so that their bases share one tokenizer."""
    texts = [write_reply(f"Maybe x yes no {FILLER}\nWait maybe x\nSo.", "It is x.")]
    for seed in seeds:
        world = draw_world(Sizes(**sizes), seed=seed)
        texts += [Case(0, world.findings[:3], attribute).text() for attribute in ATTRIBUTES]
        texts += [*(one.name for one in world.diseases), *world.findings, *world.aliases()]
    return texts


def problems_of(world: World, shares: Mapping[str, float], *, seed: int) -> dict[str, list[Case]]:
    """Part -> its cases: sound questions, each once, divided by their three findings in ``shares``. Findings stand in the world's
    order."""
    rng = stream(seed, "split")
    sound = {(case.findings, case.attribute): case for case in cases(world) if len(answers(world, case)) == 1}.values()
    triples = sorted({case.findings for case in sound})
    mixed = [triples[int(k)] for k in rng.permutation(len(triples))]
    found, start = {}, 0
    for part in PARTS:
        end = min(len(mixed), start + round(shares[part] * len(mixed)))
        chosen, start = set(mixed[start:end]), end
        own = [one for one in sound if one.findings in chosen]
        found[part] = [Case(one.disease, one.findings, one.attribute, int(rng.integers(2))) for one in own]
    return found


def _simple(teacher: Teacher, row: Record, verifier: AliasTable, *, number: int, most: int) -> dict[str, str] | None:
    limits = Limits(refinements=0, attempts=most)
    return rewrite(search(row, process_id=number, chat=teacher, verifier=verifier, limits=limits, seed=0), chat=teacher)


def reasoned(world: World, problems: Sequence[Case], *, seed: int) -> dict[str, list[dict[str, str] | None]]:
    """Kind of chain -> the SFT row of each problem, ``None`` where its search was given up: ``complex``, ``simple``, ``first`` and
    ``permuted``, whose truths are those of other problems."""
    teacher, verifier = BriefTeacher(world, seed=seed), AliasTable(world.aliases())
    rows = [problem(world, case) for case in problems]
    moved = derangement(len(rows), seed=seed)
    found: dict[str, list[dict[str, str] | None]] = {kind: [] for kind in ("complex", "simple", "first", "permuted")}
    told = {"chat": teacher, "verifier": verifier, "limits": Limits(), "seed": seed}
    for number, row in enumerate(rows):
        found["complex"].append(rewrite(search(row, process_id=number, **told), chat=teacher))
        found["simple"].append(_simple(teacher, row, verifier, number=number, most=_OFTEN))
        found["first"].append(_simple(teacher, row, verifier, number=number, most=1))
        wrong = {**row, TRUTH: rows[moved[number]][TRUTH]}
        found["permuted"].append(rewrite(search(wrong, process_id=number, **told), chat=teacher))
    return found


def derangement(count: int, *, seed: int) -> np.ndarray:
    """A cyclic shift of ``count`` places in mixed order: nobody keeps his own."""
    order = stream(seed, "other").permutation(count)
    moved = np.empty(count, dtype=int)
    moved[order] = np.roll(order, 1)
    return moved


def arm_rows(arm: str, found: dict[str, list[dict[str, str] | None]], *, seed: int) -> list[dict[str, Any]]:
    """The dialogues of an arm. All but ``first`` and ``permuted`` have the same problems: those with a complex and a simple
    chain."""
    if arm not in ARMS:
        raise ValueError(f"there is no arm '{arm}'; choose from {', '.join(ARMS)}")
    if arm in ("first", "permuted"):
        return [_dialogue(one, one["Complex_CoT"]) for one in found[arm] if one]
    both = [(a, b) for a, b in zip(found["complex"], found["simple"], strict=True) if a and b]
    if arm == "none":
        return [_dialogue(one, None) for one, _ in both]
    if arm in ("simple", "filler"):
        chains = [one["Complex_CoT"] for _, one in both]
        if arm == "filler":
            chains = [" ".join([FILLER] * len(pieces(chain))) for chain in chains]
        return [_dialogue(one, chain) for (_, one), chain in zip(both, chains, strict=True)]
    chains = [one["Complex_CoT"] for one, _ in both]
    if arm == "swapped":
        chains = [chains[k] for k in derangement(len(chains), seed=seed)]
    return [_dialogue(one, chain) for (one, _), chain in zip(both, chains, strict=True)]


def _dialogue(row: dict[str, str], chain: str | None) -> dict[str, Any]:
    said = row["Response"] if chain is None else write_reply(chain, row["Response"])
    return {"messages": [user(row["Question"]), assistant(said)]}


def write_arms(folder: Path, *, sizes: dict[str, int], shares: dict[str, float], base: int, seed: int) -> None:
    """``<arm>.jsonl`` for every arm: SFT rows of the world of ``base`` by the teacher of ``seed``; ``rl.json``, ``test.json`` and
    ``world.json`` for :func:`read_part`."""
    world = draw_world(Sizes(**sizes), seed=base)
    parts = problems_of(world, shares, seed=base)
    found = reasoned(world, parts["sft"], seed=seed)
    for arm in ARMS:
        write_json_lines(folder / f"{arm}.jsonl", arm_rows(arm, found, seed=seed))
    for part in ("rl", "test"):
        (folder / f"{part}.json").write_text(json.dumps([problem(world, case) for case in parts[part]]))
    said = {"aliases": world.aliases(), "diseases": {one.name: one.findings for one in world.diseases}}
    (folder / "world.json").write_text(json.dumps(said))


@dataclass(frozen=True)
class Part:
    """Problems and what judges them: ``aliases`` of each name of a value, ``diseases`` with the findings of each."""

    questions: list[str]
    truths: list[str]
    aliases: dict[str, list[str]]
    diseases: dict[str, list[str]]


def read_part(folder: Path, part: str) -> Part:
    """The problems of ``rl`` or ``test``, as :func:`write_arms` wrote them."""
    rows, known = (json.loads((folder / f"{name}.json").read_text()) for name in (part, "world"))
    return Part([row[QUESTION] for row in rows], [row[TRUTH] for row in rows], **known)
