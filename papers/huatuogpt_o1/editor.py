"""A scripted language model that filters and rewrites generated exam questions, and weak models that know a part of the facts.

The editor's judgement is right, its manners are not: it explains itself in words that hold "pass", and now and then breaks the JSON
that it was asked for. So what the release's looser reading of replies lets through can be counted.

    editor = Editor(rows, seed=0); editor.ask(query)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from lib.streams import stream
from papers.huatuogpt_o1.records import QUESTION, Record
from papers.huatuogpt_o1.world import World

_VERDICTS = {
    "recall": "Too Simple",
    "ambiguous": "Ambiguous Answer",
    "except": "Not Reformulatable",
    "several": "Ambiguous Answer",
}
_ASIDE = 0.3  # of the verdicts come with an explanation
_BROKEN = 0.15  # of the rewritings are no JSON
_MARK = "Question: "


class Editor:
    """Answers the prompts of :mod:`papers.huatuogpt_o1.prompts` about the rows it was given; anything else is a ``KeyError``."""

    def __init__(self, rows: Sequence[Record], *, seed: int):
        self.name, self.seed = f"scripted editor {seed}", seed
        self._rows = {row["question"]: row for row in rows}

    def _row(self, prompt: str) -> Record:
        asked = prompt.split(_MARK, 1)[1]
        return next(row for question, row in self._rows.items() if asked.startswith(question + "\n"))

    def ask(self, prompt: str) -> str:
        """A verdict, or the rewriting; the same prompt, the same words."""
        row, rng = self._row(prompt), stream(self.seed, "editor", prompt)
        if QUESTION not in prompt:
            said = _VERDICTS.get(row["kind"], "Pass")
            if rng.random() >= _ASIDE:
                return said
            return "Yes, this can be kept: Pass." if said == "Pass" else f"It does not pass. {said}."
        if rng.random() < _BROKEN:
            return f"Here it is: {{{QUESTION}: {row['question']}"
        return json.dumps(
            {QUESTION: row["case"].text() if row["case"] else row["question"], "Standard Answer": row["answer"]}
        )


def weak_models(world: World, *, known: Sequence[float], seed: int) -> list[Callable[[Record], str]]:
    """Models that know the share ``known`` of the single facts and guess where they do not, and at every question of two hops."""

    def weak(number: int, share: float) -> Callable[[Record], str]:
        rng = stream(seed, "weak model", number)
        facts = {one.name: bool(rng.random() < share) for one in world.diseases}

        def answer(row: Record) -> str:
            if any(fact and name in row["question"] for name, fact in facts.items()):
                return row["answer_idx"]
            guess = stream(seed, "guess", number, row["question"])
            return str(guess.choice(list(row["options"])))

        return answer

    return [weak(number, share) for number, share in enumerate(known)]
