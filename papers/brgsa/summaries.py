"""Reports to short statements by rule: every affirmed finding becomes "There is <finding>", all else is dropped.

The stand-in at small scale for the language model that BrgSA uses (GPT-4o, same output template). It reads only the
text: phrases of a lexicon, longest first, minus those that a negation reaches. Two knobs make it imperfect.

    RuleSummariser({"Lung mass": ("lung mass",)})("No effusion, but a lung mass is seen.")  # ["There is Lung mass"]

Source: BrgSA, semantic summarisation (template and aim; the paper's prompt is not public). What a normal report becomes
is not published; here ["There is no abnormality"].
"""

import re
from collections.abc import Mapping, Sequence

from lib.streams import stream

NORMAL_STATEMENT = "There is no abnormality"

# A clause ends at a full stop or semicolon and before a conjunction that turns the sentence round.
_CLAUSES = re.compile(r"[.;:!?\n]+|\b(?:but|however|yet|whereas)\b", re.IGNORECASE)
# Reaches forward to the end of its clause; "no change in" and the like deny the change, not the finding.
_DENIES_AFTER = re.compile(
    r"\b(?:no(?!\s+(?:\w+\s+)?(?:change|increase|decrease|progression)\b)|without|neither|nor|negative for|free of"
    r"|clear of|absence of|lack of|rather than)\b",
    re.IGNORECASE,
)
# Reaches back to the start of its clause; "cannot be excluded" and the like leave the finding standing.
_DENIES_BEFORE = re.compile(
    r"\b(?:is|are|was|were|has been|have been)\s+(?:absent|ruled out|excluded"
    r"|not\s+(?!excluded|ruled out|only|changed))"
    r"|\b(?:has|have)\s+not\s+been\s+(?!excluded|ruled out|changed)"
    r"|\b(?:could|can)\s*not\s+be\s+(?!excluded|ruled out)",
    re.IGNORECASE,
)


class RuleSummariser:
    """Callable: report text -> statements, in the order of first mention, each finding once.

    `lexicon` maps a finding's name to the phrases that mean it (no two findings may share one: `ValueError`). `drop` is
    the probability that a true statement is left out, `insert` the expected number of false ones per true one (per
    report, if it has none); both in [0, 1] and drawn from `seed` and the report's own text, so that the same report
    always gets the same summary. With `quote` a statement keeps the words in which the report first says it, so that no
    statement is better known to a prompt than the report is.
    """

    def __init__(
        self,
        lexicon: Mapping[str, Sequence[str]],
        *,
        drop: float = 0.0,
        insert: float = 0.0,
        quote: bool = False,
        seed: int = 0,
    ):
        for name, rate in (("drop", drop), ("insert", insert)):
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} is {rate}; it is a rate, give a number from 0 to 1.")
        self.names = tuple(lexicon)
        self.drop, self.insert, self.quote, self.seed = drop, insert, quote, seed
        self.meaning: dict[str, str] = {}
        for name, phrases in lexicon.items():
            for phrase in phrases:
                key = " ".join(phrase.lower().split())
                if self.meaning.setdefault(key, name) != name:
                    raise ValueError(
                        f"phrase {phrase!r} means both {self.meaning[key]!r} and {name!r}; keep it for one."
                    )
        longest_first = sorted(self.meaning, key=len, reverse=True)
        self._phrases = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE)

    def __call__(self, report: str) -> list[str]:
        said = self.mentions(report)
        found = self._disturb(list(said), report)
        return [f"There is {said.get(name, name) if self.quote else name}" for name in found] or [NORMAL_STATEMENT]

    def findings(self, report: str) -> list[str]:
        """Names of the findings that the text affirms, without the imperfection."""
        return list(self.mentions(report))

    def mentions(self, report: str) -> dict[str, str]:
        """Each finding that the text affirms, and the words in which it first does so."""
        found: dict[str, str] = {}
        for clause in _CLAUSES.split(" ".join(report.split())):
            after = [m.end() for m in _DENIES_AFTER.finditer(clause)]
            before = [m.start() for m in _DENIES_BEFORE.finditer(clause)]
            for match in self._phrases.finditer(clause):
                denied = any(end <= match.start() for end in after) or any(start >= match.end() for start in before)
                if not denied:
                    found.setdefault(self.meaning[match.group().lower()], match.group())
        return found

    def _disturb(self, found: list[str], report: str) -> list[str]:
        if not (self.drop or self.insert):
            return found
        rng = stream(self.seed, "imperfect summary", report)
        kept = [name for name in found if rng.random() >= self.drop]
        absent = [name for name in self.names if name not in found]
        for _ in range(max(len(found), 1)):
            if absent and rng.random() < self.insert:
                kept.append(absent.pop(int(rng.integers(len(absent)))))
        return kept
