"""What a trained arm says of the test sets: scores of every prompt, maps of where a prompt looks, SimR vectors.

score_arm(folder, arm=arm, pictures={"open_i": path}, prompts={"open_i": {"positive": [...]}}, ...)   # scores.npz
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.machine import CPU, Machine
from lib.models.cross_attention_scoring import Tokens
from papers.carzero.training import Pictures, embed_images, embed_texts, load_arm

IMAGES_AT_A_TIME = 512


def _tokens(net, pictures: Path, *, crop: int, machine: Machine) -> Tokens:
    return embed_images(net, Pictures(pictures, crop=crop), device=machine.device)


@torch.no_grad()
def score_arm(
    folder: Path,
    *,
    arm: Path,
    text: Path,
    model: dict[str, Any],
    alignment: dict[str, Any],
    pictures: dict[str, Path],
    prompts: dict[str, dict[str, list[str]]],
    crop: int,
    machine: Machine = CPU,
) -> None:
    """Write ``scores.npz``: ``<set>/<form>`` (N, K) float32, for each form of prompts of each set.

    Prompts of a set are encoded once, its images once; pairs are scored in blocks (the mean of both directions).
    """
    net, out = load_arm(arm, text=text, model=model, alignment=alignment).to(machine.device), {}
    for name, path in pictures.items():
        images = _tokens(net, path, crop=crop, machine=machine)
        forms = prompts[name]
        asked = embed_texts(net, [one for form in forms.values() for one in form], device=machine.device)
        asked = asked.to(machine.device)
        parts = [
            net.alignment.score(images[start : start + IMAGES_AT_A_TIME].to(machine.device), asked).float().cpu()
            for start in range(0, len(images), IMAGES_AT_A_TIME)
        ]
        found, first = torch.cat(parts).numpy(), 0
        for form, texts in forms.items():
            out[f"{name}/{form}"] = found[:, first : first + len(texts)]
            first += len(texts)
    np.savez(folder / "scores.npz", **out)


@torch.no_grad()
def map_arm(
    folder: Path,
    *,
    arm: Path,
    text: Path,
    model: dict[str, Any],
    alignment: dict[str, Any],
    pictures: Path,
    prompts: list[str],
    crop: int,
    machine: Machine = CPU,
) -> None:
    """Write ``maps.npy`` (N, K, side, side) float32: where each prompt looks in each picture's crop."""
    net = load_arm(arm, text=text, model=model, alignment=alignment).to(machine.device)
    asked = embed_texts(net, prompts, device=machine.device).to(machine.device)
    images, side, parts = _tokens(net, pictures, crop=crop, machine=machine), net.img_encoder.model.side, []
    for start in range(0, len(images), 64):
        found = net.alignment.map(images[start : start + 64].to(machine.device), asked)
        parts.append(found.float().cpu().numpy().reshape(*found.shape[:2], side, side))
    np.save(folder / "maps.npy", np.concatenate(parts))


@torch.no_grad()
def similarity_arm(
    folder: Path,
    *,
    arm: Path,
    text: Path,
    model: dict[str, Any],
    alignment: dict[str, Any],
    pictures: Path,
    prompts: Sequence[str],
    crop: int,
    machine: Machine = CPU,
) -> None:
    """Write ``simr.npy`` (N, K, d) float32: the similarity representation of each prompt asked of each picture."""
    from lib.models.cross_attention import memory_of

    net = load_arm(arm, text=text, model=model, alignment=alignment).to(machine.device)
    asked = embed_texts(net, prompts, device=machine.device).whole.to(machine.device)
    images, parts = _tokens(net, pictures, crop=crop, machine=machine), []
    for start in range(0, len(images), 64):
        one = images[start : start + 64].to(machine.device)
        memory = memory_of(one.whole, one.parts, net.alignment.which)
        parts.append(net.alignment.fusion.similarity(asked, memory).float().cpu().numpy())
    np.save(folder / "simr.npy", np.concatenate(parts))
