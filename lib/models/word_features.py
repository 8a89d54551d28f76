"""Word and sentence features of a BERT, as GLoRIA's descendants take them (CARZero): summed layers, summed pieces, zero rows.

encoder = WordEncoder.from_pretrained(folder, positions=97); sentence, words = encoder(**encoder.tokenize(["There is edema"]))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.models import ModelError


class WordEncoder(nn.Module):
    """Texts -> sentence features (B, d) and word features (B, ``positions``, d). ``model``: a BERT with hidden states.

    The last ``last_layers`` hidden states are summed, then the pieces of each word; rows behind [SEP] are zeros, and the
    sentence is the mean of all ``positions`` rows, zeros included, as released.
    """

    def __init__(self, model: nn.Module, tokenizer, *, positions: int, last_layers: int = 4):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.positions, self.last_layers = positions, last_layers

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path, *, positions: int, last_layers: int = 4) -> WordEncoder:
        """Load a checkpoint folder (safetensors only, no remote code)."""
        from transformers import AutoModel, AutoTokenizer

        bert = AutoModel.from_pretrained(checkpoint, use_safetensors=True, add_pooling_layer=False)
        return cls(bert, AutoTokenizer.from_pretrained(checkpoint), positions=positions, last_layers=last_layers)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask`` and ``word`` (B, L): the row of each piece's word, L at most ``positions``.

        Raises :class:`ModelError` naming a text of zero words.
        """
        for text in texts:
            if not text.strip():
                raise ModelError("a text of zero words has no feature; leave its row out.")
        made = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.positions, return_tensors="pt",
            return_token_type_ids=False,
        )  # fmt: skip
        ids, mask = made["input_ids"], made["attention_mask"]
        length = min(
            -(-ids.shape[1] // 4) * 4, self.positions
        )  # of few lengths: libraries keep what they prepare for each
        if length > ids.shape[1]:
            more = (0, length - ids.shape[1])
            ids, mask = nn.functional.pad(ids, more, value=self.tokenizer.pad_token_id), nn.functional.pad(mask, more)
        pieces = [self.tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
        starts = torch.tensor([[not piece.startswith("##") for piece in row] for row in pieces])
        return {"input_ids": ids, "attention_mask": mask, "word": starts.long().cumsum(dim=1) - 1}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, word: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        summed = torch.stack(output.hidden_states[-self.last_layers :]).sum(dim=0)  # (B, L, d)
        summed = summed * attention_mask[..., None]
        words = summed.new_zeros(len(summed), self.positions, summed.shape[-1])
        words = words.scatter_add(1, word[..., None].expand_as(summed), summed)
        return words.mean(dim=1), words
