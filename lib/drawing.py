"""How a figure looks: a spec of :mod:`lib.figures` becomes a picture, and a JSON file that holds every number plotted.

Palette, sizes and one function a kind of figure stand here, and the style of every exhibit with them.

    figure = draw(spec)
    save(figure, spec, png=Path("a.png"), json=Path("a.json"))
"""

from __future__ import annotations

import io
import json as json_format
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from lib.figures import normalise
from lib.workflow import paths

# Okabe and Ito's palette: eight colours that people with any colour vision tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A900")
CONTROL_COLOUR, REFERENCE_COLOUR = "#8C8C8C", "#555555"
_TURNED = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
_drawn = partial(np.asarray, dtype=np.float64)  # None becomes nan, which matplotlib leaves out
BASES = "osD^v"  # a marker a pretrained base
UPRIGHT = ("forest", "dumbbells")  # a row a series; references stand upright
MOST_ANNOTATED = 240  # cells of a heat map that still get their number


def _colour(series: list[dict[str, Any]], *, plain: bool) -> None:
    """Give each series its colour: one a label in every panel, grey for controls, one for all if ``plain`` or too many."""
    labels = dict.fromkeys(one["label"] for one in series if not one.get("control"))
    own = {} if plain or len(labels) > len(PALETTE) else dict(zip(labels, PALETTE, strict=False))
    for one in series:
        one["colour"] = CONTROL_COLOUR if one.get("control") else own.get(one["label"], PALETTE[0])


def _dots(axes, series: list[dict[str, Any]]) -> None:
    for x, one in enumerate(series):
        count, colour = len(one["values"]), one["colour"]
        spread = x + (np.linspace(-0.18, 0.18, count) if count > 1 else np.zeros(1))
        axes.scatter(spread, _drawn(one["values"]), s=16, color=colour, alpha=0.6, linewidths=0)
        axes.vlines(x, _drawn(one.get("low")), _drawn(one.get("high")), color=colour, linewidth=2.5)
        axes.plot([x], _drawn([one.get("mean")]), marker="D", markersize=6, color=colour, markeredgecolor="white")
    labels = [one["label"] for one in series]
    axes.set_xticks(range(len(series)), labels, **(_TURNED if len(series) * max(map(len, labels)) > 40 else {}))
    axes.set_xlim(-0.6, len(series) - 0.4)


def _forest(axes, series: list[dict[str, Any]]) -> None:
    for y, one in enumerate(series):
        axes.plot(_drawn([one["mean"]]), [y], marker="o", markersize=6, color=one["colour"], markeredgecolor="white")
        axes.hlines(y, _drawn(one["low"]), _drawn(one["high"]), color=one["colour"], linewidth=2)
        if one.get("p") is not None:
            axes.text(1.02, y, f"p {one['p']:.2g}", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_yticks(range(len(series)), [one["label"] for one in series])
    axes.set_ylim(len(series) - 0.4, -0.6)  # first row on top


def _dumbbells(axes, series: list[dict[str, Any]]) -> None:
    colours = dict(zip(dict.fromkeys(name for one in series for name in one["names"]), PALETTE, strict=False))
    for y, one in enumerate(series):
        known = [value for value in _drawn(one["mean"]) if np.isfinite(value)]
        axes.hlines(y, min(known, default=0), max(known, default=0), color=CONTROL_COLOUR, linewidth=1.5, zorder=1)
        for name, mean, low, high in zip(
            one["names"], *map(_drawn, (one["mean"], one["low"], one["high"])), strict=True
        ):
            axes.hlines(y, low, high, color=colours[name], linewidth=4, alpha=0.35, zorder=2)
            axes.plot([mean], [y], marker="o", color=colours[name], markeredgecolor="white", linestyle="", label=name)
    axes.set_yticks(range(len(series)), [one["label"] for one in series])
    axes.set_ylim(len(series) - 0.4, -0.6)  # first row on top


def _paired(axes, one: dict[str, Any]) -> None:
    """Effect and control side by side: intervals, and a line from each replicate's effect to its control."""
    sides = [_drawn(one["effect"]), _drawn(one["control"])]
    margin, bases = one["margin"][0], one["base"]
    axes.axhline(0, color=REFERENCE_COLOUR, linewidth=1)
    for end in {margin, -margin} - {0.0}:
        axes.axhline(end, color=REFERENCE_COLOUR, linewidth=1, linestyle=":")
    for k, base in enumerate(bases[: len(sides[0]) - 3]):
        ends, shift = [side[3 + k] for side in sides], 0.14 * (k / max(1, len(bases) - 1) - 0.5)
        axes.plot([0.12 + shift, 0.88 + shift], ends, color=CONTROL_COLOUR, linewidth=0.7, alpha=0.6)
        for x, y, colour in zip((0.12 + shift, 0.88 + shift), ends, (PALETTE[0], CONTROL_COLOUR), strict=True):
            axes.plot(
                [x], [y], marker=BASES[int(base) % len(BASES)], markersize=5, color=colour, alpha=0.8, linestyle=""
            )
    for x, (mean, low, high), colour in zip(
        (-0.12, 1.12), (s[:3] for s in sides), (PALETTE[0], CONTROL_COLOUR), strict=True
    ):
        axes.vlines(x, low, high, color=colour, linewidth=2.5)
        axes.plot([x], [mean], marker="D", markersize=6, color=colour, markeredgecolor="white")
    axes.set_xticks([0, 1], ["effect", "control"])
    axes.set_xlim(-0.5, 1.5)


_ROWS = {"dots": _dots, "forest": _forest, "dumbbells": _dumbbells}


def _points(axes, series: list[dict[str, Any]], *, joined: bool) -> None:
    for one in series:
        colour, x, y = one["colour"], _drawn(one["x"]), _drawn(one["y"])
        if joined:
            axes.plot(x, y, color=colour, marker="o", markersize=4, label=one["label"])
            if "low" in one:
                axes.fill_between(x, _drawn(one["low"]), _drawn(one["high"]), color=colour, alpha=0.18, linewidth=0)
        else:
            axes.scatter(x, y, s=12, color=colour, alpha=0.65, linewidths=0, label=one["label"])


def _scale(panels: list[dict[str, Any]]) -> dict[str, float]:
    """The ends of the colours that hold the values of all heat maps."""
    values = np.concatenate([_drawn(panel["series"][0]["values"]).ravel() for panel in panels])
    return {"vmin": np.nanmin(values), "vmax": np.nanmax(values)} if np.isfinite(values).any() else {}


def _heatmap(axes, one: dict[str, Any], scale: Mapping[str, float]) -> None:
    values = _drawn(one["values"])
    picture = axes.imshow(values, cmap="cividis", aspect="auto", **scale)
    axes.set_xticks(range(values.shape[1]), one["columns"], **_TURNED)
    axes.set_yticks(range(values.shape[0]), one["rows"])
    axes.figure.colorbar(picture, ax=axes, fraction=0.05, label=one["label"])
    for (row, column), value in np.ndenumerate(values) if values.size <= MOST_ANNOTATED else ():
        dark = np.isfinite(value) and picture.norm(value) < 0.55
        text = f"{value:.3g}" if np.isfinite(value) else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")


def _image(axes, one: dict[str, Any]) -> None:
    rows, columns = np.shape(one["image"])
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(_drawn(one["image"]), cmap="gray", extent=extent, interpolation="nearest")
    if "overlay" in one:
        overlay = _drawn(one["overlay"])
        visible = np.nan_to_num((overlay - np.nanmin(overlay)) / max(np.nanmax(overlay) - np.nanmin(overlay), 1e-12))
        axes.imshow(overlay, cmap="autumn", alpha=0.6 * visible, extent=extent, interpolation="nearest")
    axes.set_title(one["label"], fontsize=9)
    axes.set_axis_off()


def _png(figure) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    picture = Image.open(stream).convert("RGB").quantize(256, dither=Image.Dither.NONE)  # a third of the bytes
    picture.save(small := io.BytesIO(), format="png", optimize=True)
    return small.getvalue()


def _grid(kind: str, panels: list[dict[str, Any]]) -> tuple[int, int, float, float]:
    """Panels down, panels across, and the inches of one panel; an image series has a panel to itself."""
    rows = max(len(panel["series"]) for panel in panels)
    if kind == "images":
        return len(panels), rows, 2.1, 2.4
    width, height = (max(3.0, 0.5 * rows + 1.4) if kind == "dots" else 4.4), 3.6
    if kind == "paired":
        width, height = 2.6, 3.0
    if kind in UPRIGHT:
        width, height = (6.0 if len(panels) == 1 else 3.4), 0.26 * rows + 1.2
    if kind == "heatmap":
        shape = np.max([np.shape(panel["series"][0]["values"]) for panel in panels], axis=0)
        width, height = 0.62 * shape[1] + 2.4, 0.28 * shape[0] + 1.4
    down = -(-len(panels) // max(1, int(14 // width)))
    return down, -(-len(panels) // down), width, height


def _reference(axes, label: str, value: float | None, *, upright: bool) -> None:
    (axes.axvline if upright else axes.axhline)(value, color=REFERENCE_COLOUR, linestyle="--", linewidth=1, zorder=0)
    if upright:
        axes.text(
            value, 0.01, label, transform=axes.get_xaxis_transform(), ha="right", va="bottom", fontsize=8, rotation=90
        )
    else:  # beside the axes, where it covers no point
        axes.text(
            1.01, value, fill(label, 14), transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=8
        )


def draw(spec: Mapping[str, Any]):
    """A matplotlib ``Figure`` of ``spec``, made without pyplot, so that a notebook shows it once, when asked to.

    Everything drawn comes from ``normalise(spec)``, which is also what :func:`save` writes.
    """
    from matplotlib.figure import Figure

    spec = normalise(spec)
    kind, panels = spec["kind"], spec["panels"]
    _colour([one for panel in panels for one in panel["series"]], plain=kind == "forest")
    down, across, width, height = _grid(kind, panels)
    figure = Figure(figsize=(width * across, height * down + 0.5), layout="constrained")
    figure._repr_png_ = cache(partial(_png, figure))  # shown in a notebook and saved; a second rendering may differ
    figure.suptitle(fill(spec["title"], int(12 * width * across)), fontsize=11)
    grid = figure.subplots(down, across, squeeze=False, sharex=kind in UPRIGHT, sharey=kind in ("dots", "lines"))
    for axes in grid.ravel():
        axes.set_axis_off()
    if kind == "images":
        for panel, axes in zip(panels, grid, strict=True):
            for one, target in zip(panel["series"], axes, strict=False):
                _image(target, one)
            axes[0].set_title(f"{fill(panel['title'], 28)}\n{axes[0].get_title()}".strip(), fontsize=9)
        return figure
    for number, (panel, axes) in enumerate(zip(panels, grid.ravel(), strict=False)):
        axes.set_axis_on()
        if kind == "heatmap":
            _heatmap(axes, panel["series"][0], _scale(panels) if spec.get("one_scale") else {})
        elif kind == "paired":
            _paired(axes, panel["series"][0])
        elif kind in _ROWS:
            _ROWS[kind](axes, panel["series"])
        else:
            _points(axes, panel["series"], joined=kind == "lines")
        axes.set(
            xlabel=fill(spec["x"], int((5 if kind in UPRIGHT else 11) * width)),
            ylabel="" if number % across else spec["y"],
        )
        axes.set_title(fill(panel["title"], int(8 * width)), fontsize=9 if kind == "paired" else 10)
        axes.tick_params(labelbottom=True)  # also above a place that holds no panel
        axes.spines[["top", "right"]].set_visible(kind == "heatmap")
        last = 0 if kind in UPRIGHT else min(across, len(panels)) - 1  # the panel with room beside it
        for label, value in spec["reference"].items():
            _reference(axes, label if number == last else "", value, upright=kind in UPRIGHT)
    if kind in ("lines", "scatter", "dumbbells"):
        known = {handle.get_label(): handle for axes in grid.flat for handle in axes.get_legend_handles_labels()[0]}
        figure.legend(handles=list(known.values()), loc="outside lower center", ncols=min(4, len(known)), frameon=False)
    return figure


def save(figure, spec: Mapping[str, Any], *, png: Path, json: Path) -> None:
    """Write the picture and ``normalise(spec)`` beside it; each file is old, new or absent, never half."""
    text = json_format.dumps(normalise(spec), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for path, content in ((Path(png), figure._repr_png_()), (Path(json), f"{text}\n".encode())):
        paths.write(path, content)
