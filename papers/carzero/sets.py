"""The five test sets of CARZero, one reader a format: images, classes, prompts, labels, and boxes where there are some.

A set is one folder: its label file as its authors give it, the list of images and the prompts as CARZero gives them, and the
pictures below ``images``. Order of images: that of the list; order of classes: that of the prompts.

    test = read_set("chestxray14", root); test.labels.shape, test.prompts[0]      # (22433, 14), 'There is Atelectasis'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from lib.data.files import DataError, check_keys, positions, read_csv, read_json
from lib.data.scored_set import align, read_findings
from papers.carzero.openi import OPENI_FINDINGS, read_labels

ROOT = "Dataset"


@dataclass(frozen=True)
class Layout:
    """Where a set's files lie below ``Dataset``."""

    folder: str
    labels: str
    images: str
    prompts: str


LAYOUT = {
    "open_i": Layout("OpenI", "custom.csv", "openi_multi_label_image.csv", "openi_multi_label_text.json"),
    "padchest": Layout(
        "PadChest", "manual_image.json", "padchest_multi_label_image.csv", "padchest_multi_label_text.json"
    ),
    "chestxray14": Layout("ChestXray14", "test_list.txt", "chestxray14_test_image.csv", "chestxray14_test_text.json"),
    "chexpert": Layout("Chexpert", "test_labels.csv", "chexpert5_test_image.csv", "chexpert5_test_text.json"),
    "chestxdet10": Layout("ChestXDet10", "test.json", "chestXDet10_test_image.csv", "chestXDet10_test_text.json"),
}
TITLES = {"open_i": "Open-I", "padchest": "PadChest", "chestxray14": "ChestXray14", "chexpert": "CheXpert"}
TITLES |= {"chestxdet10": "ChestXDet10"}
CHESTXRAY14_CLASSES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
CHEXPERT_COLUMNS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
CHEXPERT_CLASSES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
CHESTXDET_CLASSES = (
    "Atelectasis", "Calcification", "Consolidation", "Effusion", "Emphysema", "Fibrosis", "Fracture", "Mass", "Nodule",
    "Pneumothorax",
)  # fmt: skip
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class TestSet:
    """``labels`` (N, K) int8 of 0 and 1; ``boxes[n]``: class -> its boxes in image n, in the file's order (no such file: none)."""

    __test__ = False  # no test of pytest's
    name: str
    files: tuple[str, ...]
    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    labels: np.ndarray
    boxes: tuple[dict[int, list[Box]], ...] = field(default=(), repr=False)

    @property
    def rare(self) -> np.ndarray:
        """Classes (K,) with at most ten positives, and one: the tail of PadChest20."""
        count = self.labels.sum(axis=0)
        return (count > 0) & (count <= 10)


def locate(folder: Path, listed: str) -> Path:
    """The file of a listed path below ``folder``: by as much of the path's end as leads there.

    Lists carry the folders of their authors' machines. Raises :class:`DataError` when there is no such file.
    """
    parts = PurePosixPath(listed).parts
    for first in range(len(parts)):
        if parts[first] not in ("/", ".."):
            found = folder.joinpath(*parts[first:])
            if found.is_file():
                return found
    raise DataError(f"{folder} has no picture '{listed}'; put the set's pictures there, or take it off the list.")


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


def _lines(path: Path, classes: Sequence[str]) -> dict[str, list[int]]:
    """``test_list.txt`` of ChestXray14: a path and a 0 or 1 a class, separated by blanks, without a header."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again.") from None
    found: dict[str, list[int]] = {}
    for number, line in enumerate(lines, start=1):
        name, *values = line.split()[:1] + line.split()[1:] or [""]
        if len(values) != len(classes) or not set(values) <= {"0", "1"}:
            raise DataError(
                f"{path}, line {number} has {len(values)} labels where 0 or 1 for {len(classes)} classes is expected; correct it."
            )
        if name in found:
            raise DataError(f"{path}, line {number} lists '{name}' again; delete one of the lines.")
        found[name] = list(map(int, values))
    return found


def _multi_hot(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    """``manual_image.json`` of PadChest and its classes: all labels in the order of their letters, "normal" left out."""
    found = read_json(path)
    for name, labels in found.items():
        if not isinstance(labels, list) or not all(isinstance(one, str) for one in labels):
            raise DataError(f"{path}, key '{name}' holds {str(labels)[:40]!r}, not a list of labels; correct it.")
    return found, sorted({label for labels in found.values() for label in labels} - {"normal"})


def _binary(table, columns: Sequence[str], path: Path) -> np.ndarray:
    values = table[list(columns)].to_numpy()
    known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
    for (row, column), text in np.ndenumerate(values):
        if text not in known:
            raise DataError(
                f"{path}, line {table.index[row]}, column '{columns[column]}' holds '{text}', not 0 or 1; correct it."
            )
    return np.vectorize(known.get, otypes=[np.int8])(values)


def _boxes(path: Path, pictures: dict[str, Path]) -> dict[str, dict[int, list[Box]]]:
    """``test.json`` of ChestX-Det10, each box inside its picture."""
    found: dict[str, dict[int, list[Box]]] = {}
    for number, row in enumerate(read_json(path, holds=list), start=1):
        place = f"{path}, row {number}"
        check_keys(row, place, required=("file_name", "syms", "boxes"))
        name, syms, boxes = row["file_name"], row["syms"], row["boxes"]
        if name in found:
            raise DataError(f"{place} has the file name '{name}' again; delete one of the rows.")
        if len(syms) != len(boxes):
            raise DataError(f"{place}: {len(syms)} symptoms and {len(boxes)} boxes of '{name}'; give one box each.")
        width, height = image_size(pictures[name]) if name in pictures and boxes else (0, 0)
        mine = found.setdefault(name, {})
        for sym, box in zip(syms, boxes, strict=True):
            if sym not in CHESTXDET_CLASSES:
                raise DataError(f"{place} has the symptom '{sym}'; the set knows {', '.join(CHESTXDET_CLASSES)}.")
            left, top, right, bottom = box if len(box) == 4 else (0, 0, 0, 0)
            if name in pictures and not (0 <= left < right <= width and 0 <= top < bottom <= height):
                raise DataError(
                    f"{place}: the box {box} of '{name}' is not inside its picture of {width} x {height} pixels; correct it."
                )
            mine.setdefault(CHESTXDET_CLASSES.index(sym), []).append(tuple(map(float, box)))
    return found


def _labels(name: str, path: Path, listed: list[str], pictures: dict[str, Path]):
    """Classes, labels (N, K) and boxes of the listed images."""
    short = [PurePosixPath(one).name for one in listed]
    if name == "open_i":
        return list(OPENI_FINDINGS), read_labels(path, short), ()
    if name == "padchest":
        found, classes = _multi_hot(path)
        rows = [list(found)[i] for i in align(short, {key: i for i, key in enumerate(found)}, path=path)]
        return classes, np.array([[int(label in found[row]) for label in classes] for row in rows], dtype=np.int8), ()
    if name == "chestxray14":
        found = {PurePosixPath(key).name: values for key, values in _lines(path, CHESTXRAY14_CLASSES).items()}
        values = list(found.values())
        rows = align(short, {key: i for i, key in enumerate(found)}, path=path)
        return list(CHESTXRAY14_CLASSES), np.array([values[row] for row in rows], dtype=np.int8), ()
    if name == "chexpert":
        table = read_csv(path, columns=["Path", *CHEXPERT_CLASSES])
        ends = [_patient(one) for one in table["Path"]]
        rows = align([_patient(one) for one in listed], positions(table, ends, path), path=path)
        return list(CHEXPERT_CLASSES), _binary(table, CHEXPERT_CLASSES, path)[rows], ()
    found = _boxes(path, pictures)
    rows = [list(found)[i] for i in align(short, {key: i for i, key in enumerate(found)}, path=path)]
    labels = [[int(k in found[row]) for k in range(len(CHESTXDET_CLASSES))] for row in rows]
    return list(CHESTXDET_CLASSES), np.array(labels, dtype=np.int8), tuple(found[row] for row in rows)


def _patient(listed: str) -> str:
    """A path of CheXpert from the patient on: what lies before differs between its copies."""
    place = listed.find("patient")
    return listed[place:] if place >= 0 else listed


def read_set(name: str, root: Path) -> TestSet:
    """A test set, its images in the order of the list. ``root``: the folder that holds ``Dataset``.

    Raises :class:`DataError`, naming file and row, for a listed image without picture or labels, an image listed twice, a
    missing label column, labels that are not 0 or 1, boxes outside their picture, and another number of prompts than classes.
    """
    layout = LAYOUT[name]
    folder = Path(root) / ROOT / layout.folder
    table = read_csv(folder / layout.images, columns=["Path"])
    listed = table["Path"].tolist()
    key = _patient if name == "chexpert" else (lambda one: PurePosixPath(one).name)
    positions(table, [key(one) for one in listed], folder / layout.images)
    paths = [locate(folder / "images", one) for one in listed]
    pictures = {PurePosixPath(one).name: path for one, path in zip(listed, paths, strict=True)}
    classes, labels, boxes = _labels(name, folder / layout.labels, listed, pictures)
    prompts = [f"There is {asked}" for asked in read_findings(folder / layout.prompts)]
    if len(prompts) != len(classes):
        raise DataError(
            f"{folder / layout.prompts} has {len(prompts)} prompts for the {len(classes)} classes of {layout.labels}; "
            "fetch both again."
        )
    return TestSet(name, tuple(map(key, listed)), tuple(paths), tuple(classes), tuple(prompts), labels, boxes)
