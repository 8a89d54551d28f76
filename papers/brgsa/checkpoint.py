"""A trained BrgSA as a folder that can be taken elsewhere: weights, sizes, the grid it looks at, and its words.

    model.safetensors   every weight, by the names of :class:`papers.brgsa.model.BrgSA`
    settings.json       {"model": {"width", "last_layers", "vit"}, "bank": {"size", "linear"}, "grid": {"target_spacing", "shape"}}
    text/               configuration and tokenizer of the text encoder, as Hugging Face saves them (its weights are above)

Used by the command ``embed`` (:mod:`papers.brgsa.embed`); an arm that a run trained is saved as such a folder by

    python -m papers.brgsa.checkpoint runs/checkpoints/full --arm full --profile mini
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, one_line, read_json, write_json
from lib.models import ModelError
from lib.models.checkpoints import load_strictly
from lib.models.knowledge_bank import KnowledgeBank
from lib.models.product import use_products
from lib.models.text_encoder import TextEncoder
from lib.models.vision_transformer_3d import VisionTransformer3D
from lib.workflow.session import start
from papers.brgsa import study as brgsa
from papers.brgsa.model import BrgSA

WEIGHTS, SETTINGS, TEXT = "model.safetensors", "settings.json", "text"
ARMS = {"full": brgsa.FULL, "nce": brgsa.NCE, "nce_mse": brgsa.NCE_MSE, "nce_ncer": brgsa.NCE_NCER}
_VIT = ("patch", "base_grid", "width", "depth", "heads")


def save(folder: Path, net: BrgSA, *, model: Mapping[str, Any], linear: bool, grid: Mapping[str, Any]) -> None:
    """Write ``net`` as such a folder. ``model`` and ``grid``: of the profile's settings; ``linear``: of its bank."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    net.text.bert.config.save_pretrained(folder / TEXT)
    net.text.tokenizer.save_pretrained(folder / TEXT)
    settings = {
        "model": {"width": model["width"], "last_layers": model["last_layers"], "vit": dict(model["vit"])},
        "bank": {"size": len(net.bank.bank), "linear": linear},
        "grid": {"target_spacing": list(grid["target_spacing"]), "shape": list(grid["shape"])},
    }
    write_json(folder / SETTINGS, settings)
    save_file({name: value.contiguous().cpu() for name, value in net.state_dict().items()}, folder / WEIGHTS)


def _whole(value: Any) -> bool:
    return type(value) is int and value > 0


def read_settings(path: Path) -> dict[str, Any]:
    """What ``settings.json`` says; :class:`DataError` names the key that is missing, unknown or of the wrong kind."""
    told = read_json(path)
    check_keys(told, str(path), required=("model", "bank", "grid"))
    for part, keys in {"model": ("width", "last_layers", "vit"), "bank": ("size", "linear")}.items():
        check_keys(told[part], f"{path}, '{part}'", required=keys)
    check_keys(told["grid"], f"{path}, 'grid'", required=("target_spacing", "shape"))
    check_keys(told["model"]["vit"], f"{path}, 'vit'", required=_VIT)
    vit, grid = told["model"]["vit"], told["grid"]
    numbers = {
        "width": told["model"]["width"],
        "last_layers": told["model"]["last_layers"],
        "size": told["bank"]["size"],
    }
    numbers |= {f"vit.{key}": vit[key] for key in ("width", "depth", "heads")}
    for key, value in numbers.items():
        if not _whole(value):
            raise DataError(f"{path}: '{key}' is {value!r}; give a whole number above 0.")
    sides = {"patch": vit["patch"], "base_grid": vit["base_grid"], "shape": grid["shape"]}
    for key, value in sides.items():
        if not (isinstance(value, list) and len(value) == 3 and all(map(_whole, value))):
            raise DataError(f"{path}: '{key}' is {value!r}; give three whole numbers above 0, x, y and z.")
    spacing = grid["target_spacing"]
    if not (isinstance(spacing, list) and len(spacing) == 3 and all(isinstance(one, (int, float)) for one in spacing)):
        raise DataError(f"{path}: 'target_spacing' is {spacing!r}; give three numbers in mm, x, y and z.")
    if not isinstance(told["bank"]["linear"], bool):
        raise DataError(f"{path}: 'linear' is {told['bank']['linear']!r}; give true or false.")
    if any(side % size for side, size in zip(grid["shape"], vit["patch"], strict=True)):
        raise DataError(
            f"{path}: 'shape' {grid['shape']} is not a whole number of patches of {vit['patch']}; mend one."
        )
    return told


def _text_encoder(folder: Path, *, width: int, last_layers: int) -> TextEncoder:
    """The text encoder without weights, from its configuration and tokenizer."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    config = folder / "config.json"
    words = next((path for name in ("tokenizer.json", "vocab.txt") if (path := folder / name).is_file()), None)
    if not config.is_file():
        raise DataError(f"{folder} has no config.json; a checkpoint holds its text encoder's configuration there.")
    if words is None:  # transformers would make one of no words, to which every report is the same
        raise DataError(f"{folder} has no tokenizer.json or vocab.txt; copy the tokenizer of the text encoder there.")
    place = config
    try:
        bert = AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True), add_pooling_layer=False)
        place = words
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, tokenizers and torch have each their own
        raise DataError(f"{place} holds no text encoder ({one_line(error)[:160]}); save it again.") from None
    if len(tokenizer) > bert.config.vocab_size:
        raise DataError(
            f"{folder}: the tokenizer has {len(tokenizer)} pieces and the encoder {bert.config.vocab_size}; "
            "they are not of one model: copy the right ones."
        )
    return TextEncoder(bert, tokenizer, width=width, last_layers=last_layers)


def load(folder: Path) -> tuple[BrgSA, dict[str, Any]]:
    """The model of such a folder in eval mode, with every block computed; and its grid.

    Raises :class:`DataError` or :class:`ModelError`, which name the file, and of weights the first that is missing, unknown or of
    another shape. Weights are read from safetensors alone: other formats can run code.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise DataError(
            f"{folder} has no {WEIGHTS}; give a folder as papers/brgsa/checkpoint.py describes it (that file, "
            f"{SETTINGS}, {TEXT}/)."
        )
    told = read_settings(folder / SETTINGS)
    model, bank = told["model"], told["bank"]
    try:
        image = VisionTransformer3D(**model["vit"])
        rest = KnowledgeBank(bank["size"], model["width"], initialisation="uniform", linear=bank["linear"])
        text = _text_encoder(folder / TEXT, width=model["width"], last_layers=model["last_layers"])
        net = BrgSA(image, text, rest, width=model["width"])
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # sizes that no memory holds
        raise DataError(
            f"{folder / SETTINGS}: no model has these sizes ({one_line(error)[:160]}); mend them."
        ) from None
    if model["vit"]["width"] % model["vit"]["heads"]:
        raise DataError(f"{folder / SETTINGS}: 'vit.width' is not a multiple of 'vit.heads'; mend one.")
    try:
        state = load_file(weights)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{weights} is no safetensors file ({one_line(error)[:160]}); copy or save it again.") from None
    load_strictly(net, state, weights)
    wrong = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        raise ModelError(f"{weights}: the weight '{wrong[0]}' holds a number that is not finite; train it again.")
    use_products(net)
    return net.eval(), told["grid"]


def main(words: Sequence[str] | None = None) -> int:
    """Save an arm of a profile, trained where it is not yet, as such a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m papers.brgsa.checkpoint", description="Save a trained arm of BrgSA as a folder for `embed`."
    )
    parser.add_argument("folder", type=Path, help="where to write it")
    parser.add_argument("--arm", default="full", choices=ARMS, help="which loss it was trained with (default full)")
    parser.add_argument("--profile", default="mini", help="whose data and sizes (default mini)")
    given = parser.parse_args(words)
    from transformers.utils import logging

    logging.disable_progress_bar()  # one for each file that is loaded
    try:
        study = brgsa.prepare(start("brgsa", "fig_modality_gap", profile=given.profile, seeds=1))
        arm = study.train({given.arm: {"loss": ARMS[given.arm]}})[given.arm][0]
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    how = {"model": study.settings["model"], "grid": study.settings["grid"], "linear": arm.options["bank"]["linear"]}
    save(given.folder, study.load(arm), **how)
    print(given.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
