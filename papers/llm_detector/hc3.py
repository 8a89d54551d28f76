"""HC3's format: a question with the answers of humans and of models, all answers of one question in one row.

==============================  ==================================================================================
file                            one line (JSON)
==============================  ==================================================================================
``<domain>.jsonl``              ``question``, ``human_answers`` (list), ``chatgpt_answers`` (list), perhaps ``id`` and
                                ``source``; here also ``<generator>_answers`` of any other generator
==============================  ==================================================================================

Written by the generated world and read from the real files (Hello-SimpleAI/HC3-Chinese) alike. The question is the source.
Guo et al. 2023, arXiv:2301.07597.

    write_hc3(folder / "medicine.jsonl", rows); texts = read_hc3(folder)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, check_text, read_json_lines, write_json_lines
from papers.llm_detector.texts import HUMAN, Text

ANSWERS = "_answers"


def write_hc3(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_json_lines(path, rows)


def read_hc3(folder: Path) -> tuple[list[Text], dict[str, int]]:
    """All answers of all files, and counts: answers read, kept, empty (HC3 has some: they are left out and counted).

    The domain is ``source`` or else the file's name. Raises :class:`DataError` naming file and line: no answers of humans,
    answers that are no list of texts, an id that occurs twice in a file.
    """
    files = sorted(Path(folder).glob("*.jsonl"))
    if not files:
        raise DataError(f"{folder} holds no *.jsonl; give the folder of HC3's files.")
    found, counts = [], {"read": 0, "kept": 0, "empty": 0}
    for file in files:
        seen: dict[str, str] = {}
        for number, (place, row) in enumerate(read_json_lines(file), start=1):
            listed = [key for key in row if key.endswith(ANSWERS)] if isinstance(row, dict) else []
            check_keys(row, place, required=("question", f"{HUMAN}{ANSWERS}"), optional=("id", "source", *listed))
            check_text(row["question"], place, "question")
            id = str(row.get("id", number))
            if id in seen:
                raise DataError(f"{place} has the id {id!r} of {seen[id]}; give every row its own.")
            seen[id] = place.rpartition(", ")[2]
            for key in listed:
                answers = row[key]
                if not isinstance(answers, list):
                    raise DataError(f"{place}: {key!r} is a {type(answers).__name__}; give a list of texts.")
                for k, text in enumerate(answers):
                    check_text(text, place, key)
                    counts["read"] += 1
                    if not text.strip():
                        counts["empty"] += 1
                        continue
                    generator, source = key.removesuffix(ANSWERS), f"{file.stem}-{id}"
                    domain = row.get("source") or file.stem
                    found.append(Text(f"{source}-{generator}-{k}", source, domain, generator, text, row["question"]))
    counts["kept"] = len(found)
    return found, counts
