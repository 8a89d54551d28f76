"""The released checkpoints of CARZero: Lightning pickles, read without running anything that stands in them.

A Lightning file holds configuration objects beside its weights. They are read by torch's restricted unpickler, with empty
stand-ins for the classes of ``STAND_INS`` (nothing of those packages is imported or called); any other class is refused by name.

    state = read_lightning(path); fusion = fusion_of(state, path)          # the alignment module, strict
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lib.models import ModelError
from lib.models.checkpoints import load_strictly
from lib.models.cross_attention import CrossAttentionAlignment
from papers.carzero.model import CARZero

STAND_INS = ("omegaconf.", "pytorch_lightning.", "typing.")
PREFIX, FUSION = "CARZero.", "fusion_module."
IMAGE = ("CARZero.img_encoder.model.", "vision_encoder.")  # of the released model, and of the M3AE it began with


def _stand_in(name: str) -> tuple[type, str]:
    """An empty class under another's name: takes whatever the pickle gives it and does nothing with it."""

    def take(self, *state: object) -> None:
        return None

    made = type(name.rpartition(".")[2], (), {"__init__": take, "__setstate__": take})
    return made, name


def read_lightning(path: Path) -> dict[str, Tensor]:
    """The weights of a Lightning checkpoint, by the names in its ``state_dict``.

    Raises :class:`ModelError` for a file that is no checkpoint, holds objects of unknown classes, or has no weights.
    """
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    path = Path(path)
    try:
        needed = get_unsafe_globals_in_checkpoint(path)
        refused = [name for name in needed if not name.startswith(STAND_INS)]
        if refused:
            raise ModelError(
                f"{path} holds objects of {refused[0]}, which are not loaded: they could run code; "
                "save its state_dict alone, from where the file comes from."
            )
        with safe_globals([_stand_in(name) for name in needed]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; download the checkpoint first.") from None
    except ModelError:
        raise
    except Exception as error:  # pickles break in any way they like
        raise ModelError(
            f"{path} is no checkpoint that can be read ({type(error).__name__}); download it again."
        ) from None
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} has no 'state_dict' of weights; is it a Lightning checkpoint?")
    return dict(state)


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def fusion_of(state: dict[str, Tensor], path: Path, **sizes: int) -> CrossAttentionAlignment:
    """The released alignment module in eval mode; the head is the one whose weights there are. ``sizes``: where not released."""
    mine = _part(state, PREFIX + FUSION)
    head = "mlp" if any(name.startswith("mlp_head.3.") for name in mine) else "linear"
    module = CrossAttentionAlignment(head=head, **sizes)
    load_strictly(module, mine, f"{path}, fusion_module")
    return module.eval()


def load_released(net: CARZero, path: Path) -> CARZero:
    """Every weight of the released model into a model of its sizes; what BERT keeps besides its weights is left out."""
    state = read_lightning(path)
    load_strictly(net.alignment.fusion, _part(state, PREFIX + FUSION), f"{path}, fusion_module")
    load_strictly(net.img_encoder.model, _part(state, IMAGE[0]), f"{path}, img_encoder")
    text = _part(state, PREFIX + "text_encoder.model.")
    text = {
        name: value for name, value in text.items() if not name.startswith("pooler.") and "position_ids" not in name
    }
    load_strictly(net.text_encoder.model, text, f"{path}, text_encoder")
    return net.eval()


def convert_image_encoder(folder: Path, *, checkpoint: Path) -> None:
    """``image.safetensors`` of the image encoder in a released checkpoint, or in the M3AE file that training starts from."""
    state = read_lightning(checkpoint)
    for prefix in IMAGE:
        if mine := _part(state, prefix):
            save_file(
                {name: value.float().contiguous().clone() for name, value in mine.items()}, folder / "image.safetensors"
            )
            return
    raise ModelError(f"{checkpoint} has no weights under {' or '.join(IMAGE)}; it is another model's.")
