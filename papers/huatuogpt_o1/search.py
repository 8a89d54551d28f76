"""The search for reasoning that ends right (section 3.1, Algorithm 1): first answer, refinements by a drawn strategy, restarts.

Paper: the first answer is checked before any strategy is drawn (the text; the printed algorithm always draws one). Backtracking is
not drawn at the first refinement (printed as "only if i <= 2", evidently >= 2). Code: a restart keeps the first answer, and when
all fails the model is shown the truth; here both are dials, off, and such rows are flagged by their ``response_type``.

    record = search(row, process_id=7, chat=teacher, verifier=AliasTable(aliases), limits=Limits(), seed=0); record["verify"][-1]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lib.streams import stream
from papers.huatuogpt_o1 import prompts
from papers.huatuogpt_o1.actions import CHECK, Action, as_markdown, conclusion, read_actions
from papers.huatuogpt_o1.records import QUESTION, TRUTH, Record
from papers.huatuogpt_o1.verifiers import Verifier

STRATEGIES = tuple(prompts.STRATEGIES)
BACKTRACKING = "Backtracking"
INITIAL, LABEL = "Init_CoT", "Label_CoT"
NATURAL = "NaturalReasoning"
KEYS = ("process_id", QUESTION, TRUTH, "verify", "Long_CoT", "response_type", "response_struct", "prior_fail_try",
        "gpt4_query_cot", "gpt4_response_cot", "malformed", "solved")  # fmt: skip


class Sampled(Protocol):
    """A chat model whose replies are sampled: the same prompt and ``sample``, the same reply."""

    name: str

    def ask(self, prompt: str, *, sample: int = 0) -> str: ...


@dataclass(frozen=True)
class Limits:
    """``refinements`` N after a first answer, ``attempts`` T of a whole trajectory, ``tries`` of one reply until it is well formed.

    ``keep_first``: a restart keeps the first answer, as the code does (the paper samples it again). ``label_guided``: when all
    fails, show the model the truth. Raises ``ValueError`` for an unknown strategy and numbers that make no search.
    """

    refinements: int = 3
    attempts: int = 3
    tries: int = 3
    strategies: Sequence[str] = STRATEGIES
    keep_first: bool = False
    label_guided: bool = False

    def __post_init__(self) -> None:
        if unknown := [one for one in self.strategies if one not in STRATEGIES]:
            raise ValueError(f"there is no strategy '{unknown[0]}'; choose from {', '.join(STRATEGIES)}")
        if self.refinements < 0 or self.attempts < 1 or self.tries < 1:
            raise ValueError(f"{self}: give refinements >= 0, attempts >= 1 and tries >= 1")
        if self.refinements and not set(self.strategies) - {BACKTRACKING}:
            raise ValueError("the first refinement cannot backtrack; give another strategy, too")


@dataclass
class _Trajectory:
    actions: list[Action] = field(default_factory=list)
    verify: list[bool] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    replies: list[list[Action]] = field(default_factory=list)

    def earlier(self) -> str:
        """The reasoning that a refinement is shown: all but the last verification, which said that it holds."""
        return json.dumps(
            self.actions[:-1] if self.actions[-1]["action"] == CHECK else self.actions, ensure_ascii=False
        )

    def add(self, kind: str, reply: list[Action], right: bool) -> None:
        kept = self.actions[:-1] if self.actions else []
        self.actions = kept + reply
        self.verify.append(right)
        self.types.append(kind)
        self.replies.append(reply)

    def as_record(self) -> dict[str, Any]:
        return {
            "verify": self.verify,
            "Long_CoT": self.actions,
            "response_type": self.types,
            "response_struct": self.replies,
        }


class _Asking:
    """Well-formed replies of a chat model, with all that was asked and answered on the way."""

    def __init__(self, chat: Sampled, tries: int):
        self.chat, self.tries = chat, tries
        self.queries: list[str] = []
        self.answers: list[str] = []
        self.malformed = 0
        self._samples: dict[str, Iterator[int]] = {}

    def actions(self, prompt: str, *, refining: bool) -> list[Action] | None:
        samples = self._samples.setdefault(prompt, iter(range(10**6)))
        for _ in range(self.tries):
            reply = self.chat.ask(prompt, sample=next(samples))
            self.queries.append(prompt)
            self.answers.append(reply)
            if (found := read_actions(reply, refining=refining)) is not None:
                return found
            self.malformed += 1
        return None


def search(
    row: Record, *, process_id: int, chat: Sampled, verifier: Verifier, limits: Limits, seed: int
) -> dict[str, Any]:
    """The work record of one problem, with the released keys; ``solved`` says whether its last conclusion is right.

    ``verify``, ``response_type`` and ``response_struct`` have an entry a reply of the trajectory that counts (the last one),
    ``prior_fail_try`` the trajectories before it, ``malformed`` the replies that were refused.
    """
    asking, failed, first = _Asking(chat, limits.tries), [], None
    one = _Trajectory()
    for attempt in range(limits.attempts):
        if attempt:
            failed.append(one.as_record())
        one = _Trajectory()
        if not _begin(one, row, asking, verifier, first if limits.keep_first else None):
            continue
        first = one.replies[0], one.verify[0]
        rng = stream(seed, "strategy", process_id, attempt)
        for step in range(limits.refinements):
            if one.verify[-1]:
                break
            open_ = [name for name in limits.strategies if step or name != BACKTRACKING]
            if not _refine(one, row, asking, verifier, open_[int(rng.integers(len(open_)))]):
                break
        if one.verify[-1]:
            break
    if limits.label_guided and one.verify and not one.verify[-1]:
        query = prompts.LABEL.format(
            question=row[QUESTION], earlier=one.earlier(), truth=row[TRUTH], actions=prompts.ACTIONS
        )
        if reply := asking.actions(query, refining=True):
            one.add(LABEL, reply, True)  # the release marks it verified, unchecked
    solved = bool(one.verify) and one.verify[-1]
    return {
        "process_id": process_id, QUESTION: row[QUESTION], TRUTH: row[TRUTH], **one.as_record(), "prior_fail_try": failed,
        "gpt4_query_cot": asking.queries, "gpt4_response_cot": asking.answers, "malformed": asking.malformed, "solved": solved,
    }  # fmt: skip


def _begin(one: _Trajectory, row: Record, asking: _Asking, verifier: Verifier, first) -> bool:
    if first is not None:
        one.add(INITIAL, *first)
        return True
    reply = asking.actions(prompts.INITIAL.format(question=row[QUESTION], actions=prompts.ACTIONS), refining=False)
    return _checked(one, INITIAL, reply, row, verifier)


def _refine(one: _Trajectory, row: Record, asking: _Asking, verifier: Verifier, strategy: str) -> bool:
    prompt = prompts.REFINE.format(
        question=row[QUESTION], earlier=one.earlier(), strategy=prompts.STRATEGIES[strategy], actions=prompts.ACTIONS
    )
    return _checked(one, f"Re_CoT_{strategy}", asking.actions(prompt, refining=True), row, verifier)


def _checked(one: _Trajectory, kind: str, reply: list[Action] | None, row: Record, verifier: Verifier) -> bool:
    if reply is None:
        return False
    one.add(kind, reply, bool(verifier.verify([conclusion(reply)], [row[TRUTH]])[0]))
    return True


def is_label_guided(record: dict[str, Any]) -> bool:
    """Whether the model was shown the truth on the way."""
    return LABEL in record["response_type"]


def rewrite(record: dict[str, Any], *, chat: Sampled, tries: int = 3) -> dict[str, str] | None:
    """The SFT row of a solved record: its trajectory as one inner monologue, then the response (App. E).

    ``None`` when no try gives JSON whose ``NaturalReasoning`` has a line break, which the paper asks for.
    """
    if not record["solved"]:
        return None
    prompt = prompts.NATURAL.format(question=record[QUESTION], trajectory=as_markdown(record["Long_CoT"]))
    for sample in range(tries):
        try:
            found = json.loads(chat.ask(prompt, sample=sample))
        except ValueError:
            continue
        said = found.get(NATURAL) if isinstance(found, dict) else None
        if isinstance(said, str) and "\n" in said.strip():
            response = chat.ask(prompts.RESPOND.format(question=record[QUESTION], reasoning=said.strip()))
            return {"Question": record[QUESTION], "Complex_CoT": said.strip(), "Response": response.strip()}
    return None
