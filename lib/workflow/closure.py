"""Which files of the project a notebook or a function depends on, and a hash of them that comments do not change.

Used by the Snakefile (a job's inputs), the cache (an artefact's key) and the freshness test (a notebook's hash).

>>> [paths.relative(file) for file in modules("lib.workflow.paths")]    # and every file of PACKAGES it imports
['lib/__init__.py', 'lib/workflow/__init__.py', 'lib/workflow/paths.py']
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from lib.workflow import paths

PACKAGES = ("lib", "papers", "benchmarks")  # top-level packages of the project: followed and hashed, all others are not
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}


class SourceError(ValueError):
    """A file of the project that is not Python; the message names file and line."""


def _file_of(module: str) -> Path | None:
    if module.partition(".")[0] not in PACKAGES:
        return None
    base = paths.ROOT.joinpath(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(source: str) -> set[str]:
    """Names under ``PACKAGES`` that ``source`` imports anywhere, also inside functions (heavy imports live there)."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}  # `from lib.models import vit3d`
    return {name for name in found if name.partition(".")[0] in PACKAGES}


@cache
def _file_imports(file: Path, _mtime: int, _size: int) -> set[str]:
    return _imports(file.read_text(encoding="utf-8"))


def _walk(names: Iterable[str]) -> list[Path]:
    files: set[Path] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        parts = waiting.pop().split(".")
        packages = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        for name in packages - seen:  # importing a.b.c runs a/__init__ and a/b/__init__ too
            seen.add(name)
            file = _file_of(name)
            if file is not None and file not in files:
                files.add(file)
                stat = file.stat()
                try:
                    waiting += _file_imports(file, stat.st_mtime_ns, stat.st_size)
                except SyntaxError as error:
                    where = f"{paths.relative(file)}, line {error.lineno}"
                    raise SourceError(f"{where} is not Python ({error.msg}); correct it") from None
    return sorted(files)


def modules(*names: str) -> list[Path]:
    """Files of the named modules and of every module of the project they import, sorted; none of a foreign module."""
    return _walk(names)


def modules_of_source(source: str) -> list[Path]:
    """Files that a piece of code (the joined cells of a notebook) needs."""
    return _walk(_imports(source))


def _tokens(source: str) -> Iterator[tuple[int, str]]:
    """Type and text of each token but comments and blank lines.

    An f-string is one token, as it was before Python 3.12, so that the hash is the same on every Python.
    """
    lines, depth, begin = io.StringIO(source).readlines(), 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[token.type]
        if name in ("FSTRING_START", "TSTRING_START"):
            begin = begin if depth else token.start
            depth += 1
        elif name in ("FSTRING_END", "TSTRING_END"):
            depth -= 1
            if not depth:
                (first, left), (last, right) = begin, token.end
                text = "".join(lines[first - 1 : last])
                yield tokenize.STRING, text[left : len(text) - len(lines[last - 1]) + right]
        elif not depth and token.type not in _LAYOUT:
            yield token.type, token.string


def _meaningful(source: str) -> str:
    """The tokens of ``source`` without comments, docstrings and layout, so that a better comment retrains nothing."""
    kept, line_start = [], True
    tokens = list(_tokens(source))
    for (kind, text), (following, _) in zip(
        tokens, [*tokens[1:], (tokenize.NEWLINE, "")], strict=False
    ):  # empty file: none
        if kind in (tokenize.INDENT, tokenize.DEDENT):
            kept.append(tokenize.tok_name[kind])
        elif kind == tokenize.NEWLINE:
            if not line_start:
                kept.append("NEWLINE")  # `return` and `x` on two lines is not `return x`
            line_start = True
        elif kind == tokenize.STRING and line_start and following == tokenize.NEWLINE:
            continue  # a string standing alone on its line does nothing: a docstring
        else:
            kept.append(text)
            line_start = False
    return "\x1f".join(kept)


@cache
def _file_hash(file: Path, _mtime: int, _size: int) -> str:
    return hashlib.sha256(_meaningful(file.read_text(encoding="utf-8")).encode()).hexdigest()


def source_hash(files: Iterable[Path], *extra: str) -> str:
    """One hash of what the files do (comments and docstrings left out) and of the ``extra`` texts."""
    digest = hashlib.sha256()
    for file in sorted(files):
        stat = file.stat()
        digest.update(f"{paths.relative(file)}:{_file_hash(file, stat.st_mtime_ns, stat.st_size)}\n".encode())
    for text in extra:
        digest.update(text.encode())
    return digest.hexdigest()
