"""Radiographs as CARZero takes them: 8-bit grey, the longer side scaled, padded to a square; a crop of it, normalised.

The square is prepared once, the crop is drawn at each step (at random in training, the centre in testing).

    prepare(folder, files=paths, size=256); batch(np.load(folder / "images.npy")[:4], crop=224, rng=None).shape   # (4, 3, 224, 224)
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.files import DataError, one_line
from lib.machine import CPU, Machine

MEAN, SD = 0.4978, 0.2449  # of the released code


@dataclass(frozen=True)
class Frame:
    """How a picture (width, height) lies in its prepared square of ``size`` pixels: scale, and pixels padded left and top."""

    scale: float
    left: int
    top: int
    size: int


def frame_of(width: int, height: int, *, size: int) -> Frame:
    """The longer side becomes ``size``, the shorter is padded with zeros on both sides, the odd pixel behind."""
    scale = size / max(width, height)
    return Frame(scale, (size - round(width * scale)) // 2, (size - round(height * scale)) // 2, size)


def read_square(path: Path, *, size: int) -> np.ndarray:
    """A picture as a grey square (size, size) uint8. Raises :class:`DataError` for a file that is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            frame = frame_of(*picture.size, size=size)
            wide, high = max(1, round(picture.width * frame.scale)), max(1, round(picture.height * frame.scale))
            grey = np.asarray(picture.convert("L").resize((wide, high), Image.Resampling.BOX))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; put it there or take it off its list.") from None
    except Exception as error:  # a decoder of Pillow fails in any way it likes
        raise DataError(f"{path} is no picture that can be read ({one_line(error)}); fetch it again.") from None
    square = np.zeros((size, size), np.uint8)
    square[frame.top : frame.top + high, frame.left : frame.left + wide] = grey
    return square


def _read_many(paths: list[str], size: int) -> np.ndarray:
    return np.stack([read_square(Path(path), size=size) for path in paths])


def prepare(folder: Path, *, root: Path, files: Sequence[str], size: int, machine: Machine = CPU) -> None:
    """Squares of pictures (paths below ``root``), in their order: ``images.npy`` (N, size, size) uint8."""
    out = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(len(files), size, size))
    parts = [slice(start, start + 256) for start in range(0, len(files), 256)]
    jobs = [[str(Path(root) / file) for file in files[part]] for part in parts]
    if machine.processes == 1:
        for part, job in zip(parts, jobs, strict=True):
            out[part] = _read_many(job, size)
    else:
        with ProcessPoolExecutor(machine.processes) as pool:
            for part, read in zip(parts, pool.map(_read_many, jobs, [size] * len(jobs)), strict=True):
                out[part] = read
    out.flush()


@dataclass(frozen=True)
class Augmentation:
    """What training does to a picture besides the random crop, as released: shares and ranges; zeros do nothing."""

    flip: float = 0.0
    degrees: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    light: float = 0.0  # of brightness and contrast: factors in 1 +- light


def _turned(x: Tensor, how: Augmentation, rng: np.random.Generator) -> Tensor:
    """Affine, one a picture: rotation, shift, scale; outside is black."""
    angle = torch.from_numpy(np.deg2rad(rng.uniform(-how.degrees, how.degrees, len(x))))
    factor = 1 / torch.from_numpy(rng.uniform(1 - how.scale, 1 + how.scale, len(x)))
    shift = torch.from_numpy(rng.uniform(-2 * how.translate, 2 * how.translate, (len(x), 2)))
    cos, sin = angle.cos() * factor, angle.sin() * factor
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(theta.float().to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def batch(
    squares: np.ndarray, *, crop: int, rng: np.random.Generator | None, how: Augmentation | None = None
) -> Tensor:
    """Normalised pictures (N, 3, crop, crop) of squares (N, size, size) uint8; ``rng`` None: the centre, as in testing."""
    room = squares.shape[-1] - crop
    corners = np.full((len(squares), 2), room // 2) if rng is None else rng.integers(0, room + 1, (len(squares), 2))
    cut = np.stack(
        [one[top : top + crop, left : left + crop] for one, (top, left) in zip(squares, corners, strict=True)]
    )
    x = torch.from_numpy(cut)[:, None].float() / 255
    if rng is not None and how is not None:
        x = _augmented(x, how, rng)
    return ((x - MEAN) / SD).expand(-1, 3, -1, -1)


def _augmented(x: Tensor, how: Augmentation, rng: np.random.Generator) -> Tensor:
    if how.flip:
        chosen = torch.from_numpy(rng.random(len(x)) < how.flip)
        x = torch.where(chosen[:, None, None, None], x.flip(-1), x)
    if how.degrees or how.translate or how.scale:
        x = _turned(x, how, rng)
    if how.light:
        low, high = 1 - how.light, 1 + how.light
        bright, contrast = (torch.from_numpy(rng.uniform(low, high, (len(x), 1, 1, 1))).float() for _ in range(2))
        x = (x * bright).clamp(0, 1)
        middle = x.mean(dim=(1, 2, 3), keepdim=True)
        x = ((x - middle) * contrast + middle).clamp(0, 1)
    return x
