"""Released image-text models (LLaVA-1.5, Qwen2-VL, Llama-3.2-Vision) and the project's tiny one, opened by one call.

Both kinds tell how likely each option letter is and write an answer, from pictures and questions; `mini` and `full` differ
by the path that is loaded. Used by the Med-MAT studies.

>>> model = load("runs/cache/pretrain_language/..."); model = load("llava-hf/llava-1.5-7b-hf", device="cuda")
>>> model.letter_scores(images, questions, letters="ABCD")          # (N, 4) log-likelihoods
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lib.models.multimodal_checkpoint import CONFIG, CheckpointError, TinyCheckpoint


class ReleasedCheckpoint:
    """A released image-text model through transformers (LLaVA-1.5, Qwen2-VL, Llama-3.2-Vision): same two questions."""

    def __init__(self, model, processor):
        self.model, self.processor = model.eval(), processor

    def inputs(self, images: Sequence[np.ndarray], questions: Sequence[str], answers: Sequence[str] | None = None):
        """Model inputs of single-image questions in the model's own chat form, padded on the left."""
        from PIL import Image

        asked = []
        for row, question in enumerate(questions):
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
        return made.to(self.model.device)

    @torch.no_grad()
    def letter_scores(self, images: Sequence[np.ndarray], questions: Sequence[str], *, letters: str) -> np.ndarray:
        """Log-likelihood (N, len(letters)) of each letter as the next token."""
        scores = self.model(**self.inputs(images, questions)).logits[:, -1].float().log_softmax(-1)
        encode = self.processor.tokenizer.encode
        return scores[:, [encode(letter, add_special_tokens=False)[-1] for letter in letters]].cpu().numpy()

    @torch.no_grad()
    def generate(self, images: Sequence[np.ndarray], questions: Sequence[str], *, tokens: int = 1) -> list[str]:
        """What the model writes after each question, greedily, at most ``tokens`` tokens."""
        made = self.inputs(images, questions)
        out = self.model.generate(**made, max_new_tokens=tokens, do_sample=False)
        return self.processor.batch_decode(out[:, made["input_ids"].shape[1] :], skip_special_tokens=True)


def load(source: str | Path, *, device: str = "cpu", dtype: str = "float32") -> TinyCheckpoint | ReleasedCheckpoint:
    """A folder of this project, or a folder or hub id of an image-text model of transformers.

    Raises :class:`CheckpointError` naming the source when it is neither.
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
        raise CheckpointError(f"{source} is no image-text checkpoint ({reason}); give a folder or a hub id") from None
    # Frozen: it is scored, or gets adapters; and `matmul` takes another way for weights that want a gradient, so that a
    # model would score otherwise before its first adapters than after them.
    return ReleasedCheckpoint(model.to(device).requires_grad_(False), processor)
