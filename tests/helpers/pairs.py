"""A notebook's own cells at a profile whose sizes and paths are replaced by small ones: what `full` says, on a few small files.

run_cells("brgsa", "tab_retrieval", "full", settings=small(tree), root=tmp_path, seeds=2)
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from lib.workflow import experiments, notebooks, paths
from lib.workflow import sources as fetching


def exhibits(slug: str, profile: str) -> list[str]:
    """The notebooks of a paper that stand on something at a profile."""
    plan = experiments.load(slug)
    return [name for name in plan.experiments if plan.stands(name, profile)]


def at(profiles: str | tuple[str, ...], exhibits: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise a test by the exhibits whose cells it runs at a profile: ``[tab_retrieval-full]``. One that does so at several
    is given the ``profile`` too. The mark lets ``doctor`` run them, and ``tests/test_pairs.py`` count them."""
    names = ("exhibit",) if isinstance(profiles, str) else ("exhibit", "profile")
    pairs = [(name, one) for name in exhibits for one in ((profiles,) if isinstance(profiles, str) else profiles)]
    return pytest.mark.parametrize(
        names, [pytest.param(*pair[: len(names)], id="-".join(pair), marks=pytest.mark.pair) for pair in pairs]
    )


def run_cells(
    slug: str,
    exhibit: str,
    profile: str,
    *,
    settings: dict[str, Any],
    root: Path,
    sources: Mapping[str, Path] = {},
    **given: Any,
) -> str:
    """Run every code cell in this process and return what was printed.

    ``settings`` stands for the profile's section of ``experiments.yml``, ``given`` for parameters besides those that the
    exhibit has at the profile, ``sources`` for what it would fetch. Artefacts and results go below ``root``.
    """
    plan = experiments.load(slug)  # the same object for all that ask, so not changed
    plan = plan.model_copy(update={"profiles": {**plan.profiles, profile: settings}})
    told = {**plan.experiments[exhibit].parameters.get(profile, {}), **given, "profile": profile}
    namespace: dict[str, Any] = {"__name__": "__main__", "display": print}  # what a kernel has by itself
    said = io.StringIO()
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with (
        mock.patch.object(experiments, "load", lambda slug: plan),
        mock.patch.object(fetching, "fetch", lambda slug, name: sources[name]),
        mock.patch.object(paths, "CACHE", root / "cache"),
        mock.patch.dict("os.environ", {"REPRISE_OUT": str(root / "out")}),
        contextlib.redirect_stdout(said),
        contextlib.ExitStack() as after,  # the process is left as it was found
    ):
        after.callback(torch.use_deterministic_algorithms, deterministic)
        after.callback(torch.set_num_threads, threads)
        for cell in notebooks.look(paths.notebook(slug, exhibit)).code:
            exec(compile(cell.source, f"{slug}/{exhibit}", "exec"), namespace)
            if "parameters" in cell.tags:
                namespace |= told
    return said.getvalue()
