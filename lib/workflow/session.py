"""What a notebook starts with: seeds, one thread, a device, the profile's settings, and where results go.

In use:

    run = start("<slug>", "<exhibit>", profile="mini", seeds=5); one_of(picture=(picture, ["umap", "pca"]))
    arms = run.build_all(train_arm, [dict(world=world, seed=s) for s in run.seeds])
    run.judge("C1", {"full": [...], "plain": [...]}); run.save()
"""

from __future__ import annotations

import difflib
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.machine import Machine
from lib.workflow import arithmetic, cache, experiments, papers, paths, sources, verdicts
from lib.workflow.pictures import Pictures
from lib.workflow.progress import Progress


class SessionError(RuntimeError):
    """The machine or the profile cannot do what the notebook asks."""


def _finite(value: Any) -> Any:
    """``value`` with NaN and infinity as ``None``: JSON has neither (one seed has an infinite interval)."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tell_arithmetic() -> None:
    """Leave the fingerprint to the runner; in a kernel without one, say in a line that digits will differ, and go on."""
    if record := os.environ.get("REPRISE_RECORD"):
        paths.write(Path(record), arithmetic.fingerprint())
    elif arithmetic.committed() and (names := arithmetic.different()):
        print(f"Note: digits may differ from the committed ones ({', '.join(names)}): {arithmetic.why_different()}.")


@dataclass
class Run(Pictures):
    """One execution of one notebook. ``settings`` is the profile's section of ``experiments.yml``."""

    paper: papers.Paper
    exhibit: str
    profile: str
    seeds: list[int]
    settings: dict[str, Any]
    claims: list[str]
    started: float = field(default_factory=time.monotonic)
    judged: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, str]] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)
    numbers: list[dict[str, Any]] = field(default_factory=list)
    evidence: papers.Evidence = "miniature"

    @property
    def machine(self) -> Machine:
        """Where the profile computes, and how much at a time."""
        return Machine(**self.settings.get("machine", {}))

    @property
    def facts(self) -> Path:
        """Folder of the paper, with its tables: ``papers/<slug>``."""
        return paths.paper(self.paper.slug)

    @property
    def bases(self) -> list[int]:
        """The seed from which the base (pretrained model, generated world) under each replicate is made: its own, or one of
        the first so many where the profile's settings bound their number (``bases``)."""
        bound = self.settings.get("bases", len(self.seeds))
        return [self.seeds[i % bound] for i in range(len(self.seeds))]

    def base_of(self, seed: int) -> int:
        """The seed of the base under the replicate ``seed``."""
        return self.bases[self.seeds.index(seed)]

    # ------------------------------------------------------------------ artefacts
    def source(self, name: str) -> Path:
        """Folder of data or weights declared in ``experiments.yml`` (:func:`lib.workflow.sources.fetch`)."""
        return sources.fetch(self.paper.slug, name)

    def build(self, function: Callable, /, **arguments: Any) -> Path:
        """Folder of one cached artefact (see :mod:`lib.workflow.cache`)."""
        return self.build_all(function, [arguments])[0]

    def build_all(self, function: Callable, many: Sequence[dict[str, Any]]) -> list[Path]:
        """Folders of many cached artefacts, in order; told to whoever runs the notebook (:class:`Progress`).

        A function with a parameter ``machine`` is given the profile's; one that computes on a device must have it.
        """
        if "machine" in inspect.signature(function).parameters:
            many = [{**arguments, "machine": self.machine} for arguments in many]
        return cache.build_all(function, many, progress=Progress(function.__name__, len(many)))

    # ------------------------------------------------------------------ outcome
    def record(self, quantity: str, values: Mapping[str, Any], *, unit: str = "") -> None:
        """Keep measured numbers: arm -> one value a seed (a list, also of one), or a plain number: a count or a fact, which is
        the same under every arithmetic."""
        known = {(number["quantity"], number["arm"]) for number in self.numbers}
        for arm, value in values.items():
            if (quantity, arm) in known:  # two claims on one quantity
                continue
            listed = (
                [float(v) for v in value] if isinstance(value, Sequence) or hasattr(value, "__len__") else float(value)
            )
            self.numbers.append({"quantity": quantity, "unit": unit, "arm": arm, "values": listed})

    def judge(
        self, claim_id: str, measured: Mapping[str, Sequence[float]], *, bases: Sequence[int] | None = None
    ) -> None:
        """Judge one claim from its arms (one value a replicate, by default a seed on its base) and print one line."""
        claim = self.paper.claim(claim_id)
        self.record(claim.quantity, measured)
        values = {arm: list(map(float, values)) for arm, values in measured.items()}
        self._conclude(claim, lambda: verdicts.judge(claim, values, bases=self.bases if bases is None else bases))

    def judge_cases(self, claim_id: str, **intervals: Any) -> None:
        """Judge one claim from bootstrap intervals over cases of released files (see :func:`verdicts.judge_cases`)."""
        claim = self.paper.claim(claim_id)
        self._conclude(claim, lambda: verdicts.judge_cases(claim, **intervals))

    def _conclude(self, claim: papers.Claim, decide: Callable[[], verdicts.Verdict]) -> None:
        if not self.settings.get("verdicts", True):
            print(f"{claim.id}: no verdict at this profile. Claim: {claim.statement}")
            return
        if self.evidence == "printed":
            raise SessionError(f"{self.exhibit} rests on printed numbers, which give no verdict; use run.check")
        if self.evidence not in claim.evidence:
            raise SessionError(
                f"{claim.id} can be tested by {' or '.join(claim.evidence)} evidence, and {self.exhibit} rests on "
                f"{self.evidence}; judge another claim here, or say in paper.yml what else can test it"
            )
        found = decide()
        word = verdicts.WORDS[self.evidence][found.outcome]
        if self.evidence in verdicts.POWER_FIRST:
            clear = found.excess or found.effect
            half = (clear.high - clear.low) / 2
            print(
                f"{claim.id}: by the spread of effect minus control, less than {half:.2g} could not be told from none."
            )
        self.judged[claim.id] = {**found.as_dict(), "outcome": word, "margin": claim.margin}
        where = "" if not found.replicates or self.evidence == "released" else f", {found.same} of {found.bases} bases"
        print(f"{claim.id} {word}{where}. Claim: {claim.statement}")

    def check(self, claim_id: str, consistent: bool, why: str) -> None:
        """Whether what was printed agrees with a claim: arithmetic on the authors' own numbers, never a verdict."""
        claim = self.paper.claim(claim_id)
        if "printed" not in claim.evidence:
            raise SessionError(f"{claim_id} is not among the claims that printed numbers can check; see paper.yml")
        word = "consistent" if consistent else "inconsistent"
        self.checks[claim_id] = {"outcome": word, "why": why}
        print(f"{claim_id} {word} ({why}). Claim: {claim.statement}")

    def decline(self, claim_id: str, why: str) -> None:
        """Leave a claim unjudged, because what was measured cannot tell: the tables say so, with the reason."""
        claim = self.paper.claim(claim_id)
        self.declined[claim_id] = why
        print(f"{claim_id} not judged ({why}). Claim: {claim.statement}")

    def save(self, *, recomputed: Mapping[str, float] | None = None) -> Path:
        """Write ``papers/<slug>/results/<exhibit>.<profile>.json`` below ``paths.output_root()``: what was measured, from
        what, on what."""
        result = {
            "slug": self.paper.slug,
            "exhibit": self.exhibit,
            "profile": self.profile,
            "evidence": self.evidence,
            "seeds": self.seeds,
            "claims": self.judged,
            "checks": self.checks,
            "declined": self.declined,
            "numbers": self.numbers,
            "recomputed": dict(recomputed or {}),
            "provenance": {
                **arithmetic.provenance(self.machine.device),
                "seconds": round(time.monotonic() - self.started, 1),
            },
        }
        path = paths.result(self.paper.slug, self.exhibit, self.profile, root=paths.output_root())
        paths.write(path, json.dumps(_finite(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return path

    # ------------------------------------------------------------------ display
    def __repr__(self) -> str:  # nbval compares it, so it must not hold the time
        return f"Run({self.paper.slug}/{self.exhibit}, {self.profile})"

    def _repr_markdown_(self) -> str:
        lines = ["| claim | statement | published | control |", "|---|---|---|---|"]
        for claim_id in self.claims:
            claim = self.paper.claim(claim_id)
            cells = [(c.row, self.paper.number(c.table, c.row, c.column)) for c in claim.published]
            shown = [f"{row}: {'not found' if number is None else number}" for row, number in cells]
            published = "; ".join(shown) or "not found"
            lines.append(f"| {claim_id} | {claim.statement} | {published} | {claim.counterpart.reason} |")
        return "\n".join(lines if self.claims else [f"{self.paper.short}: no claim is judged here."])


def one_of(**given: tuple[Any, Collection[Any]] | tuple[Any, Collection[Any], int]) -> None:
    """Check ``name=(value, choices)`` before anything is built; of a list each entry, and that it has one (or the least
    number given third). ``choices`` may be a ``range``. Raises :class:`SessionError`: name, value, choices, nearest."""
    for name, (value, choices, *least) in given.items():
        entries = value if isinstance(value, (list, tuple)) else [value]
        if len(entries) < (need := least[0] if least else 1):
            raise SessionError(f"parameter '{name}' is {value!r}; give {need} or more")
        for entry in (entry for entry in entries if entry not in choices):
            words = [] if isinstance(choices, range) else list(map(str, choices))
            near = difflib.get_close_matches(entry, words, n=1) if isinstance(entry, str) else []
            shown = ", ".join(words) or f"{choices[0]} to {choices[-1]}"
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise SessionError(f"parameter '{name}' is {entry!r}; {hint}choose from {shown}")


def start(slug: str, exhibit: str, *, profile: str, seeds: int | Sequence[int] = 1) -> Run:
    """Begin a notebook: check names, fix seeds and threads, choose the device, read the profile's settings.

    ``seeds``: how many (0 ... n-1), or which. Raises :class:`SessionError` for an unknown profile or exhibit and when
    the profile needs a GPU that is not there.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    paper, plan = papers.load_paper(slug), experiments.load(slug)
    if profile not in plan.profiles:
        raise SessionError(
            f"papers/{slug}/experiments.yml has no profile '{profile}'; it has {', '.join(plan.profiles)}"
        )
    if exhibit not in plan.experiments:
        known = ", ".join(plan.experiments)
        raise SessionError(f"papers/{slug}/experiments.yml has no experiment '{exhibit}'; it has {known}")
    if reason := plan.why_absent(exhibit, profile):
        raise SessionError(f"{slug}/{exhibit} is absent at the profile '{profile}': {reason}")
    settings = plan.profiles[profile]
    device = Machine(**settings.get("machine", {})).device
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise SessionError(
                f"profile '{profile}' needs a CUDA GPU and torch sees none; "
                "run with PROFILE=mini, or install a CUDA build of torch (README)"
            )
    chosen = list(range(seeds)) if isinstance(seeds, int) else [int(s) for s in seeds]
    if not chosen or len(set(chosen)) != len(chosen):
        raise SessionError(f"seeds must be a positive number or a list of different numbers, not {seeds!r}")
    arithmetic.make_deterministic(device)
    _tell_arithmetic()
    return Run(
        paper=paper,
        exhibit=exhibit,
        profile=profile,
        seeds=chosen,
        settings=settings,
        claims=plan.experiments[exhibit].claims,
        evidence=plan.evidence(exhibit, profile),
    )
