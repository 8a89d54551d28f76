"""What there is to run: one job a notebook, with exactly the files it depends on. Read by the Snakefile and the CLI.

>>> [job.label for job in select("mini", paper="brgsa")]
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from lib.workflow import notebooks, papers, paths


class SelectionError(ValueError):
    """A paper, notebook or profile that does not exist; the message names the nearest that does."""


@dataclass(frozen=True)
class Job:
    """One notebook at one profile. ``digest`` changes when anything its run depends on does."""

    slug: str
    exhibit: str
    profile: str
    minutes: float | None

    @property
    def label(self) -> str:
        return f"{self.slug}/{self.exhibit}"

    @property
    def notebook(self) -> Path:
        return paths.NOTEBOOKS / ("" if self.slug == "notebooks" else self.slug) / f"{self.exhibit}.ipynb"

    @property
    def output(self) -> Path:
        return paths.executed(self.slug, self.exhibit, self.profile)

    @property
    def inputs(self) -> list[Path]:
        return [self.notebook, *notebooks.lib_files(self.notebook)]

    @property
    def gpus(self) -> int:
        """GPUs the job asks a scheduler for: one when its profile's device is ``cuda``."""
        if not papers.has_experiments(self.slug):
            return 0
        settings = papers.load_experiments(self.slug).profiles.get(self.profile, {})
        return int(settings.get("device") == "cuda")

    @property
    def digest(self) -> str:
        return notebooks.content_hash(self.notebook, self.profile)

    def is_stale(self) -> bool:
        """Whether there is an executed copy that was not run from what is in the repository now."""
        digest = self.digest  # also without a copy: a lib file that is not Python is told before anything runs
        return self.output.is_file() and notebooks.recorded_hash(self.output) != digest

    def set_aside(self) -> None:
        """Rename the executed copy, so that the notebook is run again."""
        os.replace(self.output, self.output.with_suffix(".previous.ipynb"))


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"


def every(profile: str) -> list[Job]:
    """All jobs of a profile: the notebooks of the papers that have this profile, then those that belong to no paper."""
    found, known, listed = [], set(), set()
    for slug in papers.slugs():
        if not papers.has_experiments(slug):
            continue
        experiments = papers.load_experiments(slug)
        known |= set(experiments.profiles)
        listed |= {paths.notebook(slug, exhibit) for exhibit in experiments.experiments}
        if profile not in experiments.profiles:
            continue
        for exhibit, experiment in experiments.experiments.items():
            if not paths.notebook(slug, exhibit).is_file():
                raise SelectionError(
                    f"papers/{slug}/experiments.yml lists '{exhibit}' but notebooks/{slug}/{exhibit}.ipynb does not exist"
                )
            found.append(Job(slug, exhibit, profile, experiment.minutes.get(profile)))
    if profile not in known:
        raise SelectionError(f"no paper has the profile '{profile}'; {_nearest(profile, sorted(known))}")
    for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")):
        if path not in listed and ".ipynb_checkpoints" not in path.parts:
            if papers.has_experiments(path.parent.name):
                raise SelectionError(
                    f"{paths.relative(path)} is not listed in papers/{path.parent.name}/experiments.yml; add it"
                )
            found.append(Job(path.parent.name, path.stem, profile, None))
    return found


def select(profile: str, *, paper: str | None = None, notebook: str | None = None) -> list[Job]:
    """The jobs of one profile, narrowed to a paper and to a notebook; :class:`SelectionError` on an unknown name."""
    chosen = every(profile)
    if paper:
        if paper not in {job.slug for job in chosen}:
            if paper in papers.slugs():
                raise SelectionError(
                    f"the paper '{paper}' has no notebook yet at the profile '{profile}'; "
                    f"its claims are in papers/{paper}/README.md"
                )
            raise SelectionError(
                f"no paper '{paper}'; {_nearest(paper, sorted({job.slug for job in chosen} | set(papers.slugs())))}"
            )
        chosen = [job for job in chosen if job.slug == paper]
    if notebook:
        names = [job.exhibit for job in chosen]
        if notebook not in names:
            raise SelectionError(f"no notebook '{notebook}'; {_nearest(notebook, names)}")
        chosen = [job for job in chosen if job.exhibit == notebook]
    return chosen
