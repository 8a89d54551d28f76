"""A scripted teacher of the generated world: it answers the search's prompts as the paper's GPT-4o does, knowing every single fact.

It looks at one finding first and guesses a disease that has it; what it does when told that it is wrong depends on the strategy.

=====================  ==================================================================================================
Exploring New Paths    an untried disease that has another one of the findings
Verification           goes through all findings, then a disease that has those that held and one more
Correction             an untried disease that has the first finding and the first one that did not hold
Backtracking           back to the first look: an untried disease that has the first finding
=====================  ==================================================================================================

Some replies are no JSON, as real ones are not. The monologue goes through the findings of each disease it thought of until one is
absent. Answers bear either name of a value.

    Teacher(world, seed=0).ask(prompts.INITIAL.format(question=case.text(), actions=prompts.ACTIONS))
"""

from __future__ import annotations

import json
import re

import numpy as np

from lib.streams import stream
from papers.huatuogpt_o1 import prompts
from papers.huatuogpt_o1.actions import CHECK, CONCLUDE, THINK
from papers.huatuogpt_o1.world import World

_ASKED = re.compile(r"Question: A patient has (\w+), (\w+) and (\w+)\. Which (\w+)\?")
_THOUGHT = re.compile(r"[Mm]aybe (\w+)")


class Teacher:
    """``broken``: the share of replies to search prompts that are no sound actions. Raises ``ValueError`` for another question."""

    def __init__(self, world: World, *, seed: int, broken: float = 0.05):
        self.name, self.world, self.seed, self.broken = f"scripted teacher {seed} {broken}", world, seed, broken
        self._by_name = {one.name: number for number, one in enumerate(world.diseases)}

    def ask(self, prompt: str, *, sample: int = 0) -> str:
        """The reply to a prompt of :mod:`papers.huatuogpt_o1.prompts`; the same prompt and sample, the same words."""
        asked = _ASKED.search(prompt)
        if asked is None:
            raise ValueError("the teacher knows questions of its world only; give one of Case.text()")
        *findings, attribute = asked.groups()
        rng = stream(self.seed, "teacher", prompt, sample)
        thought = [self._by_name[name] for name in _THOUGHT.findall(prompt)]
        if NATURAL_MARK in prompt:
            return json.dumps({"NaturalReasoning": self.monologue(findings, list(dict.fromkeys(thought)))})
        if prompt.startswith("Question") and "Write the final answer" in prompt:
            return f"It is {self._value(rng, thought[-1], attribute)}."
        if rng.random() < self.broken:
            return '{"CoT": [{"action": "Final Conclusion", "content": "'
        if told := re.search(r"The right answer is: (\S+)\.", prompt):
            return self._guided(rng, findings, attribute, told[1], thought)
        strategy = next((name for name, said in prompts.STRATEGIES.items() if f"Strategy: {said}" in prompt), None)
        guess = self._guess(rng, findings, thought, strategy)
        before = (
            [{"action": CHECK, "content": self._checked(findings, thought[-1], whole=strategy == "Verification")}]
            if thought
            else []
        )
        return self._actions(rng, before, findings, attribute, guess, strategy or "First look")

    # ------------------------------------------------------------------ which disease
    def _guess(self, rng: np.random.Generator, findings: list[str], thought: list[int], strategy: str | None) -> int:
        world = self.world
        if strategy is None:
            return self._one(rng, world.fitting(findings[:1]), [])
        has = [finding in world.diseases[thought[-1]].findings for finding in findings]
        held = [finding for finding, yes in zip(findings, has, strict=True) if yes]
        absent = [finding for finding, yes in zip(findings, has, strict=True) if not yes]
        look = {
            "Exploring New Paths": [findings[int(rng.integers(1, len(findings)))]],
            "Verification": held + absent[:1],
            "Correction": [findings[0], *absent[:1]],
            "Backtracking": findings[:1],
        }[strategy]
        return self._one(rng, world.fitting(look), thought)

    @staticmethod
    def _one(rng: np.random.Generator, diseases: list[int], tried: list[int]) -> int:
        untried = [one for one in diseases if one not in tried] or diseases
        return untried[int(rng.integers(len(untried)))]

    # ------------------------------------------------------------------ what it says
    def _value(self, rng: np.random.Generator, disease: int, attribute: str) -> str:
        return self.world.names(disease, attribute)[int(rng.integers(2))]

    def _checked(self, findings: list[str], disease: int, *, whole: bool = True) -> str:
        """What the disease has of the findings; up to the first that it has not unless ``whole``."""
        said = []
        for finding in findings:
            said.append(f"{finding} {'yes' if finding in self.world.diseases[disease].findings else 'no'}")
            if said[-1].endswith("no") and not whole:
                break
        return ", ".join(said) + "."

    def monologue(self, findings: list[str], diseases: list[int]) -> str:
        """One thought a line: each disease with what it has, up to the first absent finding. A line break always follows."""
        lines = []
        for place, one in enumerate(diseases):
            name, checked = self.world.diseases[one].name, self._checked(findings, one, whole=False)
            lines.append(f"{'Wait, maybe' if place else 'Maybe'} {name}: {checked}")
        return "\n".join([*lines, "So."])

    def _actions(self, rng, before: list[dict], findings: list[str], attribute: str, guess: int, title: str) -> str:
        said = [
            *before,
            {"action": THINK, "title": title, "content": f"Maybe {self.world.diseases[guess].name}."},
            {"action": CONCLUDE, "content": f"It is {self._value(rng, guess, attribute)}."},
            {"action": CHECK, "content": f"{findings[0]} was looked at."},
        ]
        return json.dumps({"CoT": said})

    def _guided(self, rng, findings: list[str], attribute: str, truth: str, thought: list[int]) -> str:
        """Any disease with the first finding whose value is the truth: the answer decides, not the findings."""
        having = [one for one in range(len(self.world.diseases)) if truth in self.world.names(one, attribute)]
        near = [one for one in having if findings[0] in self.world.diseases[one].findings]
        guess = self._one(rng, near or having, thought)
        before = [{"action": CHECK, "content": self._checked(findings, thought[-1], whole=False)}]
        return self._actions(rng, before, findings, attribute, guess, "Another look")


NATURAL_MARK = "Rewrite the reasoning as a natural inner monologue"
