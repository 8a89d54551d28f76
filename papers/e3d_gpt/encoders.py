"""The image encoder and what reads it: pretrained by masks, by contrast, or not; fine-tuned on labels, or frozen and probed.

Each function fills one cached artefact.

    pretrain_masked(folder, prepared=[...], vit={...}, crop=(24, 24, 12), how={...}, seed=0)
    fine_tune(folder, prepared=[...], labels=labels, test=[...], vit={...}, crop=..., encoder=pretrained, how={...}, seed=0)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.machine import CPU, Machine
from lib.models import product_attention
from lib.models.product import use_products
from lib.models.text_encoder import TextEncoder
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.models.visual_causal_lm import load_weights, save_weights
from lib.models.volume_autoencoder import VolumeAutoencoder, with_unit_positions
from lib.streams import stream, stream_seed
from lib.training.loop import epoch_order, train, warmup_cosine
from papers.e3d_gpt.prepare import Crops

WEIGHTS, DECAY, CLIP = "vision.safetensors", 0.05, 1.0  # decay as He et al. 2022
AT_A_TIME = 128
MEANS = 256  # volumes from which an encoder's start is taken


@torch.no_grad()
def centre_tokens(net: VisionTransformer3D, volumes: Tensor, *, spread: float) -> None:
    """Take the mean volume out of the patch tokens, and scale what is left to the standard deviation ``spread``.

    Constants of chest radiographs leave CT far from zero (air is -6): an encoder from scratch else begins with nearly the same
    tokens for every volume, and learns nothing in the steps of a miniature.
    """
    tokens = net.embed(volumes)  # (N, T, d)
    net.patch_embed.weight.mul_(spread / (tokens - tokens.mean(dim=0)).std())
    net.patch_embed.bias.zero_()
    grid, before = net.grid_of(volumes), net.positions.clone()
    if tuple(before.shape[:3]) == grid:  # tokens less their mean leave the places' own vectors
        net.positions.sub_((net.embed(volumes).mean(dim=0) - before.flatten(0, 2)).view_as(before))


def build_vision(
    vit: dict[str, Any], *, seed: int, encoder: Path | None = None, volumes: Tensor | None = None
) -> VisionTransformer3D:
    """The encoder: of ``encoder``'s weights, or initialised by ``seed`` and ``volumes``. Its position table is trained.

    ``vit``: of :class:`VisionTransformer3D`, with ``positions`` (``unit``: coordinates 0 to 1 an axis, as the code line has
    them; ``index``: 0 to n - 1) and ``spread`` (:func:`centre_tokens`).
    """
    told = dict(vit)
    spread, positions = told.pop("spread"), told.pop("positions")
    torch.manual_seed(stream_seed(seed, "image encoder"))
    net = VisionTransformer3D(**told)
    net = with_unit_positions(net) if positions == "unit" else net
    net.positions.requires_grad_(True)
    if encoder is not None:
        load_weights(net, Path(encoder) / WEIGHTS)
    elif volumes is not None:
        centre_tokens(net, volumes, spread=spread)
    use_products(net)
    return net


def _some(crops: Crops) -> Tensor:
    """Centres of volumes from everywhere in the set."""
    return crops.draw(np.linspace(0, len(crops) - 1, min(MEANS, len(crops))).astype(int))


def _optimiser(net: nn.Module, rate: float, decay: float = DECAY) -> torch.optim.Optimizer:
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, weight_decay=decay, betas=(0.9, 0.95), fused=True)


def _run(net: nn.Module, loss: Any, folder: Path, how: dict[str, Any], machine: Machine) -> None:
    losses = train(
        net, loss, steps=how["steps"], clip=CLIP, machine=machine, optimiser=_optimiser(net, how["learning_rate"]),
        schedule=warmup_cosine(how["steps"], warmup=how["warmup"]), checkpoint=folder / "checkpoint" / "state.pt",
    )  # fmt: skip
    (folder / "losses.json").write_text(json.dumps(losses))


def initialise(folder: Path, *, prepared: Sequence[Path], vit: dict[str, Any], crop: Sequence[int], seed: int) -> None:
    """Write an encoder that was not trained: where training from scratch starts."""
    save_weights(build_vision(vit, seed=seed, volumes=_some(Crops(prepared, crop=crop))), folder / WEIGHTS)


def shuffle_voxels(volumes: Tensor, rng: np.random.Generator) -> Tensor:
    """The voxels of each volume in another order, one order a batch: the same intensities, no anatomy."""
    order = torch.from_numpy(rng.permutation(volumes[0].numel()))
    return volumes.flatten(1)[:, order].view_as(volumes)


def _autoencoder(
    vision: VisionTransformer3D, vit: dict[str, Any], how: dict[str, Any], **more: bool
) -> VolumeAutoencoder:
    told = {"decoder": how["decoder"], "ratio": how["ratio"], "unit": vit["positions"] == "unit"}
    return VolumeAutoencoder(vision, **told, **more)


def pretrain_masked(
    folder: Path,
    *,
    prepared: Sequence[Path],
    vit: dict[str, Any],
    crop: Sequence[int],
    how: dict[str, Any],
    seed: int,
    shuffled: bool = False,
    norm_pix_loss: bool = False,
    machine: Machine = CPU,
) -> None:
    """Write the encoder, the whole autoencoder and ``losses.json``. ``how``: decoder, ratio, steps, batch, learning_rate, warmup.

    ``shuffled``: every volume's voxels in random order (a control). ``norm_pix_loss``: of the autoencoder.
    """
    crops = Crops(prepared, crop=crop)
    start = _some(crops)
    vision = build_vision(vit, seed=seed, volumes=shuffle_voxels(start, stream(seed, "start")) if shuffled else start)
    net = _autoencoder(vision, vit, how, norm_pix_loss=norm_pix_loss)
    use_products(net)

    def parts(module: nn.Module, step: int):
        rng = stream(seed, "crops", step)
        masks = torch.Generator().manual_seed(stream_seed(seed, "masks", step))
        rows = epoch_order(count=len(crops), batch=how["batch"], seed=seed, step=step)
        for some in machine.parts(rows):
            volumes = crops.draw(some, rng)
            seen = shuffle_voxels(volumes, rng) if shuffled else volumes
            yield module(seen.to(machine.device), generator=masks) * (len(some) / len(rows))

    _run(net, parts, folder, how, machine)
    save_weights(net.vit, folder / WEIGHTS)
    save_weights(net, folder / "autoencoder.safetensors")


def load_autoencoder(folder: Path, *, vit: dict[str, Any], how: dict[str, Any]) -> VolumeAutoencoder:
    """The autoencoder that :func:`pretrain_masked` wrote, in eval mode."""
    net = _autoencoder(build_vision(vit, seed=0), vit, how)
    use_products(net)
    return load_weights(net, folder / "autoencoder.safetensors").eval()


class _Pairs(nn.Module):
    """Contrast of images and reports (M3D-CLIP): class token and pooled BERT, one linear map each, a learned temperature."""

    def __init__(self, vision: VisionTransformer3D, text: TextEncoder, width: int):
        super().__init__()
        self.vision, self.text = vision, text
        self.image = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, volumes: Tensor, words: dict[str, Tensor]) -> Tensor:
        images = F.normalize(self.image(self.vision(volumes)[:, 0]), dim=-1)
        logits = images @ F.normalize(self.text(**words), dim=-1).T * self.scale.exp().clamp(max=100)
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def pretrain_contrastive(
    folder: Path,
    *,
    prepared: Sequence[Path],
    reports: Path,
    text: Path,
    vit: dict[str, Any],
    crop: Sequence[int],
    how: dict[str, Any],
    seed: int,
    machine: Machine = CPU,
) -> None:
    """Write the encoder and ``losses.json``. ``reports``: texts by row of the prepared volumes; ``text``: a BERT checkpoint,
    with the ``attention`` of ``how``.

    A batch goes through whole: its rows are each other's negatives.
    """
    crops, said = Crops(prepared, crop=crop), json.loads((Path(reports) / "reports.json").read_text())
    width = vit["width"]
    torch.manual_seed(stream_seed(seed, "text encoder"))
    encoder = TextEncoder.from_pretrained(text, width=width)
    product_attention.register()
    encoder.bert.set_attn_implementation(how["attention"])
    net = _Pairs(build_vision(vit, seed=seed, volumes=_some(crops)), encoder, width)
    use_products(net)

    def loss_of_step(module: nn.Module, step: int) -> Tensor:
        rows = epoch_order(count=len(said), batch=how["batch"], seed=seed, step=step)
        words = encoder.tokenize([said[row] for row in rows])
        words = {name: value.to(machine.device) for name, value in words.items()}
        return module(crops.draw(rows, stream(seed, "crops", step)).to(machine.device), words)

    _run(net, loss_of_step, folder, how, machine)
    save_weights(net.vision, folder / WEIGHTS)


class _Classifier(nn.Module):
    """Log-odds (B, C) of the findings from the patch tokens' means in each eighth, brought to variance 1 over the batch.

    Batch normalisation without weights before the head, as He et al. 2022 probe: what volumes share is most of a token.
    """

    def __init__(self, vision: VisionTransformer3D, width: int, classes: int):
        super().__init__()
        self.vision = vision
        self.standardise, self.head = nn.BatchNorm1d(8 * width, affine=False), nn.Linear(8 * width, classes)

    def forward(self, volumes: Tensor) -> Tensor:
        found = _eighths(self.vision(volumes)[:, 1:], self.vision.grid_of(volumes))
        return self.head(self.standardise(found))


def fine_tune(
    folder: Path,
    *,
    prepared: Sequence[Path],
    labels: Path,
    test: Sequence[Path],
    vit: dict[str, Any],
    crop: Sequence[int],
    how: dict[str, Any],
    seed: int,
    encoder: Path,
    machine: Machine = CPU,
) -> None:
    """Encoder and head on labelled volumes; ``scores.npy`` (N, C) of the test volumes. ``encoder``: where it starts."""
    crops, wanted = Crops(prepared, crop=crop), torch.from_numpy(np.load(Path(labels) / "labels.npy")).float()
    net = _Classifier(build_vision(vit, seed=seed, encoder=encoder), vit["width"], wanted.shape[1])
    use_products(net)

    def parts(module: nn.Module, step: int):
        rows = epoch_order(count=len(wanted), batch=how["batch"], seed=seed, step=step)
        for some in machine.parts(rows):
            found = module(crops.draw(some, stream(seed, "crops", step)).to(machine.device))
            loss = F.binary_cross_entropy_with_logits(found, wanted[some].to(machine.device))
            yield loss * (len(some) / len(rows))

    _run(net, parts, folder, how, machine)
    asked = Crops(test, crop=crop)
    with torch.no_grad():
        found = [net(asked.draw(rows).to(machine.device)).cpu() for rows in _blocks(len(asked))]
    np.save(folder / "scores.npy", torch.cat(found).numpy())


def _blocks(count: int) -> list[range]:
    return [range(start, min(start + AT_A_TIME, count)) for start in range(0, count, AT_A_TIME)]


@torch.no_grad()
def encode(
    folder: Path,
    *,
    prepared: Sequence[Path],
    vit: dict[str, Any],
    crop: Sequence[int],
    encoder: Path,
    layers: bool = False,
    machine: Machine = CPU,
) -> None:
    """What a frozen encoder makes of every volume's centre: ``tokens.npy`` (N, T, width) float16 of the last layer, normed.

    With ``layers`` instead ``layers.npy`` (N, depth, 8 width): the mean of the patch tokens of each eighth after each block,
    for probes.
    """
    crops = Crops(prepared, crop=crop)
    net = build_vision(vit, seed=0, encoder=encoder).to(machine.device).eval()
    found = []
    for rows in _blocks(len(crops)):
        volumes = crops.draw(rows).to(machine.device)
        x, kept, grid = net.with_class_token(net.embed(volumes)), [], net.grid_of(volumes)
        for number in range(len(net.blocks)):
            x = net.run_blocks(x, first=number, last=number + 1)
            if layers:
                kept.append(_eighths(x[:, 1:], grid))
        found.append((torch.stack(kept, dim=1) if layers else net.norm(x)[:, 1:]).half().cpu())
    np.save(folder / ("layers.npy" if layers else "tokens.npy"), torch.cat(found).numpy())


def _eighths(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, gx gy gz, d) -> (B, 8 d): means over the eight octants."""
    cells = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
    return F.adaptive_avg_pool3d(cells, 2).flatten(1)
