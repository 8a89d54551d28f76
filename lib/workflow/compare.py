"""Whether a run says what the committed results say: to the digit, or, under another arithmetic, in what it means.

Equal fingerprints (:mod:`lib.workflow.arithmetic`) give equal digits, and everything is compared exactly. Another
fingerprint trains slightly other weights. Then

* structure, labels, counts, numbers without replicates and everything from released files must still be equal;
* the mean of an arm must lie within ``MULTIPLE`` standard errors of the committed mean. The standard error is that of
  its committed replicates or, where larger, the median one of its neighbours (the arms of the same panel or
  quantity): five replicates that happen to agree do not prescribe a digit, and ``SHARE`` of the mean is always allowed.
  Where all replicates start from one pretrained base (``one_base`` in ``experiments.yml``), their spread does not hold
  what another base would change, and another arithmetic is another base: there ``MULTIPLE_ONE_BASE`` is allowed;
* no two arms may change places: where one was clearly above the other (95 % interval of the paired difference), it may
  not be clearly below;
* an outcome may move to a neighbour, never to the opposite one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from lib.workflow import papers, paths, verdicts

# Measured on the 1,054 means of 35 exhibits under three arithmetics: nine in ten lie within 3.8 standard errors. The
# largest distance is 2.6 where other bases hardly matter and 16.6 where one base stands under all replicates.
MULTIPLE, MULTIPLE_ONE_BASE, SHARE = 6.0, 20.0, 0.05
OPPOSITE = [{words[verdicts.SHOWN], words[verdicts.OPPOSITE]} for words in verdicts.WORDS.values()]
HALF_INTERVAL = 2.776  # half a 95 % Student interval of five replicates, in standard errors


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


@dataclass(frozen=True)
class _Arm:
    """One mean with its standard error (``None`` without replicates), and the replicates where they are known."""

    name: str
    mean: float | None
    error: float | None
    values: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, name: str, values: Sequence[float | None]) -> _Arm:
        known = [value for value in values if value is not None]
        error = stdev(known) / len(known) ** 0.5 if len(known) > 1 else None
        return cls(name, fmean(known) if known else None, error, tuple(values))


def _order(a: _Arm, b: _Arm) -> int:
    """1 where ``a`` is clearly above ``b``, -1 where it is clearly below, else 0: by the 95 % Student interval, which two
    or three replicates make as wide as they deserve."""
    from scipy.stats import t

    if None in (a.error, b.error) or None in (*a.values, *b.values):
        return 0
    if a.values and len(a.values) == len(b.values):
        apart = [x - y for x, y in zip(a.values, b.values, strict=True)]
        half = float(t.ppf(0.975, len(apart) - 1)) * stdev(apart) / len(apart) ** 0.5
        low, high = fmean(apart) - half, fmean(apart) + half
    else:
        middle, half = a.mean - b.mean, HALF_INTERVAL * (a.error + b.error)
        low, high = middle - half, middle + half
    return (low > 0) - (high < 0)


def _turned(golden: Sequence[_Arm], fresh: Sequence[_Arm], where: str) -> list[str]:
    """Pairs of arms that changed places; both sides in the same order."""
    return [
        f"{where}: '{golden[i].name}' was clearly {'above' if before > 0 else 'below'} '{golden[j].name}' and is not"
        for i, j in combinations(range(len(golden)), 2)
        if (before := _order(golden[i], golden[j])) and _order(fresh[i], fresh[j]) == -before
    ]


def _far(golden: Sequence[_Arm], fresh: Sequence[_Arm], where: str, multiple: float) -> list[str]:
    """Arms whose fresh mean is not within the committed spread; both sides in the same order."""
    problems = []
    neighbours = [arm.error for arm in golden if arm.error is not None]
    typical = median(neighbours) if neighbours else None
    for old, new in zip(golden, fresh, strict=True):
        if (old.mean is None) != (new.mean is None):
            problems.append(f"{where}, {old.name}: was {old.mean} and is {new.mean}")
        elif old.mean is not None and typical is not None:
            error = max(old.error or 0.0, typical)
            if abs(new.mean - old.mean) > max(multiple * error, SHARE * abs(old.mean)):
                problems.append(
                    f"{where}, {old.name}: the mean was {old.mean:.4g} and is {new.mean:.4g}, "
                    f"{abs(new.mean - old.mean) / error if error else float('inf'):.1f} standard errors away"
                )
    return problems


# ---------------------------------------------------------------------- figures
def _without_decimals(text: str) -> str:
    """A title may print a trained number; what else it says must stay."""
    return re.sub(r"-?\d+\.\d+", "#", text)


def _spread_of(kind: str, series: Mapping[str, Any]) -> bool:
    """Whether a series has a spread to be compared by; one without is compared exactly."""
    return kind == "dots" or "low" in series or "error" in series


def _points(kind: str, series: Mapping[str, Any]) -> list[_Arm]:
    """Every mean of a series that has a spread."""
    label = series["label"]
    if kind == "dots":
        return [_Arm.of(label, series["values"])]
    if kind == "lines":
        ends = zip(series["low"], series["high"], strict=True)
        errors = [None if None in (low, high) else (high - low) / 2 / HALF_INTERVAL for low, high in ends]
        return [_Arm(f"{label} at {x}", y, error) for x, y, error in zip(series["x"], series["y"], errors, strict=True)]
    cells = zip(series["rows"], series["values"], series["error"], strict=True)
    return [
        _Arm(f"{row} / {column}", value, error)
        for row, values, errors in cells
        for column, value, error in zip(series["columns"], values, errors, strict=True)
    ]


def _fixed(kind: str, series: Mapping[str, Any]) -> dict[str, Any]:
    """What of a series must be equal whatever was trained: labels, places, lengths, and numbers without a spread."""
    if series.get("compare") is False:
        return {"label": series["label"], "compare": False}
    if kind == "images":  # one case, drawn: how well the maps point is among the results
        return {"label": series["label"], "shape": [len(series["image"]), len(series["image"][0])]}
    if not _spread_of(kind, series):
        return dict(series)
    measured = {"dots": ("values", "mean", "low", "high"), "lines": ("y", "low", "high")}
    left = {key: value for key, value in series.items() if key not in measured.get(kind, ("values", "error"))}
    return left | {"replicates": len(series["values"]) if kind == "dots" else None}


def figure(
    golden: Mapping[str, Any], fresh: Mapping[str, Any], *, trained: bool, multiple: float = MULTIPLE
) -> list[str]:
    """What differs between two figures' JSON contents under different arithmetic, one sentence each.

    ``trained``: whether the figure stands on our own training; else all of it is compared exactly (to 1e-5).
    """
    from lib import figures

    if not trained:
        return figures.compare(golden, fresh)
    kind = golden.get("kind")

    def frame(content: Mapping[str, Any]) -> dict[str, Any]:
        texts = {key: _without_decimals(content[key]) for key in ("title", "x", "y")}
        cases = content["kind"] == "images"  # which cases are shown is for the trained model to say
        panels = [
            {
                "title": "" if cases else _without_decimals(panel["title"]),
                "series": [_fixed(content["kind"], series) for series in panel["series"]],
            }
            for panel in content["panels"]
        ]
        return {"kind": content["kind"], **texts, "panels": panels, "reference": list(content["reference"])}

    if problems := figures.compare(frame(golden), frame(fresh)):
        return problems
    for old, new in zip(golden["panels"], fresh["panels"], strict=True):
        sides = [
            [arm for s in panel["series"] if s.get("compare", True) and _spread_of(kind, s) for arm in _points(kind, s)]
            for panel in (old, new)
        ]
        for side, content in zip(sides, (golden, fresh), strict=True):
            side += [_Arm(f"reference '{label}'", value, None) for label, value in content["reference"].items()]
        where = f"panel '{old['title'] or golden['title']}'"
        problems += _far(*sides, where, multiple) + _turned(*sides, where)
    return problems


# ---------------------------------------------------------------------- results
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
                _Arm.of(n["arm"], n["values"])
                for n in content["numbers"]
                if n["quantity"] == quantity and isinstance(n["values"], list)
            ]
            for content in (golden, fresh)
        ]
        problems += _far(*sides, quantity, multiple) + _turned(*sides, quantity)
    return problems


def _trained(content: Mapping[str, Any]) -> bool:
    """Whether a result is from our own training, which another arithmetic changes; else it was computed from files."""
    return content["evidence"] in ("real", "miniature")


def result(
    golden: Mapping[str, Any], fresh: Mapping[str, Any], *, exact: bool, multiple: float = MULTIPLE
) -> list[str]:
    """What differs between two result files that may not: everything but provenance when ``exact``."""
    told = ("slug", "exhibit", "profile", "evidence", "seeds", "checks", "recomputed")
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
    from lib import figures

    golden, fresh = _load(paths.result(slug, name, profile)), _load(paths.result(slug, name, profile, root=root))
    if golden is None or fresh is None:
        return None
    exact = golden["provenance"].get("arithmetic") == fresh["provenance"].get("arithmetic") is not None
    multiple = MULTIPLE_ONE_BASE if papers.load_experiments(slug).one_base else MULTIPLE
    problems = result(golden, fresh, exact=exact, multiple=multiple)
    drawn = [_load(paths.figure(slug, name, profile, "json", root=place)) for place in (None, root)]
    if (drawn[0] is None) != (drawn[1] is None):
        problems.append("only one of the two has a figure")
    elif drawn[0] is not None and exact:
        problems += figures.compare(*drawn, rtol=0.0, atol=0.0)
    elif drawn[0] is not None:
        problems += figure(*drawn, trained=_trained(golden), multiple=multiple)
    return Comparison(exact=exact, problems=problems)
