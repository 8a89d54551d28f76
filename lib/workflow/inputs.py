"""What papers read from outside: what is here and checked, what is missing, where it goes, how large it is, who fetches it.

Nothing is downloaded here but by :func:`bring`, and that by :mod:`lib.workflow.sources`, as a notebook would.

    for one in look(["brgsa"], "full"):
        print(one.name, one.state, one.place)
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.workflow import experiments, notebooks, paths, sources
from lib.workflow.experiments import Source
from lib.workflow.sources import SourceUnfit

SPARE = 2**30  # bytes of a disk that a download leaves free
FETCH = "the command `data --fetch` brings it here"


@dataclass(frozen=True)
class Input:
    """One source of a paper as it is on this machine. ``size``: bytes, of what is here or, when asked for, at its origin."""

    slug: str
    name: str
    source: Source
    profiles: tuple[str, ...]  # that read it
    place: Path  # where it is, or where it goes
    state: str  # checked, unchecked (nothing is listed to check it by), missing, damaged, or not fetched (it was tried)
    problem: str | None = None
    size: int | None = None

    @property
    def origin(self) -> str:
        source = self.source
        if source.packages:
            return ", ".join(source.packages)
        where = f"github.com/{source.github}" if source.github else f"hub: {source.hub}"
        return f"{where} at {(source.revision or 'no pinned revision')[:18]}"

    @property
    def by_hand(self) -> bool:
        """Whether nobody but the reader can put it there."""
        return self.source.folder is not None


def asked_for(slug: str) -> dict[str, tuple[str, ...]]:
    """The sources that a paper declares -> the profiles that read them: by their settings, or because a notebook that stands
    at them names one (``run.source("name")``)."""
    plan = experiments.load(slug)
    named = {exhibit: _named(paths.notebook(slug, exhibit)) for exhibit in plan.experiments}
    read = {
        profile: {*sources.needed(slug, profile)}.union(*(n for one, n in named.items() if plan.stands(one, profile)))
        for profile in plan.profiles
    }
    return {name: tuple(profile for profile in read if name in read[profile]) for name in plan.sources}


def _named(notebook: Path) -> set[str]:
    calls = (
        node
        for cell in notebooks.look(notebook).code
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "source"
    )
    return {one.args[0].value for one in calls if one.args and isinstance(one.args[0], ast.Constant)}


def look(slugs: Sequence[str], profile: str | None = None) -> list[Input]:
    """Every source of these papers, or those that a profile reads, as it is here: each listed file is hashed. No network."""
    return [
        _look(slug, name, source, profiles)
        for slug in slugs
        for name, profiles in asked_for(slug).items()
        if profile is None or profile in profiles
        for source in [experiments.load(slug).sources[name]]
    ]


def _look(slug: str, name: str, source: Source, profiles: tuple[str, ...]) -> Input:
    seen = Input(slug, name, source, profiles, _place(slug, name, source), "missing")
    if source.hub:
        return _look_at_snapshot(seen)
    if source.folder and not seen.place.exists():
        return replace(seen, problem=f"{source.folder} does not exist; {source.note or 'put the files there'}")
    absent = [path for path in source.files if not (seen.place / path).is_file()]
    if absent:
        return replace(seen, problem=f"{len(absent)} of {len(source.files)} files are not here; {FETCH}")
    wrong = [path for path, sha256 in source.files.items() if sources._sha256(seen.place / path) != sha256]
    files = [seen.place / path for path in source.files] or [one for one in seen.place.rglob("*") if one.is_file()]
    seen = replace(seen, size=sum(one.stat().st_size for one in files))
    if wrong:
        problem = (
            f"{seen.place / wrong[0]} is cut off or edited (another sha256 than the pinned one); delete it, and {FETCH}"
        )
        return replace(seen, state="damaged", problem=problem)
    return replace(seen, state="checked" if source.files else "unchecked")


def _place(slug: str, name: str, source: Source) -> Path:
    """Where :func:`sources.fetch` has or wants the files."""
    if source.github:
        return paths.DATA_ROOT / (source.under or slug)
    if source.packages:
        listed = hashlib.sha256(repr([source.packages, source.files]).encode()).hexdigest()[:12]
        return paths.RUNS / "sources" / f"{name}-{listed}"
    if source.folder:
        return paths.ROOT / source.folder
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{source.hub.replace('/', '--')}"


def _look_at_snapshot(seen: Input) -> Input:
    from huggingface_hub import snapshot_download

    told = {"revision": seen.source.revision, "allow_patterns": sources.LOADED}
    try:
        folder = Path(snapshot_download(repo_id=seen.source.hub, **told, local_files_only=True))
    except Exception:  # the hub's client has a class for each reason
        return replace(seen, problem=f"{seen.source.hub} is not in the hub's cache; {FETCH}")
    files = [file for file in folder.rglob("*") if file.is_file()]
    seen = replace(seen, place=folder, size=sum(file.stat().st_size for file in files))
    if lacks := sources._lacks(folder):
        return replace(seen, problem=f"{seen.source.hub} is here without {lacks}; {FETCH}")
    for file in files:
        if not _is_the_hubs(file.resolve()):
            problem = (
                f"{file.resolve()} ({file.name}) is not what the hub listed: cut off or edited; delete it, and {FETCH}"
            )
            return replace(seen, state="damaged", problem=problem)
    return replace(seen, state="checked" if files[0].resolve().parent.name == "blobs" else "unchecked")


def _is_the_hubs(blob: Path) -> bool:
    """Whether a file of the hub's cache is what its name says: the sha256 of large files, git's hash of small ones."""
    if blob.parent.name != "blobs":
        return True  # a cache without links has no such names
    if len(blob.name) == 64:
        return sources._sha256(blob) == blob.name
    content = blob.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == blob.name


def without_network(slug: str, profile: str) -> dict[str, str]:
    """What tells the hub's libraries to ask for nothing, where a profile reads no model of the hub: they look there for what
    they want to know of a local folder, too."""
    plan = experiments.load(slug) if experiments.has(slug) else None
    reads = [plan.sources[name] for name in sources.needed(slug, profile)] if plan else []
    return {} if any(source.hub for source in reads) else {"HF_HUB_OFFLINE": "1"}


# ---------------------------------------------------------------------- with a network
def sized(one: Input) -> Input:
    """``one`` with the size that its origin tells, where it is missing and the origin answers; pip tells none before."""
    if one.state != "missing" or one.by_hand or one.source.packages:
        return one
    try:
        return replace(one, size=_size_at_hub(one.source) if one.source.hub else _size_at_github(one))
    except Exception:  # it only tells a size; what is wrong with the network is said when something is fetched
        return one


def _size_at_hub(source: Source) -> int:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    listed = HfApi().model_info(source.hub, revision=source.revision, files_metadata=True, timeout=sources.TIMEOUT)
    chosen = filter_repo_objects(listed.siblings, allow_patterns=sources.LOADED, key=lambda file: file.rfilename)
    return sum(file.size or 0 for file in chosen)


def _size_at_github(one: Input) -> int:
    import requests

    source, total = one.source, 0
    for path in source.files:
        if not (one.place / path).is_file():
            way = "/".join(part for part in (source.github, source.revision, source.prefix, path) if part)
            told = {"timeout": sources.TIMEOUT, "headers": {"Accept-Encoding": "identity"}, "allow_redirects": True}
            answer = requests.head(f"{sources.RAW}/{way}", **told)
            answer.raise_for_status()
            total += int(answer.headers["Content-Length"])
    return total


def _check_room(wanted: Sequence[Input]) -> None:
    """Refuse, before anything is fetched, what does not fit on the disks it goes to."""
    disks: dict[int, tuple[Path, int]] = {}
    for one in {one.place: one for one in wanted}.values():  # papers share some
        folder = next(parent for parent in (one.place, *one.place.parents) if parent.exists())
        disk = os.stat(folder).st_dev
        disks[disk] = (folder, disks.get(disk, (folder, 0))[1] + (one.size or 0))
    for folder, need in disks.values():
        free = shutil.disk_usage(folder).free
        if free < need + SPARE:
            raise SourceUnfit(
                f"{folder} has {free / 1e9:.1f} GB free where {(need + SPARE) / 1e9:.1f} GB are needed; make room, or name "
                "another disk (REPRISE_DATA for files, REPRISE_RUNS for packages, HF_HOME for weights); nothing was fetched"
            )


def bring(found: Sequence[Input], *, tell: Callable[[str], None] = print) -> list[Input]:
    """Fetch what is missing and may be fetched, one after the other, a line each to ``tell``; one that fails hinders no other,
    and what was whole stays, so that the same call goes on. Raises :class:`SourceUnfit` when a disk has no room."""
    found = [sized(one) for one in found]
    _check_room([one for one in found if one.state == "missing" and not one.by_hand])
    brought = []
    for one in found:
        if one.state == "missing" and not one.by_hand:
            tell(f"fetching {one.slug}/{one.name} ({shown(one.size)}) from {one.origin}")
            try:
                sources.fetch(one.slug, one.name)
                one = _look(one.slug, one.name, one.source, one.profiles)
            except SourceUnfit as error:
                one = replace(one, problem=str(error), state="not fetched")
        brought.append(one)
    return brought


# ---------------------------------------------------------------------- in words
def shown(size: int | None) -> str:
    """
    >>> shown(93_400_000_000), shown(51_000), shown(None)
    ('93.4 GB', '0.1 MB', 'size not known')
    """
    if size is None:
        return "size not known"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def table(found: Sequence[Input]) -> str:
    """Two lines a source: what it is, who reads it and how it is here; where it lies or goes, and its licence."""
    rows = [
        (f"{one.slug}/{one.name}", one.state, shown(one.size), ", ".join(one.profiles) or "no profile",
         "by hand" if one.by_hand else one.origin)
        for one in found
    ]  # fmt: skip
    head = ("source", "state", "size", "read at", "from")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(4)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(head, widths, strict=False)), head[4]])]
    for one, row in zip(found, rows, strict=True):
        lines.append("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))
        lines.append(f"    {paths.relative(one.place)} ({one.source.licence or 'licence not found'})")
        lines += [f"    {one.source.note}"] if one.source.note else []
    return "\n".join(lines)


def problems(found: Sequence[Input]) -> list[str]:
    """One sentence each for what is not here as it should be, with what to do."""
    return [f"{one.slug}/{one.name}: {one.problem}" for one in found if one.problem]
