"""Labels to multiple-choice questions, the way Med-MAT makes them (section 2.1, Appendix B.2, Figure 8).

Six instructions a subset, one drawn an image; up to four options, the true label and others of the same subset, in
random order; the answer is the letter. Every draw depends on the seed and the image alone, so that adding an image
changes no other question. Used by the writer of generated data and by whoever remakes the released questions.

    ask("yes", ["yes", "no"], subset, image="med-mat/a.png", seed=0).answer      # "A" or "B"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lib.data.files import DataError
from lib.streams import stream
from papers.med_mat.data.selection import Subset

LETTERS = "ABCD"
MOST_OPTIONS = len(LETTERS)
SUFFIX = "Answer with the option's letter from the given choices directly."

# Paper: six hand-written instructions a subset, recoverable from the released JSON only. Here: six frames filled with
# modality, area and task. Because: a generated world needs them too.
_FRAMES = (
    "What does this {modality} image of the {area} show? ({task})",
    "Please look at the {modality} picture of the {area} and decide on the {task}.",
    "This is a {modality} image; the area is the {area}. Choose the right answer for {task}.",
    "{task}: which option describes this {modality} image of the {area} best?",
    "Based on the {modality} image, judge the {area} with regard to {task}.",
    "Given a {modality} image of the {area}, select the option that fits ({task}).",
)
_OPTION = re.compile(r"^([A-Z])\s*[:.]\s*(\S.*)$")
_DEMAND = re.compile(r"\W*(?:please\s+)?(?:answer|choose|select|pick|give|reply|respond)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """One question: the instruction, its options by letter in order, the right letter, and the text with options."""

    instruction: str
    options: dict[str, str]
    answer: str
    text: str


def instructions(subset: Subset) -> tuple[str, ...]:
    """The six instructions of ``subset``, each with its modality and its area."""
    words = {"modality": subset.modality, "area": subset.area.lower(), "task": subset.task.rstrip(".")}
    return tuple(frame.format(**words) for frame in _FRAMES)


def _draw(seed: int, image: str) -> np.random.Generator:
    return stream(seed, "question", image)


def _clean(labels: Iterable[str]) -> dict[str, str]:
    """Labels by what makes two of them the same (case and spaces do not)."""
    found: dict[str, str] = {}
    for label in sorted(set(labels)):
        text = " ".join(label.split())
        if not text:
            raise DataError("A label is empty; every option needs a text.")
        found.setdefault(text.casefold(), text)
    return dict(sorted(found.items()))


def ask(label: str, labels: Iterable[str], subset: Subset, *, image: str, seed: int) -> Question:
    """The question about one image: ``label`` is true, distractors are drawn from the other ``labels`` of the subset.

    Four options, or as many as there are labels: two for a binary subset. Raises :class:`DataError` for a subset with
    one label and a label that is not among ``labels``.
    """
    known = _clean(labels)
    truth = " ".join(label.split())
    if truth.casefold() not in known:
        raise DataError(f"Subset {subset.no}: '{truth}' ({image}) is not among its labels; add it to them.")
    others = [text for key, text in known.items() if key != truth.casefold()]
    if not others:
        raise DataError(f"Subset {subset.no} has one label, '{truth}'; a question needs two.")
    rng = _draw(seed, image)
    instruction = instructions(subset)[rng.integers(len(_FRAMES))]
    texts = [truth, *(others[i] for i in rng.permutation(len(others))[: MOST_OPTIONS - 1])]
    order = rng.permutation(len(texts))
    by_letter = {LETTERS[place]: texts[i] for place, i in enumerate(order)}
    answer = LETTERS[int(np.flatnonzero(order == 0)[0])]
    return Question(instruction, by_letter, answer, question_text(instruction, by_letter))


def question_text(instruction: str, options: Mapping[str, str]) -> str:
    """Instruction, one line an option ("A: text", as the release's README), and the sentence that asks for the letter."""
    return "\n".join([instruction, *(f"{letter}: {text}" for letter, text in options.items()), SUFFIX])


@lru_cache(maxsize=4096)  # a question is taken apart a dozen times; nobody changes the lists
def _parts(text: str) -> tuple[list[str], list[list[str]], list[str]]:
    """A question's lines before its options, of each option, and behind them.

    The options are the last run of lines that begin with A, B, C ...: a question may begin with "A. fumigatus". A line
    below an option belongs to it; a blank line or a demand for the answer below the last one ends the options. Refused: a
    letter out of turn, as a line may be lost, and below an option what may be a sentence of its own.
    """
    lines = text.splitlines()
    letters = [match[1] if (match := _OPTION.match(line.strip())) else "" for line in lines]
    first = max((i for i, letter in enumerate(letters) if letter == "A"), default=len(lines))
    starts = [i for i in range(first, len(lines)) if letters[i]]
    run = "".join(letters[i] for i in starts)
    # "What?", "A: yes", "A: no", "B: both": the first A is no question
    doubtful = first > 1 and starts and letters[first - 1] and letters[first - 1] in run
    if len(starts) < 2 or run != "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(run)] or doubtful:
        raise DataError(
            f"the options are lettered '{''.join(letters)}'; write two or more lines 'A: text', 'B: text' ... in order"
        )
    closing = (i for i in range(starts[-1] + 1, len(lines)) if not lines[i].strip() or _DEMAND.match(lines[i]))
    end = next(closing, len(lines))
    for i in range(first, end):
        line = lines[i].strip()
        if not letters[i] and line and (line[0].isupper() or not lines[i - 1].strip() or _DEMAND.match(line)):
            raise DataError(
                f"has '{line[:40]}' below an option; write the option on one line, or begin the demand for the answer "
                f"with 'Answer'"
            )
    return lines[:first], [lines[i:j] for i, j in pairwise([*starts, end])], lines[end:]


def _wording(option: list[str]) -> str:
    """The text of one option without its letter; several lines are joined by blanks."""
    return " ".join([_OPTION.match(option[0].strip())[2], *(line.strip() for line in option[1:] if line.strip())])


def read_options(text: str) -> dict[str, str]:
    """Options by letter of a question in either style (``A: text``, or ``A. text`` as in Figure 8); :class:`DataError` if there are
    fewer than two, or letters that do not run A, B, C ..."""
    return {option[0].strip()[0]: _wording(option) for option in _parts(text)[1]}


def rotations(text: str, answer: str) -> list[tuple[str, int]]:
    """A question under every rotation of its options, as it is first, and the place of the right one: each letter once.

    Only the texts of the options move, each with all its lines; instruction, letter style and last sentence stay as they
    are written.
    """
    before, options, after = _parts(text)
    heads = [one[0].rstrip().removesuffix(_OPTION.match(one[0].strip())[2]) for one in options]  # "A: "
    bodies, gaps = [], []  # what moves; blank lines below an option stay
    for head, one in zip(heads, options, strict=True):
        filled = max(i for i, line in enumerate(one) if line.strip()) + 1
        bodies.append("\n".join([one[0].rstrip()[len(head) :], *one[1:filled]]))
        gaps.append(one[filled:])
    truth, turned = LETTERS.index(answer), [text]
    for shift in range(1, len(options)):
        moved = zip(heads, bodies[shift:] + bodies[:shift], gaps, strict=True)
        turned.append(
            "\n".join([*before, *(line for head, body, gap in moved for line in (head + body, *gap)), *after])
        )
    return [(one, (truth - shift) % len(options)) for shift, one in enumerate(turned)]


def chance(option_counts: Sequence[int]) -> float:
    """Accuracy of a guess: the mean of 1 / number of options."""
    if not len(option_counts) or min(option_counts) < 1:
        raise DataError("Chance needs the number of options of at least one question.")
    return float(np.mean([1 / count for count in option_counts]))
