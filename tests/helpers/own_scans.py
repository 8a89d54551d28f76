"""A folder of volumes and reports as somebody may have it, and a checkpoint of a tiny BrgSA beside it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch

from lib.models.knowledge_bank import KnowledgeBank
from lib.models.text_encoder import TextEncoder, write_tiny_checkpoint
from lib.models.vision_transformer_3d import VisionTransformer3D
from papers.brgsa import checkpoint
from papers.brgsa.model import BrgSA

VIT = {"patch": [4, 4, 2], "base_grid": [2, 2, 2], "width": 16, "depth": 2, "heads": 2}
MODEL = {"width": 12, "last_layers": 2, "vit": VIT}
GRID = {"target_spacing": [8.0, 8.0, 16.0], "shape": [12, 12, 6]}
WORDS = ["the heart is large", "an effusion on the left", "no nodule is seen"]


def write_checkpoint(folder: Path, *, seed: int = 0) -> BrgSA:
    """The model that lies in ``folder`` now."""
    write_tiny_checkpoint(folder / "made", WORDS, width=16, depth=2, heads=2)
    torch.manual_seed(seed)
    text = TextEncoder.from_pretrained(folder / "made", width=12, last_layers=2)
    net = BrgSA(VisionTransformer3D(**VIT), text, KnowledgeBank(20, 12), width=12).eval()
    checkpoint.save(folder, net, model=MODEL, linear=False, grid=GRID)
    return net


def phantom(seed: int, shape=(24, 20, 16)) -> np.ndarray:
    """Stored numbers in HU: air around a body with lungs, another one for each seed."""
    rng = np.random.default_rng(seed)
    hu = np.full(shape, -1000, np.int16)
    hu[4:-4, 4:-4] = rng.integers(-50, 90, (shape[0] - 8, shape[1] - 8, shape[2]))
    hu[6:10, 6 : 8 + seed % 5, 3:-3] = -850
    return hu


def write_nifti(path: Path, stored: np.ndarray, *, affine=None, spacing=(4.0, 5.0, 6.0), unit: str = "mm") -> Path:
    """``stored`` lies along left, posterior, superior unless ``affine`` says otherwise."""
    import nibabel

    if affine is None:
        affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_xyzt_units(unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    return path


def write_scans(folder: Path, count: int = 4) -> list[str]:
    """``count`` volumes, the last one in a folder of its own, with a text file each."""
    names = [f"scan{number}.nii.gz" for number in range(count - 1)] + [f"more/scan{count - 1}.nii.gz"]
    for number, name in enumerate(names):
        path = write_nifti(folder / name, phantom(number))
        path.with_name(path.name.removesuffix(".nii.gz") + ".txt").write_text(
            f"In scan {number} {WORDS[number % 3]}. The lungs are clear.\n"
        )
    return sorted(names)
