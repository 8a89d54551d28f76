"""What a figure says: builders of specs from arms and their values, the check of a spec, and what differs between two.

:func:`dots`, :func:`lines`, :func:`scatter`, :func:`heat`, :func:`forest`, :func:`dumbbells` and :func:`images` take the title and
``{panel: {arm: data}}``, in the order in which they are drawn (or pairs in place of a mapping, where names come twice).
Every notebook calls them on its run (``run.dots(...)``); :mod:`lib.drawing` makes the picture. All of them take

x, y        what stands at the axes
chance      height of the line that guessing reaches, where there is one
reference   further lines: label -> height (upright lines in a forest)
control     the controls, drawn grey: names of arms, of panels, or (panel, arm); or a word in their names; or a predicate
label       what is written for an arm, from its name; :func:`spaced` for names in Python's spelling

A spec is ``{"kind", "title", "x", "y", "panels": [{"title", "series": [{"label", ...}]}], "reference": {label: y}}``. A
series holds, by kind (``low`` and ``high`` are the ends of its 95 % interval; ``"control": True`` greys a control):

dots        ``values`` (one a seed); ``mean``, ``low``, ``high`` are computed when not given; a column a series
lines       ``x``, ``y``, optional ``low``, ``high`` (lists of equal length)
scatter     ``x``, ``y``; ``"compare": False`` for coordinates that are a picture only (UMAP)
heatmap     ``rows``, ``columns``, ``values`` (rows x columns, or x replicates: then means with ``error``); one a panel
forest      ``mean``, ``low``, ``high``, optional ``p``; a row a series, references are vertical
dumbbells   ``names`` of its ends (printed, ours), ``mean``, ``low``, ``high`` of each; a row a series, joined ends
paired      ``effect`` and ``control``, each mean, low, high and then one value a replicate; ``base`` of each; ``margin``
images      ``image`` (2-D), optional ``overlay`` (2-D, same extent)

>>> dots("Loss terms", {"18 findings": {"nce": [0.7, 0.8], "shuffled": [0.5, 0.4]}}, chance=0.5, control=["shuffled"])["kind"]
'dots'
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from lib.evaluation.statistics import paired_difference

_NEEDED = {"dots": "values", "lines": "x y", "scatter": "x y", "heatmap": "rows columns values"}
_NEEDED |= {
    "forest": "mean low high",
    "dumbbells": "names mean low high",
    "images": "image",
    "paired": "effect control base margin",
}
_OPTIONAL = {"dots": "mean low high", "lines": "low high", "forest": "p", "images": "overlay", "heatmap": "error"}
_TEXT = {"rows", "columns", "names"}


class FigureError(ValueError):
    """A spec that cannot be drawn as it is; the message names the panel, the series and the remedy."""


def _number(value: Any, digits: int = 7) -> float | None:
    """``value`` at seven digits; ``None`` for NaN and infinity, which JSON cannot hold."""
    value = np.nan if value is None else float(value)
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


def _field(kind: str, name: str, value: Any, where: str) -> Any:
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise FigureError(f"{where}: '{name}' is not made of numbers in equal rows; give numbers only.") from None
    single = kind == "forest" or (kind == "dots" and name != "values")
    wanted = 2 if kind in ("heatmap", "images") else 1
    if array.ndim != wanted or array.size == 0 or (single and np.ndim(value)):
        shape = "one number" if single else f"a list with {wanted} axes that is not empty"
        raise FigureError(f"{where}: '{name}' has shape {np.shape(value)}; it must be {shape}.")
    if single:
        return _number(value)
    digits = 4 if kind == "images" else 7  # grey levels: the file stays small
    return [[_number(v, digits) for v in row] if wanted == 2 else _number(row) for row in array]


def _cells(replicates: Any) -> dict[str, Any]:
    """Means of rows x columns x replicates, with standard errors where there are several; anything else as it is."""
    try:
        array = np.asarray(replicates, dtype=np.float64)
    except (TypeError, ValueError):
        return {"values": replicates}  # refused below
    if array.ndim != 3:
        return {"values": replicates}
    count = array.shape[2]
    error = {"error": array.std(axis=2, ddof=1) / np.sqrt(count)} if count > 1 else {}
    return {"values": array.mean(axis=2), **error}


def _series(kind: str, series: Mapping[str, Any], where: str) -> dict[str, Any]:
    where = f"{where}, series '{series.get('label', '(no label)')}'"
    needed, optional = _NEEDED[kind].split(), _OPTIONAL.get(kind, "").split()
    missing = [key for key in ["label", *needed] if key not in series]
    extra = [key for key in series if key not in {"label", "compare", "control", *needed, *optional}]
    if missing or extra:
        what = f"has no '{missing[0]}'" if missing else f"has the unknown key '{extra[0]}'"
        raise FigureError(f"{where} {what}; '{kind}' takes label, {', '.join(needed + optional)}.")
    if ("low" in series) != ("high" in series):
        raise FigureError(f"{where} has one end of an interval; give both 'low' and 'high' or neither.")
    series = {**series, **_cells(series["values"])} if kind == "heatmap" else series
    checked: dict[str, Any] = {"label": str(series["label"])}
    checked |= {"control": True} if series.get("control") else {}
    checked |= {} if series.get("compare", True) else {"compare": False}
    names = [name for name in needed + optional if name in series]
    checked |= {name: _field(kind, name, series[name], where) for name in names if name not in _TEXT}
    checked |= {name: [str(text) for text in series[name]] for name in names if name in _TEXT}
    if kind in ("lines", "scatter", "dumbbells") and len({len(checked[name]) for name in names}) > 1:
        raise FigureError(f"{where} has lists of different length; give one number a point in each.")
    if kind == "heatmap" and np.shape(checked["values"]) != (len(checked["rows"]), len(checked["columns"])):
        raise FigureError(f"{where}: 'values' is {np.shape(checked['values'])}; name each row and each column once.")
    if kind == "dots" and (known := [value for value in checked["values"] if value is not None]):
        found = paired_difference(known, 0.0)
        checked = {"mean": _number(found.mean), "low": _number(found.low), "high": _number(found.high)} | checked
    return checked


def normalise(spec: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` checked and as it is drawn and written: plain lists, seven digits, NaN and infinity as ``None``.

    Raises :class:`FigureError` for an unknown kind or key, a missing one, and lists that do not fit each other.
    """
    kind = spec.get("kind")
    if kind not in _NEEDED:
        raise FigureError(f"there is no figure kind '{kind}'; use one of {', '.join(_NEEDED)}.")
    own = {"one_scale"} if kind == "heatmap" else set()
    unknown = [key for key in spec if key not in {"kind", "title", "x", "y", "panels", "reference", *own}]
    if kind in ("heatmap", "images") and spec.get("reference"):
        unknown.append("reference")  # no axis to draw it on
    if unknown or not spec.get("panels"):
        what = f"cannot hold '{unknown[0]}'" if unknown else "has no panels"
        raise FigureError(f"a spec of kind '{kind}' {what}; give kind, title, x, y, panels, and perhaps reference.")
    panels = []
    for number, panel in enumerate(spec["panels"], start=1):
        found = [_series(kind, series, f"panel {number}") for series in panel.get("series", [])]
        if not found or (kind == "heatmap" and len(found) > 1):
            raise FigureError(f"panel {number} has {len(found)} series; it needs one, and a heatmap takes no more.")
        panels.append({"title": str(panel.get("title", "")), "series": found})
    text = {key: str(spec.get(key, "")) for key in ("title", "x", "y")}
    reference = {str(label): _number(value) for label, value in spec.get("reference", {}).items()}
    options = {key: bool(spec[key]) for key in sorted(own) if key in spec}
    return {"kind": kind, **text, **options, "panels": panels, "reference": reference}


Named = Mapping[str, Any] | Iterable[tuple[str, Any]]


def _pairs(named: Named) -> list[tuple[str, Any]]:
    return list(named.items() if hasattr(named, "items") else named)


def spaced(name: str) -> str:
    """An arm's name as words.

    >>> spaced("related_pair")
    'related pair'
    """
    return name.replace("_", " ")


def _built(
    kind: str,
    title: str,
    panels: Named,
    fields: Callable[[Any, str], dict[str, Any]],
    *,
    x: str = "",
    y: str = "",
    chance: float | None = None,
    reference: Mapping[str, float] | None = None,
    control: str | Collection[str | tuple[str, str]] | Callable[[str], bool] = (),
    label: Callable[[str], str] = str,
) -> dict[str, Any]:
    """A spec; ``fields`` makes what a series holds from an arm's data and its panel's title."""

    def is_control(arm: str, panel: str) -> bool:
        if callable(control):
            return bool(control(arm))
        return control in arm if isinstance(control, str) else not {arm, panel, (panel, arm)}.isdisjoint(control)

    def series(arm: str, data: Any, panel: str) -> dict[str, Any]:
        return {"label": label(arm), "control": is_control(arm, panel), **fields(data, panel)}

    drawn = [
        {"title": panel, "series": [series(arm, data, panel) for arm, data in _pairs(arms)]}
        for panel, arms in _pairs(panels)
    ]
    lines = ({} if chance is None else {"chance": chance}) | dict(reference or {})
    return {"kind": kind, "title": title, "x": x, "y": y, "panels": drawn, "reference": lines}


def dots(title: str, panels: Named, **options: Any) -> dict[str, Any]:
    """Every replicate a dot, with mean and 95 % interval; an arm's data: one value a replicate."""
    return _built("dots", title, panels, lambda values, _: {"values": values}, **options)


def _ends(points: Any, spread: str) -> dict[str, Any]:
    if np.ndim(points[0]) == 0:
        return {"y": list(points)}
    if spread == "range":
        found = [(np.mean(values), min(values), max(values)) for values in points]
    elif spread == "interval":
        intervals = [paired_difference(values, 0.0) for values in points]
        found = [(one.mean, one.low, one.high) for one in intervals]
    elif spread == "given":
        found = points
    else:
        raise FigureError(f"there is no spread '{spread}' of lines; use interval, range or given.")
    return dict(zip(("y", "low", "high"), map(list, zip(*found, strict=True)), strict=True))


def lines(title: str, panels: Named, *, at: Any, spread: str = "interval", **options: Any) -> dict[str, Any]:
    """Points joined, with a band. ``at``: where the points stand, the same in all panels or by panel.

    An arm's data: a number a point, or the replicates of each point (points x replicates). ``spread``: ``interval``, the
    95 % of their mean; ``range``, from the least to the largest; ``given``, each point being mean, low and high.
    """

    def fields(points: Any, panel: str) -> dict[str, Any]:
        return {"x": list(at[panel] if isinstance(at, Mapping) else at), **_ends(points, spread)}

    return _built("lines", title, panels, fields, **options)


def scatter(title: str, panels: Named, *, compare: bool = True, **options: Any) -> dict[str, Any]:
    """Clouds of points; an arm's data: (points, 2). ``compare``: False for coordinates that are a picture only (UMAP)."""

    def fields(points: Any, _: str) -> dict[str, Any]:
        points = np.asarray(points)
        return {"x": points[:, 0], "y": points[:, 1], "compare": compare}

    return _built("scatter", title, panels, fields, **options)


def heat(title: str, panels: Named, *, one_scale: bool = False, **options: Any) -> dict[str, Any]:
    """A coloured table a panel: ``{panel: {row: {column: a value, or one a replicate}}}``.

    ``one_scale``: the same colours for the same value in all panels.
    """

    def fields(table: Any, _: str) -> dict[str, Any]:
        rows = dict(_pairs(table))
        columns = list(next(iter(rows.values())))
        values = [[cells[column] for column in columns] for cells in rows.values()]
        return {"rows": list(rows), "columns": columns, "values": values}

    built = _built("heatmap", title, [(panel, {panel: table}) for panel, table in _pairs(panels)], fields, **options)
    return built | ({"one_scale": True} if one_scale else {})


def forest(title: str, panels: Named, **options: Any) -> dict[str, Any]:
    """An interval a row; an arm's data: mean, low and high, and perhaps p."""
    names = ("mean", "low", "high", "p")
    return _built("forest", title, panels, lambda row, _: dict(zip(names, row, strict=False)), **options)


def dumbbells(title: str, panels: Named, **options: Any) -> dict[str, Any]:
    """Values that belong together on one line: ``{panel: {row: {"printed": number, "ours": number or replicates}}}``.

    A number has no interval, replicates have the 95 % of their mean.
    """

    def fields(row: Mapping[str, Any], _: str) -> dict[str, Any]:
        many = {name: value for name, value in row.items() if np.ndim(value)}
        found = {name: paired_difference(values, 0.0) for name, values in many.items()}
        mean = [found[name].mean if name in found else value for name, value in row.items()]
        ends = {end: [getattr(found[n], end) if n in found else None for n in row] for end in ("low", "high")}
        return {"names": list(row), "mean": mean, **ends}

    return _built("dumbbells", title, panels, fields, **options)


def paired(title: str, panels: Named, **options: Any) -> dict[str, Any]:
    """What outcomes rest on: ``{panel: {claim: its entry among a result's claims, with "margin"}}``."""

    def fields(judged: Mapping[str, Any], _: str) -> dict[str, Any]:
        each = judged["replicates"]
        sides = {
            side: [*(judged[side][end] for end in ("mean", "low", "high")), *each.get(side, [])]
            for side in ("effect", "control")
        }
        return {**sides, "base": each.get("base") or [0], "margin": [judged["margin"]]}

    return _built("paired", title, panels, fields, **options)


def images(title: str, panels: Named, **options: Any) -> dict[str, Any]:
    """Pictures side by side; an arm's data: the image (2-D), or image and overlay."""

    def fields(picture: Any, _: str) -> dict[str, Any]:
        return dict(zip(("image", "overlay"), picture if isinstance(picture, tuple) else (picture,), strict=False))

    return _built("images", title, panels, fields, **options)
