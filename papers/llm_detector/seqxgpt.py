"""SeqXGPT's files: documents of one writer, and documents that a human began and a model went on with.

=========================  ==========================================================================================
file                       one line (JSON)
=========================  ==========================================================================================
``*_lines.jsonl``          documents: ``text``, ``label``; mixed documents also ``prompt_len``, so many characters at the
                           beginning are human. ``label``: human, gpt2, gptneo, gptj, llama, gpt3re
=========================  ==========================================================================================

The release names no source text. A mixed document goes back to the one human text that begins as it does; documents that
share eight words in a row with another go back to one source. Wang et al. 2023, arXiv:2310.08903;
github.com/Jihuai-wpy/SeqXGPT (Apache-2.0).

    documents = read_documents(folder / "document"); mixed, unknown = read_mixed_documents(folder / "ood_sentence")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, read_json_lines
from papers.llm_detector.split import joined
from papers.llm_detector.texts import HUMAN, MACHINE, Mixed, Text, check_said

# Label of the release -> name here, in the order of their release (2019 to 2023).
GENERATORS = {"gpt2": "GPT-2", "gptneo": "GPT-Neo", "gptj": "GPT-J", "llama": "LLaMA", "gpt3re": "GPT-3"}
SHINGLE = 8  # words in a row that two unrelated texts do not share
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)")


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence, cut behind a full stop, a question or an exclamation mark, or at a line break.

    >>> text = "It rose. Did it?\\nYes"
    >>> [text[a:b] for a, b in sentences(text)]
    ['It rose.', 'Did it?', 'Yes']
    """
    cuts = [0]
    for line in re.finditer(r"[^\n]+", text):
        cuts += [line.start(), *(line.start() + hit.end() for hit in _END.finditer(line.group())), line.end()]
    spans = []
    for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
        said = text[start:end]
        if said.strip():
            spans.append((start + len(said) - len(said.lstrip()), end - len(said) + len(said.rstrip())))
    return spans


def _rows(folder: Path, *, optional: tuple[str, ...] = ()) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, id, row) of every row of every file; a text that stands twice in one file is kept twice (counted by the audit)."""
    files = sorted(Path(folder).glob("*_lines.jsonl"))
    if not files:
        raise DataError(f"{folder} holds no *_lines.jsonl; give the folder of SeqXGPT's files.")
    for file in files:
        for number, (place, row) in enumerate(read_json_lines(file), start=1):
            check_keys(row, place, required=("text", "label"), optional=optional)
            check_said(row["text"], place, "text")
            if row["label"] != HUMAN and row["label"] not in GENERATORS:
                raise DataError(
                    f"{place}: the label {row['label']!r} is neither human nor one of {', '.join(GENERATORS)}; correct it."
                )
            yield place, f"{file.name.removesuffix('_lines.jsonl')}-{number}", row


def shingles(text: str) -> set[str]:
    """All runs of :data:`SHINGLE` words, in small letters."""
    words = text.lower().split()
    return {" ".join(words[k : k + SHINGLE]) for k in range(len(words) - SHINGLE + 1)}


def _sources(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """id -> source: the first id of all texts that share a run of words, directly or through others."""
    return joined({id: shingles(text) for id, text in rows})


def read_documents(folder: Path) -> list[Text]:
    """Documents of one writer each. Raises :class:`DataError` naming file and line."""
    rows = [(id, row) for _, id, row in _rows(folder)]
    source = _sources((id, row["text"]) for id, row in rows)
    return [
        Text(id, source[id], "documents", GENERATORS.get(row["label"], HUMAN), row["text"].strip()) for id, row in rows
    ]


def _beginning(text: str) -> str:
    return " ".join(text.split())


def read_mixed_documents(folder: Path) -> tuple[list[Mixed], dict[str, int]]:
    """Documents with a label a sentence, and counts: read, kept, and why the others were left out.

    A sentence is whose most of its characters are. Left out are rows that no human text, or more than one, begins as, and
    rows in which nothing but the human beginning is left. Raises :class:`DataError` naming file and line, also for a
    ``prompt_len`` that is no place in the text.
    """
    rows = list(_rows(folder, optional=("prompt_len",)))
    humans = {id: _beginning(row["text"]) for _, id, row in rows if row["label"] == HUMAN}
    counts = {"read": len(rows), "kept": 0, "source not found": 0, "nothing by the model": 0}
    found = []
    for place, id, row in rows:
        text, human = row["text"], len(row["text"])
        source = id
        if row["label"] != HUMAN:
            human = row.get("prompt_len")
            if type(human) is not int or not 0 < human <= len(text):
                raise DataError(
                    f"{place}: 'prompt_len' is {human!r}, no place in a text of {len(text)} characters; fetch it again."
                )
            known = [one for one, said in humans.items() if said.startswith(_beginning(text[:human]))]
            if len(known) != 1:
                counts["source not found"] += 1
                continue
            source = known[0]
        labelled = tuple(
            (" ".join(text[a:b].split()), HUMAN if 2 * (min(b, human) - a) > b - a else MACHINE)
            for a, b in sentences(text)
        )
        if row["label"] != HUMAN and MACHINE not in {label for _, label in labelled}:
            counts["nothing by the model"] += 1
            continue
        found.append(Mixed(id, source, "encyclopaedia", GENERATORS.get(row["label"], HUMAN), labelled))
    counts["kept"] = len(found)
    return found, counts
