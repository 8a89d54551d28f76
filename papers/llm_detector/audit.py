"""What could tell the classes apart without reading: duplicates, refusals, form and length, counted and taken out.

Every removal is counted, and kept + dropped = read. Form is what a writer's tool leaves behind (line breaks, spaces before a
full stop, bullets, capitals); lengths are matched by cutting a human text and its machine versions to the same number of
words.

    kept, counts = clean(texts, Rules()); kept = match_lengths(kept, most=60)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from papers.llm_detector.texts import HUMAN, Text
from papers.llm_detector.unique import unique

# What gives a machine away by itself: it says that it is one, or declines. English and Chinese; ours, not HC3's lists.
REFUSALS = (
    r"\bas an ai\b", r"\bai (language )?model\b", r"\bi('m| am) sorry,? but\b",
    r"\bi (cannot|can't|am unable to) (assist|help|provide|fulfil)",
    r"\bopenai\b", r"作为一(个|名)(人工智能|AI|语言模型)", r"(很)?抱歉，?我(无法|不能)", r"我是一个(人工智能|语言模型)",
)  # fmt: skip
_REFUSAL = re.compile("|".join(REFUSALS), flags=re.IGNORECASE)
_FORM: dict[str, Callable[[str], bool]] = {
    "line breaks": lambda text: "\n" in text,
    "several spaces": lambda text: bool(re.search(r"[^\S\n]{2,}", text)),
    "space before a full stop or comma": lambda text: bool(re.search(r"\s[.,;:!?]", text)),
    "bullets or numbers of a list": lambda text: bool(re.search(r"(?m)^\s*([-*•]|\d+[.)])\s", text)),
    "curly quotes or dashes": lambda text: bool(re.search("[‘’“”–—]", text)),
    "begins with a small letter": lambda text: text[:1].islower(),
}
PUNCTUATION = ".,;:!?-'\"()"
_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00a0": " "})


@dataclass(frozen=True)
class Rules:
    """What :func:`clean` takes out. ``fewest_words``: a shorter text is left out; ``form``: formatting is evened out;
    ``near_duplicates``: of one text kept from several places on, the first is used (:mod:`papers.llm_detector.unique`)."""

    duplicates: bool = True
    near_duplicates: bool = False
    refusals: bool = True
    form: bool = False
    fewest_words: int = 1


def plain(text: str) -> str:
    """``text`` without what its form tells: single spaces, none before punctuation, plain quotes, small letters, no bullets.

    >>> plain("It rose .\\n- “Twice”, he said")
    'it rose. "twice", he said'
    """
    text = re.sub(r"(?m)^\s*([-*•]|\d+[.)])\s+", "", text.translate(_PLAIN))
    return re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split())).lower()


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def clean(texts: Sequence[Text], rules: Rules) -> tuple[list[Text], dict[str, int]]:
    """Texts that remain, in order, and counts: read, dropped by reason (the first that applies), kept.

    A duplicate is a text that stood earlier under the same source and generator, or anywhere with the other label.
    Near duplicates are looked for last, among what is left.
    """
    counts = dict.fromkeys(("read", "duplicates", "refusals", "too short", "near duplicates", "kept"), 0)
    seen: dict[str, Text] = {}
    kept = []
    for one in texts:
        counts["read"] += 1
        first = seen.setdefault(_key(one.text), one)
        if rules.duplicates and first is not one:
            counts["duplicates"] += 1
        elif rules.refusals and one.generator != HUMAN and _REFUSAL.search(one.text):
            counts["refusals"] += 1
        elif len(one.text.split()) < rules.fewest_words:
            counts["too short"] += 1
        else:
            kept.append(replace(one, text=plain(one.text)) if rules.form else one)
    if rules.near_duplicates:
        once = unique(kept)
        counts["near duplicates"], kept = len(kept) - len(once), once
    counts["kept"] = len(kept)
    return kept, counts


def count(texts: Sequence[Text]) -> dict[str, dict[str, float]]:
    """Generator -> what is counted -> share of its texts; ``texts`` and mean ``words`` beside them. Nothing is taken out."""
    seen: Counter[str] = Counter(_key(one.text) for one in texts)
    found: dict[str, dict[str, float]] = {}
    for generator in dict.fromkeys(one.generator for one in texts):
        own = [one.text for one in texts if one.generator == generator]
        shares = {name: sum(map(test, own)) / len(own) for name, test in _FORM.items()}
        found[generator] = {
            "texts": len(own),
            "words": sum(len(text.split()) for text in own) / len(own),
            "duplicated": sum(seen[_key(text)] > 1 for text in own) / len(own),
            "refusals": sum(bool(_REFUSAL.search(text)) for text in own) / len(own),
            **shares,
        }
    return found


def match_lengths(texts: Sequence[Text], *, most: int, fewest: int = 1) -> tuple[list[Text], int]:
    """Every text of a source cut to the words of its shortest version, at most ``most``; and how many texts were left out.

    A source of which a version has fewer than ``fewest`` words is left out whole, and so is one that is left without a human
    text or without a machine text. Cut are words of the text as it is, so that its form stays.
    """
    words: dict[str, int] = {}
    sides: dict[str, set[bool]] = {}
    for one in texts:
        words[one.source] = min(words.get(one.source, most), len(one.text.split()))
        sides.setdefault(one.source, set()).add(one.generator == HUMAN)
    able = {source for source, number in words.items() if number >= fewest and len(sides[source]) == 2}
    kept = [replace(one, text=first_words(one.text, words[one.source])) for one in texts if one.source in able]
    return kept, len(texts) - len(kept)


def first_words(text: str, number: int) -> str:
    """The first ``number`` words with what stands between them.

    >>> first_words("one  two\\nthree four", 3)
    'one  two\\nthree'
    """
    ends = [hit.end() for hit in re.finditer(r"\S+", text)]
    return text[: ends[min(number, len(ends)) - 1]] if ends else text


# ---------------------------------------------------------------------- what each shortcut sees
def shortcut_features(texts: Sequence[Text], kind: str) -> np.ndarray:
    """(N, K) of what a detector may see that may not read: ``length``, ``punctuation``, ``typos`` or ``form``.

    ``typos``: words that stand once in all texts, as a share of the words of the text; a misspelling is one.
    """
    said = [one.text for one in texts]
    if kind == "length":
        return np.array([[len(text.split()), len(text)] for text in said], dtype=np.float64)
    if kind == "punctuation":
        return np.array([[text.count(mark) / max(1, len(text.split())) for mark in PUNCTUATION] for text in said])
    if kind == "form":
        return np.array([[float(test(text)) for test in _FORM.values()] for text in said])
    if kind == "typos":
        words = [re.findall(r"[^\W\d_]+", text.lower()) for text in said]
        seen = Counter(word for listed in words for word in set(listed))
        return np.array([[sum(seen[word] == 1 for word in listed) / max(1, len(listed))] for listed in words])
    raise ValueError(f"there is no shortcut {kind!r}; give length, punctuation, typos or form")
