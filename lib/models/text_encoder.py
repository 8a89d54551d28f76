"""BERT text encoder with the pooling of BrgSA and CARZero: the last four hidden layers, summed over words.

The checkpoint is a Hugging Face folder or id (CXR-BERT at ``full``); ``write_tiny_checkpoint`` makes a small one of the
same format with a tokenizer trained on the given texts, so every profile loads through the same call.

    encoder = TextEncoder.from_pretrained(folder, width=64); encoder(**encoder.tokenize(["There is emphysema"]))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POSITIONS = 97  # word_num of the release: the pooled mean divides by it, zero rows included
VOCABULARY = 2000  # most pieces of a tiny tokenizer


class TextEncoder(nn.Module):
    """Texts -> (B, width). ``bert`` is any Hugging Face encoder that returns hidden states."""

    def __init__(self, bert: nn.Module, tokenizer, *, width: int, last_layers: int = 4):
        super().__init__()
        self.bert, self.tokenizer, self.last_layers = bert, tokenizer, last_layers
        self._ids: dict[str, list[int]] = {}  # of the parts that were joined so far
        self.embedder = nn.Linear(bert.config.hidden_size, width)

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path, *, width: int, last_layers: int = 4) -> TextEncoder:
        """Load a checkpoint folder or hub id (safetensors only, no remote code)."""
        from transformers import AutoModel, AutoTokenizer

        bert = AutoModel.from_pretrained(checkpoint, use_safetensors=True, add_pooling_layer=False)
        return cls(bert, AutoTokenizer.from_pretrained(checkpoint), width=width, last_layers=last_layers)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Padded ``input_ids`` and ``attention_mask`` (B, L), L at most 97."""
        batch = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=POSITIONS,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    def tokenize_joined(self, parts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """``tokenize`` of texts given as parts, joined by spaces: each part is tokenised the first time it is met.

        The same ids, because BERT's tokenisers cut at spaces before anything else. Padded to a multiple of four: libraries
        keep what they prepare for a length, and fewer lengths are met.
        """
        new = sorted({part for text in parts for part in text} - self._ids.keys())
        if new:
            self._ids |= zip(new, self.tokenizer(new, add_special_tokens=False)["input_ids"], strict=True)
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rows = [[i for part in text for i in self._ids[part]][: POSITIONS - 2] for text in parts]
        length = min(-(-(max(map(len, rows)) + 2) // 4) * 4, POSITIONS)
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row) + 2], mask[place, : len(row) + 2] = torch.tensor([first, *row, last]), 1
        return {"input_ids": ids, "attention_mask": mask}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) -> (B, width).

        The release sums the pieces of a word, fills rows after [SEP] with zeros and takes the mean over all 97 rows; that
        is the sum over real tokens divided by 97, whatever the padding, and is computed as such (sheet 2.1).
        """
        output = self.bert(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        layers = torch.stack(output.hidden_states[-self.last_layers :])  # (4, B, L, hidden)
        summed = (layers * attention_mask[None, :, :, None]).sum(dim=(0, 2))
        return self.embedder(summed / POSITIONS)


def _word_pieces(texts: Sequence[str], normalise: Callable[[str], list[str]], *, size: int) -> dict[str, int]:
    """A WordPiece vocabulary: special tokens, every character (alone and as a continuation), the most frequent words.

    Counted here because the library's trainer breaks ties by the order of a hash table: same texts, other vocabulary.
    """
    counts = Counter(word for text in texts for word in normalise(text))
    characters = sorted({character for word in counts for character in word})
    ranked = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    pieces = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters), *ranked]
    return {piece: index for index, piece in enumerate(pieces[:size])}


def write_tiny_checkpoint(folder: Path, texts: Sequence[str], *, width: int, depth: int, heads: int) -> None:
    """A randomly initialised BERT with a WordPiece tokenizer trained on ``texts``, as a Hugging Face folder."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()

    def words(text: str) -> list[str]:
        return [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]

    pieces = _word_pieces(texts, words, size=VOCABULARY)
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, splitter, decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    state = torch.get_rng_state()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads,
        intermediate_size=2 * width, max_position_embeddings=POSITIONS, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, pad_token_id=0,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)
    torch.set_rng_state(state)
    fast.save_pretrained(folder)
