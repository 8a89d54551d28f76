"""CARZero and the alignments it is compared with: two encoders, and a way to score every image with every text of a batch.

``simr``: the paper's, cross-attention and a head. ``cosine``: one vector each. ``cosine_mlp``: the same behind an MLP a
modality with as many weights as the fusion module (a control). ``attention_cosine``: the text's vector pools the image's tokens
by its own cosines (RadZero's ablation b). Attributes have the names of the released checkpoint.

    net = build(image={...}, text=folder, alignment={"kind": "simr", "head": "mlp", "memory": "both"}, ...)
    matrices = net(pictures, words)                  # each (B images, B texts)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models import ModelError
from lib.models.cross_attention import CrossAttentionAlignment, memory_of
from lib.models.cross_attention_scoring import Tokens, ask_blocks
from lib.models.product import use_products
from lib.models.vision_transformer_2d import VisionTransformer2D
from lib.models.word_features import WordEncoder

SCALE = 10.0  # of the cosines: their logits need a temperature, those of SimR have none
KINDS = ("simr", "cosine", "cosine_mlp", "attention_cosine")
FOREIGN = ("", "local", "global")


class ImageEncoder(nn.Module):
    """``model``: the vision transformer; its class token is the whole, its patches are the parts.

    ``frozen`` blocks, and what lies before them, are not trained; then inputs may be their output tokens, computed once.
    """

    def __init__(self, model: VisionTransformer2D, *, frozen: int = 0):
        super().__init__()
        self.model, self.frozen = model, frozen
        if frozen:
            model.patch_embed.requires_grad_(False)
            model.cls_token.requires_grad_(False)
            model.blocks[:frozen].requires_grad_(False)

    def frozen_tokens(self, pictures: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 1 + T, width) after the frozen blocks."""
        return self.model.run_blocks(self.model.embed(pictures), last=self.frozen)

    def forward(self, pictures: Tensor) -> Tokens:
        """Pictures (B, 3, S, S), or what :meth:`frozen_tokens` made of them."""
        x = pictures if pictures.ndim == 3 else self.frozen_tokens(pictures)
        tokens = self.model.norm(self.model.run_blocks(x, first=self.frozen))
        return Tokens(tokens[:, 0], tokens[:, 1:])


class SimR(nn.Module):
    """The paper's alignment. ``foreign``: ``local`` or ``global`` tokens of a memory are those of another sample (a control)."""

    def __init__(self, fusion: CrossAttentionAlignment, *, memory: str, foreign: str):
        super().__init__()
        if foreign not in FOREIGN:
            raise ModelError(f"'{foreign}' tokens cannot be foreign; choose local or global.")
        self.fusion, self.which, self.foreign = fusion, memory, foreign

    def _own(self, tokens: Tokens) -> Tokens:
        if not self.foreign:
            return tokens
        if self.foreign == "local":
            return Tokens(tokens.whole, tokens.parts.roll(1, 0))
        return Tokens(tokens.whole.roll(1, 0), tokens.parts)

    def matrices(self, image: Tokens, text: Tokens) -> list[Tensor]:
        seen, said = (self._own(one) for one in (image, text))
        asked_of_images = self.fusion(text.whole, memory_of(seen.whole, seen.parts, self.which))
        asked_of_texts = self.fusion(image.whole, memory_of(said.whole, said.parts, self.which))
        return [asked_of_images, asked_of_texts.T]

    def score(self, image: Tokens, text: Tokens) -> Tensor:
        asked_of_images = ask_blocks(self.fusion, text.whole, self._own(image), memory=self.which)
        asked_of_texts = ask_blocks(self.fusion, image.whole, self._own(text), memory=self.which)
        return (asked_of_images + asked_of_texts.T) / 2

    def map(self, image: Tokens, text: Tokens) -> Tensor:
        """Where each text looks in each image: attention on the patches (N, M, T)."""
        found = self.fusion.attention(text.whole, memory_of(image.whole, image.parts, self.which))
        return found[..., -image.parts.shape[1] :]


class Cosine(nn.Module):
    """One vector each, behind an MLP of its own where ``hidden`` is above 0: ``SCALE`` times their cosine."""

    def __init__(self, width: int, *, hidden: int = 0):
        super().__init__()

        def projection() -> nn.Module:
            return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

        self.image, self.text = (projection() if hidden else nn.Identity() for _ in range(2))

    def matrices(self, image: Tokens, text: Tokens) -> list[Tensor]:
        v, t = self.image(image.whole), self.text(text.whole)
        return [SCALE * F.normalize(v, dim=-1) @ F.normalize(t, dim=-1).T]

    def score(self, image: Tokens, text: Tokens) -> Tensor:
        return self.matrices(image, text)[0]

    def map(self, image: Tokens, text: Tokens) -> Tensor:
        """Cosine of each patch with each text (N, M, T)."""
        v, t = F.normalize(self.image(image.parts), dim=-1), F.normalize(self.text(text.whole), dim=-1)
        return torch.einsum("ntd,md->nmt", v, t)


class AttentionCosine(nn.Module):
    """The text's vector weighs the image's tokens by ``SCALE`` times its cosine with them; cosine with their sum."""

    def matrices(self, image: Tokens, text: Tokens) -> list[Tensor]:
        v, t = F.normalize(torch.cat([image.whole[:, None], image.parts], 1), dim=-1), F.normalize(text.whole, dim=-1)
        cosines = torch.einsum("ntd,md->nmt", v, t)
        weights = (SCALE * cosines).softmax(dim=-1)  # (N, M, 1 + T)
        pooled = torch.einsum("nmt,ntd->nmd", weights, v)
        return [SCALE * (F.normalize(pooled, dim=-1) * t).sum(dim=-1)]

    def score(self, image: Tokens, text: Tokens) -> Tensor:
        return self.matrices(image, text)[0]

    def map(self, image: Tokens, text: Tokens) -> Tensor:
        v, t = F.normalize(image.parts, dim=-1), F.normalize(text.whole, dim=-1)
        return torch.einsum("ntd,md->nmt", v, t)


def _used(fusion: CrossAttentionAlignment) -> int:
    """Weights of a fusion module that a forward pass reads."""
    dead = ("self_attn", "norm1", "logit_scale")
    return sum(p.numel() for name, p in fusion.named_parameters() if not any(word in name for word in dead))


def make_alignment(width: int, fusion: dict[str, Any], told: dict[str, Any]) -> nn.Module:
    """The alignment that ``told`` names: ``kind``, and of ``simr`` its ``head``, ``memory`` and ``foreign``."""
    kind = told["kind"]
    if kind not in KINDS:
        raise ModelError(f"'{kind}' is no alignment; choose one of {', '.join(KINDS)}.")
    if kind == "attention_cosine":
        return AttentionCosine()
    if kind == "cosine":
        return Cosine(width)
    module = CrossAttentionAlignment(width=width, **fusion, head=told.get("head", "mlp"))
    if kind == "cosine_mlp":  # two MLPs of 2 d h weights
        return Cosine(width, hidden=max(1, _used(module) // (4 * width)))
    return SimR(module, memory=told.get("memory", "both"), foreign=told.get("foreign", ""))


class CARZero(nn.Module):
    """Pictures (B, 3, S, S) and tokenised texts -> tokens of both; ``alignment`` turns them into scores."""

    def __init__(self, image: ImageEncoder, text: WordEncoder, alignment: nn.Module):
        super().__init__()
        self.img_encoder, self.text_encoder, self.alignment = image, text, alignment

    def encode_text(self, words: dict[str, Tensor]) -> Tokens:
        return Tokens(*self.text_encoder(**words))

    def forward(self, pictures: Tensor, words: dict[str, Tensor]) -> list[Tensor]:
        """Score matrices (B images, B texts), pairs on the diagonal."""
        return self.alignment.matrices(self.img_encoder(pictures), self.encode_text(words))


def build(
    *,
    image: dict[str, Any],
    text: Path,
    fusion: dict[str, Any],
    alignment: dict[str, Any],
    positions: int,
    last_layers: int,
    frozen_blocks: int = 0,
    start: int = 0,
) -> CARZero:
    """An untrained model; ``text``: a checkpoint folder, ``fusion``: sizes of the fusion module, ``image``: of the ViT.

    ``start``: the seed of the alignment's weights; the encoders' are drawn from torch's generator as it stands.
    """
    words = WordEncoder.from_pretrained(text, positions=positions, last_layers=last_layers)
    vit = VisionTransformer2D(**image)
    if words.model.config.hidden_size != image["width"]:
        raise ModelError(
            f"texts of width {words.model.config.hidden_size} cannot ask images of width {image['width']}; make them equal."
        )
    torch.manual_seed(start)
    net = CARZero(ImageEncoder(vit, frozen=frozen_blocks), words, make_alignment(image["width"], fusion, alignment))
    use_products(net)
    return net
