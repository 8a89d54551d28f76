"""Figures from data: a spec of labels and numbers becomes a picture and a JSON file that holds every number plotted.

A spec is ``{"kind", "title", "x", "y", "panels": [{"title", "series": [{"label", ...}]}], "reference": {label: value}}``.
A series holds, by kind (``low`` and ``high`` are the ends of its 95 % interval):

==========  ==========================================================================================
dots        ``values`` (one a seed), optional ``mean``, ``low``, ``high``; a column of points a series
lines       ``x``, ``y``, optional ``low``, ``high`` (lists of equal length)
scatter     ``x``, ``y``; ``"compare": False`` for coordinates that are a picture only (UMAP)
heatmap     ``rows``, ``columns``, ``values`` (rows x columns); one series a panel
forest      ``mean``, ``low``, ``high``, optional ``p``; a row a series, references are vertical
images      ``image`` (2-D), optional ``overlay`` (2-D, same extent)
==========  ==========================================================================================

``"null": True`` greys a control. Used by every notebook through ``run.figure`` and by the figure regression test.

>>> figure = draw(spec); save(figure, spec, png=Path("a.png"), json=Path("a.json")); compare(golden, fresh)
"""

from __future__ import annotations

import io
import json as json_format
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito's palette: eight colours that people with any colour vision tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A900")
NULL_COLOUR, REFERENCE_COLOUR = "#8C8C8C", "#555555"
DPI = 100
MOST_ANNOTATED = 240  # cells of a heat map that still get their number

_NEEDED = {
    "dots": {"values"},
    "lines": {"x", "y"},
    "scatter": {"x", "y"},
    "heatmap": {"rows", "columns", "values"},
    "forest": {"mean", "low", "high"},
    "images": {"image"},
}
_OPTIONAL = {
    "dots": {"mean", "low", "high"},
    "lines": {"low", "high"},
    "scatter": set(),
    "heatmap": set(),
    "forest": {"p"},
    "images": {"overlay"},
}
_TEXT = {"rows", "columns"}
_MATRIX = {("heatmap", "values"), ("images", "image"), ("images", "overlay")}


class FigureError(ValueError):
    """A spec that cannot be drawn as it is; the message names the panel, the series and the remedy."""


def _number(value: Any, digits: int = 7) -> float | None:
    """``value`` at seven digits; ``None`` for NaN and infinity, which JSON cannot hold."""
    value = math.nan if value is None else float(value)
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _field(kind: str, name: str, value: Any, where: str) -> Any:
    if name in _TEXT:
        return [str(text) for text in value]
    try:
        array = np.asarray([math.nan if value is None else value] if np.ndim(value) == 0 else value, dtype=np.float64)
    except (TypeError, ValueError):
        raise FigureError(f"{where}: '{name}' is not made of numbers in equal rows; give numbers only.") from None
    single = kind == "forest" or (kind == "dots" and name != "values")
    wanted = 2 if (kind, name) in _MATRIX else 1
    if array.ndim != wanted or array.size == 0 or (single and array.size != 1):
        shape = "one number" if single else f"{wanted}-dimensional and not empty"
        raise FigureError(f"{where}: '{name}' has shape {np.shape(value)}; it must be {shape}.")
    if single:
        return _number(array[0])
    if wanted == 2:
        digits = 4 if kind == "images" else 7  # grey levels: the file stays small
        return [[_number(entry, digits) for entry in row] for row in array]
    return [_number(entry) for entry in array]


def _series(kind: str, series: Mapping[str, Any], where: str) -> dict[str, Any]:
    where = f"{where}, series '{series.get('label', '(no label)')}'"
    missing = ({"label"} | _NEEDED[kind]) - set(series)
    extra = set(series) - _NEEDED[kind] - _OPTIONAL[kind] - {"label", "compare", "null"}
    if missing or extra:
        what = f"has no '{sorted(missing)[0]}'" if missing else f"has the unknown key '{sorted(extra)[0]}'"
        raise FigureError(f"{where} {what}; '{kind}' takes {', '.join(sorted(_NEEDED[kind] | _OPTIONAL[kind]))}.")
    if ("low" in series) != ("high" in series):
        raise FigureError(f"{where} has one end of its interval; give both 'low' and 'high' or neither.")
    checked: dict[str, Any] = {"label": str(series["label"])}
    checked |= {key: True for key in ("null",) if series.get(key)}
    checked |= {key: False for key in ("compare",) if not series.get(key, True)}
    names = sorted((_NEEDED[kind] | _OPTIONAL[kind]) & set(series))
    checked |= {name: _field(kind, name, series[name], where) for name in names}
    if kind == "dots" and "mean" not in checked:
        known = [value for value in checked["values"] if value is not None]
        checked["mean"] = _number(np.mean(known)) if known else None
    if kind in ("lines", "scatter") and len({len(checked[name]) for name in names}) > 1:
        raise FigureError(f"{where} has lists of different length; give one number a point in each.")
    if kind == "heatmap":
        shape = (len(checked["rows"]), len(checked["columns"]))
        if np.shape(checked["values"]) != shape:
            raise FigureError(f"{where}: 'values' is {np.shape(checked['values'])}, not {shape} (rows, columns).")
    return checked


def normalise(spec: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` checked and as it is drawn and written: plain lists, seven digits, NaN and infinity as ``None``.

    Raises :class:`FigureError` for an unknown kind or key, a missing one, and lists that do not fit each other.
    """
    kind = spec.get("kind")
    if kind not in _NEEDED:
        raise FigureError(f"there is no figure kind '{kind}'; use one of {', '.join(_NEEDED)}.")
    unknown = set(spec) - {"kind", "title", "x", "y", "panels", "reference"}
    if unknown or not spec.get("panels"):
        what = f"has the unknown key '{sorted(unknown)[0]}'" if unknown else "has no panels"
        raise FigureError(f"the spec {what}; it takes kind, title, x, y, panels and reference.")
    panels = []
    for number, panel in enumerate(spec["panels"], start=1):
        where = f"panel {number}"
        found = [_series(kind, series, where) for series in panel.get("series", [])]
        if not found or (kind == "heatmap" and len(found) > 1):
            raise FigureError(f"{where} has {len(found)} series; a {kind} panel needs {'one' if found else 'some'}.")
        panels.append({"title": str(panel.get("title", "")), "series": found})
    text = {key: str(spec.get(key, "")) for key in ("title", "x", "y")}
    reference = {str(label): _number(value) for label, value in spec.get("reference", {}).items()}
    return {"kind": kind, **text, "panels": panels, "reference": reference}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every number and text of a normalised spec with the path to it; a series not to be compared keeps its label."""
    if isinstance(value, Mapping):
        kept = {"label", "compare", "null"} if value.get("compare") is False else set(value)
        for key in value:
            if key in kept:
                yield from _leaves(value[key], f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield f"{path}.length", len(value)
        for i, entry in enumerate(value):
            name = f" '{entry['label']}'" if isinstance(entry, Mapping) and "label" in entry else ""
            yield from _leaves(entry, f"{path}[{i}]{name}")
    else:
        yield path, value


def digest(spec: Mapping[str, Any]) -> str:
    """``"<n> series, <m> values"``: what a figure holds, the same on every machine."""
    series = [s for panel in normalise(spec)["panels"] for s in panel["series"]]
    numbers = [v for s in series for k, v in s.items() if k not in {"label", "compare", "null", *_TEXT}]
    return f"{len(series)} series, {sum(np.size(v) for v in numbers)} values"


def compare(
    golden: Mapping[str, Any], fresh: Mapping[str, Any], *, rtol: float = 1e-5, atol: float = 1e-7
) -> list[str]:
    """What differs between two figures' JSON contents, one sentence a field; ``[]`` when they agree.

    Numbers agree within ``atol + rtol * |golden|``; texts, missing values and the order of series must be equal. Of a
    series with ``"compare": false`` only the label is compared.
    """
    old, new = dict(_leaves(golden, "")), dict(_leaves(fresh, ""))
    problems = [f"{path} is gone" for path in old if path not in new]
    problems += [f"{path} is new" for path in new if path not in old]
    for path in (path for path in old if path in new):
        a, b = old[path], new[path]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
        if not (abs(a - b) <= atol + rtol * abs(a) if numbers else a == b):
            problems.append(f"{path} was {a!r} and is {b!r}")
    return problems


# ---------------------------------------------------------------------- drawing
def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)  # None becomes nan, which matplotlib leaves out


def _colours(panels: list[dict[str, Any]]) -> dict[str, str]:
    """One colour a label, the same in every panel; grey for nulls; one colour for all when there are too many."""
    labels = {s["label"]: s.get("null", False) for panel in panels for s in panel["series"]}
    plain = [label for label, null in labels.items() if not null]
    chosen = {label: PALETTE[i] if len(plain) <= len(PALETTE) else PALETTE[0] for i, label in enumerate(plain[: 8])}
    return {label: NULL_COLOUR if null else chosen.get(label, PALETTE[0]) for label, null in labels.items()}
