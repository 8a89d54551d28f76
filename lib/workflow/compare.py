"""Whether a run says what the committed results say: to the digit, or, under another arithmetic, in what it means.

Equal fingerprints (:mod:`lib.workflow.arithmetic`) give equal digits, and everything is compared exactly. Another
fingerprint trains slightly other weights. Then

* structure, labels, counts, numbers without replicates and everything from released files must still be equal;
* the mean of an arm must lie within ``MULTIPLE`` standard errors of the committed mean. The standard error is that of
  its committed replicates or, where larger, the median one of its neighbours (the arms of the same panel or
  quantity): five replicates that happen to agree do not prescribe a digit, and ``SHARE`` of the mean is always allowed.
  Where several replicates start from one pretrained base (``bases`` of the profile), their spread does not hold what
  other bases would change, and another arithmetic is another base: there ``MULTIPLE_SHARED`` is allowed;
* no two arms may change places: where one was clearly above the other (95 % interval of the paired difference), it may
  not be clearly below;
* an outcome may move to a neighbour, never to the opposite one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.workflow import compare_figures, experiments, paths, verdicts
from lib.workflow.spread import MULTIPLE, MULTIPLE_SHARED, Arm, far, turned

OPPOSITE = [{words[verdicts.SHOWN], words[verdicts.OPPOSITE]} for words in verdicts.WORDS.values()]


class CompareError(ValueError):
    """A figure or result file that cannot be read; the message names it."""


@dataclass(frozen=True)
class Comparison:
    """``problems``: one sentence a difference that is not allowed. ``exact``: whether fingerprints were equal."""

    exact: bool
    problems: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        if self.problems:
            return "differs"
        return "same digits" if self.exact else "same meaning"


def _outcomes(golden: Mapping[str, Any], fresh: Mapping[str, Any]) -> list[str]:
    problems = []
    for claim in sorted(golden["claims"].keys() | fresh["claims"].keys()):
        old, new = golden["claims"].get(claim), fresh["claims"].get(claim)
        if old is None or new is None:
            problems.append(f"{claim} is judged in one of the two only")
        elif {old["outcome"], new["outcome"]} in OPPOSITE:
            problems.append(f"{claim} was '{old['outcome']}' and is '{new['outcome']}'")
        elif old["effect"]["n"] != new["effect"]["n"]:
            problems.append(f"{claim} rested on {old['effect']['n']} replicates, now on {new['effect']['n']}")
    return problems


def _numbers(golden: Mapping[str, Any], fresh: Mapping[str, Any], multiple: float) -> list[str]:
    """Plain numbers are counts and facts, and equal; lists hold a value a replicate."""

    def structure(content: Mapping[str, Any]) -> list[tuple]:
        return [
            (n["quantity"], n["arm"], n["unit"], *(("replicates", len(v)) if isinstance(v, list) else ("number", v)))
            for n in content["numbers"]
            for v in [n["values"]]
        ]

    if (old := structure(golden)) != (new := structure(fresh)):
        return [f"numbers: {a!r} became {b!r}" for a, b in zip(old, new, strict=False) if a != b][:5] or [
            f"there were {len(old)} numbers, now {len(new)}"
        ]
    problems = []
    for quantity in dict.fromkeys(n["quantity"] for n in golden["numbers"]):
        sides = [
            [
                Arm.of(n["arm"], n["values"])
                for n in content["numbers"]
                if n["quantity"] == quantity and isinstance(n["values"], list)
            ]
            for content in (golden, fresh)
        ]
        problems += far(*sides, quantity, multiple) + turned(*sides, quantity)
    return problems


def _trained(content: Mapping[str, Any]) -> bool:
    """Whether a result is from our own training, which another arithmetic changes; else it was computed from files."""
    return content["evidence"] in ("real", "miniature")


def result(
    golden: Mapping[str, Any], fresh: Mapping[str, Any], *, exact: bool, multiple: float = MULTIPLE
) -> list[str]:
    """What differs between two result files that may not: everything but provenance when ``exact``."""
    told = ("slug", "exhibit", "profile", "evidence", "seeds", "checks", "declined", "recomputed")
    problems = [
        f"{key} was {golden.get(key)} and is {fresh.get(key)}" for key in told if golden.get(key) != fresh.get(key)
    ]
    if exact or not _trained(golden):
        claims = sorted(golden["claims"].keys() | fresh["claims"].keys())
        changed = [c for c in claims if not _equal(golden["claims"].get(c), fresh["claims"].get(c), exact)]
        problems += [
            f"{claim} was {golden['claims'].get(claim)} and is {fresh['claims'].get(claim)}" for claim in changed
        ]
        if not _equal(golden["numbers"], fresh["numbers"], exact):
            problems.append("the measured numbers are others")
        return problems
    return problems + _outcomes(golden, fresh) + _numbers(golden, fresh, multiple)


def _equal(a: Any, b: Any, exact: bool) -> bool:
    """Equality; not ``exact``: floats to 1e-6 of their size, which is what another arithmetic does to a mean of files."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key], exact) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y, exact) for x, y in zip(a, b, strict=True))
    if not exact and isinstance(a, float) and isinstance(b, (int, float)):
        return abs(a - b) <= 1e-9 + 1e-6 * abs(a)
    return a == b


# ---------------------------------------------------------------------- both, of one exhibit
def _load(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise CompareError(f"{paths.relative(path)} is damaged; delete it and run the notebook again") from None


def exhibit(slug: str, name: str, profile: str, root: Path) -> Comparison | None:
    """One exhibit's figure and results below ``root`` against the committed ones; ``None`` where one side has none."""
    golden, fresh = _load(paths.result(slug, name, profile)), _load(paths.result(slug, name, profile, root=root))
    if golden is None or fresh is None:
        return None
    exact = golden["provenance"].get("arithmetic") == fresh["provenance"].get("arithmetic") is not None
    shared = "bases" in experiments.load(slug).profiles[profile]
    multiple = MULTIPLE_SHARED if shared else MULTIPLE
    problems = result(golden, fresh, exact=exact, multiple=multiple)
    drawn = [_load(paths.figure(slug, name, profile, "json", root=place)) for place in (None, root)]
    if (drawn[0] is None) != (drawn[1] is None):
        problems.append("only one of the two has a figure")
    elif drawn[0] is not None and exact:
        problems += compare_figures.differences(*drawn, rtol=0.0, atol=0.0)
    elif drawn[0] is not None:
        problems += compare_figures.figure(*drawn, trained=_trained(golden), multiple=multiple)
    return Comparison(exact=exact, problems=problems)
