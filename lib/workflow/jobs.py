"""What there is to run: one job a notebook, with exactly the files it depends on. Read by the Snakefile and the CLI.

>>> "notebooks/00_start_here" in [job.label for job in select("mini")]
True
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lib.workflow import experiments, notebooks, papers, paths


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
        return [self.notebook, *notebooks.files(self.notebook)]

    @property
    def gpus(self) -> int:
        """GPUs the job asks a scheduler for: one when its profile's device is ``cuda``."""
        if not experiments.has(self.slug):
            return 0
        settings = experiments.load(self.slug).profiles.get(self.profile, {})
        return int(settings.get("machine", {}).get("device") == "cuda")

    @cached_property
    def digest(self) -> str:
        """The content hash when it is first asked for; select again to see what changed since."""
        return notebooks.content_hash(self.notebook, self.profile)

    def is_finished(self) -> bool:
        """Whether there is an executed copy, and it was run from what is in the repository now."""
        digest = self.digest  # also without a copy: a file that is not Python is told before anything runs
        return self.output.is_file() and notebooks.recorded_hash(self.output) == digest

    def set_aside(self) -> None:
        """Rename the executed copy, if there is one, so that the notebook is run again."""
        if self.output.is_file():
            os.replace(self.output, self.output.with_suffix(".previous.ipynb"))


def plan(chosen: Sequence[Job]) -> list[dict[str, Any]]:
    """What Snakemake is told of each job: a rule's name, inputs, output, digest, priority and GPUs, all as plain JSON.
    Paths are relative to the repository: a brace in a folder's name above it would be read as a wildcard."""
    return [
        {
            "name": f"{job.slug}__{job.exhibit}",
            "inputs": [os.path.relpath(path, paths.ROOT) for path in job.inputs],
            "output": os.path.relpath(job.output, paths.ROOT),
            "digest": job.digest,
            "notebook": os.path.relpath(job.notebook, paths.ROOT),
            "profile": job.profile,
            "priority": priority,
            "gpus": job.gpus,
        }
        for job, priority in zip(chosen, _priorities(chosen), strict=True)
    ]


def _priorities(chosen: Sequence[Job]) -> list[int]:
    """Long notebooks first, so that no core waits at the end; but before all others the longest of each paper, which makes what
    the paper's others need: two of one paper would wait for each other at the start."""
    minutes = [round(100 * (job.minutes or 0)) for job in chosen]
    longest = {job.slug: number for number, job in sorted(enumerate(chosen), key=lambda one: minutes[one[0]])}
    return [
        time + 100_000 * (longest[job.slug] == number)
        for number, (job, time) in enumerate(zip(chosen, minutes, strict=True))
    ]


def write_plan(chosen: Sequence[Job]) -> Path:
    """The plan as a file below ``runs``, so that Snakemake does not work it out a second time."""
    path = paths.RUNS / ".plan.json"
    paths.write(path, json.dumps(plan(chosen), indent=1))
    return path


def read_plan(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The plan that ``config`` names; without one (Snakemake called by hand, or no shared disk) it is worked out."""
    path = Path(config.get("plan") or "")
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    narrowed = {key: config.get(key) or None for key in ("paper", "notebook")}
    return plan(select(config.get("profile", "mini"), **narrowed))


def nearest(word: str, known: Collection[str]) -> str:
    """The known name that is most like ``word``, as a question; else all of them."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"


def every(profile: str) -> list[Job]:
    """All jobs of a profile: the notebooks of the papers that stand on something at it; at smoke and mini then
    those that belong to no paper."""
    found, known, listed = [], set(), set()
    for slug in papers.slugs():
        if not experiments.has(slug):
            continue
        paper = experiments.load(slug)
        known |= set(paper.profiles)
        listed |= {paths.notebook(slug, exhibit) for exhibit in paper.experiments}
        if profile not in paper.profiles:
            continue
        for exhibit, experiment in paper.experiments.items():
            if not paths.notebook(slug, exhibit).is_file():
                raise SelectionError(
                    f"papers/{slug}/experiments.yml lists '{exhibit}' but notebooks/{slug}/{exhibit}.ipynb does not exist"
                )
            if paper.stands(exhibit, profile):
                found.append(Job(slug, exhibit, profile, experiment.minutes.get(profile)))
    if profile not in known:
        raise SelectionError(f"no paper has the profile '{profile}'; {nearest(profile, sorted(known))}")
    for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")):
        if path.parent.name not in papers.slugs() and profile not in paths.TOOLS:
            continue
        if path not in listed and ".ipynb_checkpoints" not in path.parts:
            if experiments.has(path.parent.name):
                raise SelectionError(
                    f"{paths.relative(path)} is not listed in papers/{path.parent.name}/experiments.yml; add it"
                )
            found.append(Job(path.parent.name, path.stem, profile, None))
    return found


def shown() -> list[Job]:
    """Every notebook once, at the profile whose outputs the committed copy carries."""
    carried = dict.fromkeys(
        [paths.SHOWN_PROFILE, *(notebooks.shown_profile(path) for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")))]
    )
    return [job for one in carried for job in every(one) if notebooks.shown_profile(job.notebook) == one]


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def meant(word: str, known: Mapping[str, Sequence[str]]) -> list[str]:
    """The keys of ``known`` that a typed word means, each of which has names of its own: the one written so, else those with a
    name that is the same without case and signs, begins so, or holds it; none when nothing does.

    >>> meant("BrgSA", {"brgsa": ["BrgSA"], "aurora": []}), meant("tab3", {"tab3_exams": [], "tab_base_row": []})
    (['brgsa'], ['tab3_exams'])
    """
    if word in known:
        return [word]
    bare, found = _bare(word), {key: [_bare(name) for name in (key, *names)] for key, names in known.items()}
    tests = (str.__eq__, str.startswith, str.__contains__)
    hits = ([key for key, names in found.items() if any(fits(name, bare) for name in names)] for fits in tests)
    return next((hit for hit in hits if hit and bare), [])


def _the_paper(word: str, profile: str, chosen: Sequence[Job]) -> str:
    known = {slug: [papers.load_paper(slug).short] for slug in papers.slugs()}
    known |= {job.slug: known.get(job.slug, []) for job in chosen}
    found = meant(word, known)
    if len(found) > 1:
        raise SelectionError(f"'{word}' may be {' or '.join(found)}; say which")
    if not found:
        raise SelectionError(f"no paper '{word}'; {nearest(word, sorted(known))}")
    if found[0] not in {job.slug for job in chosen}:
        raise SelectionError(
            f"the paper '{found[0]}' has no notebook yet at the profile '{profile}'; "
            f"its claims are in papers/{found[0]}/README.md"
        )
    return found[0]


def _the_notebook(word: str, profile: str, chosen: Sequence[Job], slugs: Sequence[str]) -> list[Job]:
    """The jobs of the notebook that is meant: of one name, which several papers may have."""
    names: dict[str, list[str]] = {job.exhibit: [] for job in chosen}
    found = meant(word, names)
    if len(found) == 1:
        return [job for job in chosen if job.exhibit == found[0]]
    if found:
        listed = [job.label for job in chosen if job.exhibit in found]
        raise SelectionError(f"'{word}' may be {', '.join(listed[:6])}{' ...' if len(listed) > 6 else ''}; say which")
    for slug in filter(experiments.has, slugs):
        plan = experiments.load(slug)
        for name in meant(word, {name: [] for name in plan.experiments}):
            if reason := plan.why_absent(name, profile):
                raise SelectionError(f"{slug}/{name} is absent at the profile '{profile}': {reason}")
    near = difflib.get_close_matches(word, list(names), n=3, cutoff=0.4)
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"there are: {', '.join(list(names)[:8]) or 'none'} ..."
    )
    raise SelectionError(f"no notebook '{word}'; {hint}")


def select(profile: str, *, paper: str | None = None, notebook: str | None = None) -> list[Job]:
    """The jobs of one profile, narrowed to a paper and to a notebook as somebody types them (:func:`meant`);
    :class:`SelectionError`, with the nearest, for a name that means none or several."""
    chosen, slugs = every(profile), papers.slugs()
    if paper:
        slugs = [_the_paper(paper, profile, chosen)]
        chosen = [job for job in chosen if job.slug == slugs[0]]
    return _the_notebook(notebook, profile, chosen, slugs) if notebook else chosen
