"""Multiple-choice exams in the three layouts of Aurora's repository: MMLU, C-Eval and CMMLU, each one zip of CSV files.

========  ======================================  ==================================================================
exam      member of the zip                       columns
========  ======================================  ==================================================================
MMLU      ``data/{split}/{subject}_{split}.csv``  no header: question, A, B, C, D, answer
C-Eval    ``{split}/{subject}_{split}.csv``       ``id,question,A,B,C,D``; val adds ``answer``, dev also ``explanation``;
                                                  the test split's answers are withheld
CMMLU     ``{split}/{subject}.csv``               ``,Question,A,B,C,D,Answer`` (unnamed index); no val split
========  ======================================  ==================================================================

Beside it stands ``mapping.json``: subject -> display name and category. Members are read in memory after their names
and sizes are checked; every cell stays the text it is (an option may read ``None``). :func:`write_exam`
writes generated exams in the same layouts.

    exam = read_exam("MMLU", run.source("exams") / "mmlu")
    len(exam.select("test")), len(exam.select("test", subjects=MEDICAL["MMLU"]))
    # (14042, 1089)
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lib.data.files import DataError, check_keys, check_text, one_line, read_json, write_atomic, write_json

LETTERS = ("A", "B", "C", "D")
CATEGORIES = ("STEM", "Social Sciences", "Humanities", "Other")
LARGEST_MEMBER = 8 * 2**20  # bytes; the largest real one has 1.9 MB
MOST_MEMBERS = 2_000

# The medical subjects proper; the fact sheet lists neighbours such as virology, nutrition or high school biology.
MEDICAL = {
    "MMLU": (
        "anatomy",
        "clinical_knowledge",
        "college_biology",
        "college_medicine",
        "medical_genetics",
        "professional_medicine",
    ),
    "C-Eval": ("basic_medicine", "clinical_medicine", "physician"),
    "CMMLU": (
        "anatomy",
        "clinical_knowledge",
        "college_medicine",
        "professional_medicine",
        "traditional_chinese_medicine",
        "virology",
        "genetics",
        "nutrition",
        "college_medical_statistics",
    ),
}


@dataclass(frozen=True)
class Question:
    """One item. `answer` is a letter, or ``None`` where withheld; `number` is its place in its file, from 0."""

    subject: str
    number: int
    text: str
    options: tuple[str, str, str, str]
    answer: str | None = None
    explanation: str | None = None


@dataclass(frozen=True)
class Subject:
    name: str  # as prompts and people call it
    category: str


@dataclass(frozen=True)
class Layout:
    """Where an exam's rows stand: member pattern, and the header of each split (``None``: there is no header)."""

    archive: str
    member: str
    header: dict[str, tuple[str, ...] | None]

    def columns(self, split: str) -> tuple[str, ...]:
        """Our names of the columns of a split, in order."""
        header = self.header[split]
        if header is None:
            return ("question", *LETTERS, "answer")
        return tuple({"": "id"}.get(name, name if name in LETTERS else name.lower()) for name in header)


_CEVAL = ("id", "question", *LETTERS)
_CMMLU = ("", "Question", *LETTERS, "Answer")
LAYOUTS = {
    "MMLU": Layout("mmlu.zip", "data/{split}/{subject}_{split}.csv", {"dev": None, "val": None, "test": None}),
    "C-Eval": Layout(
        "ceval.zip",
        "{split}/{subject}_{split}.csv",
        {"dev": (*_CEVAL, "answer", "explanation"), "val": (*_CEVAL, "answer"), "test": _CEVAL},
    ),
    "CMMLU": Layout("cmmlu.zip", "{split}/{subject}.csv", {"dev": _CMMLU, "test": _CMMLU}),
}
# In the order of Aurora's Table 3: where each exam stands in the release, and the split whose answers are public.
FOLDERS = {"C-Eval": "ceval", "MMLU": "mmlu", "CMMLU": "cmmlu"}
GRADED = {"C-Eval": "val", "MMLU": "test", "CMMLU": "test"}


@dataclass(frozen=True)
class Exam:
    """All questions of one exam: ``questions[split][subject]`` in file order; subjects in the mapping's order."""

    name: str
    subjects: dict[str, Subject]
    questions: dict[str, dict[str, list[Question]]]

    def select(self, split: str, *, subjects: Collection[str] | None = None) -> list[Question]:
        """The questions of a split, subject by subject; of `subjects` only, when given."""
        if split not in self.questions:
            raise DataError(f"{self.name} has no split '{split}'; it has {', '.join(self.questions)}.")
        for subject in subjects or ():
            if subject not in self.subjects:
                raise DataError(
                    f"{self.name} has no subject '{subject}'; see exam.subjects for its {len(self.subjects)}."
                )
        chosen = self.subjects if subjects is None else subjects
        return [question for subject in chosen for question in self.questions[split].get(subject, [])]

    def counts(self) -> dict[str, int]:
        """Rows of each split."""
        return {split: len(self.select(split)) for split in self.questions}

    def repeated(self, split: str) -> int:
        """How many rows of a split repeat an earlier one's subject, question and options."""
        seen = Counter((q.subject, q.text, q.options) for q in self.select(split))
        return sum(count - 1 for count in seen.values())


def layout_of(name: str) -> Layout:
    if name not in LAYOUTS:
        raise DataError(f"there is no exam layout '{name}'; use one of {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def read_members(archive: Path) -> dict[str, bytes]:
    """The files of a zip by name, in memory; ``.txt`` notes are left out.

    Raises :class:`DataError` for anything but a sound zip of relative, unique, not encrypted members of sane size.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.is_dir()]
            if len(members) > MOST_MEMBERS:
                raise DataError(f"{archive} has {len(members)} members where {MOST_MEMBERS} are sane; fetch it again.")
            for info in members:
                _check_member(archive, info)
            names = Counter(info.filename for info in members)
            for name, times in names.items():
                if times > 1:
                    raise DataError(f"{archive} holds '{name}' {times} times; fetch it again.")
            return {i.filename: opened.read(i) for i in members if not i.filename.endswith(".txt")}
    except FileNotFoundError:
        raise DataError(f"{archive} does not exist; download or generate the exam.") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, UnicodeDecodeError) as error:
        raise DataError(f"{archive} is not a sound zip archive ({one_line(error)}); fetch it again.") from error


def _check_member(archive: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
        raise DataError(f"{archive} has a member named '{name[:60]}', outside its folder; do not use this archive.")
    if info.file_size > LARGEST_MEMBER:
        raise DataError(f"{archive}, member '{name}' would unpack to {info.file_size} bytes; do not use this archive.")
    if info.flag_bits & 1:
        raise DataError(f"{archive}, member '{name}' is encrypted; fetch the exam again from its source.")


def read_exam(name: str, folder: Path) -> Exam:
    """The exam `name` (MMLU, C-Eval or CMMLU) from `folder`, which holds its zip and ``mapping.json``.

    Raises :class:`DataError` naming archive, member and row for a wrong header, a line of another width, an answer
    that is no letter, an empty question, rows out of order, and subjects that differ between zip and mapping.
    """
    layout, folder = layout_of(name), Path(folder)
    subjects, archive = _read_mapping(folder / "mapping.json"), folder / layout.archive
    members = read_members(archive)
    questions: dict[str, dict[str, list[Question]]] = {}
    for split in layout.header:
        questions[split] = {}
        for subject in subjects:
            member = layout.member.format(split=split, subject=subject)
            if member not in members:
                raise DataError(
                    f"{archive} lacks '{member}', which {folder / 'mapping.json'} promises; fetch both again."
                )
            questions[split][subject] = _read_csv(members.pop(member), subject, layout, split, f"{archive}, {member}")
    if members:
        raise DataError(
            f"{archive} holds '{min(members)}', of no subject of {folder / 'mapping.json'}; fetch both again."
        )
    return Exam(name, subjects, questions)


def _read_mapping(path: Path) -> dict[str, Subject]:
    subjects = {}
    for key, entry in read_json(path).items():
        place = f"{path}, subject '{key}'"
        check_keys(entry, place, required=("name", "category"))
        check_text(entry["name"], place, "name")
        if entry["category"] not in CATEGORIES:
            raise DataError(f"{place} has the category {entry['category']!r}; use one of {', '.join(CATEGORIES)}.")
        subjects[key] = Subject(entry["name"], entry["category"])
    return subjects


def _read_csv(content: bytes, subject: str, layout: Layout, split: str, place: str) -> list[Question]:
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place} is not a CSV table in UTF-8 ({one_line(error)}); fetch it again.") from error
    header, columns = layout.header[split], layout.columns(split)
    if header is not None and (not rows or tuple(rows.pop(0)) != header):
        raise DataError(f"{place} does not begin with the header '{','.join(header)}'; it is another layout or split.")
    if not rows:
        raise DataError(f"{place} has no question; it was probably cut off, fetch it again.")
    found = []
    for number, cells in enumerate(rows):
        where = f"{place}, question {number + 1}"
        if len(cells) != len(columns):
            raise DataError(f"{where} has {len(cells)} cells where {len(columns)} belong; it was cut or edited.")
        cell = dict(zip(columns, cells, strict=True))
        if cell.get("id", str(number)) != str(number):
            raise DataError(
                f"{where} has the number {cell['id']!r} instead of {number}; a row is lost, fetch it again."
            )
        if "answer" in cell and cell["answer"] not in LETTERS:
            raise DataError(f"{where} has the answer {cell['answer'][:20]!r}; it must be A, B, C or D.")
        if not cell["question"].strip() or not all(cell[letter].strip() for letter in LETTERS):
            raise DataError(f"{where} has an empty question or option; complete it or fetch the file again.")
        options = tuple(cell[letter] for letter in LETTERS)
        found.append(Question(subject, number, cell["question"], options, cell.get("answer"), cell.get("explanation")))
    return found


def write_exam(folder: Path, exam: Exam) -> None:
    """``mapping.json`` and the zip of `exam` in the layout of its name; the same exam gives the same bytes.

    Raises :class:`DataError` for what the layout cannot hold: an answer in C-Eval's test split, an explanation
    elsewhere than in its dev split, a split of another layout, questions out of order. Nothing is written then.
    """
    layout, folder, buffer = layout_of(exam.name), Path(folder), io.BytesIO()
    if set(exam.questions) != set(layout.header):
        raise DataError(f"{exam.name} needs the splits {', '.join(layout.header)}, not {', '.join(exam.questions)}.")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for split in layout.header:
            for subject in exam.subjects:
                content = _csv_bytes(exam.questions[split].get(subject, []), subject, layout, split)
                member = layout.member.format(split=split, subject=subject)
                opened.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), content)
    write_json(
        folder / "mapping.json", {key: {"name": s.name, "category": s.category} for key, s in exam.subjects.items()}
    )
    write_atomic(folder / layout.archive, buffer.getvalue())


def _csv_bytes(questions: Sequence[Question], subject: str, layout: Layout, split: str) -> bytes:
    columns, stream = layout.columns(split), io.StringIO(newline="")
    writer = csv.writer(stream)  # ends lines by \r\n, and so quotes a cell that holds either
    if layout.header[split] is not None:
        writer.writerow(layout.header[split])
    for number, question in enumerate(questions):
        cell = {"id": str(number), "question": question.text, **dict(zip(LETTERS, question.options, strict=True))}
        for key in ("answer", "explanation"):
            value = getattr(question, key)
            if (value is not None) != (key in columns):
                raise DataError(
                    f"question {number + 1} of {subject}, split {split}: the layout {'needs an' if key in columns else 'has no'} "
                    f"{key}; {'give one' if key in columns else 'leave it None'}."
                )
            cell[key] = value
        writer.writerow([cell[column] for column in columns])
    content = stream.getvalue().encode()
    if _read_csv(content, subject, layout, split, f"the {split} questions of {subject}") != list(questions):
        raise DataError(f"the {split} questions of {subject} carry another subject or number; count from 0.")
    return content
