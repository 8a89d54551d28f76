"""Tokens a second of replies in one batch against one prompt at a time, both greedy and with kept keys and values.

table = measure([8, 64], width=64, depth=2, longest=48, prompts=64)      # a line a batch size
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lib.models import causal_lm
from lib.streams import stream
from papers.huatuogpt_o1.generation import generate, one_at_a_time

_WORDS = [f"w{number}" for number in range(200)]


def measure(
    batches: Sequence[int], *, width: int, depth: int, longest: int, prompts: int, seed: int = 0
) -> pd.DataFrame:
    """``batch`` -> tokens a second, alone and together, their ratio, and whether the tokens are the same.

    A random model that never ends, so that both ways say as many tokens: prompts of 8 to 20 words, ``longest`` tokens each.
    """
    rng = stream(seed, "prompts")
    with tempfile.TemporaryDirectory() as folder:
        causal_lm.write_checkpoint(
            Path(folder), texts=[" ".join(_WORDS)], chat_template="plain", architecture="llama", width=width, depth=depth,
            heads=4, seed=seed, initializer_range=0.3,
        )  # fmt: skip
        model, _ = causal_lm.load(folder)
    asked = [[int(t) for t in rng.integers(4, len(_WORDS), size=int(rng.integers(8, 21)))] for _ in range(prompts)]
    told = {"end": -1, "longest": longest}
    one_at_a_time(model, asked[:1], **told)  # kernels warm
    started = time.process_time()
    alone = one_at_a_time(model, asked, **told)
    alone_seconds, said, lines = time.process_time() - started, prompts * longest, {}
    for batch in batches:
        started = time.process_time()
        together = [reply for k in range(0, prompts, batch) for reply in generate(model, asked[k : k + batch], **told)]
        seconds = time.process_time() - started
        lines[batch] = {
            "alone, tokens/s": said / alone_seconds, "together, tokens/s": said / seconds,
            "ratio": alone_seconds / seconds, "same tokens": together == alone,
        }  # fmt: skip
    return pd.DataFrame(lines).T.rename_axis("batch")
