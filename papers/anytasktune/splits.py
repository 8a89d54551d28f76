"""Splits of data that come without one: by a hash of the text, near duplicates together.

Two texts are near duplicates when their sets of character triples overlap by :data:`NEAR` or more (Jaccard), and so are texts that
are joined by a chain of such pairs. MinHash with locality-sensitive hashing (datasketch) proposes pairs, the exact overlap
decides. A group goes where the hash of the seed and of its first text in alphabetical order says: rows that are added or
reordered move no other group, and the same text is in the same part in every file.

>>> parts = split(["the rent is late", "the rent is late!", "a fall from a ladder"], seed=0)
>>> parts[0] == parts[1]
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from lib.data.files import DataError

NEAR = 0.7  # of the triples that two texts have together
SHARES = {"train": 0.90, "validation": 0.05, "test": 0.05}
PERMUTATIONS = 64
SHARED, REACH = 6, 5  # characters in a row that rows of one document have in common, and how many rows apart
_GRAM = 3


def triples(text: str) -> frozenset[str]:
    """The character triples of a text without its white space; a shorter text is its own only one."""
    text = "".join(text.split())
    return frozenset(text[k : k + _GRAM] for k in range(max(1, len(text) - _GRAM + 1)))


def overlap(first: frozenset[str], second: frozenset[str]) -> float:
    """Jaccard similarity of two sets, 0 to 1."""
    return len(first & second) / len(first | second)


def groups(texts: Sequence[str], *, near: float = NEAR) -> list[int]:
    """For each text the number of its group of near duplicates: the position of the group's first text."""
    from datasketch import MinHash, MinHashLSH

    if not 0 < near <= 1:
        raise DataError(f"near duplicates overlap by more than 0 and at most 1, not by {near}.")
    # The index looks 0.15 below, so that few pairs are missed; the exact overlap takes out what it proposes too much.
    index, grams = MinHashLSH(threshold=max(0.1, near - 0.15), num_perm=PERMUTATIONS), [triples(text) for text in texts]
    pairs = []
    for i, own in enumerate(grams):
        sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch([gram.encode() for gram in sorted(own)])
        pairs += [(i, other) for other in index.query(sketch) if overlap(own, grams[other]) >= near]
        index.insert(i, sketch)
    return _joined(len(texts), pairs)


def _joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The first member of the group of each of ``count`` things, when pairs are joined and what they are joined to."""
    leader = list(range(count))

    def first_of(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for pair in pairs:
        one, two = sorted(map(first_of, pair))
        leader[two] = one
    return [first_of(i) for i in range(count)]


def documents(texts: Sequence[str], *, shared: int = SHARED, reach: int = REACH) -> list[int]:
    """For each row the number of its document, where a file keeps the sentences of a document together: its first row.

    Rows belong together when they share ``shared`` characters in a row and stand at most ``reach`` rows apart, with all rows
    between them. Names and formulas that two documents share join them too: that costs groups, and lets nothing through.
    """
    stretches = []
    for text in ("".join(text.split()) for text in texts):
        stretches.append({text[k : k + shared] for k in range(len(text) - shared + 1)})
    near = ((i, j) for i in range(len(texts)) for j in range(i + 1, min(len(texts), i + reach + 1)))
    between = (range(i, j) for i, j in near if stretches[i] & stretches[j])
    return _joined(len(texts), ((k, k + 1) for rows in between for k in rows))


def together(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """The groups in which everything is that is together by one grouping or by the other.

    >>> together([0, 0, 2, 3], [0, 1, 1, 3])
    [0, 0, 0, 3]
    """
    return _joined(len(first), [*enumerate(first), *enumerate(second)])


def place_of(text: str, *, seed: int) -> float:
    """A number in [0, 1) for a text, the same for the same seed on every machine."""
    return int.from_bytes(hashlib.sha256(f"{int(seed)}\n{text}".encode()).digest()[:8], "big") / 2**64


def split(texts: Sequence[str], *, seed: int, shares: Mapping[str, float] = SHARES, near: float = NEAR) -> list[str]:
    """The part of each text: by default ``train``, ``validation`` or ``test``, 90, 5 and 5 % of the groups.

    Raises :class:`DataError` unless the shares are positive and add up to one.
    """
    if min(shares.values(), default=0) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
        raise DataError(f"the shares {dict(shares)} must be positive and add up to 1.")
    member = groups(texts, near=near)
    named: dict[int, str] = {}
    for text, group in zip(texts, member, strict=True):
        named[group] = min(named.get(group, text), text)
    ends, total = [], 0.0
    for part, share in shares.items():
        total += share
        ends.append((total, part))
    chosen = {}
    for group, text in named.items():
        where = place_of(text, seed=seed)
        chosen[group] = next((part for end, part in ends if where < end), ends[-1][1])
    return [chosen[group] for group in member]
