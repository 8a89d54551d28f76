"""The generated world's human: a source of text a domain, with topics, a style of its own, words used again, and typos.

A document is what a person writes on a question: topics of a few words (Zipf), small words that follow the domain's habit, and
burstiness: a word that was used is used again more often than chance (Church and Gale 1995). Language models of low order
miss that and even out the rare words, which is what there is to detect. Every sentence has a length drawn before its words,
so that a machine can be given the same.

    human = Human(Size(), language="A", seed=0); document = human.document("domain 0", rng)
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, product

import numpy as np

from lib.streams import stream

LANGUAGES = {"A": ("bdklmnrst", "aeiou"), "B": ("fghjpvwz", "aeiou")}  # consonants and vowels: no word in common
END, ASK = ".", "?"


@dataclass(frozen=True)
class Size:
    """Words of a language: ``function`` small words, ``shared`` content words of several domains, ``own`` of one domain."""

    domains: int = 8
    function: int = 24
    shared: int = 48
    own: int = 24
    topics: int = 3
    sentences: int = 5
    words: tuple[int, int] = (4, 7)  # of a sentence, with its full stop: from, to
    burst: float = 0.6  # chance that a content word is one that the document has already
    typo: float = 0.01


@dataclass(frozen=True)
class Document:
    """``sentences``: lists of words, each ended by a full stop; ``question``: words on the topic it begins with."""

    domain: str
    question: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]


def _forms(language: str, number: int) -> list[str]:
    """So many words of a language, the same in every world."""
    consonants, vowels = LANGUAGES[language]
    syllables = ["".join(pair) for pair in product(consonants, vowels)]
    longer = ["".join(pair) for pair in product(syllables, syllables)]
    order = stream(0, "words", language).permutation(len(longer))
    return [longer[k] for k in order[:number]]


def typo(word: str) -> str:
    """The one misspelling of a word: its last letter twice."""
    return word + word[-1]


def vocabulary(size: Size, languages: tuple[str, ...]) -> list[str]:
    """Every word that may occur, the same in every world, so that all its models share a tokenizer."""
    found = [END, ASK]
    for language in languages:
        number = size.function + size.shared + size.domains * size.own
        words = _forms(language, number)
        found += [*words, *map(typo, words[size.function :])]
    return found


@lru_cache(maxsize=64)
def _harmonic(number: int) -> list[float]:
    return list(accumulate(1 / rank for rank in range(1, number + 1)))


class Human:
    """The writers of one language in one world. The words are the same in every world, their use is not."""

    def __init__(self, size: Size, *, language: str, seed: int):
        self.size, self.language, self.seed = size, language, seed
        words = _forms(language, size.function + size.shared + size.domains * size.own)
        self.function, self.shared = words[: size.function], words[size.function :][: size.shared]
        self.domains = [f"{language}{d}" for d in range(size.domains)]
        self._style = {name: self._domain(d, words) for d, name in enumerate(self.domains)}

    def _domain(self, number: int, words: list[str]) -> dict:
        size, rng = self.size, stream(self.seed, "domain", self.language, number)
        first = size.function + size.shared + number * size.own
        content = [*words[first : first + size.own], *rng.choice(self.shared, size.own // 2, replace=False)]
        small = [str(word) for word in rng.permutation(self.function)]
        return {
            "topics": [[str(word) for word in rng.permutation(content)] for _ in range(size.topics)],
            "function": small,
            "follows": {str(word): small[int(rng.integers(len(small)))] for word in content},
        }

    def _zipf(self, ranked: list[str], rng: np.random.Generator) -> str:
        """Rank r with chance 1 / (r + 1), by inversion of the harmonic sum."""
        sums = _harmonic(len(ranked))
        return ranked[bisect(sums, rng.random() * sums[-1])]

    def document(self, domain: str, rng: np.random.Generator) -> Document:
        size, style = self.size, self._style[domain]
        topic = style["topics"][int(rng.integers(size.topics))]
        question = tuple(self._zipf(topic, rng) for _ in range(3)) + (ASK,)
        used: list[str] = []
        sentences = []
        for _ in range(size.sentences):
            said: list[str] = []
            for _ in range(int(rng.integers(size.words[0], size.words[1] + 1)) - 1):
                last = said[-1] if said else ""
                if last and last not in self.function and rng.random() < 0.5:
                    small = style["follows"].get(last) if rng.random() < 0.6 else None
                    said.append(small or self._zipf(style["function"], rng))
                    continue
                again = bool(used) and rng.random() < size.burst
                word = used[int(rng.integers(len(used)))] if again else self._zipf(topic, rng)
                used.append(word)
                said.append(typo(word) if rng.random() < size.typo else word)
            sentences.append((*said, END))
            if rng.random() < 0.2:
                topic = style["topics"][int(rng.integers(size.topics))]
        return Document(domain, question, tuple(sentences))


def written(words: tuple[str, ...] | list[str]) -> str:
    """Words as a text: one space between, none before a full stop or a question mark.

    >>> written(["ba", "du", "."])
    'ba du.'
    """
    return " ".join(words).replace(f" {END}", END).replace(f" {ASK}", ASK)
