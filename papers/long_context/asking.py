"""The open-book notebooks' plan: which model is asked which questions, and what a claim about single questions rests on.

Questions and model are a generated exam and its base, or, where the profile's settings name ``questions``, files and a
checkpoint of ``sources``. Mixes are tuned where the profile has budgets for them.

    plan = prepare(run); asked = plan.ask(); run.judge_cases("R1a", **asked.contrast(run.paper.claim("R1a"), resamples=5000))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.cases import over_cases
from lib.models import checkpoints
from lib.workflow.session import Run, SessionError, one_of
from papers.long_context import pubmedqa, questions, reading
from papers.long_context import study as mixes_study
from papers.long_context.study import Arm, Study, mixes

UNTUNED = "untuned"
KINDS = {  # what stands in the prompt, beside the context itself -> condition
    "absent": "absent",
    "shuffled": "shuffled",
    "counterfactual": "counterfactual",
    "closed book, taught": "closed_book",
}
MARKS = {  # how the replies of tuned mixes are marked
    "text": "herb named",
    "strict": "letter alone",
    "released": "released extractor",
    "likelihood": "option likelihood",
}


@dataclass(frozen=True)
class Asked:
    """measure -> kind of context -> one value a question: ``nats`` a token, or 1 where a mode of marking says right."""

    questions: list[questions.Question]
    values: dict[str, dict[str, np.ndarray]]
    replies: dict[str, dict[str, list[str]]]

    def about(self) -> str:
        """The questions in one line; how often the commonest answer is right is what always giving it scores."""
        right = [one.options[one.right].lower() for one in self.questions]
        often = max(dict.fromkeys(right), key=right.count)
        sentences = np.mean([len(one.sentences) for one in self.questions])
        return (
            f"{len(right)} questions, {sentences:.1f} sentences in a context; the commonest right answer, '{often}', is "
            f"that of {right.count(often) / len(right):.2f}"
        )

    def contrast(self, claim: Any, *, resamples: int) -> dict[str, Any]:
        """What ``Run.judge_cases`` takes: effect and control of a claim over questions. Its arms are named
        ``<measure>_<kind of context>``."""
        arms = {f"{measure}_{kind}": v for measure, kinds in self.values.items() for kind, v in kinds.items()}
        sides = [arms[one.treatment] - arms[one.baseline] for one in (claim.arms, claim.control.arms)]
        return over_cases(*sides, resamples=resamples)


@dataclass(frozen=True)
class Plan:
    """Of one run: the model that is asked, its questions, and the study of tuned mixes (``None``: nothing is tuned)."""

    run: Run
    model: Path | str
    questions: Path
    study: Study | None

    def ask(self) -> Asked:
        """The untuned model, question by question."""
        told = {**self.run.settings["reading"], "seed": self.run.seeds[0]}
        folder = self.run.build(reading.ask, model=self.model, questions=self.questions, **told)
        read = json.loads((folder / "asked.json").read_text())
        values = {name: {kind: np.array(v) for kind, v in kinds.items()} for name, kinds in read.items()}
        replies = json.loads((folder / "replies.json").read_text(encoding="utf-8"))
        return Asked(questions.read_questions(self.questions), values, replies)

    def mixes(self, *, budget: str, trend: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        """What stands in the prompt -> untuned model and tuned mixes -> accuracy (widths, seeds); {} where no mix is asked for."""
        if not trend:
            return {}
        grid = self.study.grid({UNTUNED: None, **mixes(budget)})  # all mixes, as tab4_ratio asks for them
        kinds = {"present": f"open_{self.run.settings['middle']}", **KINDS}
        return {
            kind: {name: grid[key][name] for name in [UNTUNED, *trend]} for kind, key in kinds.items() if key in grid
        }

    def checks(self, found: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
        """Of what :meth:`mixes` found: whether the bases read before tuning, know nothing, and reading is all that helps."""
        if not found or not self.run.settings.get("verdicts", True):
            return []
        reads = found["present"][UNTUNED].mean(axis=1) >= 0.98
        absent, shuffled = found["absent"][UNTUNED].mean(), max(v.mean() for v in found["shuffled"].values())
        return [
            f"widths that read before tuning (0.98 at {self.run.settings['middle']} facts): {sum(reads)} of {len(reads)}",
            f"untuned base without a context at most 0.05: {bool(absent <= 0.05)}",
            f"shuffled context at most 0.10 in every arm: {bool(shuffled <= 0.10)}",
        ]

    def marks(
        self, *, budget: str, base: int | str, ratios: Sequence[Sequence[int]], longest: int
    ) -> dict[str, dict[str, dict[str, np.ndarray]]]:
        """Context (open, shuffled) -> way of marking -> untuned model and mixes -> accuracy (seeds,); {} without ratios."""
        if not ratios:
            return {}
        tuned = self.study.tune({f"{g}:{m}": Arm(base, (g, m), budget) for g, m in ratios})
        arms = {UNTUNED: self.study.untuned(base), **tuned}
        asked = {"size": self.run.settings["middle"], "options": True, "longest": longest, "scoring": list(MARKS)}
        conditions = {"open": asked, "shuffled": {**asked, "knowledge": "shuffled"}}
        found = self.study.scores(arms, conditions=conditions)
        return {
            context: {title: {name: found[name][f"{context}/{key}"] for name in arms} for key, title in MARKS.items()}
            for context in conditions
        }


def check(run: Run, *, claims: Sequence[str], **named: Any) -> None:
    """Check a notebook's parameters before anything is built: claims, and what it names of the mixes where it asks for
    some (:func:`papers.long_context.study.check`). Raises ``SessionError``."""
    one_of(claims=(list(claims), run.claims, 0))
    chosen = next(name for name in ("trend", "ratios") if name in named)
    if not named[chosen]:
        return
    if "budgets" not in run.settings:
        raise SessionError(f"the profile '{run.profile}' tunes no mixes; give '{chosen}' as []")
    mixes_study.check(run, **named)


def prepare(run: Run) -> Plan:
    """Model and questions, built where missing: a checkpoint and files, or the widest base and an exam of its world."""
    settings = run.settings
    if "questions" in settings:
        told, model = dict(settings["questions"]), checkpoints.place(run, settings["checkpoint"])
        source = run.source(told.pop("source"))
        drawn = run.build(pubmedqa.draw_questions, source=source, seed=run.seeds[0], **told)
        return Plan(run, model, drawn / "questions.json", None)
    study = mixes_study.prepare(run)
    model, exam = study.untuned(study.widths[-1])[0], study.exams[run.seeds[0]]["held_out"]
    folder = run.build(questions.of_exam, exam=exam, size=settings["middle"])
    return Plan(run, model, folder / "questions.json", study)


def means(panels: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, str]]:
    """Mean and standard deviation of each cell, as text."""
    return {
        name: {arm: f"{np.mean(v):.3f} ± {np.std(v, ddof=1) if len(v) > 1 else 0:.3f}" for arm, v in arms.items()}
        for name, arms in panels.items()
    }
