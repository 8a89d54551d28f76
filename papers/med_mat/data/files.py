"""Med-MAT on disk: the released question files in either layout, their images, and the same files written.

The release (huggingface.co/datasets/FreedomIntelligence/Med-MAT) is a JSON list a file:

    Aggregated_Subsets/Subset--NN-train.json   or, in a later revision, Subset-NN-train.json at the root
    med-mat/<source folders>/...               images, fetched from 87 places; paths in the JSON start with med-mat/

Used by the Med-MAT studies; generated worlds are written and read here as well.

    found = load_subset(root, "03", registry=registry, missing="skip"); found.records[0].answer
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from lib.data.files import DataError, one_line, read_json, write_json
from papers.med_mat.data.questions import MOST_OPTIONS, Question, read_options
from papers.med_mat.data.registry import Registry

KEYS = ("id", "caption", "image", "Question", "Answer", "Question-choice", "Answer-choice", "data-no")

SUBSET_FILES = ("Aggregated_Subsets/Subset--{no}-train.json", "Subset-{no}-train.json")  # first upload, later revision

Row = TypeVar("Row")


class AbsentError(DataError):
    """A subset that cannot be used because its files, or too many of its images, are not there."""


@dataclass(frozen=True)
class Record:
    """One row of a question file. ``caption`` is the label, ``image`` a path below the root, ``data_no`` the source."""

    id: int
    caption: str
    image: str
    question: str
    answer: str
    question_choice: str
    answer_choice: str
    data_no: str

    @property
    def options(self) -> dict[str, str]:
        """Option texts by letter."""
        return read_options(self.question_choice)


@dataclass(frozen=True)
class Loaded:
    """Rows whose image is there, and one sentence a source dataset about those whose image is not."""

    records: list[Record]
    missing: dict[str, int]  # images by source number
    said: list[str]


# ---------------------------------------------------------------------- places
def _found(root: Path, candidates: Sequence[str], what: str) -> Path:
    for name in candidates:
        if (root / name).is_file():
            return root / name
    raise AbsentError(
        f"{root} has no {what}; it was looked for as {' and '.join(candidates)}: fetch it from the release."
    )


def subset_file(root: Path, no: str) -> Path:
    """The question file of subset ``no`` ("03") in either layout; :class:`AbsentError` names the places looked at."""
    return _found(Path(root), [name.format(no=no) for name in SUBSET_FILES], f"question file of subset {no}")


# ---------------------------------------------------------------------- rows
def check_row(row: object, keys: Sequence[str]) -> None:
    """Keys, types and image path of one row.

    Raises :class:`DataError` with the reason and the remedy, to which :func:`read_rows` adds file and row.
    """
    if not isinstance(row, dict):
        raise DataError(f"is a {type(row).__name__}, not an object with the keys {', '.join(keys)}; fetch it again")
    for key in keys:
        if key not in row:
            raise DataError(f"lacks the key '{key}'; add it or fetch the file again")
        number = isinstance(row[key], int) and not isinstance(row[key], bool)
        if not (number if key == "id" else isinstance(row[key], str) or (key == "data-no" and number)):
            kind = "a whole number" if key == "id" else "a text"
            raise DataError(f"has {row[key]!r:.40} under '{key}'; write {kind}")
        if key != "id" and not str(row[key]).strip():
            raise DataError(f"has nothing under '{key}'; fill it in or take the row out")
    place = PurePosixPath(row["image"])
    if place.is_absolute() or ".." in place.parts or "\\" in row["image"]:
        raise DataError(f"has the image path '{row['image']}'; write a path below the root, such as med-mat/x/1.png")


def source_number(row: dict) -> str:
    """The source dataset of a checked row, without leading zeros."""
    return str(row["data-no"]).strip().lstrip("0") or "0"


def _record(row: dict) -> Record:
    check_row(row, KEYS)
    letter = row["Answer-choice"].strip()
    options = read_options(row["Question-choice"])
    if letter not in options:
        raise DataError(f"answers '{letter}', which is none of its options {', '.join(options)}; correct the letter")
    if len(options) > MOST_OPTIONS:
        raise DataError(f"has {len(options)} options; leave at most {MOST_OPTIONS}, the right one among them")
    return Record(
        id=row["id"],
        caption=row["caption"],
        image=row["image"],
        question=row["Question"],
        answer=row["Answer"],
        question_choice=row["Question-choice"],
        answer_choice=letter,
        data_no=source_number(row),
    )


def read_rows(path: Path, parse: Callable[[dict], Row]) -> list[Row]:
    """``parse`` of every row of a JSON list, in order.

    Raises :class:`DataError` for a file that is no JSON list or is empty, and for the first row ``parse`` refuses, naming
    file, row (counted from 1) and remedy.
    """
    return _parsed(Path(path), read_json(path, holds=list), parse)


def _parsed(path: Path, rows: list[dict], parse: Callable[[dict], Row]) -> list[Row]:
    parsed = []
    for number, row in enumerate(rows, start=1):
        try:
            parsed.append(parse(row))
        except DataError as error:
            raise DataError(f"{path}, row {number} {str(error).rstrip('.')}.") from None
    return parsed


def write_rows(path: Path, rows: list[dict], parse: Callable[[dict], Row]) -> None:
    """Write a JSON list, whole or not at all, after ``parse`` accepted every row as a reader would."""
    _parsed(Path(path), rows, parse)
    write_json(path, rows)


def read_records(path: Path) -> list[Record]:
    """Every row of one question file, in order.

    Raises :class:`DataError` (see :func:`read_rows`) also for a missing or wrong key, an image path that leaves the root,
    an answer that is none of its options, and an id that its dataset has already.
    """
    records, seen = read_rows(path, _record), {}
    for number, one in enumerate(records, start=1):
        first = seen.setdefault((one.data_no, one.id), number)
        if first != number:
            raise DataError(
                f"{path}, row {number} has the id {one.id}, which row {first} of dataset {one.data_no} has already; "
                "give it another or take one of them out."
            )
    return records


def record(question: Question, *, id: int, caption: str, image: str, data_no: str) -> Record:
    """The row of one generated question; the open question is the instruction, its answer the caption."""
    return Record(id, caption, image, question.instruction, caption, question.text, question.answer, data_no)


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write a question file as the release writes it, whole or not at all."""
    write_rows(path, [dict(zip(KEYS, astuple(one), strict=True)) for one in records], _record)


# ---------------------------------------------------------------------- with images
def load(path: Path, *, registry: Registry, images: Path, missing: str = "stop") -> Loaded:
    """Rows of a question file whose images lie under ``images``.

    ``missing="stop"`` raises :class:`DataError` at the first image that is not there, naming dataset and source URL and
    how many more are missing; ``"skip"`` leaves those rows out and says so, one sentence a dataset
    (:class:`AbsentError` where none is left).
    """
    if missing not in ("stop", "skip"):
        raise DataError(f"missing is '{missing}'; use 'stop' or 'skip'.")
    records = read_records(path)
    for number, one in enumerate(records, start=1):
        if one.data_no not in registry.sources:
            raise DataError(f"{path}, row {number}: dataset {one.data_no} is not in the table of sources; correct it.")
    images = Path(images)
    gone = [i for i, one in enumerate(records) if not (images / one.image).is_file()]
    counts = Counter(records[i].data_no for i in gone)
    if gone and missing == "stop":
        first = records[gone[0]]
        source = registry.sources[first.data_no]
        raise DataError(
            f"{path}, row {gone[0] + 1}: image {first.image} of dataset {source.no} ({source.name}) is not under {images} "
            f"({len(gone)} of {len(records)} images are missing); fetch it from {source.url} or pass missing='skip'."
        )
    totals = Counter(one.data_no for one in records)
    said = [
        f"dataset {no} ({registry.sources[no].name}): {count} of {totals[no]} images are missing, their questions are "
        f"left out; fetch them from {registry.sources[no].url}"
        for no, count in sorted(counts.items(), key=lambda item: int(item[0]))
    ]
    lost = set(gone)
    kept = [one for i, one in enumerate(records) if i not in lost]
    if not kept:
        raise AbsentError(f"{path}: none of its {len(records)} images is under {images}; {said[0]}.")
    return Loaded(kept, dict(counts), said)


def load_subset(root: Path, no: str, *, registry: Registry, missing: str = "stop") -> Loaded:
    """:func:`load` of subset ``no`` under ``root``, which holds its images too, in either layout."""
    return load(subset_file(root, no), registry=registry, images=Path(root), missing=missing)


def read_image(root: Path, one: Record) -> np.ndarray:
    """The image of a row, upright: (H, W) or (H, W, 3) uint8; more than 8 bits a pixel are scaled to its own range.

    Upright: turned as its EXIF says, as every viewer shows it. Raises :class:`DataError` for a file that is no image or
    not all of one, for several frames, and for pixels that are NaN or infinite.
    """
    from PIL import Image, ImageOps

    path = Path(root) / one.image
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise DataError(f"{path} holds {picture.n_frames} frames; save the one that the question means.")
            ImageOps.exif_transpose(picture, in_place=True)
            if picture.mode.startswith(("I", "F")):  # PIL would cut such radiographs off at 255
                deep = np.asarray(picture, np.float64)
                if not np.isfinite(deep).all():
                    wrong = np.count_nonzero(~np.isfinite(deep))
                    raise DataError(f"{path} has {wrong} pixels that are NaN or infinite; mend or leave out the image.")
                return np.uint8(np.round(255 * (deep - deep.min()) / max(np.ptp(deep), 1e-9)))
            return np.asarray(picture.convert("L" if picture.mode in ("L", "1") else "RGB"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; fetch dataset {one.data_no} or load with missing='skip'.") from None
    except DataError:
        raise
    except Exception as error:  # a decoder of Pillow fails in any way it likes: struct.error, KeyError, a bomb ...
        raise DataError(f"{path} is not an image ({one_line(error)}); fetch dataset {one.data_no} again.") from None
