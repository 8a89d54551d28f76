"""Zero-shot scoring by cross-attention: blocks against one image at a time, same scores, seconds and memory.

Used by ``notebooks/performance/cross_attention_scoring.ipynb`` and by the tests.

    measure_scoring(images=500, prompts=100, loop_images=2)
"""

from __future__ import annotations

import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.models.cross_attention import CrossAttentionAlignment
from lib.models.cross_attention_scoring import BUDGET, Tokens, score_blocks, score_one_by_one


@dataclass(frozen=True)
class ScoringTiming:
    """``loop_seconds``: of all images, from ``loop_images`` timed ones; ``peak_bytes``: what blocks held besides their inputs."""

    images: int
    prompts: int
    loop_images: int
    seconds: float
    loop_seconds: float
    peak_bytes: int
    largest_difference: float  # of a score, over one plus its size, on the images that the loop scored

    @property
    def ratio(self) -> float:
        return self.loop_seconds / self.seconds

    @property
    def pairs_a_second(self) -> float:
        return self.images * self.prompts / self.seconds


def _resident() -> int:
    """Bytes of memory that this process holds; where the system does not tell, the most that it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _Peak:
    """The most resident memory of this process while it runs, less what there was before; of a GPU its own count."""

    def __init__(self, device: str):
        self.device, self.stop = device, threading.Event()

    def _watch(self) -> None:
        while not self.stop.wait(0.01):
            self.most = max(self.most, _resident())

    def __enter__(self) -> _Peak:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            self.before = self.most = _resident()
            self.thread = threading.Thread(target=self._watch, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        if self.device == "cuda":
            self.most = torch.cuda.max_memory_allocated()
        else:
            self.stop.set()
            self.thread.join()
        self.bytes = max(0, self.most - self.before)


def _seconds(device: str, call):
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    found = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def measure_scoring(
    *,
    images: int,
    prompts: int,
    loop_images: int,
    width: int = 768,
    layers: int = 4,
    image_tokens: int = 196,
    text_tokens: int = 97,
    budget: int = BUDGET,
    device: str = "cpu",
    precision: str = "float32",
) -> ScoringTiming:
    """Score random features of ``images`` and ``prompts`` in blocks; of ``loop_images`` of them also as the release does.

    Both paths are given the features of all texts and images; what is timed is the alignment. ``precision``: float32 or
    bfloat16.
    """
    torch.manual_seed(0)
    where = (device, getattr(torch, precision))
    module = CrossAttentionAlignment(width=width, layers=layers).to(*where).eval()
    seen = Tokens(torch.randn(images, width), torch.randn(images, image_tokens, width)).to(*where)
    said = Tokens(torch.randn(prompts, width), torch.randn(prompts, text_tokens, width)).to(*where)
    score_blocks(module, seen[:2], said[:2], budget=budget)  # what is done once a process stays out of the timing
    with _Peak(device) as peak:
        seconds, fast = _seconds(device, lambda: score_blocks(module, seen, said, budget=budget))
    loop, plain = _seconds(device, lambda: score_one_by_one(module, seen[:loop_images], said))
    apart = ((fast[:loop_images] - plain).abs() / (1 + plain.abs())).max()
    return ScoringTiming(
        images=images, prompts=prompts, loop_images=loop_images, seconds=seconds,
        loop_seconds=loop / loop_images * images, peak_bytes=peak.bytes, largest_difference=float(apart),
    )  # fmt: skip
