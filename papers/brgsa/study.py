"""The plan of the BrgSA experiments: what is built from what, so that its notebooks only name their arms.

Everything is a cached artefact; two notebooks that need the same arm train it once. Data comes from a generated world
or, when the profile's settings give a ``path``, from a real tree in the same format.

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
from papers.brgsa import pretraining as masked_pretraining
from papers.brgsa import training as alignment

NCE = {"alpha": 0.0, "beta": 1.0, "gamma": 0.0}  # ordinary alignment: InfoNCE between raw embeddings only
NCE_MSE = {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}
NCE_NCER = {"alpha": 0.0, "beta": 1.0, "gamma": 1.0}
FULL = {"alpha": 0.5, "beta": 1.0, "gamma": 1.0}  # the shipped weights
BANKS = (*INITIALISATIONS, "kmeans")
PROMPT = "There is {}"
REPORT_PROMPT = "{} is seen in the chest"  # the style of a raw report's sentence


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
    """What an arm gave at one seed: its model and embeddings; ``vectors`` maps a set's name, and ``<name>_hat``, to (N, width)."""

    seed: int
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
    """Zero-shot scores (N images, C prompts) of one of the five variants of the release (sheet 2.5)."""
    pairs = {"vt": ("", ""), "v^t": ("_hat", ""), "vt^": ("", "_hat"), "v^t^": ("_hat", "_hat")}
    used = ["vt", "v^t"] if variant == "mean" else [variant]
    cosines = [unit(arm.vectors[images + pairs[v][0]]) @ unit(arm.vectors[prompts + pairs[v][1]]).T for v in used]
    return np.mean(cosines, axis=0)


@dataclass
class Study:
    """Data, encoders and arms of one run. ``settings`` is the profile's section of ``experiments.yml``."""

    run: Run
    settings: dict[str, Any]
    valid: data.TestSet
    external: data.TestSet
    train_folder: Path
    train_tree: Path
    encoder: Path
    text: Path | str
    sources: dict[str, Path]

    # ------------------------------------------------------------------ building
    def pairs(self, style: str) -> Path:
        """Report-volume pairs of the training split; ``style``: summary, noisy, or raw."""
        return data.report_pairs(self.run, self.train_tree, self.train_folder, style, self.settings)

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        chosen = {"loss": FULL, "text": "summary", "shuffle": False, "bank": {}, **self.settings["arm"], **options}
        return {**chosen, "bank": {**self.settings["bank"], **chosen["bank"]}}

    def train(self, arms: dict[str, dict[str, Any]]) -> dict[str, list[Trained]]:
        """Every arm at every seed of the run, trained where missing: name -> trained models in seed order.

        An arm is named by how it departs from the full model: ``loss``, ``bank`` (size, initialisation, scale, linear),
        ``text`` (summary, noisy, raw), ``shuffle``, ``merge``, ``steps``.
        """
        jobs = [(name, self._options(options), seed) for name, options in arms.items() for seed in self.run.seeds]
        shared = {"encoder": self.encoder, "model": self.settings["model"], "text": self.text}
        machine = {key: self.settings[key] for key in ("device", "precision") if key in self.settings}
        recipes = [
            {
                **{key: value for key, value in options.items() if key != "text"}, **shared, **machine,
                "prepared": self.train_folder, "tokens": self.sources.get("train"), "pairs": self.pairs(options["text"]),
                "crop": self.settings["crop"], "seed": seed,
            }
            for _, options, seed in jobs
        ]  # fmt: skip
        trained = self.run.build_all(alignment.train_arm, recipes)
        texts = self._texts()
        images = {name: self.sources.get(name, folder) for name, folder in self._test_folders().items()}
        embedded = self.run.build_all(
            alignment.embed_arm,
            [
                {
                    **shared,
                    "arm": folder,
                    "bank": options["bank"],
                    "images": images,
                    "texts": texts,
                    "device": self.run.device,
                }
                for folder, (_, options, _) in zip(trained, jobs, strict=True)
            ],
        )
        found: dict[str, list[Trained]] = {name: [] for name in arms}
        for (name, options, seed), folder, vectors in zip(jobs, trained, embedded, strict=True):
            found[name].append(Trained(seed, options, folder, _read(vectors)))
        return found

    def _test_folders(self) -> dict[str, Path]:
        return {"valid": self.valid.folder, "external": self.external.folder}

    def _texts(self) -> dict[str, list[str]]:
        frequent, tail = list(self.valid.labels), list(self.valid.long_tail)
        return {
            "reports": [" ".join(prepared.sentences(report)) for report in self.valid.reports],
            "summaries": self.summaries,
            "statements": self.statements,
            "frequent": [PROMPT.format(name) for name in frequent],
            "frequent_as_report": [REPORT_PROMPT.format(name) for name in frequent],
            "tail": [PROMPT.format(name) for name in tail],
            "shared": [PROMPT.format(name) for name in self.external.labels],
        }

    @property
    def summaries(self) -> list[str]:
        """The summary of each test volume's report, statements joined."""
        return [" ".join(statements) for statements in self._statements()]

    @property
    def statements(self) -> list[str]:
        """One statement of each test volume's summary, the first: text of the length the arms were trained on."""
        return [statements[0] for statements in self._statements()]

    def _statements(self) -> list[list[str]]:
        folder = data.summarise(self.run, self.valid.tree, "valid", "summary", self.settings)
        listed = ct_rate.read_training_json(folder / "training.json")["val"]
        found = {image: e["processed_report"] for e in listed.values() for image in e["images"]}
        return [found[name] for name in self.valid.names]

    # ------------------------------------------------------------------ measuring
    def auc(self, arms: list[Trained], *, test: str = "frequent", variant: str = "mean") -> list[float]:
        """Macro AUC of each seed; ``test``: frequent, frequent_as_report, tail (internal), shared (external)."""
        return [float(np.nanmean(self.auc_per_class(arm, test=test, variant=variant))) for arm in arms]

    def auc_per_class(self, arm: Trained, *, test: str = "frequent", variant: str = "mean") -> np.ndarray:
        """AUC of each finding of one test, in the order of its labels."""
        images = "external" if test == "shared" else "valid"
        labels = {"tail": self.valid.long_tail, "shared": self.external.labels}.get(test, self.valid.labels)
        return auc_per_class(labels.to_numpy(), scores(arm, images, test, variant=variant))

    def other_grid(
        self, shape: list[int], arms: list[Trained], *, resample: bool = False, shuffle_positions: int | None = None
    ) -> list[float]:
        """Macro AUC of each arm on the internal test set prepared with another number of voxels.

        ``shape`` is cropped or padded about the centre at the training spacing, or, with ``resample``, spread over the
        same field of view. The position table is interpolated to the grid that results; with ``shuffle_positions`` (a
        seed) it is permuted first, the null that shows whether positions carry anything.
        """
        from papers.brgsa.model import score_variants

        grid = self.settings["grid"]
        sides = zip(grid["target_spacing"], grid["shape"], shape, strict=True)
        spacing = [step * size / wanted if resample else step for step, size, wanted in sides]
        folder = data.prepare_volumes(self.run, self.valid.tree, "valid", {"target_spacing": spacing, "shape": shape})
        array, values = prepared.read_volumes(folder)[0], []
        for arm in arms:
            model = self.load(arm, shuffle_positions=shuffle_positions)
            v, t = alignment.embed_volumes(model, array), alignment.embed_texts(model, self._texts()["frequent"])
            mean = score_variants(v, model.bank(v)[0], t, model.bank(t)[0])["mean"]
            values.append(float(np.nanmean(auc_per_class(self.valid.labels.to_numpy(), mean.detach().numpy()))))
        return values

    def load(self, arm: Trained, *, shuffle_positions: int | None = None):
        """The trained model of an arm."""
        shared = {"encoder": self.encoder, "model": self.settings["model"], "text": self.text}
        model = alignment.load_arm(arm.folder, bank=arm.options["bank"], **shared)
        if shuffle_positions is not None:
            alignment.permute_positions(model, seed=shuffle_positions)
        return model

    def attention_cases(self, arm: Trained, findings: list[str], *, cases: int) -> list[AttentionCase]:
        """Maps of up to ``cases`` test volumes (first reconstructions) for each finding that they show."""
        import torch

        from lib.evaluation.localisation import resize_map
        from papers.brgsa.attention import gradient_rollout

        model, found = self.load(arm), []
        grid = self.settings["grid"]
        metadata = ct_rate.read_metadata(ct_rate.metadata_path(self.valid.tree, "valid"))
        first = [
            row for row, name in enumerate(self.valid.names) if ct_rate.parse_volume_name(name).reconstruction == 1
        ]
        for finding in findings:
            prompt = alignment.embed_texts(model, [PROMPT.format(finding)])[0]
            present = self.valid.labels[finding].to_numpy()
            for row in [row for row in first if present[row]][:cases]:
                name, volume = self.valid.names[row], np.asarray(self.valid.volumes[row], dtype=np.float32)
                small = gradient_rollout(model, torch.from_numpy(volume)[None, None], prompt)[0].numpy()
                drawn = chest_ct_world.read_masks(self.valid.tree, name)[finding].astype(np.float32)
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
    """Data, pretrained encoder and tokenizer of a run, built where missing."""
    settings = run.settings
    trees, grid = data.trees(run, settings), settings["grid"]
    recipes = [
        {"tree": trees[n], "split": s, **grid}
        for n, s in (("pretrain", "train"), ("train", "train"), ("valid", "valid"))
    ]
    before, train, valid = run.build_all(prepared.prepare_ct_rate, recipes)
    labels = settings["external"]["labels"]
    outside = run.build(
        prepared.prepare_rad_chestct,
        tree=trees["external"],
        labels=labels,
        spacing=settings["external"]["spacing"],
        **grid,
    )
    vit = settings["model"]["vit"]
    raw = data.report_pairs(run, trees["pretrain"], before, "raw", settings)
    encoder = run.build(
        masked_pretraining.pretrain_image_encoder, prepared=before, pairs=raw, vit=vit, crop=settings["crop"],
        **settings["pretraining"],
    )  # fmt: skip
    statements = [data.report_pairs(run, trees["train"], train, style, settings) for style in ("summary", "raw")]
    text = _text_checkpoint(run, statements, settings["text"])
    sources: dict[str, Path] = {}
    blocks = settings["model"]["frozen_blocks"]
    if blocks:
        folders = {"train": train, "valid": valid, "external": outside}
        recipes = [
            {"prepared": folder, "encoder": encoder, "vit": vit, "blocks": blocks} for folder in folders.values()
        ]
        sources = dict(zip(folders, run.build_all(alignment.compute_frozen_tokens, recipes), strict=True))
    return Study(
        run=run, settings=settings, valid=data.internal_test(trees["valid"], valid),
        external=data.external_test(trees["external"], outside, labels), train_folder=train, train_tree=trees["train"],
        encoder=encoder, text=text, sources=sources,
    )  # fmt: skip


def _text_checkpoint(run: Run, statements: list[Path], settings: dict[str, Any]) -> Path | str:
    """A folder or hub id given as ``checkpoint``, else a tiny one whose tokenizer has seen the statements."""
    if "checkpoint" in settings:
        return settings["checkpoint"]
    return run.build(alignment.make_text_checkpoint, pairs=statements, **settings)
