"""YAML that says more than it holds: aliases of aliases, a few lines that no memory holds once they are written out.

>>> many = [0] * 1000
>>> unfolded([many] * 1000)
1001001
"""

from __future__ import annotations

from typing import Any

from lib.workflow import experiments
from lib.workflow.papers import PaperError

MOST = 1_000_000  # values of a profile, aliases written out: the papers' hold some hundreds


def unfolded(value: Any, _known: dict[int, int] | None = None) -> int:
    """How many values there are when every alias is written out; each is looked at once."""
    known = {} if _known is None else _known
    if isinstance(value, (dict, list)) and id(value) not in known:
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(unfolded(one, known) for one in inner)
    return known.get(id(value), 1)


def check(*slugs: str) -> None:
    """Refuse these papers' profiles before anything goes through all of their values."""
    for slug in filter(experiments.has, slugs):
        for profile, settings in experiments.load(slug).profiles.items():
            if unfolded(settings) > MOST:
                raise PaperError(
                    f"papers/{slug}/experiments.yml, key profiles.{profile}: its aliases unfold to more than {MOST:,} values; "
                    "write it without them"
                )
