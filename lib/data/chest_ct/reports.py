"""Free-text chest-CT reports in the manner of CT-RATE's `Findings_EN` and `Impressions_EN`.

A report opens and closes with boilerplate; between, in random order, one sentence for each finding that is present
(most often under another name than its label) and four to eight sentences that deny findings that are absent.
Used by `world`; a summariser of rules turns the text back into statements with `findings.LEXICON`.

    rng = np.random.default_rng(0); write_report(rng, [observe(rng, "Lung mass")]).findings
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lib.data.chest_ct.findings import FINDINGS, LOCATION_WORDS

CANONICAL_RATE = 0.15  # mentions that use the label's own name; the rest use another phrase
LENGTH = (8, 14)  # sentences

OPENING = (
    "Trachea and both main bronchi are open.",
    "The examination was performed without intravenous contrast material.",
    "Mediastinal structures were evaluated as suboptimal since the examination was unenhanced.",
    "Axial slices were obtained with the patient supine at the end of inspiration.",
    "Comparison with previous studies was not possible.",
    "Calibration of the thoracic main vascular structures is natural.",
)
CLOSING = (
    "Upper abdominal sections entering the examination area are natural.",
    "No lytic or destructive lesion was detected in the bone structures within the sections.",
    "Clinical correlation and follow-up are recommended.",
    "Thyroid gland and axillary regions are unremarkable.",
    "Liver, gall bladder and spleen included in the sections are of normal appearance.",
)
# {np}: noun phrase with article and severity, {Np}: the same capitalised, {be}: is/are, {loc}: place, {no}: denied.
PRESENT = (
    "There {be} {np} {loc}.",
    "{Np} {be} observed {loc}.",
    "{Np} {be} seen {loc}.",
    "{Loc}, {np} {be} noted.",
    "The images show {np} {loc}.",
    "Findings {loc} are consistent with {np}.",
    "{Np} {be} present {loc}, as described on the axial images.",
)
PRESENT_AND_ABSENT = (  # the scope of the denial ends inside the sentence
    "{Np} {be} observed {loc} without {no}.",
    "No {no} can be seen, but {np} {be} present {loc}.",
    "There is no sign of {no}; however, {np} {be} noted {loc}.",
    "Although {no} could not be identified, {np} {be} seen {loc}.",
)
ABSENT = (
    "There is no evidence of {x}.",
    "No {x} {was} detected.",
    "No {x} or {y} can be seen.",
    "{X} {be} not seen.",
    "{X} {be} not observed in this examination.",
    "The study is negative for {x}.",
    "Neither {x} nor {y} could be identified.",
    "The images are free of {x}.",
    "The examination was completed without signs of {x} or {y}.",
    "{X} {be} absent.",
    "There is no sign of {x}, {y} or {w}.",
    "Absence of {x} is noted.",
    "{X} {has} been ruled out.",
)
# Denials that name no finding, each true only when all of its findings are absent.
CLEAR = (
    ("Both costophrenic angles are clear.", ("Pleural effusion", "Empyema")),
    ("Heart size is within normal limits.", ("Cardiomegaly",)),
    ("The pleural surfaces are clear.", ("Pleural effusion", "Pneumothorax", "Empyema", "Pleural calcification")),
    ("Vertebral corpus heights and contours are preserved.", ("Spondylosis", "Osteophyte")),
    ("Bronchial calibres are normal.", ("Bronchiectasis", "Bronchial thickening", "Peribronchial thickening")),
)
NORMAL_IMPRESSIONS = (
    "No significant pathology was detected in the thorax.",
    "Thoracic CT within normal limits.",
    "Normal examination.",
)


class Observed(Protocol):
    """What a report needs of a `scanner.Observation`: which finding, where, and how severe in [0, 1]."""

    name: str
    zone: str
    severity: float


@dataclass(frozen=True)
class Report:
    """CT-RATE's two English text columns."""

    findings: str
    impression: str

    @property
    def text(self) -> str:
        """The whole report, as the training JSON keys it (`ct_rate.images_by_report`)."""
        return f"{self.findings} {self.impression}"


def write_report(rng: np.random.Generator, observations: Sequence[Observed]) -> Report:
    """A report of 8-14 sentences that affirms exactly the findings observed; `KeyError` for one outside the table."""
    present = {o.name for o in observations}
    absent = [name for name in FINDINGS if name not in present]
    rng.shuffle(absent)
    body = []
    for o in observations:
        mixed = rng.random() < 0.15
        template = _pick(rng, PRESENT_AND_ABSENT if mixed else PRESENT)
        body.append(_affirm(rng, template, o, denied=absent.pop() if mixed else None))
    opening = int(rng.integers(1, 3))
    closing = int(rng.integers(1, 3))
    room = [max(limit - len(body) - opening - closing, 4) for limit in LENGTH]
    denials = int(rng.integers(max(4, min(room[0], 8)), min(8, room[1]) + 1))
    clear = [text for text, names in CLEAR if present.isdisjoint(names)]
    rng.shuffle(clear)
    for _ in range(denials):
        body.append(clear.pop() if clear and rng.random() < 0.25 else _deny(rng, absent))
    rng.shuffle(body)
    first = [OPENING[i] for i in rng.permutation(len(OPENING))[:opening]]
    last = [CLOSING[i] for i in rng.permutation(len(CLOSING))[:closing]]
    return Report(" ".join([*first, *body, *last]), _impression(rng, observations))


def _impression(rng: np.random.Generator, observations: Sequence[Observed]) -> str:
    if not observations:
        return _pick(rng, NORMAL_IMPRESSIONS)
    mentions = [_capital(_noun_phrase(_phrase(rng, o.name))) for o in observations]
    return " ".join(f"{mention}." for mention in mentions)


def _affirm(rng: np.random.Generator, template: str, o: Observed, *, denied: str | None) -> str:
    finding = FINDINGS[o.name]
    phrase = _phrase(rng, o.name)
    word = finding.words[min(int(o.severity * 3), 2)] if rng.random() < 0.8 else ""
    place = _pick(rng, LOCATION_WORDS[o.zone])
    np_ = _noun_phrase(phrase, word)
    return template.format(
        np=np_,
        Np=_capital(np_),
        be=_be(phrase),
        loc=place,
        Loc=_capital(place),
        no=_bare(_phrase(rng, denied)) if denied else "",
    )


def _deny(rng: np.random.Generator, absent: list[str]) -> str:
    """One denial; the findings it names are taken from the end of `absent`, so none is denied twice."""
    template = _pick(rng, ABSENT)
    names = [absent.pop() for _ in range(1 + ("{y}" in template) + ("{w}" in template))]
    x, y, w = ([_phrase(rng, n) for n in names] + ["", ""])[:3]
    be = _be(x)
    was, has = ("were", "have") if be == "are" else ("was", "has")
    return template.format(x=_bare(x), X=_capital(_bare(x)), y=_bare(y), w=_bare(w), be=be, was=was, has=has)


def _phrase(rng: np.random.Generator, name: str) -> str:
    """A way to name the finding: its label with probability `CANONICAL_RATE`, else one of its other phrases."""
    phrases = FINDINGS[name].phrases
    return phrases[0] if rng.random() < CANONICAL_RATE else phrases[int(rng.integers(1, len(phrases)))]


def _bare(phrase: str) -> str:
    """The phrase without its article."""
    return phrase.removeprefix("a ").removeprefix("an ")


def _noun_phrase(phrase: str, word: str = "") -> str:
    bare = _bare(phrase)
    text = f"{word} {bare}".strip()
    if bare == phrase:
        return text
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _be(phrase: str) -> str:
    """ "are" for a plural noun phrase; the head noun is the last word before a preposition."""
    head = re.split(r" (?:of|along|in|around|with|between) ", phrase)[0].split()[-1]
    plural = (head.endswith("s") and not head.endswith(("ss", "is", "us", "gas"))) or head in {"septa", "bronchi"}
    return "are" if plural else "is"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
