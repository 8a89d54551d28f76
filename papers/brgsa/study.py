"""The plan of the BrgSA experiments: what is built from what, so that its notebooks only name their arms.

Everything is a cached artefact; two notebooks that need the same arm train it once. The seeds of a run go round its bases
(:mod:`papers.brgsa.bases`): each arm is trained and tested on the base of its seed.

    study = prepare(run); arms = study.train({"nce": {"loss": NCE}, "full": {}}); study.auc(arms["full"])
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.data import ct_rate, volumes
from lib.data.chest_ct import world as chest_ct_world
from lib.evaluation import unit
from lib.evaluation.classification import auc_per_class
from lib.models.knowledge_bank import INITIALISATIONS
from lib.workflow.session import Run, SessionError
from papers.brgsa import data
from papers.brgsa import prepare as prepared
from papers.brgsa import training as alignment
from papers.brgsa.bases import Base, make_base
from papers.brgsa.prompts import PROMPT

NCE = {"alpha": 0.0, "beta": 1.0, "gamma": 0.0}  # ordinary alignment: InfoNCE between raw embeddings only
NCE_MSE = {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}
NCE_NCER = {"alpha": 0.0, "beta": 1.0, "gamma": 1.0}
FULL = {"alpha": 0.5, "beta": 1.0, "gamma": 1.0}  # the shipped weights
BANKS = (*INITIALISATIONS, "kmeans")
WHOLE = 1000  # statements, or sentences, joined a step: every one there is


def bank(size: int, start: str) -> dict[str, Any]:
    """Settings of a bank; ``start``: one of ``BANKS``, and after " x" its scale, 1 where there is none."""
    kind, times, factor = start.partition(" x")
    try:
        scale = float(factor) if times else 1.0
    except ValueError:
        scale = float("nan")
    if kind not in BANKS or not 0 < scale < float("inf"):
        raise SessionError(f"'{start}' starts no bank; write one of {', '.join(BANKS)}, and after ' x' a scale above 0")
    return {"size": size, "initialisation": kind, "scale": scale}


@dataclass(frozen=True)
class Trained:
    """What an arm gave at one seed: its model and embeddings; ``vectors`` maps a set's name, and ``<name>_hat``, to (N, width).

    ``base``: the seed of the base that it stands on.
    """

    seed: int
    base: int
    options: dict[str, Any]
    folder: Path
    vectors: dict[str, np.ndarray] = field(repr=False)

    image = property(lambda self: self.vectors["valid"])
    image_hat = property(lambda self: self.vectors["valid_hat"])
    report = property(lambda self: self.vectors["reports"])
    report_hat = property(lambda self: self.vectors["reports_hat"])


@dataclass(frozen=True)
class AttentionCase:
    """One volume that shows one finding: the map (X, Y, Z) for its prompt and the mask of where it was drawn."""

    finding: str
    name: str
    volume: np.ndarray
    map: np.ndarray
    mask: np.ndarray

    def slice_of(self, array: np.ndarray) -> np.ndarray:
        """The axial slice through the largest part of the mask, as rows from front to back."""
        return np.asarray(array[:, :, int(self.mask.sum(axis=(0, 1)).argmax())], dtype=np.float32).T


def scores(arm: Trained, images: str = "valid", prompts: str = "frequent", *, variant: str = "mean") -> np.ndarray:
    """Zero-shot scores (N images, C prompts) of one of the five variants of the release (sheet 2.5).

    ``contrast`` is CT-CLIP's way of asking: how much closer to "There is X" than to "There is no X", which orders volumes
    as the softmax over the two does.
    """
    if variant == "contrast":
        present, absent = (scores(arm, images, prompts + end, variant="vt") for end in ("", "_absent"))
        return present - absent
    pairs = {"vt": ("", ""), "v^t": ("_hat", ""), "vt^": ("", "_hat"), "v^t^": ("_hat", "_hat")}
    used = ["vt", "v^t"] if variant == "mean" else [variant]
    cosines = [unit(arm.vectors[images + pairs[v][0]]) @ unit(arm.vectors[prompts + pairs[v][1]]).T for v in used]
    return np.mean(cosines, axis=0)


@dataclass
class Study:
    """Bases and arms of one run. ``settings`` is the profile's section of ``experiments.yml``."""

    run: Run
    settings: dict[str, Any]
    bases: dict[int, Base]

    # the first seed's base, for what is shown of one test set
    first = property(lambda self: self.bases[self.run.bases[0]])
    valid = property(lambda self: self.first.valid)
    external = property(lambda self: self.first.external)

    def base(self, arm: Trained) -> Base:
        """The base that an arm stands on, with the test sets that belong to it."""
        return self.bases[arm.base]

    # ------------------------------------------------------------------ building
    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        chosen = {"loss": FULL, "text": "summary", "shuffle": False, "bank": {}, **self.settings["arm"], **options}
        return {**chosen, "bank": {**self.settings["bank"], **chosen["bank"]}}

    def train(self, arms: dict[str, dict[str, Any]]) -> dict[str, list[Trained]]:
        """Every arm at every seed of the run, trained where missing: name -> trained models in seed order.

        An arm is named by how it departs from the full model: ``loss``, ``bank`` (size, initialisation, scale, linear),
        ``text`` (summary, quoted, noisy, raw), ``shuffle``, ``merge``, ``steps``.
        """
        jobs = [(name, self._options(options), seed) for name, options in arms.items() for seed in self.run.seeds]
        bases = [self.bases[self.run.base_of(seed)] for _, _, seed in jobs]
        recipes = [
            {
                **{key: value for key, value in options.items() if key != "text"}, **base.shared,
                "prepared": base.train_folder, "tokens": base.sources.get("train"),
                "pairs": base.pairs(options["text"]), "crop": self.settings["crop"], "seed": seed,
            }
            for (_, options, seed), base in zip(jobs, bases, strict=True)
        ]  # fmt: skip
        trained = self.run.build_all(alignment.train_arm, recipes)
        recipes = [
            {
                **base.shared, "arm": folder, "bank": options["bank"], "images": base.images, "texts": base.texts,
            }
            for folder, (_, options, _), base in zip(trained, jobs, bases, strict=True)
        ]  # fmt: skip
        embedded = self.run.build_all(alignment.embed_arm, recipes)
        found: dict[str, list[Trained]] = {name: [] for name in arms}
        for (name, options, seed), base, folder, vectors in zip(jobs, bases, trained, embedded, strict=True):
            found[name].append(Trained(seed, base.seed, options, folder, _read(vectors)))
        return found

    # ------------------------------------------------------------------ measuring
    def auc(self, arms: list[Trained], *, test: str = "frequent", variant: str = "mean") -> list[float]:
        """Macro AUC of each seed, on the test set of its base; ``test``: frequent, frequent_as_report, frequent_own_words,
        tail (all internal), shared (external)."""
        return [float(np.nanmean(self.auc_per_class(arm, test=test, variant=variant))) for arm in arms]

    def auc_per_class(self, arm: Trained, *, test: str = "frequent", variant: str = "mean") -> np.ndarray:
        """AUC of each finding of one test, in the order of its labels."""
        base, images = self.base(arm), "external" if test == "shared" else "valid"
        labels = {"tail": base.valid.long_tail, "shared": base.external.labels}.get(test, base.valid.labels)
        return auc_per_class(labels.to_numpy(), scores(arm, images, test, variant=variant))

    def other_grid(
        self, shape: list[int], arms: list[Trained], *, resample: bool = False, shuffle_positions: int | None = None
    ) -> list[float]:
        """Macro AUC of each arm on its internal test set prepared with another number of voxels.

        ``shape`` is cropped or padded about the centre at the training spacing, or, with ``resample``, spread over the
        same field of view. The position table is interpolated to the grid that results; with ``shuffle_positions`` (a
        seed) it is permuted first, the null that shows whether positions carry anything.
        """
        from papers.brgsa.model import score_variants

        grid = self.settings["grid"]
        sides = zip(grid["target_spacing"], grid["shape"], shape, strict=True)
        spacing = [step * size / wanted if resample else step for step, size, wanted in sides]
        grid, values = {"target_spacing": spacing, "shape": shape}, []
        for arm in arms:
            base = self.base(arm)
            model = self.load(arm, shuffle_positions=shuffle_positions).to(self.run.machine.device)
            array = prepared.read_volumes(data.prepare_volumes(self.run, base.valid.tree, "valid", grid))[0]
            v, t = alignment.embed_volumes(model, array), alignment.embed_texts(model, base.texts["frequent"])
            model.cpu()
            mean = score_variants(v, model.bank(v)[0], t, model.bank(t)[0])["mean"]
            values.append(float(np.nanmean(auc_per_class(base.valid.labels.to_numpy(), mean.detach().numpy()))))
        return values

    def load(self, arm: Trained, *, shuffle_positions: int | None = None):
        """The trained model of an arm."""
        model = alignment.load_arm(arm.folder, bank=arm.options["bank"], **self.base(arm).shared)
        if shuffle_positions is not None:
            alignment.permute_positions(model, seed=shuffle_positions)
        return model

    def attention_cases(self, arm: Trained, findings: list[str], *, cases: int) -> list[AttentionCase]:
        """Maps of up to ``cases`` test volumes (first reconstructions) for each finding that they show."""
        import torch

        from lib.evaluation.localisation import resize_map
        from papers.brgsa.attention import gradient_rollout

        model, test, found = self.load(arm).to(self.run.machine.device), self.base(arm).valid, []
        grid, device = self.settings["grid"], self.run.machine.device
        metadata = ct_rate.read_metadata(ct_rate.metadata_path(test.tree, "valid"))
        first = [row for row, name in enumerate(test.names) if ct_rate.parse_volume_name(name).reconstruction == 1]
        for finding in findings:
            prompt = alignment.embed_texts(model, [PROMPT.format(finding)])[0]
            present = test.labels[finding].to_numpy()
            for row in [row for row in first if present[row]][:cases]:
                name, volume = test.names[row], np.asarray(test.volumes[row], dtype=np.float32)
                small = (
                    gradient_rollout(model, torch.from_numpy(volume)[None, None].to(device), prompt.to(device))[0]
                    .cpu()
                    .numpy()
                )
                drawn = chest_ct_world.read_masks(test.tree, name)[finding].astype(np.float32)
                spacing = metadata[name].spacing
                mask = volumes.resample(drawn, spacing=spacing, target_spacing=grid["target_spacing"], fill=0)
                mask = volumes.crop_or_pad(mask, grid["shape"], fill=0) > 0.5
                if mask.any():
                    found.append(AttentionCase(finding, name, volume, resize_map(small, shape=volume.shape), mask))
        return found


def _read(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "embeddings.safetensors")


def prepare(run: Run) -> Study:
    """The bases of a run, built where missing."""
    return Study(run, run.settings, {seed: make_base(run, seed=seed) for seed in dict.fromkeys(run.bases)})
