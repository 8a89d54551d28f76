"""The generated sub-tasks: what each is asked with, what a case's answer is, and when an answer has the right form.

Twelve sub-tasks of the paper's six domains; where the hub has a set of the name, ours has it too, and four are ours (``ours``),
because psychology, the risk of an investment and the sentence of a court have no public set. A sub-task is a *skill* in a domain.
Four skills are also in the general instruction pool, in other domains; three (``split``, ``rate``, ``score``) are not, because
they rest on rules that a house makes for itself.

>>> answer(TASKS["legal_extract_information"], [Case("law", {"problem": "theft", "time": "weeks"})])
'problem theft ; time weeks'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.files import DataError
from papers.anytasktune.cases import GENERAL, GRADES, LONG, SLOTS, Case, draw_case, say, tell
from papers.anytasktune.cases import words as cases_words
from papers.anytasktune.subtasks import Pair

PROMPTS = {  # skill -> the prompt that is put before each input
    "extract": "list the facts of {} :",
    "ask": "ask what {} lacks :",
    "standardise": "write {} in standard words :",
    "label": "label the mood of {} :",
    "split": "part the clients of {} :",
    "rate": "rate {} by our rule :",
    "score": "score {} from one to five :",
}
POOLED = ("extract", "ask", "standardise", "label")  # skills of the general instruction pool
MOODS = {"mild": "content", "moderate": "mixed", "severe": "angry"}
UNCLEAR, COMPLETE, BETWEEN, PARTS = "unclear", "complete", " ; ", " | "
SCORES = ("one", "two", "three", "four", "five")
CLIENTS = ("anna", "ben")
NOISE = 0.1  # of the rated and scored cases, one step off the rule
SPLIT_SLOTS = ("problem", "thing", "time")


@dataclass(frozen=True)
class Task:
    """``rule``: of a rated task, the answers by points, from none on. ``ours``: no public set has this name."""

    name: str
    domain: str
    skill: str
    rule: tuple[str, ...] = ()
    ours: bool = False

    @property
    def prompt(self) -> str:
        return PROMPTS[self.skill].format(self.domain)

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers that there are, where there are few."""
        return {
            "label": (*MOODS.values(), UNCLEAR),
            "rate": tuple(dict.fromkeys(self.rule)),
            "score": SCORES,
        }.get(self.skill, ())


TASKS = {
    task.name: task
    for task in (
        Task("clinical_question_enhancement", "health", "ask"),
        Task("standard_med_question", "health", "standardise"),
        Task("legal_extract_information", "law", "extract"),
        Task("legal_split_cases", "law", "split"),
        Task("legal_sentence_prediction", "law", "rate", ("fine", "probation", "probation", "prison"), ours=True),
        Task("standard_finance_question", "finance", "standardise"),
        Task("finance_risk_assessor", "finance", "rate", ("low", "low", "high", "high"), ours=True),
        Task("llm_resume_scoring", "staffing", "score"),
        Task("hospital_service_feedback_analysis", "service", "label"),
        Task("E-Commerce_review_extraction", "service", "extract"),
        Task("psychology_question_enhancement", "mind", "ask", ours=True),
        Task("psychology_risk_assessor", "mind", "rate", ("low", "middle", "middle", "high"), ours=True),
    )
}
POOL = {
    f"{skill}_{domain}": Task(f"{skill}_{domain}", domain, skill) for domain in GENERAL for skill in POOLED
}  # the general instruction pool and, on held cases, the general suite


def find(name: str) -> Task:
    """The task of a name, generated or of the pool. Raises :class:`DataError` for any other."""
    known = TASKS | POOL
    if name not in known:
        raise DataError(f"there is no generated sub-task '{name}'; there are {', '.join(TASKS)}.")
    return known[name]


def points(case: Case) -> int:
    """What the house rules count: grade of the level (0 to 2; not told: 0), and one for a long time."""
    grade = list(GRADES).index(case.values["level"]) if "level" in case.values else 0
    return grade + (case.values.get("time") in LONG)


def _standard(case: Case) -> str:
    words = {"problem": "{}", "level": "{}", "time": "for {}", "thing": "with {}"}
    return " ".join(text.format(case.values[slot]) for slot, text in words.items() if slot in case.values)


def answer(task: Task, cases: Sequence[Case], *, noise: int = 0) -> str:
    """The right answer to one case (of ``split``: to several). ``noise``: steps by which a rate or a score is off."""
    case = cases[0]
    if task.skill == "extract":
        return BETWEEN.join(f"{slot} {case.values[slot]}" for slot in SLOTS if slot in case.values)
    if task.skill == "ask":
        return BETWEEN.join(f"ask {slot}" for slot in SLOTS if slot in case.missing) or COMPLETE
    if task.skill == "standardise":
        return _standard(case)
    if task.skill == "label":
        return MOODS.get(case.values.get("level", ""), UNCLEAR)
    if task.skill == "split":
        return PARTS.join(" ".join(one.values[slot] for slot in SPLIT_SLOTS if slot in one.values) for one in cases)
    if task.skill == "score":
        count = points(case) + ("thing" in case.values) + noise
        return SCORES[min(max(count, 0), len(SCORES) - 1)]
    place = list(task.labels).index(task.rule[points(case)]) + noise
    return task.labels[min(max(place, 0), len(task.labels) - 1)]


def _interleave(cases: Sequence[Case], draw: np.random.Generator, *, held: bool | None) -> str:
    """Clients by turns: each says one slot at a time, in any order."""
    said = [(k, slot) for k, case in enumerate(cases) for slot in SPLIT_SLOTS if slot in case.values]
    lines = [said[i] for i in draw.permutation(len(said))]
    return " ".join(f"{CLIENTS[k]} : {say(cases[k], slot, draw, held=held)}" for k, slot in lines)


def draw_pair(task: Task, draw: np.random.Generator, *, held: bool, world: int, about: str | None = None) -> Pair:
    """An input without its prompt, and its output; ``held``: in held frames, with held values; ``about``: the domain of its case,
    where it is not the task's."""
    cases = [
        draw_case(about or task.domain, draw, held=held, world=world)
        for _ in range(len(CLIENTS) if task.skill == "split" else 1)
    ]
    noise = int(draw.choice([-1, 1])) if task.skill in ("rate", "score") and draw.random() < NOISE else 0
    text = _interleave(cases, draw, held=held) if task.skill == "split" else tell(cases[0], draw, held=held)
    return Pair(text, answer(task, cases, noise=noise))


_FACT = re.compile(rf"(?:{'|'.join(SLOTS)}) \S+")
_QUESTION = re.compile(rf"ask (?:{'|'.join(SLOTS)})")


def is_valid(task: Task, text: str) -> bool:
    """Whether an answer has the form that its task asks for, right or wrong."""
    text = " ".join(text.split())
    if task.labels:
        return text in task.labels
    if task.skill == "extract":
        return all(_FACT.fullmatch(one) for one in text.split(BETWEEN))
    if task.skill == "ask":
        return text == COMPLETE or all(_QUESTION.fullmatch(one) for one in text.split(BETWEEN))
    if task.skill == "split":
        return len(text.split(PARTS)) == len(CLIENTS) and all(text.split(PARTS))
    return bool(text) and not re.search(r"[;|:]|\b(?:ask|problem|thing|time|level)\b", text)


def words() -> list[str]:
    """Every word of the world: of its cases, prompts and answers."""
    texts = [text.format("") for text in PROMPTS.values()]
    texts += [
        *MOODS.values(),
        UNCLEAR,
        COMPLETE,
        BETWEEN,
        PARTS,
        *SCORES,
        *CLIENTS,
        *SLOTS,
        "ask for with again health :",
    ]
    texts += [label for task in TASKS.values() for label in task.rule]
    return sorted({"\n", *cases_words(), *(word for text in texts for word in text.split())})
