"""What the tests of reported faults share: one-sentence refusals, small trees and checkpoints, a papermill that only copies."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

from lib.data import ct_rate
from lib.data.exams import read_exam
from lib.data.files import write_json
from lib.data.volumes import Geometry
from lib.explorer import explore
from lib.models import causal_lm
from lib.workflow import closure, notebooks, paths
from lib.workflow.session import one_of
from papers.brgsa import gap
from papers.med_mat.data.files import Record, read_image, read_records
from papers.med_mat.data.questions import rotations


def refuses(error: type[Exception], act, told: dict[str, list], *always: str) -> None:
    """``act`` of each input ends in one line of the project's own ``error``: the sentence it stands under, and ``always``."""
    for sentence, given in ((sentence, one) for sentence, many in told.items() for one in many):
        with pytest.raises(error) as caught:
            act(given)
        said = str(caught.value)
        assert type(caught.value).__module__.partition(".")[0] in closure.PACKAGES and "\n" not in said, said
        for part in (sentence, *always):
            assert part in said, f"{part!r} is not in: {said}"


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_tree(root: Path, volumes: dict, **cells) -> dict:
    """A tree of CT-RATE of ``{name: (stored, slope, intercept)}``, 2 mm; ``cells`` replace some of the metadata's, which are
    returned as read."""
    rows = [
        ct_rate.write_volume(root, name, np.asarray(stored, np.int16), spacing=(2, 2, 2), slope=slope, intercept=inter)
        for name, (stored, slope, inter) in volumes.items()
    ]
    labels = pd.DataFrame({"VolumeName": list(volumes), "Emphysema": 0})
    ct_rate.write_split(root, "valid", metadata=[row | cells for row in rows], labels=labels)
    return ct_rate.read_metadata(ct_rate.metadata_path(root, "valid"))


def replace_papermill(monkeypatch, act) -> None:
    """Replace papermill's run by ``act(settings)``, after which every cell counts as executed."""

    def run(source, output, **settings):
        act({"output": output, **settings})
        source, output = (Path(one.replace("{{", "{").replace("}}", "}")) for one in (source, output))
        done = notebooks.read(source)
        for number, cell in enumerate(notebooks.code_cells(done), start=1):
            cell.execution_count = number
        output.write_text(nbformat.writes(done))

    monkeypatch.setattr("papermill.execute_notebook", run)


def without(folder: Path, checkpoint: Path, *names: str) -> Path:
    """A copy of ``checkpoint`` whose tokenizer lacks what ``names`` say."""
    for file in checkpoint.iterdir():
        if file.name.partition(".")[0] not in names:
            put(folder / file.name, file.read_bytes())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", {key: value for key, value in settings.items() if key not in names})
    return folder


# ---------------------------------------------------------------------- one small input, read as a user would
WORDS = ("one", "two", "three", "four", "hi", "hello", "mint", "grows")


def tiny(folder: Path):
    """(folder, model, tokenizer) of a language model of a few hundred weights that reads 64 tokens."""
    about = "The following are multiple choice questions (with answers) about plants."
    text = f"{about} what grows here ? {' '.join(WORDS)} A B C D E F G Answer : .\n"
    sizes = {"architecture": "llama", "width": 16, "depth": 1, "heads": 2, "max_position_embeddings": 64}
    causal_lm.write_checkpoint(folder, texts=[text], chat_template="plain", **sizes)
    return folder, *causal_lm.load(folder)


def geometry(path: Path, name: str, **cells: str) -> Geometry:
    """What is read of one row of metadata, some of whose cells are ``cells``."""
    one = {"xy": "[0.7, 0.7]", "z": "1.5", "intercept": "-1024", "slope": "1"} | cells
    lying = '"[0, 0, 0]","[1, 0, 0, 0, 1, 0]"'
    line = f'{name},"{one["xy"]}",{one["z"]},{lying},{one["intercept"]},{one["slope"]}\n'
    return ct_rate.read_metadata(put(path, f"{','.join(ct_rate.METADATA_COLUMNS)}\n{line}"))[name]


def exam_rows(folder: Path, test: str | bytes) -> list[tuple]:
    """The questions read of an MMLU whose test split of one subject is ``test``."""
    write_json(folder / "mapping.json", {"anatomy": {"name": "anatomy", "category": "STEM"}})
    with zipfile.ZipFile(folder / "mmlu.zip", "w") as archive:
        for split, content in {"dev": "Q?,a,b,c,d,A\n", "val": "Q?,a,b,c,d,A\n", "test": test}.items():
            archive.writestr(f"data/{split}/anatomy_{split}.csv", content)
    return [(q.text, *q.options, q.answer) for q in read_exam("MMLU", folder).select("test")]


def question_row(text: str = "What?\nA: yes\nB: no", answer: str = "A") -> dict:
    """A row of Med-MAT."""
    row = {"id": 1, "caption": "x", "image": "med-mat/a.png", "Question": "q", "Answer": "x", "data-no": "1"}
    return row | {"Question-choice": text, "Answer-choice": answer}


def picture(root: Path, name: str, image, **how) -> np.ndarray:
    """A picture of Med-MAT, saved and read."""
    image.save(put(root / "med-mat" / name, ""), **how)
    return read_image(root, Record(1, "c", f"med-mat/{name}", "q", "a", "q", "A", "1"))


def explorer(column: str, value, row: int = 0, colour: str = "group", title: str = "T"):
    """The explorer's page of twelve points, one of whose cells is ``value``."""
    table = pd.DataFrame({"x": np.arange(12.0), "y": 1.0, "group": ["a", "b"] * 6, "score": np.linspace(0, 1, 12)})
    table = table.assign(report="fine").astype({"report": object, "group": object})
    table.at[row, column] = value
    return explore(table, title=title, colour=colour, hover=["report"])


def begin(name: str, chosen: dict, prepare) -> None:
    """A notebook's parameters, ``chosen`` set, and the cell behind them, which may go on to ``prepare``."""
    code = notebooks.look(paths.NOTEBOOKS / f"{name}.ipynb").code
    place = [("parameters" in cell.tags) for cell in code].index(True)
    names = {
        "one_of": one_of,
        "check": gap.check,
        "start": lambda *_, **__: "a run",
        "CT_RATE_LABELS": ct_rate.CT_RATE_LABELS,
    }
    exec(code[place].source, names)
    exec(code[place + 1].source, names | {"brgsa": SimpleNamespace(prepare=prepare)} | chosen)


def options(path: Path, text: str, answer: str = "A"):
    """What is read of the question of Med-MAT: its options, and (lines, place of the right one) under every rotation."""
    write_json(path, [question_row(text, answer)])
    (one,) = read_records(path)
    return one.options, [(turned.splitlines(), place) for turned, place in rotations(text, answer)]
