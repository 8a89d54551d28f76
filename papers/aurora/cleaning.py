"""Instruction sets cleaned, deduplicated and merged, with a report of every row dropped and why.

Aurora's repository releases neither the cleaned files nor the rules; these are ours, over the same formats. Rules, in
the order in which a row meets them (it is dropped by the first):

no turn            the dialogue is empty (the release drops these silently)
empty text         a question or an answer is blank (the release drops these when it tokenises)
truncated answer   the last answer is long and stops in a letter, a comma or an opening bracket, or in an open code block
other language     the letters of an answer are mostly not Chinese (tuning trains every turn)
exact duplicate    an earlier row, of any set, has the same messages
near duplicate     another row, of any set, shares most of its character triples (Jaccard); the longest row stays

Nothing else is changed: rows that stay are the same objects in the same order, set after set (the release concatenates
too). ``in = kept + dropped`` for every set. Used by ``aurora/tab_instruction_data`` and the Aurora study.

    cleaned = clean({"alpaca_zh": read_alpaca(path), "sharegpt": read_sharegpt(other)}, rules=Rules())
    cleaned.counts()
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lib.data.instructions import Row, turns_of

REASONS = ("no turn", "empty text", "truncated answer", "other language", "exact duplicate", "near duplicate")
_OPEN = set(",，、（([{《〈「『【“‘")  # with a letter, what an answer that was cut off ends in


@dataclass(frozen=True)
class Rules:
    """The dials. ``None`` switches a rule off."""

    complete_after: int | None = 12  # characters from which an answer must end like one
    least_cjk: float | None = 0.3  # share of an answer's letters; lower than one half because names and code are Latin
    exact: bool = True
    near: float | None = 0.8  # Jaccard similarity of character triples
    permutations: int = 128  # of MinHash: more find near duplicates more surely
    seed: int = 1


@dataclass(frozen=True)
class Dropped:
    """Row `row` (from 1) of set `source` was dropped for `reason`; `detail` says what was seen."""

    source: str
    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Cleaned:
    """What stays, where each of it came from (set, row from 1), what was dropped, and how many rows came in."""

    rows: list[Row]
    origins: list[tuple[str, int]]
    dropped: list[Dropped]
    received: dict[str, int]

    def counts(self) -> pd.DataFrame:
        """Set x (rows in, one column a reason, rows kept), and their sum. Every line adds up."""
        table = pd.DataFrame(0, index=list(self.received), columns=["in", *REASONS, "kept"])
        table["in"] = pd.Series(self.received)
        for one in self.dropped:
            table.loc[one.source, one.reason] += 1
        for source, _ in self.origins:
            table.loc[source, "kept"] += 1
        table.loc["merged"] = table.sum()
        return table


def clean(sources: Mapping[str, Sequence[Row]], *, rules: Rules) -> Cleaned:
    """Apply `rules` to sets of canonical rows (:mod:`lib.data.instructions`) and merge what is left, set after set.

    Which rows stay does not depend on the order of the sets or of the rows: of exact duplicates one copy stays, and
    near duplicates are met from the longest row to the shortest. Only *which* of two identical rows stays does.
    """
    places = [(source, number) for source, rows in sources.items() for number in range(1, len(rows) + 1)]
    rows = [row for listed in sources.values() for row in listed]
    found: dict[int, tuple[str, str]] = {i: fault for i, row in enumerate(rows) if (fault := _fault(row, rules))}
    keys = {i: json.dumps(row, ensure_ascii=False, sort_keys=True) for i, row in enumerate(rows) if i not in found}

    def name(i: int) -> str:
        return f"{places[i][0]}, row {places[i][1]}"

    if rules.exact:
        first: dict[str, int] = {}
        for i, key in keys.items():
            if first.setdefault(key, i) != i:
                found[i] = ("exact duplicate", f"same as {name(first[key])}")
    if rules.near is not None:
        left = [i for i in keys if i not in found]
        for i, other, similarity in _near_duplicates({i: _plain(rows[i]) for i in left}, rules):
            found[i] = ("near duplicate", f"{similarity:.3f} of its triples in common with {name(other)}")
    kept = [i for i in range(len(rows)) if i not in found]
    return Cleaned(
        rows=[rows[i] for i in kept],
        origins=[places[i] for i in kept],
        dropped=[Dropped(*places[i], *found[i]) for i in sorted(found)],
        received={source: len(listed) for source, listed in sources.items()},
    )


def _fault(row: Row, rules: Rules) -> tuple[str, str] | None:
    """The reason and detail for which a row is dropped on its own account."""
    if not row["messages"]:
        return "no turn", "the dialogue is empty"
    _, turns = turns_of(row)
    for number, (question, answer) in enumerate(turns, start=1):
        for what, text in (("question", question), ("answer", answer)):
            if not text.strip():
                return "empty text", f"turn {number} has a blank {what}"
    answer = turns[-1][1].rstrip()
    if rules.complete_after is not None and len(answer) >= rules.complete_after:
        if answer.count("```") % 2:
            return "truncated answer", "a code block is not closed"
        if answer[-1].isalpha() or answer[-1] in _OPEN:
            return "truncated answer", f"ends in '{answer[-8:]}'"
    if rules.least_cjk is not None:
        for number, (_, answer) in enumerate(turns, start=1):
            share = cjk_share(answer)
            if share is not None and share < rules.least_cjk:
                return "other language", f"{share:.2f} of the letters of the answer in turn {number} are Chinese"
    return None


def _plain(row: Row) -> str:
    """A row's text for comparing: one form for each character, small letters, no blanks."""
    text = "\n".join(message["content"] for message in row["messages"])
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def triples(text: str) -> frozenset[str]:
    """The character triples of a text; a shorter text is its own only one."""
    return frozenset(text[k : k + 3] for k in range(max(1, len(text) - 2)))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Shared members over all members, 0 to 1."""
    return len(first & second) / len(first | second)


def _near_duplicates(texts: Mapping[int, str], rules: Rules) -> Iterator[tuple[int, int, float]]:
    """(row, the row that stays in its place, exact Jaccard similarity) of each near duplicate.

    MinHash with locality-sensitive hashing proposes pairs; a pair counts only when its exact similarity does, so no
    row is dropped by an estimate. One of a pair may be missed: the index looks 0.15 below the threshold to make that
    rare. Rows come longest first, ties by text, so the order of the file decides nothing.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=max(0.1, rules.near - 0.15), num_perm=rules.permutations)
    kept: dict[int, frozenset[str]] = {}
    for i in sorted(texts, key=lambda i: (-len(texts[i]), texts[i], i)):
        grams, sketch = triples(texts[i]), MinHash(num_perm=rules.permutations, seed=rules.seed)
        sketch.update_batch([gram.encode() for gram in sorted(grams)])
        similar = [(jaccard(grams, kept[other]), -other) for other in index.query(sketch)]
        best = max(similar, default=(0.0, 0))
        if best[0] >= rules.near:
            yield i, -best[1], best[0]
            continue
        kept[i] = grams
        index.insert(i, sketch)


def is_cjk(letter: str) -> bool:
    """Whether a character is a CJK ideograph (Unicode names them so; kana and full-width signs are none)."""
    return unicodedata.name(letter, "").startswith("CJK UNIFIED IDEOGRAPH")


def cjk_share(text: str) -> float | None:
    """Share of CJK ideographs among the letters of `text`, 0 to 1; ``None`` when it has no letter (``3 + 4``).

    A rule of the alphabet, trained on nothing: it also judges the language of replies, and must not learn from them.

    A Latin word of n letters weighs n times one ideograph, so a Chinese sentence with a long English name in it may
    fall under one half: take the threshold lower than that.
    """
    letters = [character for character in text if character.isalpha()]
    return sum(map(is_cjk, letters)) / len(letters) if letters else None
