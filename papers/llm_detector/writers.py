"""The generated world's machines: n-gram models of several orders and small transformers, sampled in different ways.

All are trained on human documents that nothing else reads, and write a sentence of a given number of words behind what
stands already: whole answers, or single sentences of a human's document (polishing).

    writer = NGram(by_domain, words, order=3, sampling=Sampling(temperature=0.7)); writer.write(domains, contexts, lengths, rng)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from papers.llm_detector.world import ASK, END

MARKS = (END, ASK)  # not drawn as words: a sentence ends where it is told to, and answers ask nothing


@dataclass(frozen=True)
class Sampling:
    """How the next word is drawn: ``temperature``; of the ``top_k`` likeliest and those as likely as the last of them (0: of all);
    of the likeliest that together hold ``top_p``."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


# Name -> order of an n-gram model or the number of a transformer, and how it is sampled: nine in all, as in the paper.
WRITERS: dict[str, tuple[str, int, Sampling]] = {
    "bigram": ("ngram", 2, Sampling()),
    "bigram_cool": ("ngram", 2, Sampling(temperature=0.7)),
    "bigram_top20": ("ngram", 2, Sampling(top_k=20)),
    "trigram": ("ngram", 3, Sampling()),
    "trigram_cool": ("ngram", 3, Sampling(temperature=0.7)),
    "transformer": ("transformer", 0, Sampling(temperature=0.9)),
    "bigram_nucleus": ("ngram", 2, Sampling(top_p=0.9)),
    "trigram_nucleus": ("ngram", 3, Sampling(top_p=0.9)),
    "transformer_nucleus": ("transformer", 1, Sampling(top_p=0.9)),
}
LATE = ("bigram_nucleus", "trigram_nucleus", "transformer_nucleus")  # held out of training


class Writer(Protocol):
    def write(
        self,
        domains: Sequence[str],
        contexts: Sequence[Sequence[str]],
        lengths: Sequence[int],
        rng: np.random.Generator,
    ) -> list[list[str]]:
        """A sentence behind each context: ``lengths[k]`` words, the last one a full stop."""


def draw(weights: np.ndarray, how: Sampling, rng: np.random.Generator) -> np.ndarray:
    """A column of each row of ``weights`` (B, V), which are chances up to a factor; (B,).

    >>> draw(np.array([[0.0, 2.0, 1.0]]), Sampling(top_k=1), np.random.default_rng(0)).tolist()
    [1]
    """
    chances = weights / weights.sum(axis=1, keepdims=True)
    if how.temperature != 1.0:
        chances = chances ** (1 / how.temperature)
        chances /= chances.sum(axis=1, keepdims=True)
    if how.top_k:
        least = np.partition(chances, -how.top_k, axis=1)[:, -how.top_k, None]
        chances = np.where(chances >= least, chances, 0.0)
    if how.top_p < 1:
        order = np.argsort(-chances, axis=1, kind="stable")
        ranked = np.take_along_axis(chances, order, axis=1)
        keep = np.cumsum(ranked, axis=1) - ranked < how.top_p
        np.put_along_axis(chances, order, np.where(keep, ranked, 0.0), axis=1)
    sums = np.cumsum(chances, axis=1)
    place = (sums < rng.random(len(sums))[:, None] * sums[:, -1:]).sum(axis=1)
    return np.minimum(place, weights.shape[1] - 1)


class NGram:
    """Interpolated n-gram models, one a domain: words (behind one word, behind two) as often as they stood there.

    The domains' counts stand one below the other, so that all contexts are continued in one go.
    """

    def __init__(
        self, documents: dict[str, Sequence[Sequence[str]]], words: Sequence[str], *, order: int, sampling: Sampling
    ):
        from scipy.sparse import csr_array

        self.words, self.order, self.sampling = list(words), order, sampling
        self.place = {word: k for k, word in enumerate(words)}
        self.domain = {name: k for k, name in enumerate(documents)}
        size, full_stop = len(words), self.place[END]
        self.full_stop, self.size = full_stop, size
        self.marks = [self.place[mark] for mark in MARKS if mark in self.place]
        one, before, behind, domain = [], [], [], []
        for number, listed in enumerate(documents.values()):
            for said in listed:
                line = [full_stop, full_stop, *(self.place[word] for word in said)]
                one += line[2:]
                before += line[1:-1]
                behind += line[:-2]
                domain += [number] * (len(line) - 2)
        one, before, behind, domain = map(np.array, (one, before, behind, domain))
        ones, count = np.ones(len(one)), len(documents)
        self.single = csr_array((ones, (domain, one)), shape=(count, size)).toarray()
        self.single /= self.single.sum(axis=1, keepdims=True)
        self.double = csr_array((ones, (domain * size + before, one)), shape=(count * size, size))
        row = (domain * size + behind) * size + before
        self.triple = csr_array((ones, (row, one)), shape=(count * size * size, size))

    def chances(self, domain: np.ndarray, behind: np.ndarray, before: np.ndarray) -> np.ndarray:
        """(B, V): of the word that follows ``behind`` (B,) and ``before`` (B,), the last but one and the last word."""

        def conditional(counts: np.ndarray, fallback: np.ndarray) -> np.ndarray:
            total = counts.sum(axis=1, keepdims=True)
            return np.where(total > 0, counts / np.maximum(total, 1), fallback)

        found = self.single[domain]
        found = 0.1 * found + 0.9 * conditional(self.double[domain * self.size + before].toarray(), found)
        if self.order > 2:
            rows = (domain * self.size + behind) * self.size + before
            found = 0.4 * found + 0.6 * conditional(self.triple[rows].toarray(), found)
        return found

    def write(
        self,
        domains: Sequence[str],
        contexts: Sequence[Sequence[str]],
        lengths: Sequence[int],
        rng: np.random.Generator,
    ) -> list[list[str]]:
        domain = np.array([self.domain[name] for name in domains])
        last = np.array([self.place[c[-1]] if c else self.full_stop for c in contexts])
        earlier = np.array([self.place[c[-2]] if len(c) > 1 else self.full_stop for c in contexts])
        found: list[list[str]] = [[] for _ in contexts]
        for step in range(max(lengths, default=0)):
            chances = self.chances(domain, earlier, last)
            chances[:, self.marks] = 0
            drawn = draw(chances + 1e-12, self.sampling, rng)
            drawn = np.where(step >= np.array(lengths) - 1, self.full_stop, drawn)
            earlier, last = last, drawn
            for said, word, length in zip(found, drawn, lengths, strict=True):
                if step < length:
                    said.append(self.words[word])
        return found


class Transformer:
    """A causal language model of all domains, told the domain by the question in front."""

    def __init__(self, checkpoint: Path, words: Sequence[str], *, sampling: Sampling, batch: int = 256):
        from lib.models import causal_lm

        self.model, self.tokenizer = causal_lm.load(checkpoint)
        self.words, self.sampling, self.batch = list(words), sampling, batch
        known = self.tokenizer.get_vocab()
        self.ids = np.array([known[word] for word in self.words])
        self.full_stop = self.words.index(END)
        self.marks = [self.words.index(mark) for mark in MARKS]

    def write(
        self,
        domains: Sequence[str],
        contexts: Sequence[Sequence[str]],
        lengths: Sequence[int],
        rng: np.random.Generator,
    ) -> list[list[str]]:
        found: list[list[str]] = []
        for start in range(0, len(contexts), self.batch):
            found += self._write(contexts[start : start + self.batch], lengths[start : start + self.batch], rng)
        return found

    def _write(
        self, contexts: Sequence[Sequence[str]], lengths: Sequence[int], rng: np.random.Generator
    ) -> list[list[str]]:
        import torch

        place = {word: int(id) for word, id in zip(self.words, self.ids, strict=True)}
        longest = max(map(len, contexts))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(c)) + [place[word] for word in c] for c in contexts])
        mask = torch.tensor([[0] * (longest - len(c)) + [1] * len(c) for c in contexts])
        found, cache = [[] for _ in contexts], None
        for step in range(max(lengths)):
            fed = ids if cache is None else ids[:, -1:]
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -fed.shape[1] :]
            with torch.inference_mode():
                out = self.model(
                    input_ids=fed, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
                    logits_to_keep=1,
                )  # fmt: skip
            cache = out.past_key_values
            chances = out.logits[:, -1, self.ids].double().softmax(dim=-1).numpy()
            chances[:, self.marks] = 0
            drawn = draw(chances, self.sampling, rng)
            drawn = np.where(step >= np.array(lengths) - 1, self.full_stop, drawn)
            for said, word, length in zip(found, drawn, lengths, strict=True):
                if step < length:
                    said.append(self.words[word])
            ids = torch.cat([ids, torch.tensor(self.ids[drawn])[:, None]], dim=1)
            mask = torch.cat([mask, torch.ones(len(contexts), 1, dtype=mask.dtype)], dim=1)
        return found
