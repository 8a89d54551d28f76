"""What a detector reads: a text with its label, and a mixed document with a label a sentence; one file format of each.

Every corpus, generated or real, is brought into these two files once (:mod:`papers.llm_detector.corpora`); everything that
trains or measures reads them and knows no other format.

==================  ==========================================================================================
file                one line (JSON)
==================  ==========================================================================================
``texts.jsonl``     ``id, source, domain, generator, label, question, text``; ``label`` is human or machine
``mixed.jsonl``     ``id, source, domain, generator, sentences``: a list of ``{"text", "label"}``
==================  ==========================================================================================

``source`` names the human text (or the question) that a text goes back to: all versions of one human text share it, and
whatever is split or resampled is split and resampled by it.

    write_texts(folder / "texts.jsonl", found); found = read_texts(folder / "texts.jsonl")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, check_text, read_json_lines, write_json_lines

HUMAN, MACHINE = "human", "machine"
LABELS = (HUMAN, MACHINE)
WRITTEN = ("Human", "AI")  # the same as the released models write them
_TEXT = ("id", "source", "domain", "generator", "label", "question", "text")
_MIXED = ("id", "source", "domain", "generator", "sentences")


@dataclass(frozen=True)
class Text:
    """One text. ``generator``: human, or the model that wrote it. ``question``: what it answers or continues ("" if none)."""

    id: str
    source: str
    domain: str
    generator: str
    text: str
    question: str = ""

    @property
    def label(self) -> str:
        return HUMAN if self.generator == HUMAN else MACHINE


@dataclass(frozen=True)
class Mixed:
    """One document of human and machine sentences: ``sentences`` of (text, label), in order."""

    id: str
    source: str
    domain: str
    generator: str
    sentences: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        return " ".join(text for text, _ in self.sentences)

    @property
    def labels(self) -> list[str]:
        return [label for _, label in self.sentences]


def check_label(label: Any, place: str) -> None:
    """Raises :class:`DataError` unless ``label`` is human or machine."""
    if label not in LABELS:
        raise DataError(f"{place}: the label {label!r} is neither human nor machine; correct it or take the row out.")


def check_said(text: Any, place: str, key: str) -> None:
    """Raises :class:`DataError` unless ``text`` is text with something in it."""
    check_text(text, place, key)
    if not text.strip():
        raise DataError(f"{place}: {key!r} is empty; complete it or take the row out.")


def _rows(path: Path, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Checked rows; an id that occurs twice is refused, because predictions are joined by it."""
    seen: dict[str, str] = {}
    for place, row in read_json_lines(path):
        check_keys(row, place, required=keys)
        for key in ("id", "source", "domain", "generator"):
            check_said(row[key], place, key)
        if row["id"] in seen:
            raise DataError(f"{place} has the id {row['id'][:60]!r} of {seen[row['id']]}; give every row its own.")
        seen[row["id"]] = place.rpartition(", ")[2]
        yield place, row


def read_texts(path: Path) -> list[Text]:
    """Texts in the order of the file.

    Raises :class:`DataError` naming file and line: a line cut off, a missing or unknown key, an id that occurs twice, an
    empty text, a label that is neither human nor machine or does not fit the generator.
    """
    found = []
    for place, row in _rows(path, _TEXT):
        check_label(row["label"], place)
        check_text(row["question"], place, "question")
        check_said(row["text"], place, "text")
        one = Text(**{key: value for key, value in row.items() if key != "label"})
        if one.label != row["label"]:
            raise DataError(
                f"{place}: the label is {row['label']!r} and the generator {one.generator!r}; correct one of them."
            )
        found.append(one)
    return found


def write_texts(path: Path, texts: Sequence[Text]) -> None:
    write_json_lines(path, ({**asdict(one), "label": one.label} for one in texts))


def read_mixed(path: Path) -> list[Mixed]:
    """Mixed documents in the order of the file; raises :class:`DataError` as :func:`read_texts` does."""
    found = []
    for place, row in _rows(path, _MIXED):
        sentences = row["sentences"]
        if not isinstance(sentences, list) or not sentences:
            raise DataError(f"{place}: 'sentences' is no list of sentences; complete it or take the row out.")
        for number, one in enumerate(sentences, start=1):
            where = f"{place}, sentence {number}"
            check_keys(one, where, required=("text", "label"))
            check_label(one["label"], where)
            check_said(one["text"], where, "text")
        pairs = tuple((one["text"], one["label"]) for one in sentences)
        found.append(Mixed(**{**row, "sentences": pairs}))
    return found


def write_mixed(path: Path, documents: Sequence[Mixed]) -> None:
    write_json_lines(
        path,
        (
            {**asdict(one), "sentences": [{"text": text, "label": label} for text, label in one.sentences]}
            for one in documents
        ),
    )
