"""The gallery: the committed results as pages to look at, written by ``make gallery`` from what the repository holds.

The front page has the papers with a figure and their outcomes, and a card a claim; a page a paper; a page an exhibit, with
its figure beside the printed numbers. Pages load nothing from elsewhere and ask no server, also not for the search. Every
text is shown as text: Jinja escapes it, and the pages' content policy runs no script but their own.

    build()                                 # runs/gallery/index.html
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lib.workflow import gallery_facts, gallery_text, papers, paths, report

PAGES = Path(__file__).parent / "gallery_pages"
START = "00_start_here.ipynb"  # of the notebooks: also a page


def _policy(style: str, script: str) -> str:
    """The content policy of every page: its own style and script, by their hashes, and pictures beside it."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    return (
        f"default-src 'none'; img-src 'self' data: file:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _shown(page: str, slug: str, folder: Path) -> str:
    """A paper's page as HTML that runs nothing; its generated table is left out, and its pictures are their words."""
    begin, end = "<!-- verdicts:begin -->", "<!-- verdicts:end -->"
    head, found, rest = page.partition(begin)
    if found and end in rest:
        page = f"{head}The claims stand above.\n{rest.partition(end)[2]}"
    return gallery_text.markdown(page, at=paths.paper(slug), folder=folder).html


def _write(folder: Path, name: str, text: str) -> None:
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 30) : error.start + 20]
        raise report.ReportError(f"the page {name} holds half a surrogate pair: {near!a}; repair that text") from None
    paths.write(folder / name, content)


def _pictures(folder: Path, pictures: Iterable[Path]) -> None:
    """Copy the figures that the pages show, so that the folder can be taken elsewhere."""
    for picture in set(pictures):
        target = folder / gallery_facts.picture_name(picture)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)


def _links(folder: Path) -> dict[str, str]:
    """Where the front page leads besides: what is there of the start page and of the explorer's pages -> its words."""
    explorer = {
        f"pages/{one.name}": f"embeddings to explore: {one.stem}"
        for one in sorted((paths.ROOT / "pages").glob("*.html"))
    }
    links = (
        {"start.html": "start here: one result, and what each word means"}
        if (paths.NOTEBOOKS / START).is_file()
        else {}
    )
    return links | {
        Path(os.path.relpath(paths.ROOT / one, folder)).as_posix(): words for one, words in explorer.items()
    }


def build(folder: Path | None = None) -> Path:
    """Write the gallery of everything committed into ``folder`` (``runs/gallery``), whole or not at all; returns its front page.

    Raises :class:`~lib.workflow.report.ReportError` for a damaged result or a text that no page can hold.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = paths.RUNS / "gallery" if folder is None else folder
    style, script = ((PAGES / name).read_text(encoding="utf-8") for name in ("style.css", "search.js"))
    pages = Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    pages.globals |= {"style": style, "script": script, "policy": _policy(style, script)}
    pages.filters |= {"picture": gallery_facts.picture_name, "interval": report.interval}
    every = [gallery_facts.paper(slug) for slug in papers.slugs()]
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for paper in every:
            page = paths.paper(paper["slug"]) / "README.md"
            about = _shown(page.read_text(encoding="utf-8"), paper["slug"], folder) if page.is_file() else ""
            filled = pages.get_template("paper.html").render(paper=paper, about=about, root="")
            _write(part, f"{paper['slug']}.html", filled)
            for exhibit in paper["exhibits"]:
                to = os.path.relpath(exhibit["notebook"], folder / paper["slug"])
                filled = pages.get_template("exhibit.html").render(
                    paper=paper, exhibit=exhibit, root="../", notebook=Path(to).as_posix()
                )
                _write(part, f"{paper['slug']}/{exhibit['name']}.html", filled)
            results = [result for exhibit in paper["exhibits"] for result in exhibit["results"]]
            _pictures(part, (picture for result in results for picture in result["pictures"]))
        if (start := paths.NOTEBOOKS / START).is_file():
            told = gallery_text.notebook(start, folder=folder)
            _pictures(part, told.pictures)
            _write(part, "start.html", pages.get_template("start.html").render(shown=told.html, root=""))
        _write(part, "index.html", pages.get_template("index.html").render(papers=every, links=_links(folder), root=""))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder / "index.html"


def current() -> Path:
    """The front page, written again only when something that it shows is newer."""
    front = paths.RUNS / "gallery" / "index.html"
    inputs = [PAGES, paths.PAPERS, paths.ROOT / "figures", paths.NOTEBOOKS]
    shown = {".yml", ".json", ".md", ".png", ".ipynb", ".html", ".css", ".js"}
    changed = max((f.stat().st_mtime for folder in inputs for f in folder.rglob("*") if f.suffix in shown), default=0)
    return front if front.is_file() and front.stat().st_mtime > changed else build()
