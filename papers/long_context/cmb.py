"""CMB-Exam: Chinese medical examination questions in six exam types, read from and written in the released JSON.

=================================================  =========================================================
file (under ``CMB-Exam/``)                         content: a JSON list
=================================================  =========================================================
``CMB-test/CMB-test-choice-question-merge.json``   questions with ``id``, without answers
``CMB-test/CMB-test-choice-answer.json``           ``id``, ``answer`` and the exam's names again
``CMB-val/CMB-val-merge.json``                     questions with ``answer`` and ``explanation``, no ``id``
=================================================  =========================================================

Every question has ``exam_type``, ``exam_class``, ``exam_subject``, ``question``, ``question_type`` and ``option`` (letters
A to G; empty ones are left out here). Several right answers stand as one word, "ABC". An open-book exam needs the knowledge
that is supplied with each question; the paper did not release it, so its file is ours: ``id``, ``knowledge`` (the passage
that holds the answer) and ``distractors`` (other passages). Used by the long-context study.

    items = read_test(folder); passages = read_knowledge(folder / "knowledge.json")
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.data.files import DataError, check_keys, check_text, read_json, write_json

LETTERS = "ABCDEFG"
SINGLE, MULTIPLE = "单项选择题", "多项选择题"
EXAM_TYPES = {  # as in the files -> as in the tables
    "医师考试": "physician",
    "护理考试": "nursing",
    "药师考试": "pharmacist",
    "医技考试": "medical technology",
    "专业知识考试": "professional knowledge",
    "医学考研": "medical postgraduate",
}
QUESTIONS = Path("CMB-test") / "CMB-test-choice-question-merge.json"
ANSWERS = Path("CMB-test") / "CMB-test-choice-answer.json"
_NAMES = ("exam_type", "exam_class", "exam_subject")


@dataclass(frozen=True)
class Item:
    """One question. ``answer``: its letters in alphabetical order, or ``None`` where withheld; ``options``: letter -> text."""

    id: str
    exam_type: str
    exam_class: str
    exam_subject: str
    question: str
    question_type: str
    options: dict[str, str]
    answer: str | None = None
    explanation: str | None = None

    @property
    def multiple(self) -> bool:
        return self.question_type == MULTIPLE


@dataclass(frozen=True)
class Knowledge:
    """What is supplied with one question: the passage that answers it, and passages that do not."""

    id: str
    passage: str
    distractors: tuple[str, ...] = ()


def _options(record: dict[str, Any], place: str) -> dict[str, str]:
    given = record["option"]
    if not isinstance(given, dict):
        raise DataError(f"{place}: 'option' is a {type(given).__name__}; give an object of letters and texts.")
    for letter, text in given.items():
        if letter not in LETTERS or len(letter) != 1:
            raise DataError(f"{place} has the option {letter[:20]!r}; options are named {LETTERS[0]} to {LETTERS[-1]}.")
        check_text(text, place, f"option {letter}")
    filled = {letter: given[letter] for letter in sorted(given) if given[letter].strip()}
    if len(filled) < 2:
        raise DataError(f"{place} has {len(filled)} options with a text; a question needs two or more.")
    return filled


def _answer(answer: Any, place: str, *, options: dict[str, str], question_type: str) -> str:
    check_text(answer, place, "answer")
    letters = "".join(sorted(answer.strip()))
    wrong = [letter for letter in letters if letter not in options]
    if not letters or wrong or len(set(letters)) < len(letters):
        raise DataError(
            f"{place}: the answer {answer[:20]!r} is not made of different letters of its options "
            f"({', '.join(options)}); correct it or take the question out."
        )
    if question_type == SINGLE and len(letters) > 1:
        raise DataError(
            f"{place}: the answer {answer!r} has {len(letters)} letters and the type is {SINGLE}; correct one."
        )
    return letters


def _checked(record: Any, place: str, *, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    check_keys(record, place, required=required, optional=optional)
    for key in (*_NAMES, "question_type", *(["question"] if "question" in required else [])):
        check_text(record[key], place, key)
    if not record.get("question", "?").strip():
        raise DataError(f"{place} has a blank question; write it or take the row out.")
    if record.get("explanation") is not None:
        check_text(record["explanation"], place, "explanation")
    if record["exam_type"] not in EXAM_TYPES:
        raise DataError(
            f"{place}: the exam type {record['exam_type'][:20]!r} is none of {', '.join(EXAM_TYPES)}; correct it."
        )
    if record["question_type"] not in (SINGLE, MULTIPLE):
        raise DataError(
            f"{place}: the question type {record['question_type'][:20]!r} is neither {SINGLE} nor {MULTIPLE}."
        )


def _item(record: dict[str, Any], place: str, *, id: str) -> Item:
    options = _options(record, place)
    return Item(
        id=id,
        **{key: record[key] for key in (*_NAMES, "question", "question_type")},
        options=options,
        explanation=record.get("explanation"),
        answer=_answer(record["answer"], place, options=options, question_type=record["question_type"])
        if "answer" in record
        else None,
    )


def _id(record: Any, place: str, seen: set[str]) -> str:
    value = record.get("id") if isinstance(record, dict) else None
    if not isinstance(value, (int, str)) or isinstance(value, bool) or not str(value).strip():
        raise DataError(f"{place} has no usable 'id' ({value!r}); give each question a number or a name.")
    if str(value) in seen:
        raise DataError(f"{place} repeats the id {value}; keep one of the questions.")
    seen.add(str(value))
    return str(value)


def read_items(path: Path) -> list[Item]:
    """Questions of one file, with their answers where the file has them; without ``id`` a question is its row number."""
    items, seen = [], set()
    required = (*_NAMES, "question", "question_type", "option")
    for number, record in enumerate(read_json(path, holds=list), start=1):
        place = f"{path}, row {number}"
        _checked(record, place, required=required, optional=("id", "answer", "explanation"))
        items.append(_item(record, place, id=_id(record if "id" in record else {"id": number}, place, seen)))
    return items


def read_test(folder: Path) -> list[Item]:
    """The test questions joined with their answers by ``id``; ``folder`` is ``CMB-Exam``. Every question has one answer."""
    items, found, seen = read_items(folder / QUESTIONS), {}, set()
    known = {item.id: item for item in items}
    for number, record in enumerate(read_json(folder / ANSWERS, holds=list), start=1):
        place = f"{folder / ANSWERS}, row {number}"
        _checked(record, place, required=("id", *_NAMES, "question_type", "answer"))
        item = known.get(_id(record, place, seen))
        if item is None:
            raise DataError(f"{place} answers the question {record['id']}, which {QUESTIONS.name} does not have.")
        found[item.id] = _answer(record["answer"], place, options=item.options, question_type=item.question_type)
    missing = [item.id for item in items if item.id not in found]
    if missing:
        raise DataError(f"{folder / ANSWERS} has no answer to question {missing[0]} ({len(missing)} in all); add it.")
    return [Item(**{**item.__dict__, "answer": found[item.id]}) for item in items]


def write_test(folder: Path, items: Sequence[Item]) -> None:
    """Questions and answers as the two released files, read back by :func:`read_test`."""
    about = [{"id": item.id, **{key: getattr(item, key) for key in _NAMES}} for item in items]
    asked = [
        {**names, "question": item.question, "question_type": item.question_type, "option": item.options}
        for names, item in zip(about, items, strict=True)
    ]
    answered = [
        {**names, "question_type": item.question_type, "answer": item.answer}
        for names, item in zip(about, items, strict=True)
    ]
    write_json(folder / QUESTIONS, asked)
    write_json(folder / ANSWERS, answered)


def read_knowledge(path: Path) -> dict[str, Knowledge]:
    """Question id -> supplied knowledge."""
    found: dict[str, Knowledge] = {}
    seen: set[str] = set()
    for number, record in enumerate(read_json(path, holds=list), start=1):
        place = f"{path}, row {number}"
        check_keys(record, place, required=("id", "knowledge"), optional=("distractors",))
        check_text(record["knowledge"], place, "knowledge")
        others = record.get("distractors", [])
        if isinstance(others, list):
            for text in others:
                check_text(text, place, "distractors")
        if not isinstance(others, list) or not all(text.strip() for text in (record["knowledge"], *others)):
            raise DataError(
                f"{place}: give a passage as 'knowledge' and a list of passages as 'distractors', none blank."
            )
        id = _id(record, place, seen)
        found[id] = Knowledge(id, record["knowledge"], tuple(others))
    return found


def write_knowledge(path: Path, knowledge: Sequence[Knowledge]) -> None:
    write_json(path, [{"id": k.id, "knowledge": k.passage, "distractors": list(k.distractors)} for k in knowledge])


# An explanation usually names the letter it explains ("故选 B", "答案为 ACD", "A 项错误"); a passage that does gives it away.
_GIVEAWAY = re.compile(
    r"[^。；;.\n]*(?:(?:故|应|正确|本题|答案)[^。；;.\n]{0,8}[A-G]+|[A-G]\s*(?:项|选项|对|错|正确))[^。；;.\n]*[。；;.]?"
)


def knowledge_from_explanations(items: Sequence[Item], *, distractors: int = 0) -> list[Knowledge]:
    """Ours, for real files: an item's explanation without the sentences that name a letter, as its supplied knowledge.

    ``distractors``: so many passages of the questions that follow it. Items whose explanation is then empty are left out.
    """
    passages = {item.id: _GIVEAWAY.sub("", item.explanation or "").strip() for item in items}
    ids = [id for id, text in passages.items() if text]
    return [
        Knowledge(id, passages[id], tuple(passages[ids[(i + k) % len(ids)]] for k in range(1, distractors + 1)))
        for i, id in enumerate(ids)
        if len(ids) > distractors
    ]
