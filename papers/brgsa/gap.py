"""Pairs of image and text vectors whose modality gap is measured: of trained arms, or of the mapped cells of a real CT.

found = SOURCES["trained"](run, text="summaries"); found.gaps()["nce_raw"]; found.judge("C1")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from lib.evaluation import unit
from lib.evaluation.cases import over_cases
from lib.evaluation.modality_gap import ModalityGap, gap_along_others, measure_gap, permute_modality
from lib.streams import stream
from lib.workflow.session import Run, one_of
from papers.brgsa import mapped as maps
from papers.brgsa import study as brgsa
from papers.brgsa.grounding import folds_of, read_scan, slabs_of

Sides = tuple[np.ndarray, np.ndarray]  # image and text, each (N, d), row by row a pair
RESAMPLES = 5000


@dataclass(frozen=True)
class Pairs:
    """Every arm's pairs at each seed. ``groups``: of each seed (N,), what is alike and so is held out together.

    ``cases`` (N,): what each pair belongs to, where the data are there once and intervals resample its groups; None where
    each seed is a replicate.
    """

    run: Run
    about: str
    arms: dict[str, list[Sides]]
    groups: list[np.ndarray]
    cases: np.ndarray | None = None
    _along: dict[str, np.ndarray] = field(default_factory=dict)

    def gaps(self) -> dict[str, list[ModalityGap]]:
        """Arm -> its gap at each seed."""
        seeds = list(zip(self.run.seeds, self.groups, strict=True))
        return {
            arm: [measure_gap(*sides, seed=s, groups=g) for sides, (s, g) in zip(listed, seeds, strict=True)]
            for arm, listed in self.arms.items()
        }

    def drawn(self, arm: str, points: int) -> Sides:
        """About ``points`` unit pairs of the first seed, evenly through them."""
        image, text = self.arms[arm][0]
        step = max(1, len(image) // points)
        return unit(image[::step]), unit(text[::step])

    def along(self, arm: str) -> np.ndarray:
        """(cases,): the gap of each case along the line of the other groups, mean over its pairs and the seeds."""
        if arm not in self._along:
            each = np.mean(
                [gap_along_others(*s, groups=g) for s, g in zip(self.arms[arm], self.groups, strict=True)], axis=0
            )
            self._along[arm] = np.bincount(self.cases, each) / np.bincount(self.cases)
        return self._along[arm]

    def judge(self, distance: dict[str, list[float]]) -> None:
        """Judge every claim of the run whose arms are here: by ``distance`` over replicates, or along the line over cases."""
        for claim in map(self.run.paper.claim, self.run.claims):
            both = (claim.arms, claim.counterpart.arms)
            needed = {name for arms in both for name in (arms.treatment, arms.baseline)}
            if not needed <= set(self.arms):
                continue
            if self.cases is None:
                self.run.judge(claim.id, distance)
                continue
            self.run.record(claim.quantity, {arm: self.along(arm).mean() for arm in sorted(needed)})
            effect, control = (self.along(arms.treatment) - self.along(arms.baseline) for arms in both)
            clusters = self.groups[0][np.unique(self.cases, return_index=True)[1]]
            self.run.judge_cases(claim.id, **over_cases(effect, control, clusters=clusters, resamples=RESAMPLES))


# ---------------------------------------------------------------------- arms trained on generated volumes
def trained(run: Run, *, text: str) -> Pairs:
    """Test volumes and their texts (statements, summaries, reports) by encoders untrained, aligned, aligned with a bank."""
    study = brgsa.prepare(run)
    arms = study.train({
        "untrained": {"loss": brgsa.NCE, "steps": 0},
        "nce": {"loss": brgsa.NCE},
        "full": {"loss": brgsa.FULL},
        "linear_map": {"loss": brgsa.FULL, "bank": {"linear": True}},
    })  # fmt: skip
    sides = {f"{name}_raw": [(a.vectors["valid"], a.vectors[text]) for a in listed] for name, listed in arms.items()}
    for new, name in {"untrained_bank_reconstructed": "nce", "full_reconstructed": "full"}.items():
        sides[new] = [(a.vectors["valid_hat"], a.vectors[f"{text}_hat"]) for a in arms[name]]
    for name in ("nce", "untrained"):
        sides[f"{name}_permuted"] = _permuted(run, sides[f"{name}_raw"])
    texts = {"summaries": study.first.summaries, "statements": study.first.statements, "reports": study.valid.reports}
    about = (
        f"{len(study.bases)} bases; internal test of the first: {len(study.valid.names)} volumes of "
        f"{len(set(study.valid.patients))} patients, with {len(set(texts[text]))} different texts"
    )
    return Pairs(run, about, sides, [np.asarray(study.base(a).valid.patients) for a in arms["nce"]])


def _permuted(run: Run, listed: list[Sides]) -> list[Sides]:
    return [permute_modality(*sides, seed=seed) for sides, seed in zip(listed, run.seeds, strict=True)]


# ---------------------------------------------------------------------- cells of a real CT, mapped to names
def mapped(run: Run, *, text: str) -> Pairs:
    """Cells of one real CT and the names of structures in them; the encoder pretrained or random, the names right or shuffled.

    Each arm as it is mapped, and with its spread given back; of the pretrained encoder also with noise in the spread's
    place, and with the mean of each modality removed. Seeds draw cells, folds of names, shuffles and random weights.
    """
    scan = read_scan(run, stage=3)
    slab, kinds = slabs_of(scan.grid, 5), np.asarray(scan.kinds)
    sides: dict[str, list[Sides]] = {}
    groups = []
    for seed, drawn in zip(run.seeds, scan.random, strict=True):
        pairs = maps.draw_pairs(scan.shown, seed=seed)
        group = kinds[pairs[:, 1]]
        shuffled = scan.vectors[stream(seed, "shuffled").permutation(len(kinds))]
        how = {"slab": slab, "fold": folds_of(len(kinds), 5, seed), "pairs": pairs}
        encoders, names = (
            {"pretrained": scan.pretrained, "random weights": drawn},
            {"": scan.vectors, "shuffled ": shuffled},
        )
        for arm, features in encoders.items():
            images = maps.map_pairs(features, scan.shown, list(names.values()), **how)
            for (word, vectors), image in zip(names.items(), images, strict=True):
                words = vectors[pairs[:, 1]]
                sides.setdefault(word + arm, []).append((image, words))
                sides.setdefault(f"{word}{arm}, spread", []).append((maps.give_spread(image, words, group), words))
        image, words = sides["pretrained"][-1]
        sides.setdefault("pretrained, noise", []).append((maps.give_noise(image, words, group, seed=seed), words))
        centred = tuple(maps.remove_mean(side, group) for side in (image, words))
        sides.setdefault("pretrained, means removed", []).append(centred)
        groups.append(group)
    for word, end in product(("", "shuffled "), ("", ", spread")):
        sides[f"permuted {word}pretrained{end}"] = _permuted(run, sides[f"{word}pretrained{end}"])
    about = (
        f"one CT; {len(groups[0])} pairs of a cell and a name, eight of each of {len(kinds)} structures "
        f"of {len(set(scan.kinds))} kinds, as 'rib' or 'lung'"
    )
    return Pairs(run, about, sides, groups, cases=np.repeat(np.arange(len(kinds)), maps.LEAST))


SOURCES = {"trained": trained, "mapped": mapped}
TEXTS = {"trained": ("statements", "summaries", "reports"), "mapped": ("names",)}  # what each pairs its images with

ARMS = {
    "trained": (
        "untrained_raw",
        "nce_raw",
        "full_raw",
        "linear_map_raw",
        "untrained_bank_reconstructed",
        "full_reconstructed",
        "nce_permuted",
        "untrained_permuted",
    ),
    "mapped": (
        "pretrained",
        "pretrained, spread",
        "shuffled pretrained",
        "shuffled pretrained, spread",
        "random weights",
        "random weights, spread",
        "shuffled random weights",
        "shuffled random weights, spread",
        "pretrained, noise",
        "pretrained, means removed",
        "permuted pretrained",
        "permuted pretrained, spread",
        "permuted shuffled pretrained",
        "permuted shuffled pretrained, spread",
    ),
}


def check(*, pairs: str, text: str, shown: list[str], picture: str, points: int) -> None:
    """Check a notebook's parameters before anything is built. Raises ``SessionError``."""
    one_of(pairs=(pairs, SOURCES))
    one_of(text=(text, TEXTS[pairs]), shown=(shown, ARMS[pairs]))
    one_of(picture=(picture, ["umap", "pca"]), points=(points, range(3, 10**6)))
