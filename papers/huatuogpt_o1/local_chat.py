"""A checkpoint on this machine in the place of an endpoint: the search, the filters and the judge ask it in the same way.

chat = LocalChat(folder, longest=512); chat.ask("Why?", sample=1)
"""

from __future__ import annotations

import threading
from pathlib import Path

from lib.models import ModelError, causal_lm
from lib.streams import stream_seed
from papers.huatuogpt_o1.generation import generate


class LocalChat:
    """``checkpoint``: a folder or hub id of a causal LM with a chat template. One question at a time, whoever asks.

    ``temperature`` 0: greedy, so that every sample is the same. Raises :class:`~lib.models.ModelError` for anything else.
    """

    def __init__(
        self, checkpoint: Path | str, *, longest: int = 1024, temperature: float = 0.7, device: str = "cpu", dtype: str = "float32",
        revision: str | None = None,
    ):  # fmt: skip
        self.model, self.tokenizer = causal_lm.load(checkpoint, device=device, dtype=dtype, revision=revision)
        if not self.tokenizer.chat_template:
            raise ModelError(f"{checkpoint} has no chat template; give a chat model.")
        self.longest, self.temperature, self._lock = longest, temperature, threading.Lock()
        self.name = f"{checkpoint}, revision {revision}, temperature {temperature}, {longest} tokens"

    def ask(self, prompt: str, *, sample: int = 0) -> str:
        """The reply; the same prompt and ``sample``, the same words. Raises ``ModelError`` when the model cannot hold both."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        room = self.model.config.get_text_config().max_position_embeddings
        if len(ids) + self.longest > room:
            raise ModelError(
                f"a prompt of {len(ids)} tokens and {self.longest} for the reply exceed the {room} positions of the model; "
                "lower longest, or use a model with a longer context."
            )
        end = causal_lm.end_of_turn(self.tokenizer)
        with self._lock:
            said = generate(
                self.model, [ids], end=end, longest=self.longest, temperature=self.temperature,
                seed=stream_seed(sample, "reply", prompt),
            )[0]  # fmt: skip
        return self.tokenizer.decode([token for token in said if token != end], skip_special_tokens=True).strip()
