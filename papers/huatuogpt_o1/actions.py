"""The actions in which a search is written: what a reply must be to be accepted, and how a trajectory is shown.

>>> reply = '{"CoT": [{"action": "Inner Thinking", "title": "t", "content": "Flu?"}, '
>>> reply += '{"action": "Final Conclusion", "content": "Flu."}, {"action": "Verification", "content": "It fits."}]}'
>>> [one["action"] for one in read_actions(reply)]
['Inner Thinking', 'Final Conclusion', 'Verification']
>>> read_actions(reply[:-2]) is None
True
"""

from __future__ import annotations

import json
from typing import Any

THINK, CONCLUDE, CHECK = "Inner Thinking", "Final Conclusion", "Verification"
_KEYS = {THINK: {"action", "title", "content"}, CONCLUDE: {"action", "content"}, CHECK: {"action", "content"}}
_ENDS = [THINK, CONCLUDE, CHECK]

Action = dict[str, str]


def read_actions(reply: str, *, refining: bool = False) -> list[Action] | None:
    """The actions of a reply; ``None`` unless it is JSON of known actions that ends as the paper's rule wants: thinking,
    conclusion, verification. A refinement must begin with a verification, of the conclusion before it."""
    text = reply.strip()
    if text.startswith("```"):  # fenced, as chat models like to
        text = text.strip("`").removeprefix("json")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    listed = found.get("CoT") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(map(_is_action, listed)):
        return None
    names = [one["action"] for one in listed]
    if names[-3:] != _ENDS or (refining and names[0] != CHECK):
        return None
    return listed


def _is_action(one: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("action"), str) or one["action"] not in _KEYS:
        return False
    return set(one) == _KEYS[one["action"]] and all(isinstance(text, str) and text.strip() for text in one.values())


def conclusion(actions: list[Action]) -> str:
    """The text that the verifier is shown: the last conclusion."""
    return next(one["content"] for one in reversed(actions) if one["action"] == CONCLUDE)


def as_markdown(actions: list[Action]) -> str:
    """The trajectory as the rewriting prompt shows it (App. E): a heading and its text for each action."""
    shown = [
        (one.get("title", "Conclusion" if one["action"] == CONCLUDE else CHECK), one["content"]) for one in actions
    ]
    return "\n\n".join(f"### {title}\n{content}" for title, content in shown)
