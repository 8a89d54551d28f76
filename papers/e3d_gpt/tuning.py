"""The multimodal language model in its stages (sheet 2.5): a text-only start, the projector alone, then all that is tuned.

Stage 1 trains the projector, with vision and language model frozen; stage 2 the language model (LoRA, or all of it), the
projector and, where volumes and not stored features are read, the image encoder. Every function fills one cached artefact.

    tune(folder, sets=sets, vision={...}, language=checkpoint, projector="convolution", how={...}, seed=0)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.files import DataError
from lib.machine import CPU, Machine
from lib.models import causal_lm, product_attention
from lib.models.dropout import own_masks
from lib.models.product import use_products
from lib.models.projectors import build_projector, tokens_of
from lib.models.visual_causal_lm import VisualCausalLM, load_weights, save_weights, tokenizer_with_slot
from lib.streams import stream, stream_seed
from lib.training.loop import epoch_order, train, warmup_cosine
from papers.e3d_gpt.encoders import MEANS, build_vision
from papers.e3d_gpt.instructions import Item
from papers.e3d_gpt.prepare import Crops
from papers.e3d_gpt.prompts import Encoder

PROJECTOR, VISION, CLIP = "projector.safetensors", "vision.safetensors", 1.0
PLACES = 1.0  # standard deviation of the places' vectors at the start


@dataclass(frozen=True)
class Texts:
    """Instructions of a folder (``instructions.json``), with the row of each one's volume."""

    reports: list[tuple[int, Item]]
    questions: list[tuple[int, Item]]


def read_texts(folder: Path) -> Texts:
    """What :func:`papers.e3d_gpt.sets.gather` wrote."""
    content = json.loads((Path(folder) / "instructions.json").read_text())
    reports, questions = ([(row, Item(*one)) for row, *one in content[key]] for key in ("reports", "questions"))
    return Texts(reports, questions)


class Views:
    """What the model sees of a row: stored tokens of a frozen encoder, crops of volumes, or nothing (blind)."""

    def __init__(self, *, tokens: Sequence[Path], prepared: Sequence[Path], crop: Sequence[int]):
        self.stored = np.concatenate([np.load(Path(one) / "tokens.npy") for one in tokens]) if tokens else None
        self.crops = Crops(prepared, crop=crop) if prepared and not tokens else None

    def __len__(self) -> int:
        return len(self.crops if self.stored is None else self.stored)

    def draw(self, rows: Sequence[int], rng: np.random.Generator | None = None) -> Tensor | None:
        """Of these rows, (B, T, d) tokens, (B, 1, X, Y, Z) crops or ``None``."""
        if self.stored is not None:
            return torch.from_numpy(self.stored[list(rows)].astype(np.float32))
        return None if self.crops is None else self.crops.draw(rows, rng)


def make_language_model(
    folder: Path, *, texts: Path, architecture: dict[str, Any], how: dict[str, Any], seed: int, machine: Machine = CPU
) -> None:
    """A tiny causal LM whose tokenizer knows the words of ``texts``, trained on them without any volume; a Hugging Face folder.

    ``how``: steps, batch, learning_rate, warmup, longest, attention. It stands for the pretrained language model of the paper.
    """
    read, start = read_texts(texts), folder / "start"
    items = [item for _, item in (*read.reports, *read.questions)]
    said = [text for item in items for text in (item.question, item.answer)]
    causal_lm.write_checkpoint(
        start, texts=said, chat_template="plain", seed=stream_seed(seed, "language") % 2**31, **architecture
    )
    product_attention.register()
    language, tokenizer = causal_lm.load(start, attention=how["attention"])
    net = VisualCausalLM(language, None, slot=tokenizer_with_slot(language, tokenizer))
    _train(
        net,
        _Batches(read, Encoder(tokenizer, slots=0, longest=how["longest"]), None, how, seed, machine),
        folder,
        how,
        machine,
        "text",
    )
    causal_lm.save(folder, language, tokenizer)


class Standardised(nn.Module):
    """A projector between what a tiny model needs: before it tokens of mean 0 and variance 1 over volumes, place by place and
    channel by channel; after it a learned vector for each visual token's place.

    What all volumes share is most of a token of a tiny encoder, and a tiny language model finds a token by its place first.
    """

    def __init__(self, projector: nn.Module, *, count: int, width: int, visual: int, out: int):
        super().__init__()
        self.projector, self.places = projector, nn.Parameter(PLACES * torch.randn(visual, out))
        self.register_buffer("mean", torch.zeros(count, width))
        self.register_buffer("scale", torch.ones(count, width))

    @torch.no_grad()
    def measure(self, tokens: Tensor) -> None:
        """Take mean and scale from the tokens (N, T, d) of training volumes."""
        self.mean.copy_(tokens.mean(dim=0))
        self.scale.copy_(tokens.std(dim=0) + 1e-3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.projector((tokens - self.mean) / self.scale) + self.places


class _Batches:
    """The loss of a step: reports in even steps; in odd ones questions, three times of few words and once with choices, each
    kind in an order of its own."""

    def __init__(
        self,
        texts: Texts,
        encoder: Encoder,
        views: Views | None,
        how: dict[str, Any],
        seed: int,
        machine: Machine,
    ):
        self.encoder, self.views, self.how, self.seed, self.machine = encoder, views, how, seed, machine
        self.pools = {"reports": texts.reports}
        for name, long in (("words", False), ("choices", True)):
            self.pools[name] = [one for one in texts.questions if (one[1].kind == "choice") == long]

    def _chosen(self, step: int) -> list[tuple[int, Item]]:
        name, turn = "reports", step // 2
        if step % 2 == 1:
            name, turn = ("choices", turn // 4) if turn % 4 == 3 else ("words", turn - turn // 4)
        pool = self.pools[name]
        size = min(len(pool), self.how["batch" if name == "reports" else "question_batch"])
        order = epoch_order(count=len(pool), batch=size, seed=stream_seed(self.seed, name), step=turn)
        return [pool[i] for i in order]

    def __call__(self, module: nn.Module, step: int) -> Iterator[Tensor]:
        chosen = self._chosen(step)
        for rows in self.machine.parts(chosen):
            batch = self.encoder.batch([(item.question, item.answer) for _, item in rows])
            seen = self.views and self.views.draw([row for row, _ in rows], stream(self.seed, "crops", step))
            batch = {name: one.to(self.machine.device) for name, one in batch.items()}
            loss = module(None if seen is None else seen.to(self.machine.device), **batch)
            yield loss * (len(rows) / len(chosen))


def _train(net: nn.Module, batches: _Batches, folder: Path, how: dict[str, Any], machine: Machine, stage: str) -> None:
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    losses = train(
        net, batches, steps=how["steps"], clip=CLIP, machine=machine,
        optimiser=torch.optim.AdamW(trained, lr=how["learning_rate"], weight_decay=0.0, fused=True),
        schedule=warmup_cosine(how["steps"], warmup=how["warmup"]), checkpoint=folder / "checkpoint" / f"{stage}.pt",
    )  # fmt: skip
    (folder / f"losses_{stage}.json").write_text(json.dumps(losses))


def _with_lora(language: nn.Module, lora: dict[str, Any]) -> nn.Module:
    """PEFT's adapters: rank, alpha, dropout, and targets, names of layers or ``all-linear``. Embeddings and head stay."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM", r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"],
        target_modules=lora["targets"],
    )  # fmt: skip
    adapted = get_peft_model(language, config)
    own_masks(adapted)
    return adapted


def _build(
    language: nn.Module, tokenizer, *, projector: str | None, vision: dict[str, Any], seed: int, trained: bool
) -> tuple[VisualCausalLM, int]:
    """The model and its number of placeholders. ``vision``: vit, crop, encoder and, of a frozen one, its stored tokens."""
    slot = tokenizer_with_slot(language, tokenizer)
    if projector is None:
        return VisualCausalLM(language, None, slot=slot), 0
    vit = vision["vit"]
    grid = tuple(side // patch for side, patch in zip(vision["crop"], vit["patch"], strict=True))
    hidden = language.get_input_embeddings().embedding_dim
    torch.manual_seed(stream_seed(seed, "projector"))
    layer = build_projector(projector, grid=grid, width=vit["width"], out=hidden, seed=seed)
    visual = tokens_of(projector, grid)
    if vision["standardise"]:
        layer = Standardised(layer, count=grid[0] * grid[1] * grid[2], width=vit["width"], visual=visual, out=hidden)
    use_products(layer)
    eyes = build_vision(vit, seed=seed, encoder=vision["encoder"]) if trained else None
    return VisualCausalLM(language, layer, slot=slot, vision=eyes), visual


def tune(
    folder: Path,
    *,
    texts: Path,
    vision: dict[str, Any],
    language: Path,
    projector: str | None,
    how: dict[str, Any],
    seed: int,
    tokens: Sequence[Path] = (),
    prepared: Sequence[Path] = (),
    machine: Machine = CPU,
) -> None:
    """Both stages. Writes the projector, the encoder where it was tuned, and the language model or its PEFT adapter.

    ``vision``: vit, crop, encoder, ``standardise`` (:class:`Standardised`). ``tokens``: of a frozen encoder; else ``prepared``
    volumes are read. ``projector`` ``None``: blind, with as many steps. ``how``: ``dtype``, ``attention``, ``longest``, ``lora``
    or none; of ``align`` and ``tune`` steps, learning_rate and warmup; ``batch`` reports or ``question_batch`` questions a step.
    """
    read = read_texts(texts)
    views = None if projector is None else Views(tokens=tokens, prepared=prepared, crop=vision["crop"])
    product_attention.register()
    base, tokenizer = causal_lm.load(language, dtype=how["dtype"], device=machine.device, attention=how["attention"])
    net, slots = _build(
        base, tokenizer, projector=projector, vision=vision, seed=seed, trained=bool(prepared) and not tokens
    )
    encoder = Encoder(tokenizer, slots=slots, longest=how["longest"])
    plain = {name: how[name] for name in ("batch", "question_batch")}
    if projector is not None:  # a blind model has nothing to align
        net.language.requires_grad_(False)
        if net.vision is not None:
            net.vision.requires_grad_(False)
        if vision["standardise"]:
            _measure(net, views, machine.device)
        _train(net, _Batches(read, encoder, views, plain, seed, machine), folder, how["align"], machine, "align")
    net.requires_grad_(True)
    if how["lora"]:
        net.language = _with_lora(base.requires_grad_(False), how["lora"])
    second = _Batches(read, encoder, views, plain, stream_seed(seed, "second stage"), machine)
    _train(net, second, folder, how["tune"], machine, "tune")
    _save(folder, net, tokenizer)


@torch.no_grad()
def _measure(net: VisualCausalLM, views: Views, device: str) -> None:
    """The projector's standardisation, from volumes of everywhere in the training sets."""
    net.to(device).eval()
    tokens = []
    rows = np.linspace(0, len(views) - 1, min(MEANS, len(views))).astype(int)
    for some in np.array_split(rows, max(1, len(rows) // 32)):
        seen = views.draw(some).to(device)
        tokens.append(seen if net.vision is None else net.vision(seen)[:, 1:])
    net.projector.measure(torch.cat(tokens))


def _save(folder: Path, net: VisualCausalLM, tokenizer) -> None:
    adapted = hasattr(net.language, "peft_config")
    causal_lm.save(folder / ("adapter" if adapted else "language"), net.language, tokenizer)
    if net.projector is not None:
        save_weights(net.projector, folder / PROJECTOR)
    if net.vision is not None:
        save_weights(net.vision, folder / VISION)


def load_tuned(
    folder: Path, *, language: Path, projector: str | None, vision: dict[str, Any], dtype: str, device: str = "cpu"
) -> tuple[VisualCausalLM, Any, int]:
    """A tuned model in eval mode, its tokenizer and number of placeholders; ``language``: the base under an adapter."""
    own = folder / "language"
    if not own.is_dir() and not (folder / "adapter").is_dir():
        raise DataError(f"{folder} holds neither a language model nor an adapter; tune this arm first.")
    base, tokenizer = causal_lm.load(own if own.is_dir() else language, dtype=dtype, device=device)
    trained = (folder / VISION).is_file()
    net, slots = _build(
        base, tokenizer, projector=projector, vision={**vision, "encoder": None}, seed=0, trained=trained
    )
    if not own.is_dir():
        net.language = causal_lm.with_adapter(base, folder / "adapter", trainable=False)
    if net.projector is not None:
        load_weights(net.projector, folder / PROJECTOR)
    if trained:
        load_weights(net.vision, folder / VISION)
    return net.to(device).eval(), tokenizer, slots
