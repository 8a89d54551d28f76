"""The plan of the E3D-GPT experiments: what is built from what, so that its notebooks only name their arms.

Everything is a cached artefact; two notebooks that need the same arm train it once. The seeds of a run go round its bases
(:mod:`papers.e3d_gpt.bases`); an arm is named by its projector and its encoder.

    study = prepare(run); arms = study.tune({"e3d_gpt": E3D, "blind": BLIND}); study.f1(arms["e3d_gpt"])
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lib.evaluation.classification import auc_per_class, macro_auc
from lib.workflow.session import Run
from papers.e3d_gpt import answering, encoders, measures, tuning
from papers.e3d_gpt.bases import Base, TestSet, make_base
from papers.e3d_gpt.findings import SHOWN
from papers.e3d_gpt.prepare import Crops, read_prepared

E3D = {"projector": "convolution", "encoder": "masked"}
M3D = {"projector": "average", "encoder": "contrastive"}
BLIND = {"projector": None, "encoder": "masked"}
OTHER_PATIENT = 37  # rows between a volume and the one that takes its place


def arm(projector: str, encoder: str = "masked") -> dict[str, Any]:
    """The arm with this projector behind this encoder."""
    return {"projector": projector, "encoder": encoder}


@dataclass(frozen=True)
class Answers:
    """What a tuned model said of one test set: reports, probabilities of each question's candidates, of each finding (N, F)."""

    reports: list[str]
    closed: list[list[float]]
    diagnosis: np.ndarray | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Tuned:
    """An arm at one seed, its base's seed, and what it answers: set -> answers."""

    seed: int
    base: int
    answers: dict[str, Answers] = field(repr=False)


@dataclass
class Study:
    """Bases and arms of one run. ``settings`` is the profile's section of ``experiments.yml``."""

    run: Run
    settings: dict[str, Any]
    bases: dict[int, Base]

    first = property(lambda self: self.bases[self.run.bases[0]])

    def _jobs(self, arms: dict[str, Any], count: int | None = None) -> list[tuple[str, Any, int, Base]]:
        seeds = self.run.seeds[:count]
        return [(name, told, seed, self.bases[self.run.base_of(seed)]) for name, told in arms.items() for seed in seeds]

    def build_encoders(self, kinds: Sequence[str]) -> None:
        """Every base's pretrained encoders of these kinds, those missing at once."""
        many: dict[Any, list[dict[str, Any]]] = {}
        for base in self.bases.values():
            for kind in dict.fromkeys(kinds):
                function, recipe = base.encoder_recipe(kind)
                many.setdefault(function, []).append(recipe)
        for function, recipes in many.items():
            self.run.build_all(function, recipes)

    # ------------------------------------------------------------------ encoders
    def fine_tune(self, starts: dict[str, str]) -> dict[str, list[float]]:
        """Macro AUC over findings, mean of the test sets, of encoders tuned on all labels: arm -> one value a seed.

        ``starts``: arm -> kind of encoder it starts from.
        """
        self.build_encoders(list(starts.values()))
        jobs = self._jobs(starts)
        recipes = [
            {
                **base.eyes, "prepared": base.train, "labels": base.gathered, "seed": seed, "how": self.settings["labels"],
                "test": [one.prepared for one in base.tests.values()], "encoder": base.encoder(kind),
            }
            for _, kind, seed, base in jobs
        ]  # fmt: skip
        found: dict[str, list[float]] = {name: [] for name in starts}
        for (name, _, _, base), folder in zip(jobs, self.run.build_all(encoders.fine_tune, recipes), strict=True):
            found[name].append(self._auc(base, np.load(folder / "scores.npy")))
        return found

    @staticmethod
    def _auc(base: Base, scores: np.ndarray) -> float:
        """Mean over the test sets of the macro AUC; ``scores``: all sets' rows, one after another."""
        ends = np.cumsum([one.count for one in base.tests.values()])
        parts = np.split(scores, ends[:-1])
        return float(
            np.mean([macro_auc(one.labels, part) for one, part in zip(base.tests.values(), parts, strict=True)])
        )

    def probe(self, kinds: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """Linear probes of frozen encoders: kind -> {"layer 1": macro AUC a base, ...}."""
        self.build_encoders(kinds)
        found: dict[str, dict[str, list[float]]] = {}
        for kind in kinds:
            for base in self.bases.values():
                folders = [base.train, [one.prepared for one in base.tests.values()]]
                recipes = [
                    {**base.eyes, "prepared": one, "encoder": base.encoder(kind), "layers": True} for one in folders
                ]
                known, asked = (
                    np.load(one / "layers.npy").astype(np.float32)
                    for one in self.run.build_all(encoders.encode, recipes)
                )
                labels = np.load(base.gathered / "labels.npy")
                for layer in range(known.shape[1]):
                    scores = measures.ridge_scores(known[:, layer], labels, asked[:, layer])
                    found.setdefault(kind, {}).setdefault(f"layer {layer + 1}", []).append(self._auc(base, scores))
        return found

    def probe_voxels(self, components: int) -> dict[str, list[float]]:
        """The same probe on what needs no encoder: principal components of voxels, and each eighth's mean intensity."""
        from sklearn.decomposition import PCA

        found: dict[str, list[float]] = {"voxel PCA": [], "mean intensity": []}
        for base in self.bases.values():
            crop, labels = self.settings["crop"], np.load(base.gathered / "labels.npy")
            known, asked = (
                Crops(many, crop=crop) for many in (base.train, [one.prepared for one in base.tests.values()])
            )
            x, z = (one.draw(range(len(one)))[:, 0].numpy() for one in (known, asked))
            eighths = [
                one.reshape(len(one), 2, crop[0] // 2, 2, crop[1] // 2, 2, crop[2] // 2).mean(axis=(2, 4, 6))
                for one in (x, z)
            ]
            x, z = x.reshape(len(x), -1), z.reshape(len(z), -1)
            parts = PCA(min(components, len(x)), svd_solver="randomized", random_state=0).fit(x)
            pairs = {"voxel PCA": (parts.transform(x), parts.transform(z))}
            pairs["mean intensity"] = tuple(one.reshape(len(one), -1) for one in eighths)
            for name, (first, second) in pairs.items():
                found[name].append(self._auc(base, measures.ridge_scores(first, labels, second)))
        return found

    # ------------------------------------------------------------------ language models
    def tune(self, arms: dict[str, dict[str, Any]], *, seeds: int | None = None) -> dict[str, list[Tuned]]:
        """Every arm at every seed, tuned and asked where missing: name -> tuned arms in seed order.

        An arm: ``projector`` (``None``: blind), ``encoder``, and ``roll``: so many rows on lies the volume that it is asked
        about in the place of the right one (a control of the same trained model). ``seeds``: only the first so many.
        """
        self.build_encoders([told["encoder"] for told in arms.values()])
        jobs = self._jobs(arms, seeds)
        shared = [self._shared(told, base) for _, told, _, base in jobs]
        recipes = [
            {
                **one, "texts": base.gathered, "how": self.settings["stages"], "seed": seed,
                **self._seen(told, base, base.train),
            }
            for one, (_, told, seed, base) in zip(shared, jobs, strict=True)
        ]  # fmt: skip
        folders = self.run.build_all(tuning.tune, recipes)
        names = list(self.first.tests)
        recipes = [
            {
                **one, "arm": folder, "texts": base.tests[name].gathered, "how": self.settings["answers"],
                "findings": list(SHOWN), "count": base.tests[name].count, "roll": told.get("roll", 0),
                **self._seen(told, base, [base.tests[name].prepared]),
            }
            for one, folder, (_, told, _, base) in zip(shared, folders, jobs, strict=True)
            for name in names
        ]  # fmt: skip
        answered = iter(self.run.build_all(answering.answer, recipes))
        found: dict[str, list[Tuned]] = {name: [] for name in arms}
        for name, _, seed, base in jobs:
            found[name].append(Tuned(seed, base.seed, {one: _read_answers(next(answered)) for one in names}))
        return found

    def _shared(self, told: dict[str, Any], base: Base) -> dict[str, Any]:
        vision = {**base.eyes, "encoder": base.encoder(told["encoder"]), "standardise": self.settings["standardise"]}
        return {"vision": vision, "language": base.language, "projector": told["projector"]}

    def _seen(self, told: dict[str, Any], base: Base, prepared: list[Any]) -> dict[str, Any]:
        tokens = base.tokens(told["encoder"], prepared) if told["projector"] else []
        return {"tokens": tokens, "prepared": [] if tokens else prepared}

    # ------------------------------------------------------------------ measuring
    def _each(self, one: Tuned, name: str | None) -> list[tuple[TestSet, Answers]]:
        sets = self.bases[one.base].tests
        return [(sets[key], one.answers[key]) for key in ([name] if name else sets)]

    def f1(self, arms: list[Tuned], *, name: str | None = None) -> list[float]:
        """Macro F1 of the findings that a report names, of each seed; without ``name`` the mean of the sets."""
        return self._over(
            arms, name, lambda test, said: measures.clinical_f1(measures.named(said.reports, SHOWN), test.reported)
        )

    def balanced(self, arms: list[Tuned], *, name: str | None = None) -> list[float]:
        """Balanced accuracy of the findings that a report names: 0.5 for whoever does not look."""
        return self._over(
            arms,
            name,
            lambda test, said: measures.balanced_accuracy(measures.named(said.reports, SHOWN), test.reported),
        )

    def overlap(self, arms: list[Tuned]) -> dict[str, list[float]]:
        """BLEU-1, BLEU-4, ROUGE-L and METEOR of each seed, the mean of the sets."""
        found: dict[str, list[float]] = {}
        for one in arms:
            each = [
                measures.overlap(said.reports, [item.answer for _, item in test.reports])
                for test, said in self._each(one, None)
            ]
            for key in each[0]:
                found.setdefault(key, []).append(float(np.mean([scores[key] for scores in each])))
        return found

    def accuracy(
        self, arms: list[Tuned], *, kinds: Sequence[str] | None = None, name: str | None = None
    ) -> list[float]:
        """Accuracy on closed questions of these kinds, all that occur weighted alike; without ``name`` the mean of the sets."""

        def of(test: TestSet, said: Answers) -> float:
            items = [item for _, item in test.questions]
            right = measures.hits(said.closed, [item.candidates for item in items], [item.answer for item in items])
            of_kind = np.array([item.kind for item in items])
            return float(
                np.mean(
                    [right[of_kind == kind].mean() for kind in kinds or np.unique(of_kind) if (of_kind == kind).any()]
                )
            )

        return self._over(arms, name, of)

    def diagnosis(self, arms: list[Tuned], *, name: str | None = None) -> list[float]:
        """Macro AUC over findings by the probability of "yes" to one question a finding."""
        return self._over(arms, name, lambda test, said: macro_auc(test.labels, said.diagnosis))

    def diagnosis_by_finding(self, arms: list[Tuned]) -> dict[str, list[float]]:
        """AUC of each finding by the probability of "yes", one value a seed, the mean of the sets."""
        each = [
            np.nanmean([auc_per_class(test.labels, said.diagnosis) for test, said in self._each(one, None)], axis=0)
            for one in arms
        ]
        return {name: [float(values[k]) for values in each] for k, name in enumerate(SHOWN)}

    def _over(self, arms: list[Tuned], name: str | None, of: Any) -> list[float]:
        return [float(np.mean([of(test, said) for test, said in self._each(one, name)])) for one in arms]

    @cached_property
    def words(self) -> dict[int, float]:
        """Base -> mean number of tokens of a report prompt's words and its report, by the base's tokenizer."""
        from transformers import AutoTokenizer

        from papers.e3d_gpt.prompts import answer_ids, prompt_ids

        found = {}
        for seed, base in self.bases.items():
            tokenizer = AutoTokenizer.from_pretrained(base.language)
            items = [item for test in base.tests.values() for _, item in test.reports]
            lengths = [
                len(prompt_ids(tokenizer, one.question, slots=0)) + len(answer_ids(tokenizer, one.answer))
                for one in items
            ]
            found[seed] = float(np.mean(lengths))
        return found

    def volumes(self, base: Base, rows: Sequence[int]) -> np.ndarray:
        """Volumes (N, X, Y, Z) of the first test set, for pictures."""
        test = next(iter(base.tests.values()))
        return np.asarray(read_prepared(test.prepared)[0][list(rows)], dtype=np.float32)


def _read_answers(folder: Any) -> Answers:
    content = json.loads((folder / "answers.json").read_text())
    path = folder / "diagnosis.npy"
    return Answers(content["reports"], content["closed"], np.load(path) if path.is_file() else None)


def judge_reports(run: Run, both: dict[str, list[float]], by_set: dict[str, dict[str, list[float]]]) -> None:
    """Judge what the run's evidence can: the claims on named data sets need those."""
    sets = {"C3a": "ct_rate", "C3b": "bimcv_r"}
    for claim in run.claims:
        if run.evidence in run.paper.claim(claim).evidence:
            run.judge(claim, by_set[sets[claim]] if claim in sets else both)
        else:
            run.decline(claim, "it names a data set, and only that can test it")


def prepare(run: Run) -> Study:
    """The bases of a run, built where missing."""
    return Study(run, run.settings, {seed: make_base(run, seed=seed) for seed in dict.fromkeys(run.bases)})
