"""Embeddings to look at: one page of points with thumbnail and text on hover, lasso, search, neighbours, selection as CSV.

Works without a network: everything is inside the one HTML file, whose content policy lets nothing run or load but itself.
Texts come from datasets and are untrusted: they are only ever shown as text. The page draws pixels itself (``explorer_page/``):
plotting libraries took 2 MB of code a page and seconds a frame at 100,000 points. Used by the notebook ``explore_embeddings``.
Coordinates (UMAP) are pictures: decide on ``lib.evaluation.modality_gap``.

    page = explore(points, colour="Cardiomegaly", marker="modality", hover=["report"], thumbnails=images)
    page = explore(vectors, metadata)              # an array (N, d) and a data frame with a column "modality"
    export_html(page, Path("points.html"), title="BrgSA")
    page                                           # in a notebook: the page itself

    python -m lib.explorer runs/explore/full.parquet --colour Cardiomegaly --output points.html
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import embeddings
from lib import explorer_points as shown
from lib.drawing import PALETTE
from lib.embeddings import Embeddings
from lib.explorer_points import ExplorerError
from lib.workflow import paths

MARKERS = ("circle", "triangle", "square", "diamond", "plus")
MAX_NEIGHBOURS = 100_000  # points whose neighbours are looked for when the page is made: half a minute
NEIGHBOURS = 5
MOST_LISTED = 10  # columns of the tables on the page; the CSV has all
PARTS = Path(__file__).parent / "explorer_page"


@dataclass(frozen=True)
class Page:
    """What :func:`explore` made. ``view`` is all the page holds, as plain JSON; in a notebook the page shows itself."""

    view: dict[str, Any]

    def html(self, title: str | None = None) -> str:
        """The whole page, on which nothing can run but its own script."""
        shown.check_text(title=title)
        script = "".join((PARTS / name).read_text(encoding="utf-8") for name in ("data.js", "draw.js", "page.js"))
        style = (PARTS / "page.css").read_text(encoding="utf-8")
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
        filled = {
            "POLICY": "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; "
            "form-action 'none'".format(*hashes),
            "TITLE": html.escape(title or self.view["title"] or "Embeddings"),
            "STYLE": style,
            "VIEW": json.dumps(self.view, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
            "SCRIPT": script,
        }
        first, *rest = (PARTS / "page.html").read_text(encoding="utf-8").split("%")
        return first + "".join(filled.get(part, part) if part in filled else part for part in rest)

    def _repr_html_(self) -> str:
        height = self.view["size"] + 620
        return (
            f'<iframe sandbox="allow-scripts allow-downloads" srcdoc="{html.escape(self.html())}" '
            f'width="100%" height="{height}" style="border:0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"Page of {self.view['total']} points"


def explore(
    points: pd.DataFrame | np.ndarray | Embeddings,
    metadata: pd.DataFrame | None = None,
    *,
    colour: str = "modality",
    marker: str | None = None,
    hover: Sequence[str] | None = None,
    panels: Mapping[str, tuple[str, str]] | None = None,
    thumbnails: Sequence[np.ndarray] | np.ndarray | None = None,
    vectors: np.ndarray | None = None,
    title: str = "",
    size: int = 420,
) -> Page:
    """A page of ``points``: one row a point, a named index counting as a column; or vectors (N, d) with their ``metadata``,
    or what :mod:`lib.embeddings` read (placed by their two first components where they have no ``x`` and ``y``).

    ``colour``: the column shown first, of up to 8 values (a legend whose entries fade on click) or of numbers (a scale; missing
    ones are grey); the page offers all others of that kind. ``marker``: a column with up to 5 values, drawn as shapes.
    ``hover``: columns shown beside the thumbnail. ``panels``: title -> (x column, y column), by default one of "x" and "y"; what
    is selected or faded in one is in all. ``thumbnails``: one image a point as ``data_uri`` takes them, at most 2,000 points.
    Without them a column "thumbnail" of PNGs is taken. ``vectors`` (N, d): with a column "modality" the selection is shown
    with its nearest neighbours in another one. ``size``: of a panel, in pixels. Raises :class:`ExplorerError` for a missing
    column, a coordinate that is no number, unequal lengths.
    """
    if isinstance(points, np.ndarray):
        if metadata is None:
            raise ExplorerError(
                "vectors come without metadata; give a data frame with one row each, as explore(vectors, table)."
            )
        points = embeddings.checked(points, metadata)
    if isinstance(points, Embeddings):
        points, vectors = points.shown(), points.vectors
    panels = {"": ("x", "y")} if panels is None else panels
    if not panels:
        raise ExplorerError("panels is empty; give at least one title with its x and y column.")
    shown.check_text(title=title, panels="".join(map(str, panels)))
    places = list(dict.fromkeys(name for pair in panels.values() for name in pair))
    chosen = list(dict.fromkeys([*hover, colour, *([marker] if marker else [])])) if hover else None
    hover = (
        [name for name in embeddings.COLUMNS if name in points.columns and name not in places]
        if hover is None
        else hover
    )
    points, thumbnails = shown.own_thumbnails(points, thumbnails)
    frame = shown.checked(points, [colour, *([marker] if marker else []), *hover], places, thumbnails)
    listed = chosen or [name for name in frame.columns if name not in places]  # in the tables
    numbers = {name: number for number, name in enumerate(frame.columns)}
    columns = [_column(frame[name], must=name == colour) for name in frame.columns]
    if marker:
        columns[numbers[marker]]["groups"] = shown.coded(frame[marker], most=len(MARKERS))
    view = {
        "title": title,
        "total": len(frame),
        "size": size,
        "columns": columns,
        "panels": [{"title": str(text), "x": numbers[x], "y": numbers[y]} for text, (x, y) in panels.items()],
        "colour": numbers[colour],
        "colours": [
            n
            for n, column in enumerate(columns)
            if frame.columns[n] not in places and {"groups", "measure"} & set(column)
        ],
        "marker": numbers[marker] if marker else None,
        "hover": [numbers[name] for name in hover],
        "listed": [numbers[name] for name in listed][:MOST_LISTED],
        "palette": list(PALETTE),
        "scale": shown.scale(),
        "shapes": list(MARKERS),
        "thumbnails": None if thumbnails is None else shown.uris(thumbnails),
        "neighbours": _neighbours(frame, vectors),
    }
    return Page(view)


def _column(column: pd.Series, *, must: bool) -> dict[str, Any]:
    """One column as the page holds it, and how it is coloured where it can be (``must``: or an error)."""
    held = {"name": str(column.name), **shown.values(column)}
    if shown.is_measure(column):
        known = column.astype(float)
        known = known[np.isfinite(known)]
        held["measure"] = (
            {"low": float(known.min()), "high": float(known.max())} if len(known) else {"low": 0.0, "high": 0.0}
        )
    elif must or len(held["levels"] if "levels" in held else column.dropna().unique()) < shown.MAX_GROUPS:
        held["groups"] = shown.coded(column, most=shown.MAX_GROUPS)  # one more may be those that miss
    return held


def _neighbours(frame: pd.DataFrame, vectors: np.ndarray | None) -> dict[str, Any] | None:
    if vectors is None or "modality" not in frame.columns or len(frame) > MAX_NEIGHBOURS:
        return None
    rows, cosines = embeddings.checked(vectors, frame[["modality"]]).neighbours(k=NEIGHBOURS)
    return {"k": NEIGHBOURS, "rows": shown.packed(rows), "cosines": shown.packed(cosines)}


def export_html(page: Page, path: Path, *, title: str | None = None) -> Path:
    """Write what :func:`explore` made as one self-contained HTML file; it appears whole or not at all."""
    path = Path(path)
    content = page.html(title)
    try:
        paths.write(path, content)
    except OSError as error:
        raise ExplorerError(f"{path} cannot be written ({error.strerror or error}); give a writable place.") from error
    return path


def main(words: Sequence[str] | None = None) -> int:
    """The command: saved embeddings as a page; several runs on the same cases beside each other."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(
        prog="python -m lib.explorer", description="Saved embeddings as one page to explore."
    )
    parser.add_argument("files", nargs="+", type=Path, help="Parquet files (lib/embeddings.py says what they hold)")
    parser.add_argument("--colour", default="modality", help="the column shown first")
    parser.add_argument("--marker", default="modality", help="the column drawn as shapes")
    parser.add_argument("--picture", default=None, help="umap or pca: project anew")
    parser.add_argument("--output", type=Path, default=paths.RUNS / "explore" / "page.html")
    given = parser.parse_args(words)
    try:
        runs = {file.stem: embeddings.read(file) for file in given.files}
        runs = {name: run.project(given.picture) if given.picture else run for name, run in runs.items()}
        how = {"colour": given.colour, "marker": given.marker, "title": ", ".join(runs)}
        if len(runs) > 1:
            first = next(iter(runs.values()))
            table, panels = embeddings.beside(runs)
            page = explore(table, panels=panels, vectors=first.vectors, **how)
        else:
            page = explore(next(iter(runs.values())), **how)
        print(f"open in a browser: {paths.relative(export_html(page, given.output, title=how['title']))}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
