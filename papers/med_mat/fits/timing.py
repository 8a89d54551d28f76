"""What a stacked pass saves: K small multimodal models tuned one after the other, and side by side, on the same rows.

Used by ``notebooks/performance/stacked_training.ipynb`` and by the tests.

    measure_stacked(members=8, steps=20, batch=16).ratio
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lib.models.multimodal_lm import GRID, SIDE, MultimodalLM
from lib.training.loop import epoch_order, warmup_cosine
from papers.med_mat.fits.tuning import WARMUP, Questions, tune

VOCABULARY, WORDS, ROWS = 110, 12, 256  # a prompt of 12 words and 4 visual tokens, as in the Med-MAT miniature


@dataclass(frozen=True)
class StackedTiming:
    """Milliseconds a member and step, alone and stacked, the encoder's share that caching saves, and how far the weights
    of the two ways are apart."""

    members: int
    alone: float
    stacked: float
    encoder: float
    largest_difference: float

    @property
    def ratio(self) -> float:
        return self.alone / self.stacked

    @property
    def ratio_with_cached_features(self) -> float:
        """Against fits that are trained one by one and run the image encoder (forward only) in every step."""
        return (self.alone + self.encoder) / self.stacked


def _model(seed: int) -> MultimodalLM:
    torch.manual_seed(seed)
    return MultimodalLM(encoder="convolution", vocabulary=VOCABULARY).eval()


def _tune_alone(model: MultimodalLM, features, questions: Questions, *, steps: int, batch: int, rate: float, seed: int):
    """The same fit as :func:`papers.med_mat.fits.tuning.tune`, in the ordinary way: written out, so that nothing else is timed."""
    trained = [p for name, p in model.named_parameters() if not name.startswith("encoder")]
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    schedule = warmup_cosine(steps, warmup=max(1, round(WARMUP * steps)))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * schedule(step)
        rows = torch.from_numpy(epoch_order(count=ROWS, batch=batch, seed=seed, step=step))
        logits = model(features[rows], questions.ids[rows], questions.mask[rows])
        optimiser.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), questions.wanted[rows].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()


def measure_stacked(*, members: int, steps: int, batch: int) -> StackedTiming:
    """Tune ``members`` models both ways on generated rows; the process's own time is measured."""
    rate, generator = 1e-3, torch.Generator().manual_seed(0)
    features = torch.randn(ROWS, GRID**2, 256, generator=generator)
    ids = torch.randint(1, VOCABULARY, (ROWS, WORDS), generator=generator)
    wanted = torch.randint(1, 5, (ROWS, 1), generator=generator)
    questions = Questions(ids, torch.ones(ROWS, WORDS), wanted)
    alone, together = ([_model(seed) for seed in range(members)] for _ in range(2))
    started = time.process_time()
    for seed, model in enumerate(alone):
        _tune_alone(model, features, questions, steps=steps, batch=batch, rate=rate, seed=seed)
    seconds = time.process_time() - started
    started, every = time.process_time(), np.arange(ROWS)
    draws = [(every, every)] * members
    told = {"steps": steps, "batch": batch, "learning_rate": rate, "seeds": list(range(members))}
    tune(together, [(features, questions)] * members, draws, **told)
    stacked = time.process_time() - started
    images, started = torch.rand(batch, SIDE, SIDE), time.process_time()
    with torch.no_grad():
        for _ in range(steps):
            alone[0].see(images)
    encoder = (time.process_time() - started) / steps
    pairs = [zip(a.parameters(), b.parameters(), strict=True) for a, b in zip(alone, together, strict=True)]
    apart = max(float((p - q).detach().abs().max()) for pair in pairs for p, q in pair)
    each = 1000 / (members * steps)
    return StackedTiming(members, seconds * each, stacked * each, 1000 * encoder, apart)
