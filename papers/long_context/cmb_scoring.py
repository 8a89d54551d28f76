"""How CMB-Exam reads a free reply, a stricter way, and the averages over its exams.

The released extractor (FreedomIntelligence/CMB, ``src/utils.py``) takes what follows "the answer is", else every capital
letter A to G in the text: "CT" or "Basil" then counts as an option. ``strict_letters`` takes only letters that stand
alone. Used by the long-context study.

>>> released_letters("Basil", multiple=False), strict_letters("Basil", multiple=False), strict_letters("B", multiple=False)
('B', '', 'B')
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from lib.evaluation import EvaluationError
from lib.evaluation.statistics import binomial_interval

_CUE = re.compile(r"(?:答案(?:是|为|：|:)?|[Tt]he answer is:?|[Aa]nswers?:)\s*(.*)", flags=re.DOTALL)
_ANY = re.compile(r"[A-G]")

# What strict_letters reads, after NFKC. A run is "B", "ABC", "A, C", "A and C", "A or C", and no part of a word or number.
_DRESS = re.compile(r"\\(?:boxed|text|math\w+)|[*$`\"“”]|(?<=\w)['’](?=t\b)")
_BRACKETS = re.compile(r"[()\[\]{}【】<>《》]")
_WORD = "A-Za-z0-9\u00b0\u00c0-\u024f\u0370-\u04ff"  # the degree sign too: 38℃ is no C
_BETWEEN = r"(?:\s*(?:[,、;&+/]|以?及|和|与|或者?|还是)\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+|\s*)"
_RUN = rf"(?<![{_WORD}])(?<![{_WORD}]-)(?P<run>[A-G](?:{_BETWEEN}[A-G])*)(?![{_WORD}]|-[A-Za-z])"
_CHOICE = re.compile(r"[/或]|还是|or", flags=re.IGNORECASE)
_BE = r"(?:is|are|was|(?:would|must|should|may|seems to) be|:)"
_SAID = re.compile(
    rf"(?:答案|选(?!项)|(?:answers?|options?|choices?)\s*{_BE}|\b(?:pick|choose|select)\b)"
    rf"\s*(?:应?该?[是为选])*[\s:=]*(?:选项|option|choice)?[\s:]*{_RUN}(?!\.[a-z])",
    flags=re.IGNORECASE,
)
_ALONE = re.compile(_RUN)
_DENIED = re.compile(
    r"(?:不是|不应?选|并非|非|排除|除了?|\b(?:not|neither|nor|except|excluding|(?:is|are|was|do|does|ca)nt))\s*(?:选?项|options?)?\s*$",
    flags=re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\s*(?:选?项)?\s*(?:[都均是也]|\b(?:is|are|was|both|all)\b|\s)*(?:不|错|误|\b(?:not|wrong|incorrect|false)\b|(?:is|are|was)nt\b)",
    flags=re.IGNORECASE,
)
_ARTICLE = re.compile(r"\s+(?!(?:because|since|as|is|isnt|are|was|for|but|and|or|not|seems|fits)\b)[a-z]{2,}")
_LISTED = re.compile(r"\(?([a-g])(?:[).:](?:\s.*)?)?", flags=re.DOTALL)  # "b", "b. 4", "(c) a bird"


def _letters(found: Sequence[str], *, multiple: bool) -> str:
    """As an answer key writes them: each once, in alphabetical order; only the first of a single-answer question."""
    return "".join(sorted(set(found))) if multiple else "".join(found[:1])


def released_letters(reply: str, *, multiple: bool) -> str:
    """The letters the released extractor finds; "" when there is none. Kept as it is, faults included."""
    cue = _CUE.search(reply)
    return _letters(_ANY.findall(cue[1] if cue and _ANY.search(cue[1]) else reply), multiple=multiple)


def _runs(pattern: re.Pattern, text: str) -> list[str]:
    """The runs of letters that `pattern` finds, without those that are denied and without the article "A"."""
    found = []
    for match in pattern.finditer(text):
        before, behind = text[max(0, match.start("run") - 40) : match.start("run")], text[match.end("run") :]
        article = match["run"] in "Aa" and _ARTICLE.match(behind)
        if not (article or _DENIED.search(before) or _REFUSED.match(behind)):
            found.append(match["run"].upper())
    return found


def strict_letters(reply: str, *, multiple: bool) -> str | None:
    """The letters a reply settles on; "" when it names none, ``None`` when it names several that do not go together.

    The last statement ("the answer is B", "答案：ＡＣ", in either case) wins; without one, letters that stand alone must all
    be the same. What is denied ("not A", "B错误") does not count, "A or C" is no answer, nor is "A and C" to a single-answer
    question. A word such as "BCG" made of option letters only cannot be told from "ABC"; in a single-answer question a run
    with nothing but blanks between its letters is therefore no answer at all.
    """
    plain = unicodedata.normalize("NFKC", reply).strip()
    text = _BRACKETS.sub(" ", _DRESS.sub("", plain))
    runs, listed = _runs(_SAID, text)[-1:], _LISTED.fullmatch(plain)
    if not runs and listed and len(re.findall(r"(?<!\w)[a-g][).:]", plain)) < 2:
        runs = [listed[1].upper()]
    elif not runs and multiple and plain and re.fullmatch("a?b?c?d?e?f?g?[.]?", plain):
        runs = [plain.upper().rstrip(".")]
    runs = runs or _runs(_ALONE, text)
    if not multiple:
        runs = [run for run in runs if not re.fullmatch(r"[A-G][A-G\s]+", run)]
        runs = [run for run in runs if len(run) == 1] or runs
    named = {"".join(sorted(set(re.sub("AND|OR|[^A-G]", "", run)))) for run in runs}
    if (
        len(named) > 1
        or any(_CHOICE.search(run) for run in runs)
        or (not multiple and max(map(len, named), default=0) > 1)
    ):
        return None
    return named.pop() if named else ""


def exam_accuracy(correct: Sequence[bool], exams: Sequence[str]) -> dict[str, float]:
    """Share of correct answers in each exam, exams in the order in which they occur. Raises ``EvaluationError``."""
    hits, groups = np.asarray(correct, dtype=bool), np.asarray(exams)
    if not len(hits) or hits.shape != groups.shape:
        raise EvaluationError(f"{len(hits)} answers and {len(groups)} exam names; give one of each for each question.")
    return {str(exam): float(hits[groups == exam].mean()) for exam in dict.fromkeys(exams)}


def accuracy_gap(first: float, second: float, *, items: int) -> tuple[float, float, float]:
    """Points of 100 between two published accuracies (per cent), with the 95 % interval if each rests on ``items`` questions.

    Newcombe's interval of two independent shares, from the Wilson interval of each: accuracies printed without one.
    """
    shares = [first / 100, second / 100]
    (a_low, a_high), (b_low, b_high) = (binomial_interval(round(share * items), items) for share in shares)
    a, b = shares
    low = a - b - np.hypot(a - a_low, b_high - b)
    high = a - b + np.hypot(a_high - a, b - b_low)
    return 100 * (a - b), float(100 * low), float(100 * high)
