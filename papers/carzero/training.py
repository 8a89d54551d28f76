"""Trains one arm of CARZero and scores the test sets with it. Each function fills one cached artefact.

An arm begins with encoders from scratch, with those of a ``warm`` arm (trained by a cosine on the same texts), or at ``full``
with released ones; then all its weights are trained by its own alignment.

    train_arm(folder, pictures=squares, texts=texts, text=text, model={...}, alignment={...}, fit={...}, seed=0)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib.machine import CPU, Machine
from lib.models.cross_attention_scoring import Tokens
from lib.streams import stream, stream_seed
from lib.training.loop import TrainingError, epoch_order, train
from papers.carzero.images import Augmentation, batch
from papers.carzero.losses import alignment_loss
from papers.carzero.model import CARZero, build
from papers.carzero.texts import read_texts

BETAS, DECAY, CLIP = (0.5, 0.999), 1e-6, 0.25  # of the released configuration
AT_A_TIME = 128  # pictures, or texts, that are encoded together


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How an arm is trained. ``share``: part of the studies this seed trains on, drawn by the seed.

    ``shuffle``: every study gets another study's sentences (a null). ``start``: of the alignment's weights, another number is
    another initialisation. ``batches``: [[first step, batch], ...], as the release's batch grows.
    """

    seed: int
    steps: int
    batches: list[list[int]]
    learning_rate: float
    crop: int
    augment: dict[str, float]
    share: float = 1.0
    shuffle: bool = False
    start: int = 0

    def batch_at(self, step: int) -> int:
        return [size for first, size in self.batches if first <= step][-1]


class _Words:
    """Sentences of the studies, each tokenised once: batches are rows of one table."""

    def __init__(self, net: CARZero, studies: Sequence[Sequence[str]]):
        self.studies = studies
        known = sorted({sentence for study in studies for sentence in study})
        self.place = {sentence: i for i, sentence in enumerate(known)}
        self.table = net.text_encoder.tokenize(known)

    def draw(self, rows: Sequence[int], rng: np.random.Generator) -> dict[str, Tensor]:
        """One sentence of each study, uniformly at random."""
        chosen = [self.place[self.studies[i][rng.integers(len(self.studies[i]))]] for i in rows]
        length = int(self.table["attention_mask"][chosen].sum(dim=1).max())
        length = min(-(-length // 4) * 4, self.table["input_ids"].shape[1])
        return {name: value[chosen][:, :length] for name, value in self.table.items()}


def _load_warm(net: CARZero, warm: Path) -> None:
    state = {name: value for name, value in load_file(warm / "model.safetensors").items() if "alignment." not in name}
    missing, extra = net.load_state_dict(state, strict=False)
    lacking = [name for name in missing if not name.startswith("alignment.")]
    if lacking or extra:
        name, what = (lacking[0], "lacks") if lacking else (extra[0], "has the unknown")
        raise TrainingError(f"{warm / 'model.safetensors'} {what} weight {name}; train it with these settings")


def load_image_encoder(net: CARZero, encoder: Path) -> None:
    """The pretrained image encoder; raises :class:`TrainingError` when the weights are of another shape."""
    try:
        net.img_encoder.model.load_state_dict(load_file(encoder / "image.safetensors"))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise TrainingError(f"{encoder / 'image.safetensors'} does not fit the settings 'image': {reason}") from None


@torch.no_grad()
def compute_tokens(
    folder: Path, *, squares: Path, encoder: Path, text: Path, model: dict[str, Any], crop: int, machine: Machine = CPU
) -> None:
    """Output of the frozen blocks for every picture's centre crop: ``tokens.npy`` (N, 1 + T, width) float16."""
    net = build(text=text, alignment={"kind": "cosine"}, **model)
    load_image_encoder(net, encoder)
    net.to(machine.device).eval()
    images = np.load(squares / "images.npy", mmap_mode="r")
    parts = [
        net.img_encoder.frozen_tokens(batch(images[start : start + AT_A_TIME], crop=crop, rng=None).to(machine.device))
        for start in range(0, len(images), AT_A_TIME)
    ]
    np.save(folder / "tokens.npy", torch.cat(parts).cpu().numpy().astype(np.float16))


class Pictures:
    """Inputs of the image encoder by row: stored frozen tokens, or crops of prepared squares."""

    def __init__(self, folder: Path, *, crop: int, augment: Augmentation | None = None):
        tokens = folder / "tokens.npy"
        self.frozen, self.crop, self.augment = tokens.is_file(), crop, augment
        self.array = np.load(tokens) if self.frozen else np.load(folder / "images.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.array)

    def draw(self, rows: Any, rng: np.random.Generator | None = None) -> Tensor:
        """Rows (an index or a slice) as the encoder takes them; ``rng`` None: the centre of each."""
        if self.frozen:
            return torch.from_numpy(self.array[rows].astype(np.float32))
        return batch(self.array[rows], crop=self.crop, rng=rng, how=self.augment)


def train_arm(
    folder: Path,
    *,
    pictures: Path,
    texts: Path,
    text: Path,
    model: dict[str, Any],
    alignment: dict[str, Any],
    fit: dict[str, Any],
    warm: Path | None = None,
    encoder: Path | None = None,
    machine: Machine = CPU,
) -> None:
    """Write ``model.safetensors`` and ``losses.json`` of one arm and seed.

    ``model``: what :func:`papers.carzero.model.build` takes besides. ``fit``: of :class:`Fit`. ``warm``: an arm whose encoders
    it begins with; ``encoder``: released image weights. Optimiser as released: Adam, betas (0.5, 0.999), weight decay 1e-6,
    gradient norm clipped at 0.25, constant rate.
    """
    how = Fit(**fit)
    images, studies = (
        Pictures(pictures, crop=how.crop, augment=Augmentation(**how.augment)),
        read_texts(texts)["sentences"],
    )
    if len(images) != len(studies):
        raise TrainingError(f"{pictures} holds {len(images)} pictures for {len(studies)} studies; prepare them again")
    kept = np.sort(stream(how.seed, "share").permutation(len(studies))[: round(how.share * len(studies))])
    said = [studies[i] for i in kept]
    if how.shuffle:  # each takes the sentences of the next on a random ring: nobody keeps its own
        ring = stream(how.seed, "shuffle").permutation(len(kept))
        donor = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
        said = [said[donor[i]] for i in range(len(kept))]
    torch.manual_seed(how.seed)
    net = build(text=text, alignment=alignment, start=stream_seed(how.seed, "alignment", how.start), **model)
    if encoder is not None:
        load_image_encoder(net, encoder)
    if warm is not None:
        _load_warm(net, warm)
    words = _Words(net, said)

    def loss_of_step(module: nn.Module, step: int) -> Tensor:
        rng, size = stream(how.seed, "crops and sentences", step), how.batch_at(step)
        rows = epoch_order(count=len(kept), batch=size, seed=how.seed, step=step)
        seen = images.draw(kept[rows], rng).to(machine.device)
        asked = {name: value.to(machine.device) for name, value in words.draw(rows, rng).items()}
        return alignment_loss(module(seen, asked))

    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    losses = train(
        net, loss_of_step, steps=how.steps, clip=CLIP, machine=machine,
        optimiser=torch.optim.Adam(trainable, lr=how.learning_rate, betas=BETAS, weight_decay=DECAY, fused=True),
        checkpoint=folder / "checkpoint" / "state.pt",
    )  # fmt: skip
    save_file(
        {name: value.contiguous().clone().cpu() for name, value in net.state_dict().items()},
        folder / "model.safetensors",
    )
    (folder / "losses.json").write_text(json.dumps(losses))


def load_arm(arm: Path, *, text: Path, model: dict[str, Any], alignment: dict[str, Any]) -> CARZero:
    """A trained arm in eval mode."""
    net = build(text=text, alignment=alignment, **model)
    net.load_state_dict(load_file(arm / "model.safetensors"))
    return net.eval()


@torch.no_grad()
def embed_images(net: CARZero, pictures: Pictures, *, device: str = "cpu") -> Tokens:
    """Tokens of all pictures, centre crops, on the CPU."""
    parts = [
        net.img_encoder(pictures.draw(slice(start, start + AT_A_TIME)).to(device)).to("cpu")
        for start in range(0, len(pictures), AT_A_TIME)
    ]
    return Tokens(torch.cat([one.whole for one in parts]), torch.cat([one.parts for one in parts]))


@torch.no_grad()
def embed_texts(net: CARZero, texts: Sequence[str], *, device: str = "cpu") -> Tokens:
    """Tokens of texts, lower case as in training, on the CPU."""
    asked = net.text_encoder.tokenize([text.lower() for text in texts])
    return net.encode_text({name: value.to(device) for name, value in asked.items()}).to("cpu")
