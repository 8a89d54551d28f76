"""Embeddings to look at: a page of points with thumbnail and text on hover, lasso, muting legend, selection as CSV.

Works without a network: everything is inside the one HTML file, whose content policy forbids loading anything else.
Texts come from datasets and are untrusted: they are only ever shown as text. Used by the notebook
``explore_embeddings``. Coordinates (UMAP) are pictures: decide on ``lib.evaluation.modality_gap``.

    layout = explore(points, colour="Cardiomegaly", marker="modality", hover=["report"], thumbnails=images)
    export_html(layout, Path("points.html"), title="BrgSA")
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import explorer_points as shown
from lib.drawing import PALETTE
from lib.explorer_points import ExplorerError
from lib.workflow import paths

MARKERS = ("circle", "triangle", "square", "diamond", "plus")

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)
_TEMPLATE = f'{{% block preamble %}}<meta http-equiv="Content-Security-Policy" content="{_POLICY}">{{% endblock %}}'
_HOW = "Draw a lasso to select, point at a case to see it, click the legend to fade a group, press Escape to deselect."

_COUNT_AND_TABLE = """
const chosen = [...source.selected.indices].sort((a, b) => a - b)  // Bokeh lists them by group
const rows = {}
for (const key of keys) rows[key] = chosen.map((i) => source.data[key][i])
table.data = rows
button.label = chosen.length ? `Save ${chosen.length} selected points as CSV` : `Save all ${total} points as CSV`
"""
_SAVE_CSV = """
const chosen = [...source.selected.indices].sort((a, b) => a - b)
const rows = chosen.length ? chosen : [...Array(total).keys()]
const quote = (value) => {
  if (value == null || Number.isNaN(value)) return ""
  const text = String(value)
  return /[",\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text
}
const lines = [names, ...rows.map((i) => keys.map((key) => source.data[key][i]))]
const text = lines.map((line) => line.map(quote).join(",")).join("\\r\\n") + "\\r\\n"
const link = document.createElement("a")
link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}))
link.download = "selection.csv"
link.click()
setTimeout(() => URL.revokeObjectURL(link.href), 1000)
"""


def _plain(text: Any) -> str:
    """Text for the canvas, where Bokeh would read TeX between $$ or \\[ \\]; a zero-width space breaks these."""
    return str(text).replace("$$", "$\u200b$").replace("\\[", "\\\u200b[").replace("\\(", "\\\u200b(")


def _markup(text: Any) -> str:
    """Text for HTML in which Bokeh also replaces @column and $variable."""
    return html.escape(str(text)).replace("@", "&#64;").replace("$", "&#36;")


def explore(
    points: pd.DataFrame,
    *,
    colour: str,
    marker: str | None = None,
    hover: Sequence[str] = (),
    panels: Mapping[str, tuple[str, str]] | None = None,
    thumbnails: Sequence[np.ndarray] | np.ndarray | None = None,
    title: str = "",
    size: int = 420,
):
    """A Bokeh layout of ``points``: one row a point, a named index counting as a column.

    ``colour``: a column with up to 8 values (a legend whose entries mute on click) or of numbers (a colour bar; missing
    ones are grey). ``marker``: a column with up to 5 values, drawn as shapes. ``hover``: columns shown beside the
    thumbnail. ``panels``: title -> (x column, y column), by default one of "x" and "y"; what is selected or muted in
    one is in all. ``thumbnails``: one image a point as ``data_uri`` takes them, at most 2,000. ``size``: of a panel, in
    pixels. Raises :class:`ExplorerError` for a missing column, a coordinate that is no number, unequal lengths.
    """
    from bokeh.layouts import column, gridplot
    from bokeh.models import Button, ColumnDataSource, CustomJS, DataTable, Div, TableColumn

    panels = {"": ("x", "y")} if panels is None else panels
    if not panels:
        raise ExplorerError("panels is empty; give at least one title with its x and y column.")
    shown.check_text(title=title, panels="".join(map(str, panels)))
    places = list(dict.fromkeys(name for pair in panels.values() for name in pair))
    frame = shown.checked(points, [colour, *([marker] if marker else []), *hover], places, thumbnails)
    # Bokeh's own names are free of whatever a dataset puts into a column's name
    keys = {name: f"c{i}" for i, name in enumerate(frame.columns)}
    data: dict[str, Any] = {keys[name]: shown.values(frame[name]) for name in frame.columns}
    if thumbnails is not None:
        data["thumbnail"] = [shown.data_uri(image) for image in thumbnails]
    source = ColumnDataSource(data)
    plots, drawn = [], []
    for text, pair in panels.items():
        plot, renderers = _panel(source, frame, keys, pair, text=text, colour=colour, marker=marker, size=size)
        _add_tools(plot, renderers, keys, hover, has_thumbnail=thumbnails is not None)
        plots.append(plot)
        drawn.append(renderers)
    for renderers in drawn[:-1]:
        for here, there in zip(renderers, drawn[-1], strict=True):
            there.js_link("muted", here, "muted")
    _add_legend(plots[-1], drawn[-1], frame, colour=colour, marker=marker)

    total, fields = len(frame), list(keys.values())
    chosen = ColumnDataSource({key: [] for key in fields})
    listed = [name for name in frame.columns if name not in places]
    columns = [TableColumn(field=keys[n], title=_markup(n), width=shown.width(frame[n])) for n in listed]
    width = size * len(plots) + 120
    table = DataTable(source=chosen, columns=columns, width=width, height=200, index_position=None, reorderable=False)
    button = Button(label=f"Save all {total} points as CSV", width=260)
    told = {"source": source, "keys": fields, "total": total}
    on_select = CustomJS(args={**told, "table": chosen, "button": button}, code=_COUNT_AND_TABLE)
    source.selected.js_on_change("indices", on_select)
    button.js_on_click(CustomJS(args={**told, "names": [str(name) for name in keys]}, code=_SAVE_CSV))
    heading = f"<b>{html.escape(title)}</b><br>{_HOW}" if title else _HOW
    grid = gridplot([plots], merge_tools=True, toolbar_location="right", toolbar_options={"logo": None})
    return column(Div(text=heading, disable_math=True), grid, button, table)


def _panel(source, frame, keys, pair, *, text, colour, marker, size):
    """One scatter of the shared source: (plot, one renderer for each shape and colour that occurs, named by both)."""
    from bokeh.models import BooleanFilter, CDSView, LinearColorMapper
    from bokeh.plotting import figure

    plot = figure(title=_plain(text), frame_width=size, frame_height=size, tools="pan,wheel_zoom,box_select")
    plot.axis.visible = plot.grid.visible = False
    groups = pd.Series("", index=frame.index)
    if measured := shown.is_measure(frame[colour]):
        values = frame[colour].astype(float)
        known = values[np.isfinite(values)]
        mapper = LinearColorMapper(palette="Cividis256", low=known.min(), high=known.max(), nan_color="#BBBBBB")
    else:
        groups = shown.groups(frame[colour], most=len(PALETTE))
    shapes = shown.groups(frame[marker], most=len(MARKERS)) if marker else pd.Series("", index=frame.index)
    renderers = []
    for shape, kind in zip(MARKERS, sorted(shapes.unique()), strict=False):
        for own, name in zip(PALETTE, sorted(groups.unique()), strict=False):
            member = ((groups == name) & (shapes == kind)).to_numpy()
            if not member.any():
                continue
            drawn = plot.scatter(
                keys[pair[0]], keys[pair[1]], source=source, view=CDSView(filter=BooleanFilter(member.tolist())),
                marker=shape, size=7, color={"field": keys[colour], "transform": mapper} if measured else own,
                alpha=0.75, muted_alpha=0.04, nonselection_alpha=0.08, name=", ".join(t for t in (name, kind) if t),
            )  # fmt: skip
            renderers.append(drawn)
    return plot, renderers


def _add_legend(plot, renderers, frame, *, colour, marker) -> None:
    from bokeh.models import ColorBar, Legend, LegendItem

    measured = shown.is_measure(frame[colour])
    if measured:
        mapper = renderers[0].glyph.fill_color.transform
        plot.add_layout(ColorBar(color_mapper=mapper, title=_plain(colour), width=12), "right")
    if not measured or marker:
        items = [LegendItem(label=_plain(drawn.name), renderers=[drawn]) for drawn in renderers]
        heading = _plain(marker if measured else colour)
        plot.add_layout(Legend(items=items, title=heading, click_policy="mute", label_text_font_size="11px"), "right")


def _add_tools(plot, renderers, keys, hover, *, has_thumbnail: bool) -> None:
    from bokeh.models import HoverTool, LassoSelectTool, ResetTool, WheelZoomTool

    # Bokeh escapes what it puts for @{...}; "{safe}", which would not, must never appear here
    rows = [f"<div><b>{_markup(name)}</b> @{{{keys[name]}}}</div>" for name in hover]
    image = ['<img src="@{thumbnail}" style="display:block;image-rendering:pixelated;min-height:96px">']
    body = "".join((image if has_thumbnail else []) + rows)
    tooltip = f'<div style="max-width:340px;max-height:420px;overflow:hidden;font-size:11px">{body}</div>'
    lasso = LassoSelectTool(continuous=False)
    plot.add_tools(lasso, ResetTool())
    plot.toolbar.active_scroll = plot.select_one(WheelZoomTool)
    plot.toolbar.active_drag = lasso
    if hover or has_thumbnail:
        plot.add_tools(HoverTool(renderers=renderers, tooltips=tooltip, limit=1, muted_policy="ignore"))


def export_html(layout, path: Path, *, title: str = "Embeddings") -> Path:
    """Write what :func:`explore` made as one self-contained HTML file; it appears whole or not at all."""
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    path = Path(path)
    shown.check_text(title=title)
    page = file_html(layout, INLINE, title, template=_TEMPLATE, suppress_callback_warning=True)
    try:
        paths.write(path, page)
    except OSError as error:
        raise ExplorerError(f"{path} cannot be written ({error.strerror or error}); give a writable place.") from error
    return path
