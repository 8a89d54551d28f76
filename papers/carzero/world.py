"""The generated world of CARZero: a training table and five test sets in the real layout, each in its own format.

Every set has a machine of its own (gain, noise). Files and names are those of the released test lists: ``Dataset/OpenI``,
``Dataset/PadChest``, ``Dataset/ChestXray14``, ``Dataset/Chexpert``, ``Dataset/ChestXDet10``, and ``Dataset/MIMIC`` beside them.

    write_world(folder, seed=0, train=1500, test=300, size=64)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.data.files import write_atomic, write_csv, write_json
from lib.streams import stream
from papers.carzero import findings, mimic, sets
from papers.carzero.findings import FINDINGS, SEVERITIES
from papers.carzero.phantom import Box, draw
from papers.carzero.reports import write_report
from papers.carzero.rewriter import rewrite

LATERAL = 0.03  # share of the training table's rows that are no frontal views, and of its validation split
MACHINES = {"mimic": (1.0, 0.03), "open_i": (0.95, 0.035), "padchest": (1.05, 0.03), "chestxray14": (0.9, 0.04)}
MACHINES |= {"chexpert": (1.0, 0.035), "chestxdet10": (1.05, 0.035)}


def _shown(rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Findings of one picture with side and severity, each at its own rate."""
    found = []
    for name, finding in FINDINGS.items():
        side, severity = ("left", "right")[rng.integers(2)], SEVERITIES[rng.integers(3)]
        if rng.random() < finding.rate:
            found.append((name, side if finding.sided else "", severity))
    return found


def _save(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **({"quality": 95} if path.suffix == ".jpg" else {"compress_level": 1}))


def _pictures(
    name: str, files: list[str], folder: Path, *, seed: int, size: int
) -> list[list[tuple[str, str, str, Box]]]:
    """Draw the pictures of a set into ``folder``; what each shows: (finding, side, severity, box)."""
    gain, noise = MACHINES[name]
    found = []
    for number, file in enumerate(files):
        rng = stream(seed, name, number)
        shown = _shown(rng)
        told = {"sides": [side or "right" for _, side, _ in shown], "severities": [severity for *_, severity in shown]}
        picture, boxes = draw([name for name, *_ in shown], size=size, rng=rng, gain=gain, noise=noise, **told)
        _save(folder / file, picture)
        found.append([(*one, box) for one, (_, box) in zip(shown, boxes, strict=True)])
    return found


def _names(shown: list[list[Any]]) -> list[list[str]]:
    return [[name for name, *_ in one] for one in shown]


def _list(folder: Path, key: str, files: list[str], prompts: list[str]) -> None:
    layout = sets.LAYOUT[key]
    write_csv(folder / layout.images, pd.DataFrame({"Path": files}))
    write_json(folder / layout.prompts, {str(k): [f"There is {prompt}"] for k, prompt in enumerate(prompts)})


def _open_i(root: Path, *, count: int, seed: int, size: int) -> None:
    files = [f"CXR{n}_IM-{n:04d}-1001.png" for n in range(1, count + 1)]
    folder = root / sets.LAYOUT["open_i"].folder
    shown = _names(_pictures("open_i", files, folder / "images", seed=seed, size=size))
    said = [";".join(text for name in one for text in findings.OPENI_TEXT.get(name, ())) for one in shown]
    rows = {"": 0, "uid": [f"CXR{n}" for n in range(1, count + 1)], "file_name": files}
    major = ["normal" if not text else text.split(";")[0] for text in said]
    write_csv(folder / "custom.csv", pd.DataFrame({**rows, "labels_major": major, "labels_automatic": said}))
    _list(folder, "open_i", files, list(findings.OPENI_PROMPTS))


def _padchest(root: Path, *, count: int, seed: int, size: int) -> None:
    files = [f"{10**17 + 7919 * n}_{n:05x}.png" for n in range(count)]
    folder = root / sets.LAYOUT["padchest"].folder
    shown = _names(_pictures("padchest", files, folder / "images", seed=seed, size=size))
    labels = [[findings.PADCHEST[name][0] for name in one] or ["normal"] for one in shown]
    write_json(folder / "manual_image.json", dict(zip(files, labels, strict=True)))
    prompts = dict(findings.PADCHEST.values())
    present = sorted({label for one in labels for label in one} - {"normal"})
    _list(folder, "padchest", files, [prompts[label] for label in present])


def _chestxray14(root: Path, *, count: int, seed: int, size: int) -> None:
    files = [f"images_{1 + n % 12:03d}/{n:08d}_000.png" for n in range(count)]
    folder = root / sets.LAYOUT["chestxray14"].folder
    shown = _names(_pictures("chestxray14", files, folder / "images", seed=seed, size=size))
    lines = [
        " ".join([file, *(str(int(name in one)) for name in findings.CHESTXRAY14)])
        for file, one in zip(files, shown, strict=True)
    ]
    write_atomic(folder / "test_list.txt", "\n".join(lines) + "\n")
    _list(folder, "chestxray14", files, list(findings.CHESTXRAY14.values()))


def _chexpert(root: Path, *, count: int, seed: int, size: int) -> None:
    files = [f"test/patient{64741 + n}/study1/view1_frontal.jpg" for n in range(count)]
    folder = root / sets.LAYOUT["chexpert"].folder
    shown = _names(_pictures("chexpert", files, folder / "images", seed=seed, size=size))
    labels = {column: [0] * count for column in sets.CHEXPERT_COLUMNS}
    for row, one in enumerate(shown):
        for column in {findings.CHEXPERT[name] for name in one if name in findings.CHEXPERT} or {"No Finding"}:
            labels[column][row] = 1
    table = pd.DataFrame(labels)
    table.insert(0, "Path", files)
    write_csv(folder / "test_labels.csv", table)
    prompts = {"Consolidation": "Pulmonary Consolidation", "Edema": "Pulmonary Edema"}
    _list(folder, "chexpert", files, [prompts.get(name, name) for name in sets.CHEXPERT_CLASSES])


def _chestxdet10(root: Path, *, count: int, seed: int, size: int) -> None:
    files = [f"{36000 + n}.png" for n in range(count)]
    folder = root / sets.LAYOUT["chestxdet10"].folder
    rows = []
    for file, one in zip(files, _pictures("chestxdet10", files, folder / "images", seed=seed, size=size), strict=True):
        known = [(findings.CHESTXDET[name], list(box)) for name, _, _, box in one if name in findings.CHESTXDET]
        rows.append({"file_name": file, "syms": [name for name, _ in known], "boxes": [box for _, box in known]})
    write_json(folder / "test.json", rows)
    prompts = {"Calcification": "Tissue Calcification", "Consolidation": "Pulmonary Consolidation"}
    prompts |= {"Effusion": "Pleural Effusion", "Emphysema": "Pulmonary Emphysema", "Fracture": "Bone Fracture"}
    prompts |= {"Mass": "Pulmonary Mass", "Nodule": "Lung Nodule"}
    _list(folder, "chestxdet10", files, [prompts.get(name, name) for name in sets.CHESTXDET_CLASSES])


def _mimic(folder: Path, *, count: int, seed: int, size: int) -> None:
    files = [f"files/p10/p{10**7 + n}/s{5 * 10**7 + n}/{n:08x}.jpg" for n in range(count)]
    shown = _pictures("mimic", files, folder, seed=seed, size=size)
    reports = [write_report([one[:3] for one in row], rng=stream(seed, "report", n)) for n, row in enumerate(shown)]
    rng = stream(seed, "views and splits")
    view = np.where(rng.random(count) < LATERAL, "Lateral", "Frontal")
    split = np.where(rng.random(count) < LATERAL, "valid", "train")
    columns = {"Path": files, mimic.VIEW: view, "Split": split, mimic.RAW: reports}
    write_csv(folder / mimic.TABLE, pd.DataFrame({**columns, mimic.REWRITTEN: [rewrite(one) for one in reports]}))


def write_world(folder: Path, *, seed: int, train: int, test: int, size: int) -> None:
    """``train`` radiographs with reports and five test sets of ``test`` each, pictures of ``size`` x ``size`` pixels."""
    root = Path(folder) / sets.ROOT
    _mimic(Path(folder) / mimic.FOLDER, count=train, seed=seed, size=size)
    for write in (_open_i, _padchest, _chestxray14, _chexpert, _chestxdet10):
        write(root, count=test, seed=seed, size=size)
