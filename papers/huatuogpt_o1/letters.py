"""Which option a free answer chooses: by the released rules, and by one strict rule beside them.

Released (evaluation/scorer.py, rewritten here from its behaviour): behind the last ``## Final Response``, (1) the letter after
"answer is", or any option letter that stands alone; (2) an option's text; (3) the option most like the whole answer by
difflib, which always names one. Each rule has a first and a last match; a set's score is the better of the two accuracies, and
outputs that are empty are not counted. Strict: one rule, which may find no answer; that is wrong, as is an empty output.

    audit = score(outputs, rows); audit["released"], audit["first"], audit["last"], audit["strict"]
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from papers.huatuogpt_o1.records import LETTERS, Record
from papers.huatuogpt_o1.replies import FINAL

_SAID = re.compile(r"answer is\s*?([A-N])")
_CLOSING = re.compile(
    r"(?i:answer|option|choice)(?: is)?\s*[:=]?\s*\(?([A-N])(?![A-Za-z])(?!(?<=A)\s+[a-z])|^\s*\(?([A-N])(?:[.):]|\s*$)",
    re.MULTILINE,
)


def _answered(text: str) -> str:
    return text.rsplit(FINAL, 1)[-1]


def released_letters(text: str, options: Mapping[str, str]) -> tuple[str, str, int]:
    """(letter by the first match, letter by the last one, which rule found them: 1, 2 or 3), as the release finds them.

    Any word "A" that is followed by no space counts as a letter, and so does the "C" of "vitamin C". In rule 2 the option of the
    "first" match is the one whose first mention comes latest.
    """
    text = _answered(text)
    alone = re.compile(rf"(?:[\u4e00-\u9fff]|\W|^)(?![aA] )([{LETTERS[: len(options)]}])(?:\W|[\u4e00-\u9fff]|$)")
    for rule in (_SAID, alone):
        if found := rule.findall(text):
            return found[0], found[-1], 1
    text = text.lower()
    lowered = {letter: said.lower() for letter, said in options.items()}
    if named := [letter for letter, said in lowered.items() if said in text]:
        # of two that begin at one place the earlier letter is kept, as a stable sort keeps it
        first, last = (max(named, key=lambda one: find(lowered[one])) for find in (text.index, text.rindex))
        return first, last, 2
    ratios = {letter: difflib.SequenceMatcher(None, said, text).ratio() for letter, said in lowered.items()}
    best = max(ratios.values())
    nearest = [letter for letter, ratio in ratios.items() if ratio == best][-1]  # of equal ones the last
    return nearest, nearest, 3


def strict_letter(text: str, options: Mapping[str, str]) -> str | None:
    """The one letter that an answer states, or the one option whose text it holds; ``None``: no answer.

    A letter counts behind "answer", "option" or "choice" (an "A" before a word is an article), or at the beginning of a line
    before a full stop, a bracket or the line's end; two different ones are no answer. Nothing is guessed from likeness.
    """
    text = _answered(text).replace("*", "")  # bold
    stated = {a or b for a, b in _CLOSING.findall(text)} & set(options)
    if stated:
        return stated.pop() if len(stated) == 1 else None
    low = text.lower()
    named = {letter for letter, said in options.items() if re.search(rf"(?<!\w){re.escape(said.lower())}(?!\w)", low)}
    return named.pop() if len(named) == 1 else None


def score(outputs: Sequence[str], rows: Sequence[Record]) -> dict[str, float]:
    """Accuracies of one set: ``first`` and ``last`` match and the better of them (``released``), all over non-empty outputs;
    ``strict`` over all; ``empty``, ``guessed`` (by likeness) and ``unanswered`` (by the strict rule) as shares of all.

    Raises ``ValueError`` for unequal lengths and when every output is empty.
    """
    cases = score_cases(outputs, rows)
    spoken = ~cases["empty"].astype(bool)
    if not spoken.any():
        raise ValueError(f"all {len(outputs)} outputs are empty; there is nothing to score")
    found = {name: float(cases[name][spoken].mean()) for name in ("first", "last")}
    found["released"] = max(found.values())
    return found | {name: float(cases[name].mean()) for name in ("strict", "empty", "guessed", "unanswered")}


def score_cases(outputs: Sequence[str], rows: Sequence[Record]) -> dict[str, np.ndarray]:
    """What :func:`score` averages, one value an output (0 or 1)."""
    if len(outputs) != len(rows):
        raise ValueError(f"{len(outputs)} outputs of {len(rows)} questions; give one output a question")
    cases = {name: np.zeros(len(rows)) for name in ("first", "last", "strict", "empty", "guessed", "unanswered")}
    for n, (text, row) in enumerate(zip(outputs, rows, strict=True)):
        options, right = row["options"], row["answer_idx"]
        stated = strict_letter(text, options)
        cases["strict"][n], cases["unanswered"][n] = stated == right, stated is None
        if not text.strip():
            cases["empty"][n] = 1
            continue
        first, last, rule = released_letters(text, options)
        cases["first"][n], cases["last"][n], cases["guessed"][n] = first == right, last == right, rule == 3
    return cases


def as_released(cases: Mapping[str, np.ndarray]) -> np.ndarray:
    """One value an output whose mean is the released score: the better rule's, empty outputs at the mean of the others."""
    spoken = ~cases["empty"].astype(bool)
    better = max(("first", "last"), key=lambda name: cases[name][spoken].mean())
    return np.where(spoken, cases[better], cases[better][spoken].mean())
