"""Which texts train and which test: by source, so that no version of a human text stands on both sides; and the four cells.

A hold-out takes some domains and some generators away from training. Of the sources that do not train, each text then
falls into one of four cells: both known, domain unseen, generator unseen, both unseen. A human text has no generator, so it
stands in both cells of its domain.

    train, test = by_source(texts, share=0.6, seed=0); cells = cells_of(test, Holdout(("news",), ("GPT-4",)))
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from lib.data.files import DataError
from lib.streams import stream
from papers.llm_detector.texts import HUMAN, Text

IN_DOMAIN, DOMAIN, GENERATOR, BOTH = "in domain", "unseen domain", "unseen generator", "both unseen"
CELLS = (IN_DOMAIN, DOMAIN, GENERATOR, BOTH)


@dataclass(frozen=True)
class Holdout:
    """Domains and generators that do not train."""

    domains: tuple[str, ...]
    generators: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.domains)} / {', '.join(self.generators)}"


def joined(marks: Mapping[str, Collection[str]]) -> dict[str, str]:
    """id -> the first id of those it shares a mark with, directly or through others.

    >>> joined({"a": {"x"}, "b": {"y"}, "c": {"x", "y"}, "d": set()})
    {'a': 'a', 'b': 'a', 'c': 'a', 'd': 'd'}
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids, first, edges = list(marks), {}, []
    for number, id in enumerate(ids):
        for mark in sorted(marks[id]):
            edges.append((number, first.setdefault(mark, number)))
    rows, columns = zip(*edges, strict=True) if edges else ((), ())
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(ids), len(ids)))
    _, component = connected_components(graph, directed=False)
    heads: dict[int, str] = {}
    return {id: heads.setdefault(int(one), id) for id, one in zip(ids, component, strict=True)}


def by_source(texts: Sequence[Text], *, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places of the texts that train (about ``share`` of the sources of each domain) and of those that test, in order.

    Raises :class:`DataError` when a domain has fewer than two sources.
    """
    domains: dict[str, list[str]] = {}
    for one in texts:
        domains.setdefault(one.domain, []).append(one.source)
    training: set[tuple[str, str]] = set()
    for domain, listed in domains.items():
        sources = sorted(set(listed))
        if len(sources) < 2:
            raise DataError(f"the domain {domain!r} has {len(sources)} source; give two or more, to train and to test.")
        count = min(len(sources) - 1, max(1, round(share * len(sources))))
        chosen = stream(seed, "split", domain).permutation(len(sources))[:count]
        training |= {(domain, sources[k]) for k in chosen}
    sides: tuple[list[int], list[int]] = ([], [])
    for place, one in enumerate(texts):
        sides[(one.domain, one.source) not in training].append(place)
    return sides


def crossed(texts: Sequence[Text]) -> list[str]:
    """Sources that stand in more than one domain, where a split by domain would let them cross; none in a sound corpus."""
    seen: dict[str, set[str]] = {}
    for one in texts:
        seen.setdefault(one.source, set()).add(one.domain)
    return sorted(source for source, domains in seen.items() if len(domains) > 1)


def holdouts(texts: Sequence[Text], *, domains: int = 1, generators: int = 1) -> list[Holdout]:
    """Every way to hold out so many domains and so many generators."""
    known = list(dict.fromkeys(one.domain for one in texts))
    writers = list(dict.fromkeys(one.generator for one in texts if one.generator != HUMAN))
    return [Holdout(d, g) for d, g in product(combinations(known, domains), combinations(writers, generators))]


def diagonal(every: Sequence[Holdout]) -> list[Holdout]:
    """Some of the hold-outs in which each domain and each generator is held out once: for what is dear to train.

    >>> [str(one) for one in diagonal([Holdout((d,), (g,)) for d in "ab" for g in "xy"])]
    ['a / x', 'b / y']
    """
    taken: list[Holdout] = []
    for one in every:
        if all(not {*one.domains} & {*t.domains} and not {*one.generators} & {*t.generators} for t in taken):
            taken.append(one)
    return taken


def may_train(one: Text, held: Holdout) -> bool:
    """Whether neither domain nor generator of a text is held out."""
    return one.domain not in held.domains and one.generator not in held.generators


def pairs_that_train(texts: Sequence[Text], places: Sequence[int], held: Holdout) -> list[int]:
    """Of ``places`` the texts of human-machine pairs that may train: a human text whose own machine versions are all held out
    stays out as well, so that both classes are as large as before."""
    able = [place for place in places if may_train(texts[place], held)]
    answered = {texts[place].source for place in able if texts[place].generator != HUMAN}
    return [place for place in able if texts[place].generator != HUMAN or texts[place].source in answered]


def cells_of(texts: Sequence[Text], held: Holdout) -> dict[str, np.ndarray]:
    """Cell -> which of the texts (N,) bool are in it. Human texts stand in both cells of their domain, those whose source has
    no machine version in the cell in none."""
    found = {}
    for cell in CELLS:
        unseen_domain, unseen_generator = cell in (DOMAIN, BOTH), cell in (GENERATOR, BOTH)
        there = [
            (one.domain in held.domains) == unseen_domain
            and (one.generator == HUMAN or (one.generator in held.generators) == unseen_generator)
            for one in texts
        ]
        answered = {one.source for one, inside in zip(texts, there, strict=True) if inside and one.generator != HUMAN}
        found[cell] = np.array(
            [inside and one.source in answered for one, inside in zip(texts, there, strict=True)], dtype=bool
        )
    return found


def shuffled_labels(texts: Sequence[Text], places: Sequence[int], *, seed: int) -> np.ndarray:
    """Labels (1: machine) of ``places``, permuted within each domain: the base rate stays, what it hangs on goes."""
    labels = np.array([int(texts[place].generator != HUMAN) for place in places])
    domains = np.array([texts[place].domain for place in places])
    for domain in dict.fromkeys(domains.tolist()):
        inside = np.flatnonzero(domains == domain)
        labels[inside] = labels[stream(seed, "shuffled labels", domain).permutation(inside)]
    return labels
