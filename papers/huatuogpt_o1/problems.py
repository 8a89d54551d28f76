"""From exam questions to verifiable problems (section 2, App. B): who is dropped, by which rule, and what is left.

Steps, in the paper's order: questions that three weak models all answer, short ones (``too easy``, ``too short``); questions that
ask for the exception or have several answers (``rule``); what a language model does not let pass (its verdict); what it cannot
rewrite as an open question in two tries (``not rewritten``); what shares 64 characters in a row with evaluation data
(``contaminated``). The paper's length threshold and rules were not released: ours are arguments. Rows in = kept + dropped, always.

    built = construct(rows, weak=[...], chat=teacher, evaluation=texts, shortest=40); built.kept, built.counts()
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from papers.huatuogpt_o1 import prompts
from papers.huatuogpt_o1.records import EXAM, QUESTION, TRUTH, Record, check_record, listed_options

OVERLAP = 64  # characters in a row (Med-PaLM 2's rule)
VERDICTS = ("Pass", "Too Simple", "Ambiguous Answer", "Not Reformulatable")
REASONS = (
    "too easy",
    "too short",
    "rule",
    *(v.lower() for v in VERDICTS[1:]),
    "no verdict",
    "not rewritten",
    "contaminated",
)
_EXCEPTION = re.compile(
    r"\b(except|incorrect|false|not true|not correct|least likely)\b|\bwhich\b[^.?]*\b(is|are|does|would|should) not\b",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"^(?:[a-e]\s*[,&]?\s*(?:and\s+)?){2,}$|^(all|none|both)\b.*\babove\b", re.IGNORECASE)
_TRIES = 2


class Chat(Protocol):
    """A language model that is asked one question at a time; ``name`` stands for all that its answer depends on."""

    name: str

    def ask(self, prompt: str) -> str: ...


@dataclass
class Constructed:
    """``kept``: construction records in order; ``dropped``: (place of the row, reason)."""

    kept: list[Record] = field(default_factory=list)
    dropped: list[tuple[int, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Rows in, dropped by each reason, kept."""
        by = Counter(reason for _, reason in self.dropped)
        return {
            "in": len(self.kept) + len(self.dropped),
            **{reason: by[reason] for reason in REASONS},
            "kept": len(self.kept),
        }


def breaks_rule(row: Record) -> bool:
    """Whether a question asks for the exception, or its answer stands for several ("ae", "all of the above").

    >>> breaks_rule({"question": "All are signs of flu except:", "answer": "fever"})
    True
    """
    # asked is the last sentence: "she has not been treated" is part of a history
    asked = re.split(r"(?<=[.?!])\s+(?=[A-Z])", row["question"].strip())[-1]
    return bool(_EXCEPTION.search(asked) or _SEVERAL.match(row["answer"].strip().rstrip(".")))


def released_pass(reply: str) -> bool:
    """The released code's test: "pass" anywhere in the reply, also in "does not pass"."""
    return "pass" in reply.lower()


def verdict(reply: str) -> str | None:
    """The one verdict that a reply gives; ``None`` when it gives none or several."""
    said = [one for one in VERDICTS if re.search(rf"\b{one}\b", reply, re.IGNORECASE)]
    return said[0] if len(said) == 1 else None


def rewritten(reply: str) -> dict[str, str] | None:
    """Open question and ground truth of a reply under the released keys; ``None`` unless it is strict JSON with two texts.

    The paper's prompt says "Standard Answer" where its files say "Ground-True Answer"; both are taken.
    """
    try:
        found = json.loads(reply)
    except ValueError:
        return None
    if not isinstance(found, dict) or len(found) != 2 or QUESTION not in found:
        return None
    question, truth = found[QUESTION], found.get(TRUTH, found.get("Standard Answer"))
    if not all(isinstance(text, str) and text.strip() for text in (question, truth)):
        return None
    return {QUESTION: question.strip(), TRUTH: truth.strip()}


def overlap_index(texts: Iterable[str], *, characters: int = OVERLAP) -> set[str]:
    """Every run of so many characters in ``texts``, white space as one blank and case ignored."""
    found: set[str] = set()
    for text in texts:
        flat = _flat(text)
        found.update(flat[k : k + characters] for k in range(len(flat) - characters + 1))
    return found


def overlaps(text: str, index: set[str], *, characters: int = OVERLAP) -> bool:
    """Whether ``text`` shares a run of so many characters with what was indexed."""
    flat = _flat(text)
    return any(flat[k : k + characters] in index for k in range(len(flat) - characters + 1))


def _flat(text: str) -> str:
    return " ".join(text.lower().split())


def construct(
    rows: Sequence[Record],
    *,
    weak: Sequence[Callable[[Record], str]],
    chat: Chat,
    evaluation: Iterable[str] = (),
    shortest: int = 0,
    passes: Callable[[str], bool] | None = None,
) -> Constructed:
    """Verifiable problems of exam rows, and why each of the others was dropped.

    ``weak``: models that give a letter; a question that all of them answer right is too easy. ``shortest``: characters of a
    question. ``passes``: how the filter's reply is read; by default its :func:`verdict` must be Pass, :func:`released_pass` reads
    it as the release does. A kept record has the row's keys, ``options_str``, what the model was asked and answered
    (``gpt_filter_query`` ...), and the two released keys. Raises :class:`~lib.data.files.DataError` for a malformed row.
    """
    for number, row in enumerate(rows, start=1):
        check_record(row, f"exam row {number}", EXAM)
    index, built = overlap_index(evaluation), Constructed()
    for place, row in enumerate(rows):
        record: dict[str, Any] = {**row, "options_str": listed_options(row)}
        reason = _unfit(row, weak, shortest) or _filtered(record, chat, passes) or _rewrite(record, chat)
        if reason is None and (overlaps(record[QUESTION], index) or overlaps(row["question"], index)):
            reason = "contaminated"
        if reason is None:
            built.kept.append(record)
        else:
            built.dropped.append((place, reason))
    return built


def _unfit(row: Record, weak: Sequence[Callable[[Record], str]], shortest: int) -> str | None:
    if weak and all(model(row) == row["answer_idx"] for model in weak):
        return "too easy"
    if len(row["question"]) < shortest:
        return "too short"
    return "rule" if breaks_rule(row) else None


def _asked(template: str, record: Record) -> str:
    return template.format(question=record["question"], options=record["options_str"], answer=record["answer"])


def _filtered(record: Record, chat: Chat, passes: Callable[[str], bool] | None) -> str | None:
    record["gpt_filter_query"] = _asked(prompts.FILTER, record)
    reply = record["gpt_filter_response"] = chat.ask(record["gpt_filter_query"])
    said = verdict(reply)
    if passes(reply) if passes else said == "Pass":
        return None
    return "no verdict" if said in (None, "Pass") else said.lower()


def _rewrite(record: Record, chat: Chat) -> str | None:
    query = _asked(prompts.REFORMAT, record)
    for attempt in range(_TRIES):
        # asked again in other words, or a cached answer would come back
        asked = query if not attempt else f"{query}\nThe last reply was no such JSON; try {attempt + 1}."
        record["gpt_reformat_query"], record["gpt_reformat_response"] = asked, chat.ask(asked)
        if found := rewritten(record["gpt_reformat_response"]):
            record |= found
            return None
    return "not rewritten"
