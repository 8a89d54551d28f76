"""The pairs of Fast-DetectGPT: what a human wrote, and what a model wrote from the same beginning; three domains, three models.

====================================  ==================================================================================
file                                  content (JSON)
====================================  ==================================================================================
``<domain>_<model>.raw_data.json``    ``{"original": [...], "sampled": [...]}``, as many of both; row k of both begins with
                                      the same words (pubmed: the same question)
====================================  ==================================================================================

What both versions begin with is the human's and tells nothing: it is kept as the ``question``, and the text is what follows.
Rows of other files that begin alike go back to the same source. Bao et al. 2024, arXiv:2310.05130;
github.com/baoguangsheng/fast-detect-gpt (MIT).

    texts = read_pairs(folder)
"""

from __future__ import annotations

from pathlib import Path

from lib.data.files import DataError, check_keys, read_json
from papers.llm_detector.split import joined
from papers.llm_detector.texts import HUMAN, Text, check_said

DOMAINS = {"pubmed": "PubMed answers", "writing": "stories", "xsum": "news"}
MODELS = {"davinci": "davinci", "gpt-3.5-turbo": "GPT-3.5-turbo", "gpt-4": "GPT-4"}  # 2020, 2022, 2023
_SUFFIX = ".raw_data.json"
_ALIKE = 8  # words with which no two sources begin


def beginning(one: str, other: str) -> int:
    """Of how many words of two texts the first are the same.

    >>> beginning("Is it safe? It is.", "Is it safe? No.")
    3
    """
    words, others = one.split(), other.split()
    same = (k for k, (a, b) in enumerate(zip(words, others, strict=False)) if a != b)
    return next(same, min(len(words), len(others)))


def _file(path: Path) -> list[tuple[str, str]]:
    content = read_json(path)
    check_keys(content, str(path), required=("original", "sampled"))
    for key, rows in content.items():
        if not isinstance(rows, list) or not rows:
            raise DataError(f"{path}: {key!r} is no list of texts; fetch it again.")
        for number, text in enumerate(rows, start=1):
            check_said(text, f"{path}, row {number}", key)
    original, sampled = content["original"], content["sampled"]
    if len(original) != len(sampled):
        raise DataError(f"{path} has {len(original)} original and {len(sampled)} sampled texts; fetch it again.")
    return list(zip(original, sampled, strict=True))


def read_pairs(folder: Path) -> tuple[list[Text], dict[str, int]]:
    """Human and machine texts of all files, and counts: pairs read, kept, and those of which one side has nothing of its own.

    Raises :class:`DataError` naming file and row, also for a file of a domain or model that is not known.
    """
    files = sorted(Path(folder).glob(f"*{_SUFFIX}"))
    if not files:
        raise DataError(f"{folder} holds no *{_SUFFIX}; give the folder of the pairs.")
    rows: dict[str, tuple[str, str, str, str, str]] = {}
    counts = {"pairs read": 0, "kept": 0, "nothing behind the beginning": 0}
    for file in files:
        domain, _, model = file.name.removesuffix(_SUFFIX).partition("_")
        if domain not in DOMAINS or model not in MODELS:
            raise DataError(f"{file} is of no known domain and model; name it <domain>_<model>{_SUFFIX}.")
        for number, (human, machine) in enumerate(_file(file), start=1):
            counts["pairs read"] += 1
            same = beginning(human, machine)
            sides = (" ".join(human.split()[same:]), " ".join(machine.split()[same:]))
            if not all(sides):
                counts["nothing behind the beginning"] += 1
                continue
            # the texts with their line breaks: behind the words that both share
            own = tuple(_behind(text, same) for text in (human, machine))
            rows[f"{domain}-{model}-{number}"] = (DOMAINS[domain], MODELS[model], " ".join(human.split()[:same]), *own)
    marks = {id: {_mark(row[2], row[3])} for id, row in rows.items()}
    source = joined(marks)
    found = []
    for id, (domain, model, question, human, machine) in rows.items():
        found.append(Text(f"{id}-human", source[id], domain, HUMAN, human, question))
        found.append(Text(f"{id}-machine", source[id], domain, model, machine, question))
    counts["kept"] = len(rows)
    return found, counts


def _behind(text: str, words: int) -> str:
    """``text`` without its first ``words`` words, otherwise as it is."""
    for _ in range(words):
        text = text.lstrip()
        cut = next((k for k, letter in enumerate(text) if letter.isspace()), len(text))
        text = text[cut:]
    return text.strip()


def _mark(question: str, human: str) -> str:
    return " ".join(f"{question} {human}".lower().split()[:_ALIKE])
