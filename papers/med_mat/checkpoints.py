"""Image-text checkpoints: the project's tiny one and released ones (LLaVA-1.5, Qwen2-VL, Llama-3.2-Vision), opened by one call.

Both kinds answer two questions about pictures: how likely is each option letter, and what does the model write. `mini` and
`full` differ by the path that is loaded.

    model = load("runs/cache/pretrain_language/..."); model = load("llava-hf/llava-1.5-7b-hf", device="cuda")
    model.letter_scores(images, questions, letters="ABCD")   # (N, 4) log-likelihoods
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.data.files import read_json
from lib.models import ModelError
from lib.models.multimodal_lm import GRID, SIDE, MultimodalLM
from lib.streams import stream_seed

CONFIG = "reprise_multimodal.json"
PAD = "<pad>"
_PIECE = re.compile(r"<\d+>|[A-Za-z0-9][\w-]*")


def pieces(text: str) -> list[str]:
    """Words and box steps (``<7>``) of a text, in order."""
    return _PIECE.findall(text)


def padded_length(longest: int) -> int:
    """Prompt length such that with the visual tokens rows are whole vectors: softmax is 15 times as fast at 16 as at 15."""
    total = longest + GRID**2
    return (total if total <= 8 else -(-total // 16) * 16) - GRID**2


class TinyCheckpoint:
    """The project's own model with its words. Words it does not know are passed over, so function words cost nothing."""

    def __init__(self, model: MultimodalLM, words: Sequence[str], settings: dict):
        self.model, self.words, self.settings = model.eval(), list(words), settings
        self.index = {word: number for number, word in enumerate(self.words)}

    # ------------------------------------------------------------------ words
    def encode(self, text: str) -> list[int]:
        return [self.index[piece] for piece in pieces(text) if piece in self.index]

    def prompts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (N, T) and mask (N, T) of texts, padded on the left to the longest."""
        return self.pad([self.encode(text) for text in texts], texts)

    def with_answers(self, texts: Sequence[str], answers: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids and mask of texts followed by all but the last token of their answers, and the answers (N, A).

        The model's logits at the last A positions are then about the answers. All answers must be equally long.
        """
        wanted = [self.encode(answer) for answer in answers]
        if len({len(row) for row in wanted}) != 1 or not wanted[0]:
            raise ModelError(f"answers are of {sorted({len(row) for row in wanted})} tokens; give them one length")
        asked = [self.encode(text) + row[:-1] for text, row in zip(texts, wanted, strict=True)]
        return *self.pad(asked, texts), torch.tensor(wanted)

    def pad(self, rows: Sequence[Sequence[int]], texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        length = padded_length(max(map(len, rows)))
        ids = np.zeros((len(rows), length), np.int64)
        for place, row, text in zip(ids, rows, texts, strict=True):
            if not row:
                raise ModelError(f"the model knows no word of '{text:.80}'; add its words first")
            place[length - len(row) :] = row
        return torch.from_numpy(ids), torch.from_numpy((ids > 0).astype(np.float32))

    def add_words(self, words: Iterable[str], *, seed: int) -> None:
        """Give new words vectors drawn like those of the words known so far (their mean and spread), in place."""
        new = sorted(set(words) - set(self.words))
        known = self.model.words.weight.detach()[1:]
        noise = torch.randn(
            len(new), known.shape[1], generator=torch.Generator().manual_seed(stream_seed(seed, "new words"))
        )
        grown = torch.cat([self.model.words.weight.detach(), known.mean(0) + known.std(0) * noise])
        self.model.words = torch.nn.Embedding.from_pretrained(grown, freeze=False)
        self.__init__(self.model, [*self.words, *new], {**self.settings, "vocabulary": len(grown)})

    # ------------------------------------------------------------------ answers
    @property
    def device(self) -> torch.device:
        return self.model.words.weight.device

    @torch.no_grad()
    def see(self, images: np.ndarray) -> Tensor:
        """Visual features (N, V, C) of grey images (N, 32, 32) uint8."""
        if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
            raise ModelError(f"images are {images.dtype} {images.shape}; give uint8 (N, {SIDE}, {SIDE}), grey")
        parts = torch.from_numpy(images).split(500)
        return torch.cat([self.model.see(part.to(self.device).float() / 255).cpu() for part in parts])

    @torch.no_grad()
    def letter_scores(self, images: np.ndarray, questions: Sequence[str], *, letters: str) -> np.ndarray:
        """Log-likelihood (N, len(letters)) of each letter as the next token."""
        ids, mask = self.prompts(questions)
        if unknown := [letter for letter in letters if letter not in self.index]:
            raise ModelError(f"the model does not know the letter {unknown[0]}; give letters among its words")
        given = (one.to(self.device) for one in (self.see(images), ids, mask))
        scores = self.model(*given)[:, 0].log_softmax(-1)
        return scores[:, [self.index[letter] for letter in letters]].cpu().numpy()

    @torch.no_grad()
    def generate(self, images: np.ndarray, questions: Sequence[str], *, tokens: int = 1) -> list[str]:
        """The ``tokens`` likeliest next words after each question, one by one (greedy)."""
        features, ids, mask = (one.to(self.device) for one in (self.see(images), *self.prompts(questions)))
        for _ in range(tokens):
            best = self.model(features, ids, mask)[:, 0].argmax(-1, keepdim=True)
            ids, mask = torch.cat([ids, best], 1), torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        return [" ".join(self.words[i] for i in row[-tokens:]) for row in ids.tolist()]

    # ------------------------------------------------------------------ files
    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, folder / "model.safetensors")
        (folder / CONFIG).write_text(json.dumps({**self.settings, "words": self.words}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> TinyCheckpoint:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            settings = read_json(folder / CONFIG)
            words = settings.pop("words")
            model = MultimodalLM(**settings)
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelError(f"{folder} is no checkpoint of this model ({reason}); build it again") from None
        return cls(model, words, settings)


# ---------------------------------------------------------------------- released models
class ReleasedCheckpoint:
    """A released image-text model through transformers (LLaVA-1.5, Qwen2-VL, Llama-3.2-Vision): same two questions."""

    def __init__(self, model, processor):
        self.model, self.processor = model.eval(), processor

    def inputs(
        self,
        images: Sequence[np.ndarray],
        questions: Sequence[str],
        answers: Sequence[str] | None = None,
        *,
        tokens: int = 0,
    ):
        """Model inputs of single-image questions in the model's own chat form, padded on the left.

        Raises :class:`ModelError` for no chat form, and naming the question that with its picture (and ``tokens`` more to
        be written) is longer than the model can read.
        """
        from PIL import Image

        if not self.processor.chat_template:
            raise ModelError("the model's processor has no chat template; give an instruction-tuned image-text model")
        asked = []
        for row, question in enumerate(questions):
            if not question.strip() or (answers is not None and not answers[row].strip()):
                raise ModelError(f"question {row} ('{question:.60}') or its answer is blank; take it out")
            turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
            if answers is not None:
                turn.append({"role": "assistant", "content": [{"type": "text", "text": answers[row]}]})
            asked.append(self.processor.apply_chat_template(turn, add_generation_prompt=answers is None))
        pictures = [[Image.fromarray(image).convert("RGB")] for image in images]
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        begun = bool(tokenizer.bos_token) and asked[0].startswith(tokenizer.bos_token)  # by the chat form: not twice
        how = {"padding": True, "return_tensors": "pt", "add_special_tokens": not begun}
        made = self.processor(text=asked, images=pictures, **how)
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        for question, length in zip(questions, made["attention_mask"].sum(1).tolist(), strict=True):
            if room and length + tokens > room:
                raise ModelError(
                    f"'{question:.60}' and its picture have {length} tokens, the reply {tokens}, together more than the "
                    f"{room} positions of the model; ask less, or a model with a longer context"
                )
        return made.to(self.model.device)

    @torch.no_grad()
    def letter_scores(self, images: Sequence[np.ndarray], questions: Sequence[str], *, letters: str) -> np.ndarray:
        """Log-likelihood (N, len(letters)) of each letter as the next token."""
        tokenizer = self.processor.tokenizer
        ids = [(tokenizer.encode(letter, add_special_tokens=False) or [None])[-1] for letter in letters]
        if len(set(ids)) < len(ids) or tokenizer.unk_token_id in ids:
            raise ModelError(
                f"the letters {letters} have the tokens {ids}, which must differ and be known; give others"
            )
        scores = self.model(**self.inputs(images, questions)).logits[:, -1].float().log_softmax(-1)
        return scores[:, ids].cpu().numpy()

    @torch.no_grad()
    def generate(self, images: Sequence[np.ndarray], questions: Sequence[str], *, tokens: int = 1) -> list[str]:
        """What the model writes after each question, greedily, at most ``tokens`` tokens."""
        made = self.inputs(images, questions, tokens=tokens)
        out = self.model.generate(**made, max_new_tokens=tokens, do_sample=False)
        return self.processor.batch_decode(out[:, made["input_ids"].shape[1] :], skip_special_tokens=True)


def load(source: str | Path, *, device: str = "cpu", dtype: str = "float32") -> TinyCheckpoint | ReleasedCheckpoint:
    """A folder of this project, or a folder or hub id of an image-text model of transformers.

    Raises :class:`ModelError` naming the source when it is neither.
    """
    folder = Path(source)
    if (folder / CONFIG).is_file():
        return TinyCheckpoint.read(folder)
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(source)
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=getattr(torch, dtype))
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
        raise ModelError(f"{source} is no image-text checkpoint ({reason}); give a folder or a hub id") from None
    # Frozen: it is scored, or gets adapters; and `matmul` takes another way for weights that want a gradient, so that a
    # model would score otherwise before its first adapters than after them.
    return ReleasedCheckpoint(model.to(device).requires_grad_(False), processor)
