"""Texts of the repository as HTML that runs nothing: Markdown of papers' pages, and a notebook with its outputs.

Raw HTML in a text is shown as text. Links lead where they led from the text's own place; a picture is shown when it is a file of
the repository, which the gallery copies. Of an output that is HTML, the cells of its table are taken, as text.

    markdown("# A *title*", at=paths.ROOT, folder=paths.RUNS / "gallery").html
"""

from __future__ import annotations

import html
import json
import os
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mistune

from lib.workflow import paths
from lib.workflow.cells import NotebookError, _text, not_valid

_SCHEME = re.compile(r"[a-zA-Z][\w+.-]*:|//|#")


@dataclass(frozen=True)
class Shown:
    """HTML, and the pictures of the repository that it shows by their path from its root."""

    html: str
    pictures: list[Path] = field(default_factory=list)


class _Renderer(mistune.HTMLRenderer):
    """Markdown that stands in the folder ``at``, seen from a page in ``folder``."""

    def __init__(self, at: Path, folder: Path):
        super().__init__(escape=True)
        self.at, self.folder, self.pictures = at, folder, []
        self._columns: list[str] = []
        self._cell = 0

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not _SCHEME.match(url):
            url = Path(os.path.relpath(self.at / url, self.folder)).as_posix()
        return super().link(text, url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        path = Path(os.path.normpath(self.at / url))
        if _SCHEME.match(url) or not path.is_relative_to(paths.ROOT) or not path.is_file():
            return html.escape(mistune.util.striptags(text))
        self.pictures.append(path)
        return super().image(text, path.relative_to(paths.ROOT).as_posix(), title)

    # ------------------------------------------------------------------ tables: on a phone each cell says its column
    def table(self, text: str) -> str:
        self._columns = []
        return f"<table>\n{text}</table>\n"

    def table_head(self, text: str) -> str:
        return f"<thead><tr>{text}</tr></thead>\n"

    def table_body(self, text: str) -> str:
        return f"<tbody>\n{text}</tbody>\n"

    def table_row(self, text: str) -> str:
        self._cell = 0
        return f"<tr>{text}</tr>\n"

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        if head:
            self._columns.append(html.unescape(mistune.util.striptags(text)))
            return f"<th>{text}</th>"
        label = self._columns[self._cell] if self._cell < len(self._columns) else ""
        self._cell += 1
        return _cell(text, label)


def _cell(inner: str, label: str) -> str:
    return f'<td data-label="{html.escape(label)}">{inner}</td>' if label else f"<td>{inner}</td>"


def markdown(text: str, *, at: Path, folder: Path) -> Shown:
    """Markdown that stands in the folder ``at`` as HTML for a page in ``folder``; comments are left out."""
    renderer = _Renderer(at, folder)
    told = mistune.create_markdown(renderer=renderer, plugins=["table"])(
        re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    )
    return Shown(str(told), renderer.pictures)


# ---------------------------------------------------------------------- a notebook
class _Table(HTMLParser):
    """The texts of the cells of a table, row by row; whether a row is the head's."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[bool, list[str]]] = []
        self._head = self._inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "thead":
            self._head = True
        elif tag == "tr":
            self.rows.append((self._head, []))
        elif tag in ("td", "th") and self.rows:
            self.rows[-1][1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "thead":
            self._head = False
        elif tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside and self.rows and self.rows[-1][1]:
            self.rows[-1][1][-1] += data


def _table(source: str) -> str:
    """A table of pandas as one of ours."""
    parser = _Table()
    parser.feed(source)
    head = next((cells for head, cells in parser.rows if head), [])
    names = [name.strip() for name in head]
    body = []
    for cells in (cells for head, cells in parser.rows if not head):
        labels = [*names, *[""] * len(cells)]
        body.append("".join(_cell(f"<bdi>{html.escape(one.strip())}</bdi>", labels[n]) for n, one in enumerate(cells)))
    top = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = "".join(f"<tr>{row}</tr>\n" for row in body)
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{rows}</tbody></table>"


def _output(output: dict[str, Any]) -> str:
    """One output of a cell: a picture, a table, or text; nothing of what is an error."""
    data = output.get("data", {})
    if picture := data.get("image/png"):
        held = "".join(_text(picture).split())
        if re.fullmatch(r"[A-Za-z0-9+/=]+", held):
            return f'<img alt="A figure" src="data:image/png;base64,{held}">'
    if "<table" in (source := _text(data.get("text/html", ""))):
        return _table(source)
    said = _text(output.get("text", "")) or _text(data.get("text/plain", ""))
    return f"<pre>{html.escape(said)}</pre>" if said else ""


def _code(cells: list[str]) -> list[str]:
    """The code of some cells behind one click."""
    source = html.escape("\n\n".join(cells))
    return [f"<details><summary>code</summary><pre>{source}</pre></details>"] if cells else []


def notebook(path: Path, *, folder: Path) -> Shown:
    """A notebook as HTML for a page in ``folder``: its texts and outputs, and its code behind a click.

    Raises :class:`~lib.workflow.cells.NotebookError` for one that is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts, pictures, code = [], [], []
        for cell in content["cells"]:
            source = _text(cell["source"])
            shown = markdown(source, at=path.parent, folder=folder) if cell["cell_type"] == "markdown" else Shown("")
            code += [source] if cell["cell_type"] == "code" else []
            found = [shown.html, *map(_output, cell.get("outputs", []))]
            if any(found):
                parts += [*_code(code), *found]
                pictures, code = pictures + shown.pictures, []
        parts += _code(code)
    except FileNotFoundError:
        raise NotebookError(f"{paths.relative(path)} does not exist") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise not_valid(path, error) from None
    return Shown("\n".join(parts), pictures)
