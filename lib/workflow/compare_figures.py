"""What differs between two figures' JSON contents: in any digit, or, under another arithmetic, in what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lib.workflow.spread import HALF_INTERVAL, MULTIPLE, Arm, far, turned


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every number and text of a normalised spec with the path to it; a series not to be compared keeps its label."""
    if isinstance(value, Mapping):
        for key in ("label", "compare") if value.get("compare") is False else value:
            yield from _leaves(value[key], f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield f"{path}.length", len(value)
        for i, entry in enumerate(value):
            name = f" '{entry['label']}'" if isinstance(entry, Mapping) and "label" in entry else ""
            yield from _leaves(entry, f"{path}[{i}]{name}")
    else:
        yield path, value


def differences(golden: Mapping, fresh: Mapping, *, rtol: float = 1e-5, atol: float = 1e-7) -> list[str]:
    """What differs between two figures' JSON contents, one sentence a field; ``[]`` when they agree.

    Numbers agree within ``atol + rtol * |golden|``; texts, missing values and the order of series must be equal. Of a
    series with ``"compare": false`` only the label is compared.
    """
    old, new = dict(_leaves(golden, "")), dict(_leaves(fresh, ""))
    problems = [f"{path} is {'gone' if path in old else 'new'}" for path in old | new if (path in old) != (path in new)]
    for path in (path for path in old if path in new):
        a, b = old[path], new[path]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
        if not (abs(a - b) <= atol + rtol * abs(a) if numbers else a == b):
            problems.append(f"{path} was {a!r} and is {b!r}")
    return problems


def _without_decimals(text: str) -> str:
    """A title may print a trained number; what else it says must stay."""
    return re.sub(r"-?\d+\.\d+", "#", text)


def _spread_of(kind: str, series: Mapping[str, Any]) -> bool:
    """Whether a series has a spread to be compared by; one without is compared exactly."""
    return kind == "dots" or "low" in series or "error" in series


def _points(kind: str, series: Mapping[str, Any]) -> list[Arm]:
    """Every mean of a series that has a spread."""
    label = series["label"]
    if kind == "dots":
        return [Arm.of(label, series["values"])]
    if kind in ("lines", "dumbbells"):
        places, means = ("x", "y") if kind == "lines" else ("names", "mean")
        ends = zip(series["low"], series["high"], strict=True)
        errors = [None if None in (low, high) else (high - low) / 2 / HALF_INTERVAL for low, high in ends]
        means = zip(series[places], series[means], errors, strict=True)
        return [Arm(f"{label} at {place}", mean, error) for place, mean, error in means]
    cells = zip(series["rows"], series["values"], series["error"], strict=True)
    return [
        Arm(f"{row} / {column}", value, error)
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
    measured = {
        "dots": ("values", "mean", "low", "high"),
        "lines": ("y", "low", "high"),
        "dumbbells": ("mean", "low", "high"),
    }
    left = {key: value for key, value in series.items() if key not in measured.get(kind, ("values", "error"))}
    return left | {"replicates": len(series["values"]) if kind == "dots" else None}


def figure(
    golden: Mapping[str, Any], fresh: Mapping[str, Any], *, trained: bool, multiple: float = MULTIPLE
) -> list[str]:
    """What differs between two figures' JSON contents under different arithmetic, one sentence each.

    ``trained``: whether the figure stands on our own training; else all of it is compared exactly (to 1e-5).
    """
    if not trained:
        return differences(golden, fresh)
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

    if problems := differences(frame(golden), frame(fresh)):
        return problems
    for old, new in zip(golden["panels"], fresh["panels"], strict=True):
        sides = [
            [arm for s in panel["series"] if s.get("compare", True) and _spread_of(kind, s) for arm in _points(kind, s)]
            for panel in (old, new)
        ]
        for side, content in zip(sides, (golden, fresh), strict=True):
            side += [Arm(f"reference '{label}'", value, None) for label, value in content["reference"].items()]
        where = f"panel '{old['title'] or golden['title']}'"
        problems += far(*sides, where, multiple) + turned(*sides, where)
    return problems
