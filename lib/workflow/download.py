"""Files the authors released: found in the data root, or downloaded from a pinned commit and checked by sha256.

``papers/<slug>/files.yml`` lists the files of a paper, each with its URL at one commit and its sha256. Used by the
first cells of notebooks that read real files; nothing else in the project downloads them.

    folder = fetch_folder("<slug>"); fetch("<slug>/<file>.csv")
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lib.workflow import paths

TIMEOUT = 30  # seconds without an answer before a server counts as unreachable

_checked: dict[Path, tuple[str, int, int]] = {}  # file -> (sha256, size, mtime): each file is hashed once a process


class DownloadError(ValueError):
    """A released file that is not what it should be, or a registry that breaks its schema."""


class FileUnavailable(DownloadError):
    """A released file that is neither in the data root nor can be brought there (no network, folder not writable)."""


class ReleasedFile(BaseModel):
    """One released file: its place under ``DATA_ROOT/<slug>/``, where it is published, what it hashes to."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(min_length=1)]
    url: Annotated[str, Field(pattern=r"^https?://")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
            raise ValueError(f"'{path}' must be a relative path below the paper's folder")
        return path


class _Registry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    files: list[ReleasedFile] = Field(min_length=1)

    @model_validator(mode="after")
    def _listed_once(self):
        listed = [file.path for file in self.files]
        for path in listed:
            if listed.count(path) > 1:
                raise ValueError(f"'{path}' is listed twice")
        return self


def registry(slug: str) -> list[ReleasedFile]:
    """The released files of a paper; raises :class:`DownloadError` naming file and key when ``files.yml`` is wrong."""
    path = paths.paper(slug) / "files.yml"
    label = paths.relative(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _Registry.model_validate(content).files
    except FileNotFoundError:
        raise DownloadError(
            f"{label} does not exist, so '{slug}' has no released files to fetch; correct the name"
        ) from None
    except yaml.YAMLError as error:
        raise DownloadError(f"{label} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        raise DownloadError(f"{label}, key {key}: {first['msg']}; correct it") from None


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


def _download(file: ReleasedFile, target: Path) -> None:
    """Download beside ``target``, check, rename. Raises :class:`DownloadError`; then nothing is left behind."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # nothing prints on stderr in a notebook
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
            part = pooch.retrieve(file.url, known_hash=None, fname="part", path=folder, downloader=downloader)
            found = _sha256(Path(part))
            if found != file.sha256:
                raise DownloadError(
                    f"{file.url} gave {Path(part).stat().st_size} bytes with sha256 {found[:12]} instead of "
                    f"{file.sha256[:12]}: the download was cut off or the file changed; run again, nothing was kept"
                )
            os.replace(part, target)
    except requests.RequestException as error:
        raise FileUnavailable(
            f"{file.url} could not be downloaded ({_reason(error)}); check the network and run again, or copy the "
            f"file to {target}; nothing was kept"
        ) from error
    except OSError as error:
        raise FileUnavailable(
            f"{target} cannot be written ({error.strerror or error}); set REPRISE_DATA to a writable folder with "
            f"free space"
        ) from error


def _ensure(slug: str, file: ReleasedFile) -> Path:
    target = paths.DATA_ROOT / slug / file.path
    if not target.is_file():
        _download(file, target)
    found = _sha256(target)
    if found != file.sha256:
        raise DownloadError(
            f"{target} has sha256 {found[:12]} instead of the pinned {file.sha256[:12]}: it is cut off or edited; "
            f"delete it and run again to download it"
        )
    return target


def fetch(relative_path: str) -> Path:
    """The released file ``<slug>/<path>`` under ``DATA_ROOT``, downloaded first when it is not there.

    Raises :class:`FileUnavailable` when it is absent and cannot be downloaded, :class:`DownloadError` when the name
    is not in the paper's ``files.yml`` or its content is not the pinned one. A failed download leaves no file.
    """
    slug, _, rest = str(relative_path).partition("/")
    for file in registry(slug):
        if file.path == rest:
            return _ensure(slug, file)
    raise DownloadError(f"papers/{slug}/files.yml does not list '{rest}'; use one of its paths or add it there")


def fetch_folder(slug: str) -> Path:
    """``DATA_ROOT/<slug>`` once every file of ``papers/<slug>/files.yml`` is there (see :func:`fetch`)."""
    for file in registry(slug):
        _ensure(slug, file)
    return paths.DATA_ROOT / slug
