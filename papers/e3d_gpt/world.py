"""The generated world of E3D-GPT: an unlabelled pool and two instruction sets, in CT-RATE's layout and the sheet's JSON formats.

    <root>/pool/                     a tree of volumes without reports (the collaborating hospital's share)
    <root>/{ct_rate,bimcv_r}/        trees with metadata, labels and reports; train and valid
    <root>/instructions/{ct_rate,bimcv_r}_reports.json, ..._vqa_{train,test}.json

The second set has another scanner (noise, gain) and another hospital's volumes. BIMCV-R's own layout was not found: it stands
in CT-RATE's.

    write_world(folder, seed=0, pool=500, sets={"ct_rate": {...}}, shape=(24, 24, 12), spacing=(15, 15, 30), pose={...})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.data import ct_rate
from lib.streams import stream
from papers.e3d_gpt.findings import SHOWN, level_of, side_of, write_report
from papers.e3d_gpt.instructions import LETTERS, Item, write_questions, write_reports
from papers.e3d_gpt.phantom import draw, sample_findings

SETS = ("ct_rate", "bimcv_r")
SCANNERS = {"pool": 20.0, "ct_rate": 20.0, "bimcv_r": 40.0}  # noise, HU
CAPTION = (
    "Describe this CT.",
    "Write a report.",
    "What is shown?",
    "Give a caption.",
)  # short ones of M3D's paraphrases
Observed = Mapping[str, str]


def reports_json(root: Path, name: str) -> Path:
    """Where the report JSON of a set lies."""
    return Path(root) / "instructions" / f"{name}_reports.json"


def questions_json(root: Path, name: str, split: str) -> Path:
    """Where the question JSON of a set and split (``train``, ``test``) lies."""
    return Path(root) / "instructions" / f"{name}_vqa_{split}.json"


def report_item(image: str, observed: Observed, rng: np.random.Generator) -> Item:
    """The report of a volume under one of the captioning instructions."""
    return Item(image, CAPTION[int(rng.integers(len(CAPTION)))], write_report(observed), "report")


def is_there(name: str) -> str:
    """The yes/no question for a finding, as it is also asked for diagnosis."""
    return f"Say whether there is {name.lower()}"


def ask(image: str, observed: Observed, rng: np.random.Generator) -> tuple[list[Item], list[Sequence[str]]]:
    """Questions on one volume, with the options of those that have some: of each kind what its findings allow.

    One finding that is there and one that is not (yes_no), one of four (choice), side and level of every finding that has
    them. Nothing in a question's words tells its answer. A question ends with its finding, so that the next word is the answer.
    """
    present = [name for name in SHOWN if name in observed]
    absent = [name for name in SHOWN if name not in observed]
    items, options = [], []

    def add(kind: str, question: str, answer: str, told: Sequence[str] = ()) -> None:
        items.append(Item(image, question, answer, kind))
        options.append(tuple(told))

    for known, answer in ((present, "yes"), (absent, "no")):
        if known:
            add("yes_no", is_there(known[int(rng.integers(len(known)))]), answer)
    if present and len(absent) >= 3:
        told = [present[int(rng.integers(len(present)))], *(absent[i] for i in rng.permutation(len(absent))[:3])]
        order = rng.permutation(4)
        shown = [told[i].lower() for i in order]
        add("choice", "Which of these is present?", LETTERS[int(np.argmin(order))], shown)
    for name in present:
        if side := side_of(name, observed[name]):
            add("side", f"Name the side of the {name.lower()}", side)
        if level := level_of(name, observed[name]):
            add("level", f"Name the level of the {name.lower()}", level)
    return items, options


def _labels(shown: Mapping[str, Observed]) -> pd.DataFrame:
    table = {label: [int(label in one) for one in shown.values()] for label in ct_rate.CT_RATE_LABELS}
    return pd.DataFrame(table, index=list(shown), dtype=np.int8)


def write_tree(
    root: Path, *, scanner: str, split: str, scans: int, seed: int, spacing: Sequence[float], reports: bool, **how: Any
) -> dict[str, Observed]:
    """One split of a tree; what each volume shows. ``reports``: whether it has labels and reports."""
    metadata, shown = [], {}
    for number in range(1, scans + 1):
        name, place = f"{split}_{number}_a_1.nii.gz", (scanner, split, number)
        shown[name] = sample_findings(stream(seed, "findings", *place))
        hu = draw(shown[name], seed=seed, name=place, spacing=spacing, noise=SCANNERS[scanner], **how)
        stored = np.rint(hu + 1024).astype(np.int16)
        metadata.append(
            ct_rate.write_volume(root, name, stored, spacing=spacing, slope=1.0, intercept=-1024.0, level=0)
        )
    texts = pd.DataFrame(
        [(name, write_report(one), "") for name, one in shown.items()], columns=list(ct_rate.REPORT_COLUMNS)
    )
    labels = _labels(shown) if reports else _labels({key: {} for key in shown})
    ct_rate.write_split(root, split, metadata=metadata, labels=labels, reports=texts if reports else None)
    return shown


def write_world(
    folder: Path, *, seed: int, pool: int, sets: Mapping[str, Mapping[str, int]], shape: Sequence[int],
    spacing: Sequence[float], pose: Mapping[str, float],
) -> None:  # fmt: skip
    """``pool``: volumes without reports; ``sets``: of each set the number of ``train`` and ``test`` volumes."""
    root, how = Path(folder), {"seed": seed, "shape": shape, "spacing": spacing, "pose": pose}
    write_tree(root / "pool", scanner="pool", split="train", scans=pool, reports=False, **how)
    for name, counts in sets.items():
        items = {}
        for split, tree_split in (("train", "train"), ("test", "valid")):
            scans = counts[split]
            shown = write_tree(root / name, scanner=name, split=tree_split, scans=scans, reports=True, **how)
            rng = stream(seed, "questions", name, split)
            items[split] = [report_item(image, one, rng) for image, one in shown.items()]
            asked = [ask(image, one, rng) for image, one in shown.items()]
            found = [item for many, _ in asked for item in many]
            write_questions(questions_json(root, name, split), found, [told for _, many in asked for told in many])
        write_reports(reports_json(root, name), items)
