"""The twenty tasks of LawBench: what each asks for, where its items come from, and how its gold answers are written.

Source: LawBench (arXiv 2309.16289), README_EN of the release. A gold answer is read strictly, because the benchmark's files
are clean; what a model wrote is read leniently (:mod:`metrics`). :data:`ANSWERED` are the ten tasks with released answers.

>>> TASKS["3-4"].gold("刑期:18个月", labels=(), place="row 1")
18
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib.data.files import DataError

ITEMS = 500  # of every task
ENTITIES_APART, ENTITY_AND_TYPE = ";", ":"
ENDLESS = ("死刑", "无期")  # death and life: sentences without a number of months, which the benchmark leaves out
OUTSIDE = {"2-2": "赔偿"}  # a label that no instruction offers; the benchmark skips its items

# What a gold answer is: one letter, one label, several labels, several charges (names of crimes), entities by type, months.
KINDS = ("letter", "label", "labels", "charges", "entities", "months")
APART = {"labels": "、", "charges": ";"}  # what stands between several

Gold = str | frozenset[str] | dict[str, str] | int | None


@dataclass(frozen=True)
class Task:
    """A task. ``kind`` (one of :data:`KINDS`) and the ends of a gold answer only where answers of models were released."""

    id: str
    name: str
    source: str
    metric: str
    kind: str = ""
    begins: str = ""
    ends: str = ""
    letters: str = ""
    in_order: bool = False  # whether the sentences of a document follow each other in the file

    def labels(self, instruction: str) -> tuple[str, ...]:
        """What an answer may hold: the task's letters, or the list in its instruction; empty where anything goes."""
        if self.letters:
            return tuple(self.letters)
        found = re.search("包括[:：](.*?)。", instruction) if self.kind in ("label", "labels", "entities") else None
        return tuple(found[1].split("、")) if found else ()

    def gold(self, answer: str, *, labels: Sequence[str], place: str) -> Gold:
        """The gold answer as a value of the task's kind; ``None`` for an item that the benchmark leaves out.

        Raises :class:`DataError`, beginning with ``place``, for an answer of another form or out of the label set.
        """
        if self.kind in ("entities", "months"):
            return self._entities(answer, labels, place) if self.kind == "entities" else self._months(answer, place)
        if not (answer.startswith(self.begins) and answer.endswith(self.ends)):
            raise DataError(
                f"{place}: the answer {answer[:40]!r} of task {self.id} is not '{self.begins}...{self.ends}'; correct it or "
                f"fetch the file again."
            )
        core = answer[len(self.begins) : len(answer) - len(self.ends)]
        if self.kind in APART:
            return frozenset(self._known(core.split(APART[self.kind]), labels, place))
        return None if core == OUTSIDE.get(self.id) else self._known([core], labels, place)[0]

    def text(self, gold: Gold) -> str:
        """A gold value as an answer, the form that a tuned model learns; of entities a line each, as the metric reads them."""
        if self.kind == "entities":
            return "\n".join(f"{kind}{ENTITY_AND_TYPE}{entity}" for kind, entity in gold.items())
        if self.kind == "months":
            return f"刑期:{gold}个月"
        return f"{self.begins}{APART[self.kind].join(sorted(gold)) if self.kind in APART else gold}{self.ends}"

    def _months(self, answer: str, place: str) -> int | None:
        found = re.fullmatch("刑期:([0-9]+)个月", answer)
        if found is None and not any(word in answer for word in ENDLESS):
            raise DataError(
                f"{place}: the answer {answer[:40]!r} of task {self.id} is no number of months, nor death or life; correct it."
            )
        return int(found[1]) if found else None

    def _known(self, names: Sequence[str], labels: Sequence[str], place: str) -> Sequence[str]:
        for name in names:
            if not name or (labels and name not in labels):
                raise DataError(
                    f"{place}: the answer {name[:40]!r} is not among the {len(labels)} labels of task {self.id} "
                    f"({', '.join(labels[:3])} ...); correct it, or give it to the task's instruction."
                )
        return names

    def _entities(self, answer: str, types: Sequence[str], place: str) -> dict[str, str]:
        pairs = [part.split(ENTITY_AND_TYPE) for part in answer.split(ENTITIES_APART)] if answer.strip() else []
        for pair in pairs:
            if len(pair) != 2:
                raise DataError(f"{place}: {':'.join(pair)[:40]!r} is no 'type:entity' of task {self.id}; correct it.")
        self._known([pair[0] for pair in pairs], types, place)
        return dict(pairs)


_ALL = (
    Task("1-1", "article recitation", "FLK", "ROUGE-L"),
    Task("1-2", "knowledge questions", "JEC_QA", "accuracy", "letter", "正确答案：", "。", "ABCD"),
    Task("2-1", "document proofreading", "CAIL2022", "F0.5"),
    Task("2-2", "dispute focus", "LAIC2021", "accuracy", "label", "争议焦点类别：", "。"),
    Task("2-3", "marital disputes", "AIStudio", "F1", "labels", "类别:", "。"),
    Task("2-4", "topic of consultation", "CrimeKgAssistant", "accuracy", "label"),
    Task("2-5", "reading comprehension", "CAIL2019", "rc-F1"),
    Task("2-6", "entities", "CAIL2021", "soft-F1", "entities", in_order=True),
    Task("2-7", "opinion summary", "CAIL2022", "ROUGE-L"),
    Task("2-8", "argument mining", "CAIL2022", "accuracy", "letter", "[正确答案]", "<eoa>", "ABCDE"),
    Task("2-9", "event detection", "LEVEN", "F1"),
    Task("2-10", "trigger words", "LEVEN", "soft-F1"),
    Task("3-1", "articles from facts", "CAIL2018", "F1"),
    Task("3-2", "articles from a scene", "LawGPT_zh", "ROUGE-L"),
    Task("3-3", "charge", "CAIL2018", "F1", "charges", "罪名:"),
    Task("3-4", "prison term", "CAIL2018", "log-distance", "months"),
    Task("3-5", "prison term, with articles", "CAIL2018", "log-distance", "months"),
    Task("3-6", "case analysis", "JEC_QA", "accuracy", "letter", "正确答案:", "。", "ABCD"),
    Task("3-7", "damages", "LAIC2021", "accuracy"),
    Task("3-8", "consultation", "hualv.com", "ROUGE-L"),
)
TASKS: dict[str, Task] = {task.id: task for task in _ALL}
ANSWERED = tuple(task.id for task in _ALL if task.kind)
