"""The plan of the CARZero experiments: what is built from what, so that its notebooks only name their arms.

Everything is a cached artefact; two notebooks that need the same arm train it once. The seeds of a run go round its bases
(:mod:`papers.carzero.bases`): each arm is trained and tested on the base of its seed.

    study = prepare(run); arms = study.train({"cosine": COSINE, "simr": SIMR}); study.auc(arms["simr"])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.classification import auc_per_class
from lib.workflow.session import Run
from papers.carzero import pointing, scoring, training
from papers.carzero.bases import Base, make_base
from papers.carzero.images import frame_of

COSINE = {"alignment": {"kind": "cosine"}}
COSINE_MLP = {"alignment": {"kind": "cosine_mlp"}}
ATTENTION_COSINE = {"alignment": {"kind": "attention_cosine"}}
SIMR = {"alignment": {"kind": "simr", "head": "mlp", "memory": "both"}}  # as released
LINEAR = {"alignment": {"kind": "simr", "head": "linear", "memory": "both"}}  # as the paper draws it
RAW, SHUFFLED, COLD = {"text": "raw"}, {"shuffle": True}, {"warm": False}
SEVERE = "There is severe {}"
DENIED = "There is no {}"
PRESENT = "There is {}"


def simr(**told: str) -> dict[str, Any]:
    """SimR with another ``memory``, or ``foreign`` tokens in it (the linear head, as in the paper's figure)."""
    return {"alignment": {**LINEAR["alignment"], **told}}


@dataclass(frozen=True)
class Trained:
    """An arm at one seed. ``base``: the seed of the base that it stands on; ``scores``: set/form -> (N, K)."""

    seed: int
    base: int
    alignment: dict[str, Any]
    folder: Path
    scores: dict[str, np.ndarray] = field(repr=False)


@dataclass
class Study:
    """Bases and arms of one run. ``settings`` is the profile's section of ``experiments.yml``."""

    run: Run
    settings: dict[str, Any]
    bases: dict[int, Base]

    first = property(lambda self: self.bases[self.run.bases[0]])  # for what is shown of one test set

    def base(self, arm: Trained) -> Base:
        """The base that an arm stands on, with the test sets that belong to it."""
        return self.bases[arm.base]

    # ------------------------------------------------------------------ building
    def prompts(self, base: Base) -> dict[str, dict[str, list[str]]]:
        """Every form in which a class is asked for: as the set does, by its bare name, denied, and as severe."""
        found = {}
        for name, test in base.tests.items():
            named = [prompt.removeprefix("There is ") for prompt in test.prompts]
            forms = {"bare": "{}", "denied": DENIED, "severe": SEVERE}
            found[name] = {"positive": list(test.prompts)}
            found[name] |= {form: [text.format(one) for one in named] for form, text in forms.items()}
        return found

    def _fit(self, seed: int, options: dict[str, Any], *, warming: bool) -> dict[str, Any]:
        arm = self.settings["arm"]
        steps = {"warm": arm["warm_steps"], "own": arm["steps"]}
        total = steps["warm"] if warming else steps["own"] + (0 if options["warm"] else steps["warm"])
        return {
            "seed": seed, "steps": total, "crop": self.settings["model"]["image"]["size"], "share": arm["share"],
            "batches": arm["batches"], "learning_rate": arm["learning_rate"], "augment": arm["augment"],
            "shuffle": options["shuffle"], "start": 0 if warming else options["start"],
        }  # fmt: skip

    def train(self, arms: dict[str, dict[str, Any]]) -> dict[str, list[Trained]]:
        """Every arm at every seed of the run, trained and scored where missing: name -> trained arms in seed order.

        An arm is named by its ``alignment``, its ``text`` (aligned, raw, noisy), whether the pairs are ``shuffle``d, whether
        its encoders are ``warm`` (a cosine on the same pairs first; cold ones get as many steps more), and ``start``, another
        number for another initialisation of the alignment.
        """
        plain = {"text": "aligned", "shuffle": False, "warm": self.settings["arm"]["warm_steps"] > 0, "start": 0}
        jobs = [(name, {**plain, **told}, seed) for name, told in arms.items() for seed in self.run.seeds]
        under = [self.bases[self.run.base_of(seed)] for *_, seed in jobs]
        shared = [
            {
                **base.shared,
                "pictures": base.pictures["train"],
                "texts": base.texts(told["text"]),
                "encoder": base.encoder,
            }
            for (_, told, _), base in zip(jobs, under, strict=True)
        ]
        first = [
            {**one, **COSINE, "fit": self._fit(seed, told, warming=True)}
            for one, (_, told, seed) in zip(shared, jobs, strict=True)
            if told["warm"]
        ]
        warm = iter(self.run.build_all(training.train_arm, first))
        recipes = [
            {
                **one, "alignment": told["alignment"], "fit": self._fit(seed, told, warming=False),
                "warm": next(warm) if told["warm"] else None,
            }
            for one, (_, told, seed) in zip(shared, jobs, strict=True)
        ]  # fmt: skip
        trained = self.run.build_all(training.train_arm, recipes)
        recipes = [
            {
                **base.shared, "arm": folder, "alignment": told["alignment"], "prompts": self.prompts(base),
                "pictures": {name: base.pictures[name] for name in base.tests}, "crop": self._crop,
            }
            for folder, (_, told, _), base in zip(trained, jobs, under, strict=True)
        ]  # fmt: skip
        scored = self.run.build_all(scoring.score_arm, recipes)
        found: dict[str, list[Trained]] = {name: [] for name in arms}
        for (name, told, seed), base, folder, scores in zip(jobs, under, trained, scored, strict=True):
            with np.load(scores / "scores.npz") as read:
                found[name].append(Trained(seed, base.seed, told["alignment"], folder, dict(read)))
        return found

    @property
    def _crop(self) -> int:
        return self.settings["model"]["image"]["size"]

    # ------------------------------------------------------------------ measuring
    def auc_per_class(self, arm: Trained, name: str, *, form: str = "positive") -> np.ndarray:
        """AUC of each class of a set (K,), by the scores of a form of its prompts; nan where a class has no positive."""
        return auc_per_class(self.base(arm).tests[name].labels, arm.scores[f"{name}/{form}"])

    def auc(self, arms: list[Trained], *, name: str | None = None, form: str = "positive") -> list[float]:
        """Macro AUC of each seed on one set; without a name, the mean of the five sets' macro AUCs."""
        names = [name] if name else list(self.first.tests)
        return [float(np.mean([np.nanmean(self.auc_per_class(arm, one, form=form)) for one in names])) for arm in arms]

    def auc_of_rare(self, arms: list[Trained]) -> list[float]:
        """Macro AUC of each seed over the classes of PadChest with at most ten positives."""
        found = []
        for arm in arms:
            rare = self.base(arm).tests["padchest"].rare
            found.append(float(np.nanmean(self.auc_per_class(arm, "padchest")[rare])) if rare.any() else float("nan"))
        return found

    def absent_auc(self, arms: list[Trained], *, form: str = "denied") -> list[float]:
        """Macro AUC of "the class is absent" by a form's scores, the mean of the sets: 0.5 says that "no" is not read."""
        return [1 - value for value in self.auc(arms, form=form)]

    def contrast_auc(self, arms: list[Trained]) -> list[float]:
        """Macro AUC by the score of "There is X" less that of "There is no X", the mean of the sets."""
        found = []
        for arm in arms:
            values = [
                np.nanmean(auc_per_class(test.labels, arm.scores[f"{name}/positive"] - arm.scores[f"{name}/denied"]))
                for name, test in self.base(arm).tests.items()
            ]
            found.append(float(np.mean(values)))
        return found

    # ------------------------------------------------------------------ where it looks
    def maps(self, arms: list[Trained]) -> list[np.ndarray]:
        """Maps (N, K, side, side) of ChestX-Det10's prompts in its pictures, for each seed."""
        recipes = [
            {
                **self.base(arm).shared, "arm": arm.folder, "alignment": arm.alignment, "crop": self._crop,
                "pictures": self.base(arm).pictures["chestxdet10"],
                "prompts": list(self.base(arm).tests["chestxdet10"].prompts),
            }
            for arm in arms
        ]  # fmt: skip
        return [np.load(folder / "maps.npy") for folder in self.run.build_all(scoring.map_arm, recipes)]

    def hits(self, base: Base, maps: np.ndarray | None, *, rule: str) -> np.ndarray:
        """Hit rate of each class of ChestX-Det10 (K,) by a rule of :mod:`papers.carzero.pointing`; no maps: the middle."""
        test, sizes = base.tests["chestxdet10"], _sizes(base)
        frames = [frame_of(*size, size=self.settings["size"]) for size in sizes]
        told = {"sizes": sizes, "frames": frames, "crop": self._crop, "rule": rule, "classes": len(test.classes)}
        return pointing.hits(maps, test.boxes, **told)

    def pointing(
        self, arms: list[Trained], *, rule: str, change: Callable[[np.ndarray], np.ndarray | None] = lambda maps: maps
    ) -> list[float]:
        """Mean hit rate over the classes for each seed. ``change``: of the maps, for controls."""
        pairs = zip(arms, self.maps(arms), strict=True)
        return [float(np.nanmean(self.hits(self.base(arm), change(maps), rule=rule))) for arm, maps in pairs]

    def similarity(self, arm: Trained, name: str, classes: list[int]) -> np.ndarray:
        """SimR (N, classes, d) of a set's prompts asked of its pictures."""
        test = self.base(arm).tests[name]
        folder = self.run.build(
            scoring.similarity_arm, arm=arm.folder, alignment=arm.alignment, crop=self._crop,
            pictures=self.base(arm).pictures[name], prompts=[test.prompts[k] for k in classes], **self.base(arm).shared,
        )  # fmt: skip
        return np.load(folder / "simr.npy")


def other_finding(maps: np.ndarray) -> np.ndarray:
    """The map of the next class's prompt in the place of each class's own: what looks at any finding is no localisation."""
    return np.roll(maps, 1, axis=1)


def _sizes(base: Base) -> list[tuple[int, int]]:
    from papers.carzero.sets import image_size

    return [image_size(path) for path in base.tests["chestxdet10"].paths]


def prepare(run: Run) -> Study:
    """The bases of a run, built where missing."""
    return Study(run, run.settings, {seed: make_base(run, seed=seed) for seed in dict.fromkeys(run.bases)})
