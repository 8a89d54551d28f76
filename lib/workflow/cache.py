"""Trained once, used by many: artefacts (a dataset, a pretrained encoder, a trained arm) under ``runs/cache``.

An artefact is a folder that a function wrote. Its key is the function, its arguments, the source of the modules the
function needs (comments left out), the versions of the numerical libraries and this machine's arithmetic; so a changed
plot never retrains and a changed loss always does. A folder appears under its final name only when it is complete, and
two processes that want the same artefact never both build it.

    folder = cache.build(train_arm, world=world_folder, seed=0)      # world_folder: another artefact
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.machine import Machine
from lib.workflow import arithmetic, closure, paths

MANIFEST = "artefact.json"
CHECKPOINT = "checkpoint"  # the one thing a build may leave behind for the next try
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
_CANNOT_WRITE |= {errno.EPERM, errno.EFBIG, errno.EEXIST, errno.ENOTDIR}
# those whose release can change a trained number
_LIBRARIES = ("torch", "numpy", "transformers", "monai", "peft", "trl")


class CacheError(RuntimeError):
    """An artefact that cannot be built or is damaged."""


def _describe(value: Any) -> Any:
    """An argument as it enters the key: artefacts by their key, outside files by name, size and time, the rest as JSON."""
    if isinstance(value, Path):
        if value.is_relative_to(paths.CACHE):
            return {"artefact": str(value.relative_to(paths.CACHE))}
        if not value.exists():
            raise CacheError(f"{value} does not exist, so nothing can be built from it; correct the path")
        files = sorted(p for p in value.rglob("*") if p.is_file()) if value.is_dir() else [value]
        digest = hashlib.sha256()
        for file in files:
            stat = file.stat()
            digest.update(f"{file.relative_to(value.parent)}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
        return {"outside": digest.hexdigest()}
    if isinstance(value, Machine):
        return value.identity()
    if isinstance(value, dict):
        return {"in order": [[str(k), _describe(v)] for k, v in value.items()]}  # a fit may go through them so
    if isinstance(value, (list, tuple)):
        return [_describe(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CacheError(f"an artefact's argument must be a path, number, text, list or dict, not {type(value).__name__}")


def describe(function: Callable, arguments: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """The recipe of an artefact and the folder in which it lives (existing or not)."""
    sources = closure.modules(function.__module__)
    if not sources or "<" in function.__qualname__:
        raise CacheError(
            f"{function.__module__}.{function.__qualname__} cannot be cached: only a function at the top of a module "
            f"of lib or papers can, so that a change of its source is noticed; move it there"
        )
    recipe = {
        "function": f"{function.__module__}.{function.__qualname__}",
        "arguments": {name: _describe(arguments[name]) for name in sorted(arguments)},
        "source": closure.source_hash(sources),
        "libraries": {name: version(name).split("+")[0] for name in _LIBRARIES},
        "arithmetic": arithmetic.fingerprint(),
    }
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    return recipe, paths.CACHE / function.__name__ / key


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_complete(folder: Path) -> bool:
    """Whether every file of the artefact is there, byte for byte as it was written."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        return all(_sha256(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _make(function: Callable, arguments: dict[str, Any], recipe: dict[str, Any], folder: Path) -> None:
    """Build under another name, then rename. Called with the artefact's lock held.

    A killed or failed build leaves ``<key>.part/checkpoint``; the next one finds it there and may go on from it.
    """
    if folder.exists():
        print(f"cache: {paths.relative(folder)} is damaged, building it again", file=sys.stderr)
        shutil.rmtree(folder)
    part = folder.with_name(f"{folder.name}.part")
    started = time.monotonic()
    part.mkdir(parents=True, exist_ok=True)
    for leftover in part.iterdir():
        if leftover.name != CHECKPOINT:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    function(part, **arguments)
    shutil.rmtree(part / CHECKPOINT, ignore_errors=True)
    files = {str(f.relative_to(part)): _sha256(f) for f in sorted(part.rglob("*")) if f.is_file()}
    manifest = {**recipe, "seconds": round(time.monotonic() - started, 2), "files": files}
    (part / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    os.rename(part, folder)


def _cannot_write(error: Exception, folder: Path) -> str | None:
    """One sentence when ``error`` says that the cache cannot be written; ``None`` for any other error."""
    elsewhere = getattr(error, "filename", None) and not str(error.filename).startswith(str(paths.CACHE))
    full = os.strerror(errno.ENOSPC) in str(error)  # libraries that write in C wrap the system's error in their own
    if elsewhere or not (full or getattr(error, "errno", None) in _CANNOT_WRITE):
        return None
    reason = getattr(error, "strerror", None) or os.strerror(errno.ENOSPC)
    remedy = "free space, or set REPRISE_CACHE to another folder, and run again"
    return f"cannot write {paths.relative(folder)}: {reason}; {remedy}"


def build_all(
    function: Callable, many: Sequence[dict[str, Any]], *, progress: Callable[[int], None] | None = None
) -> list[Path]:
    """Folders of one artefact for each set of arguments, built where missing.

    ``function(folder, **arguments)`` writes its files into ``folder``. While another process builds one of them, this
    one goes on with the next: two notebooks that need the same arms share the work. ``progress`` hears how many exist.
    """
    if next(iter(inspect.signature(function).parameters), None) != "folder":
        raise CacheError(f"{function.__qualname__} cannot be cached: its first parameter must be 'folder'")
    plan = [(arguments, *describe(function, arguments)) for arguments in many]
    missing = {i for i, (_, _, folder) in enumerate(plan) if not _is_complete(folder)}
    while missing:
        if progress:
            progress(len(plan) - len(missing))
        worked = False
        for i in sorted(missing):
            arguments, recipe, folder = plan[i]
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{folder}.lock", timeout=0):
                    if not _is_complete(folder):
                        _make(function, arguments, recipe, folder)
            except Timeout:
                continue  # somebody else is at it
            except Exception as error:
                if sentence := _cannot_write(error, folder):
                    raise CacheError(sentence) from error
                raise
            missing.discard(i)
            worked = True
            if progress:
                progress(len(plan) - len(missing))
        if missing and not worked:
            time.sleep(0.2)
    return [folder for _, _, folder in plan]


def build(function: Callable, /, **arguments: Any) -> Path:
    """Folder of one artefact, built if it is missing (see :func:`build_all`)."""
    return build_all(function, [arguments])[0]


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / MANIFEST).read_text())
        return {key: content[key] for key in ("function", "source", "seconds")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"function": "", "source": "", "seconds": 0.0}  # damaged: nobody's, and not current


def entries() -> list[dict[str, Any]]:
    """Every artefact: name, key, bytes, seconds it took, whether today's source would build it (``current``)."""
    found = []
    for folder in sorted(f for f in paths.CACHE.glob("*/*") if f.is_dir() and f.suffix != ".part"):
        content = _read_manifest(folder)
        module = content["function"].rpartition(".")[0]
        current = bool(module) and content["source"] == closure.source_hash(closure.modules(module))
        entry = {"name": folder.parent.name, "key": folder.name, "bytes": _size(folder), "folder": folder}
        found.append({**entry, "seconds": content["seconds"], "current": current, "complete": _is_complete(folder)})
    return found


def _delete(folder: Path) -> bool:
    """Delete an artefact and what a killed build left of it; ``False`` while somebody is building it."""
    try:
        with FileLock(f"{folder}.lock", timeout=0) as lock:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder.with_name(f"{folder.name}.part"), ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)  # whoever waits for it opens a new one
    except Timeout:
        return False
    return True


def clean(*, everything: bool = False) -> tuple[int, int]:
    """Delete artefacts that today's source would not build, or all of them; returns (number, bytes).

    What killed builds left goes too; what is being built stays.
    """
    doomed = [e for e in entries() if everything or not (e["current"] and e["complete"])]
    gone = [e for e in doomed if _delete(e["folder"])]
    for leftover in paths.CACHE.glob("*/*.part"):
        _delete(leftover.with_suffix(""))
    return len(gone), sum(e["bytes"] for e in gone)
