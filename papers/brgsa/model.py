"""BrgSA: a 3-D image encoder and a text encoder aligned through one cross-modal knowledge bank (CMKB) and its interaction (CMKI).

In use:

    v = model.encode_image(volume); t = model.encode_text(**tokens); model.bank(v)[0]      # v, t, v^
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.models.knowledge_bank import KnowledgeBank
from lib.models.text_encoder import TextEncoder
from lib.models.vision_transformer_3d import VisionTransformer3D

# Score variants of the release (sheet 2.5, 3.8); the shipped score is the mean of v-t and v^-t.
VARIANTS = ("vt", "v^t", "vt^", "v^t^", "mean")


class BrgSA(nn.Module):
    """``encode_image``: volumes -> v (B, width); ``encode_text``: tokens -> t (B, width). Neither is normalised.

    ``frozen_blocks``: the image encoder up to and with that block is not trained, and ``image`` inputs are its output
    tokens (``frozen_tokens``), computed once; 0: everything is trained and inputs are volumes (B, 1, X, Y, Z).
    """

    def __init__(
        self, image: VisionTransformer3D, text: TextEncoder, bank: KnowledgeBank, *, width: int, frozen_blocks: int = 0
    ):
        super().__init__()
        self.image, self.text, self.bank, self.frozen_blocks = image, text, bank, frozen_blocks
        self.global_embedder = nn.Linear(image.norm.normalized_shape[0], width)
        if frozen_blocks:
            image.patch_embed.requires_grad_(False)
            image.cls_token.requires_grad_(False)
            image.blocks[:frozen_blocks].requires_grad_(False)

    def frozen_tokens(self, volume: Tensor) -> Tensor:
        """What the frozen part makes of volumes: (B, 1, X, Y, Z) -> (B, 1 + T, width)."""
        return frozen_tokens(self.image, volume, self.frozen_blocks)

    def encode_image(self, image: Tensor) -> Tensor:
        """Volumes, or frozen tokens when ``frozen_blocks`` is set -> v (B, width)."""
        tokens = image if self.frozen_blocks else self.image.with_class_token(self.image.embed(image))
        return self.global_embedder(self.image.class_feature(tokens, first=self.frozen_blocks))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.text(input_ids, attention_mask)

    def forward(
        self, image: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """v, t, v^, t^, each (B, width)."""
        v, t = self.encode_image(image), self.encode_text(input_ids, attention_mask)
        return v, t, self.bank(v)[0], self.bank(t)[0]


def frozen_tokens(image: VisionTransformer3D, volume: Tensor, blocks: int) -> Tensor:
    """Tokens after the first ``blocks`` blocks: (B, 1, X, Y, Z) -> (B, 1 + T, width)."""
    return image.run_blocks(image.with_class_token(image.embed(volume)), last=blocks)


def score_variants(v: Tensor, v_hat: Tensor, t: Tensor, t_hat: Tensor) -> dict[str, Tensor]:
    """Cosine scores of N images (N, d) against C prompts (C, d): each (N, C) in [-1, 1] (sheet 2.5)."""
    v, v_hat, t, t_hat = (F.normalize(x, dim=-1) for x in (v, v_hat, t, t_hat))
    scores = {"vt": v @ t.T, "v^t": v_hat @ t.T, "vt^": v @ t_hat.T, "v^t^": v_hat @ t_hat.T}
    scores["mean"] = torch.stack([scores["vt"], scores["v^t"]]).mean(dim=0)
    return scores
