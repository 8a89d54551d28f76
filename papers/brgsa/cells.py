"""A real chest CT as cells: prepared as its encoder wants it, encoded, and the names of its structures as vectors.

Apart from what is computed of them (:mod:`papers.brgsa.grounding`), so that another measure encodes nothing again.

    run.build(prepare_ct, ct=ct, mask=mask); run.build(encode_cells, prepared=folder, shards=shards, stage=3, seed=0)
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.data.files import DataError
from lib.evaluation import unit
from lib.machine import CPU, Machine

SHAPE = (224, 224, 160)  # Astra: the foreground, resized
WINDOW = (-1000.0, 200.0)


def prepare_ct(folder: Path, *, ct: Path, mask: Path) -> None:
    """Write ``volume.npy`` (224, 224, 160), values in [0, 1], and ``structures.npy``, the mask's numbers on the same grid.

    As Astra prepares a chest CT: axes right, anterior, superior; cut to what is denser than -1,000 HU; resized, means for
    the CT and nearest for the mask; -1,000 to 200 HU become 0 to 1.
    """
    from monai import transforms

    both = ("ct", "mask")
    steps = [
        transforms.LoadImaged(both, ensure_channel_first=True),
        transforms.Orientationd(both, axcodes="RAS", labels=None),
        transforms.CropForegroundd(both, source_key="ct", select_fn=lambda hu: hu > WINDOW[0], allow_smaller=True),
        transforms.Resized(both, spatial_size=SHAPE, mode=("area", "nearest")),
        transforms.ScaleIntensityRanged("ct", *WINDOW, 0.0, 1.0, clip=True),
    ]
    try:
        found = transforms.Compose(steps)({"ct": str(ct), "mask": str(mask)})
    except RuntimeError as error:  # MONAI names the transform; the cause is what went wrong
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise DataError(
            f"{ct} and {mask} cannot be prepared ({reason}); give a CT and its mask on one grid."
        ) from error
    np.save(folder / "volume.npy", np.asarray(found["ct"][0], dtype=np.float32))
    np.save(folder / "structures.npy", np.asarray(found["mask"][0]).round().astype(np.int16))


def encode_cells(
    folder: Path, *, prepared: Path, shards: Sequence[Path] | None, stage: int, seed: int, machine: Machine = CPU
) -> None:
    """Write ``cells.npy`` (X', Y', Z', C): the map of one stage (1 to 4) of the tower over the prepared CT.

    ``shards``: of the released weights; ``None``: random weights drawn by ``seed``, normalised by the CT's own statistics,
    as untrained running statistics would let nothing through.
    """
    import torch

    from lib.models.inflated_resnet import InflatedResNet, load_shards

    if shards is None:
        torch.manual_seed(seed)
        tower = InflatedResNet().train()
    else:
        tower = load_shards(shards)
    volume = torch.from_numpy(np.load(prepared / "volume.npy"))[None, None]
    with torch.inference_mode():
        cells = tower.to(machine.device).stages(volume.to(machine.device))[stage - 1][0]
    np.save(folder / "cells.npy", cells.permute(1, 2, 3, 0).cpu().numpy())


def embed_names(folder: Path, *, archive: Path, names: Sequence[str], machine: Machine = CPU) -> None:
    """Write ``names.npy`` (names, 384): mean-pooled sentence embeddings, of unit length, by the encoder in ``archive``."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with zipfile.ZipFile(archive) as content:
        wanted = (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
        )
        for name in wanted:
            content.extract(name, folder / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(folder / "encoder", local_files_only=True)
    model = AutoModel.from_pretrained(folder / "encoder", local_files_only=True, use_safetensors=True).eval()
    model.to(machine.device)
    batch = tokenizer(list(names), padding=True, return_tensors="pt").to(machine.device)
    with torch.inference_mode():
        states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
    np.save(folder / "names.npy", unit(pooled.cpu().numpy()))
