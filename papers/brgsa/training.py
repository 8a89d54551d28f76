"""Trains one arm of BrgSA and embeds what its notebooks look at. Each function fills one cached artefact.

In use:

    train_arm(folder, tokens=tokens, pairs=pairs, encoder=encoder, text=text, model={...}, loss={...}, seed=0, ...)
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
from lib.models.knowledge_bank import KnowledgeBank
from lib.models.product import use_products
from lib.models.text_encoder import TextEncoder, write_tiny_checkpoint
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.streams import stream
from lib.training.loop import TrainingError, epoch_order, train
from papers.brgsa.losses import brgsa_loss
from papers.brgsa.model import BrgSA, frozen_tokens
from papers.brgsa.pretraining import Fit, crop_batch

EVALUATION_BATCH = 100  # texts, or volumes of up to 64^3 voxels, embedded at a time


def _batch_size(array: np.ndarray) -> int:
    """Volumes (or rows of tokens) embedded at a time: fewer when they are large."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_BATCH * 64**3 // int(np.prod(array.shape[1:]))))


def make_text_checkpoint(folder: Path, *, pairs: list[Path], width: int, depth: int, heads: int) -> None:
    """A tiny text encoder as a Hugging Face folder; its tokenizer has seen the statements of all ``pairs``."""
    texts = [s for path in pairs for pair in json.loads((path / "pairs.json").read_text()) for s in pair["statements"]]
    write_tiny_checkpoint(folder, texts, width=width, depth=depth, heads=heads)


def merged_statements(statements: Sequence[str], *, merge: int, rng: np.random.Generator) -> list[str]:
    """Up to ``merge`` statements without replacement, to be joined by spaces (sheet 2.4)."""
    return [statements[i] for i in rng.permutation(len(statements))[:merge]]


def load_image_encoder(encoder: Path, vit: dict) -> VisionTransformer3D:
    """The pretrained image encoder; raises :class:`TrainingError` when the weights are of another shape."""
    image = VisionTransformer3D(**vit)
    try:
        image.load_state_dict(load_file(encoder / "vit.safetensors"))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise TrainingError(f"{encoder / 'vit.safetensors'} does not fit the settings 'vit': {reason}") from None
    return image


@torch.no_grad()
def compute_frozen_tokens(
    folder: Path, *, prepared: Path, encoder: Path, vit: dict, blocks: int, machine: Machine = CPU
) -> None:
    """Output of the frozen blocks for every prepared volume: ``tokens.npy`` (N, 1 + T, width) float16."""
    volumes = np.load(prepared / "volumes.npy", mmap_mode="r")
    image = load_image_encoder(encoder, vit).to(machine.device).eval()
    out = None
    size = _batch_size(volumes)
    for start in range(0, len(volumes), size):
        batch = torch.from_numpy(volumes[start : start + size].astype(np.float32))[:, None].to(machine.device)
        tokens = frozen_tokens(image, batch, blocks).cpu().numpy()
        if out is None:
            shape = (len(volumes), *tokens.shape[1:])
            out = np.lib.format.open_memmap(folder / "tokens.npy", mode="w+", dtype=np.float16, shape=shape)
        out[start : start + len(tokens)] = tokens
    out.flush()


def build_model(*, encoder: Path, text: Path, model: dict, bank: dict) -> BrgSA:
    """An untrained arm: pretrained image encoder, text checkpoint, fresh bank and embedders."""
    text_encoder = TextEncoder.from_pretrained(text, width=model["width"], last_layers=model["last_layers"])
    net = BrgSA(
        load_image_encoder(encoder, model["vit"]),
        text_encoder,
        KnowledgeBank(width=model["width"], **bank),
        width=model["width"],
        frozen_blocks=model["frozen_blocks"],
    )
    use_products(net)
    return net


class _Images:
    """Inputs of the image encoder by row: stored frozen tokens, or random crops of the prepared volumes."""

    def __init__(self, prepared: Path, tokens: Path | None, crop: list[int]):
        source = tokens / "tokens.npy" if tokens else prepared / "volumes.npy"
        self.array, self.frozen, self.crop = np.load(source, mmap_mode="r"), tokens is not None, crop
        if self.frozen:
            self.array = np.array(self.array)  # small, and indexed at random

    def draw(self, rows: list[int], rng: np.random.Generator) -> Tensor:
        if self.frozen:
            return torch.from_numpy(self.array[rows].astype(np.float32))
        return crop_batch(self.array, rows, crop=self.crop, rng=rng)


def _kmeans_centres(net: BrgSA, images: _Images, listed: list[dict], *, size: int, seed: int) -> Tensor:
    """K-means centres of untrained image and text embeddings together: an initialisation of the release."""
    from sklearn.cluster import KMeans

    rng = stream(seed, "k-means")
    chosen = rng.permutation(len(listed))[: 4 * size]
    texts = [" ".join(merged_statements(listed[i]["statements"], merge=5, rng=rng)) for i in chosen]
    size_of_part, device = _batch_size(images.array), net.bank.bank.device
    parts = [chosen[start : start + size_of_part] for start in range(0, len(chosen), size_of_part)]
    with torch.no_grad():
        v = [
            net.encode_image(images.draw([listed[i]["rows"][0] for i in part], rng).to(device)).cpu() for part in parts
        ]
    points = torch.cat([*v, embed_texts(net, texts)]).numpy()
    centres = KMeans(n_clusters=size, n_init=1, random_state=seed).fit(points).cluster_centers_
    return torch.from_numpy(centres.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class ArmFit(Fit):
    """How an arm is trained. ``merge``: statements joined a step; ``crop``: voxels of each side.

    ``share``: part of the reports this seed trains on, drawn by the seed, so that the spread over seeds holds the training
    data too. ``shuffle``: every report gets another report's volumes (a null).
    """

    merge: int
    crop: list[int]
    share: float
    shuffle: bool


def train_arm(
    folder: Path,
    *,
    prepared: Path,
    tokens: Path | None,
    pairs: Path,
    encoder: Path,
    text: Path,
    model: dict,
    bank: dict,
    loss: dict,
    machine: Machine = CPU,
    **fit: Any,
) -> None:
    """Write ``model.safetensors`` and ``losses.json`` of one arm and seed.

    ``loss``: alpha, beta, gamma. ``fit``: of :class:`ArmFit`. ``bank``: size, initialisation, scale, linear.
    Optimiser as released: Adam, betas (0.5, 0.999), weight decay 1e-6, gradient norm clipped at 0.25.
    """
    how = ArmFit(**fit)
    seed, device = how.seed, machine.device
    listed = json.loads((pairs / "pairs.json").read_text())
    kept = stream(seed, "share").permutation(len(listed))[: round(how.share * len(listed))]
    listed = [listed[i] for i in np.sort(kept)]
    if how.shuffle:
        # each takes the volumes of the next on a random ring: nobody keeps its own
        ring = stream(seed, "shuffle").permutation(len(listed))
        donor = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
        listed = [{**pair, "rows": listed[donor[i]]["rows"]} for i, pair in enumerate(listed)]
    images = _Images(prepared, tokens, how.crop)
    kmeans = bank.get("initialisation") == "kmeans"
    torch.manual_seed(seed)
    net = build_model(
        encoder=encoder, text=text, model=model, bank={**bank, "initialisation": "orthogonal"} if kmeans else bank
    )
    if kmeans:
        with torch.no_grad():
            net.to(device)
            net.bank.bank.copy_(_kmeans_centres(net, images, listed, size=bank["size"], seed=seed))

    def loss_of_step(module: nn.Module, step: int) -> Tensor:
        draw = stream(seed, "words and volumes", step)
        chosen = [listed[i] for i in epoch_order(count=len(listed), batch=how.batch, seed=seed, step=step)]
        image = images.draw([pair["rows"][draw.integers(len(pair["rows"]))] for pair in chosen], draw)
        parts = [merged_statements(pair["statements"], merge=how.merge, rng=draw) for pair in chosen]
        words = net.text.tokenize_joined(parts)
        v, t, v_hat, t_hat = module(image.to(device), **{name: value.to(device) for name, value in words.items()})
        return brgsa_loss(v, t, v_hat, t_hat, **loss)

    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    losses = train(
        net, loss_of_step, steps=how.steps, clip=0.25, machine=machine,
        optimiser=torch.optim.Adam(trainable, lr=how.learning_rate, betas=(0.5, 0.999), weight_decay=1e-6),
        checkpoint=folder / "checkpoint" / "state.pt",
    )  # fmt: skip
    save_file(
        {name: value.contiguous().cpu() for name, value in net.state_dict().items()}, folder / "model.safetensors"
    )
    (folder / "losses.json").write_text(json.dumps(losses))


def load_arm(arm: Path, *, encoder: Path, text: Path, model: dict, bank: dict) -> BrgSA:
    """A trained arm in eval mode."""
    net = build_model(encoder=encoder, text=text, model=model, bank={**bank, "initialisation": "uniform"})
    net.load_state_dict(load_file(arm / "model.safetensors"))
    return net.eval()


@torch.no_grad()
def embed_volumes(net: BrgSA, array: np.ndarray) -> Tensor:
    """v (N, width) of prepared volumes (N, X, Y, Z) or of stored frozen tokens (N, 1 + T, width), on the CPU."""
    parts, size, device = [], _batch_size(array), net.bank.bank.device
    for start in range(0, len(array), size):
        batch = torch.from_numpy(array[start : start + size].astype(np.float32)).to(device)
        if batch.ndim == 4:
            batch = net.frozen_tokens(batch[:, None]) if net.frozen_blocks else batch[:, None]
        parts.append(net.encode_image(batch).cpu())
    return torch.cat(parts)


@torch.no_grad()
def embed_texts(net: BrgSA, texts: list[str]) -> Tensor:
    """t (N, width), on the CPU."""
    parts, device = [], net.bank.bank.device
    for start in range(0, len(texts), EVALUATION_BATCH):
        words = net.text.tokenize(texts[start : start + EVALUATION_BATCH])
        parts.append(net.encode_text(**{name: value.to(device) for name, value in words.items()}).cpu())
    return torch.cat(parts)


def permute_positions(net: BrgSA, *, seed: int) -> None:
    """Shuffle the rows of the position table over the grid: a null for what positions carry."""
    table = net.image.positions
    flat = table.data.flatten(0, 2)
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))
    table.data = flat[order].view_as(table)


@torch.no_grad()
def embed_arm(
    folder: Path,
    *,
    arm: Path,
    encoder: Path,
    text: Path,
    model: dict,
    bank: dict,
    images: dict[str, Path],
    texts: dict[str, list[str]],
    machine: Machine = CPU,
) -> None:
    """Embeddings of one trained arm, ``embeddings.safetensors``: for each image set and each text set its vectors, their
    reconstructions (``<name>``, ``<name>_hat``, (N, width)) and effective atoms (``<name>_atoms``, (N,)).

    ``images``: name -> prepared volumes or frozen tokens. ``texts``: name -> texts.
    """
    net, out = load_arm(arm, encoder=encoder, text=text, model=model, bank=bank).to(machine.device), {}
    for name, source in images.items():
        stored = source / "tokens.npy" if (source / "tokens.npy").exists() else source / "volumes.npy"
        out[name] = embed_volumes(net, np.load(stored, mmap_mode="r"))
    for name, listed in texts.items():
        out[name] = embed_texts(net, listed)
    net.cpu()
    for name, x in list(out.items()):
        out[f"{name}_hat"], weights = net.bank(x)
        out[f"{name}_atoms"] = 1 / weights.square().sum(dim=1)
    save_file({name: value.contiguous() for name, value in out.items()}, folder / "embeddings.safetensors")
