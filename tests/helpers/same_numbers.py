"""Whether the working tree's numbers are those of another revision: every result and every figure's JSON.

    python tests/helpers/same_numbers.py HEAD~3

For changes that move code and must change no number. Two numbers are the same within ``TOLERANCE`` of their size;
texts, lengths and keys must be equal. Where and when something was made (``provenance``) does not count.

>>> differences({"auc": [0.5, 1]}, {"auc": [0.5 + 1e-15, 1]})
[]
>>> differences({"auc": [0.5, 1]}, {"auc": [0.5, 2]})
['auc/1 was 1 and is 2']
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lib.workflow import paths

TOLERANCE = 1e-12
SHOWN = 40  # differences that are printed
PLACES = ("papers/*/results/*.json", "figures/*/*.json")


class CompareError(ValueError):
    """A revision that git does not know, or a file that is not JSON."""


@dataclass
class Outcome:
    """How many files and numbers were compared, and one sentence a difference."""

    files: int = 0
    numbers: int = 0
    problems: list[str] = field(default_factory=list)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _leaves(value: Any, place: str = "") -> dict[str, Any]:
    """Every number, text and empty container by its place; ``provenance`` at the top is left out, and the coordinates of
    a series that is a picture only (``"compare": false``, UMAP)."""
    if isinstance(value, dict) and value.get("compare") is False:
        value = {"label": value.get("label"), "compare": False}
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        found: dict[str, Any] = {}
        for key, item in items:
            if place or key != "provenance":
                found |= _leaves(item, f"{place}/{key}" if place else str(key))
        return found
    return {place: value}


def differences(old: Any, new: Any) -> list[str]:
    """What differs between two JSON contents, one sentence a place; ``[]`` when all numbers are the same."""
    before, after = _leaves(old), _leaves(new)
    problems = []
    for place in before | after:
        if (place in before) != (place in after):
            problems.append(f"{place} is {'gone' if place in before else 'new'}")
            continue
        a, b = before[place], after[place]
        same = abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) if _is_number(a) and _is_number(b) else a == b
        if not same or isinstance(a, bool) != isinstance(b, bool):
            problems.append(f"{place} was {a!r} and is {b!r}")
    return problems


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=paths.ROOT, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise CompareError(f"git {words[0]} {words[-1]} failed: {reason}; give a revision of this repository")
    return done.stdout


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise CompareError(f"{name} is not JSON; restore it or run its notebook again") from None


def compare_with(revision: str) -> Outcome:
    """Compare all files of ``PLACES`` with those at ``revision``; :class:`CompareError` when git does not know it."""
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    specs = [f":(glob){place}" for place in PLACES]
    before = {n for n in _git("ls-tree", "-r", "--name-only", "-z", commit).split("\0") if _is_compared(n)}
    after = {str(file.relative_to(paths.ROOT)) for place in PLACES for file in paths.ROOT.glob(place)}
    changed = set(_git("diff", "--name-only", "-z", commit, "--", *specs).split("\0"))
    outcome = Outcome(files=len(before | after))
    for name in sorted(before | after):
        if (name in before) != (name in after):
            outcome.problems.append(f"{name} is {'gone' if name in before else 'new'}")
            continue
        new = _parsed((paths.ROOT / name).read_text(encoding="utf-8"), name)
        outcome.numbers += sum(map(_is_number, _leaves(new).values()))
        if name in changed:
            old = _parsed(_git("show", f"{commit}:{name}"), f"{name} at {revision}")
            outcome.problems += [f"{name}: {problem}" for problem in differences(old, new)]
    return outcome


def _is_compared(name: str) -> bool:
    """``PLACES`` for the names of ``git ls-tree``, which knows no globs."""
    path = PurePosixPath(name)
    return any(path.match(place) and len(path.parts) == place.count("/") + 1 for place in PLACES)


def main(words: list[str]) -> int:
    """Print counts, then differences; 0 when there are none, 2 when the comparison cannot be made."""
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: python tests/helpers/same_numbers.py <revision>", file=sys.stderr)
        return 2
    try:
        found = compare_with(words[0])
    except CompareError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{found.files} files with {found.numbers} numbers compared with {words[0]}, to {TOLERANCE:g}")
    print("\n".join(found.problems[:SHOWN]) or "all are the same")
    if len(found.problems) > SHOWN:
        print(f"... and {len(found.problems) - SHOWN} more")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
