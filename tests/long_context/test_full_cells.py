"""The notebooks of the paper at `full`, cell by cell, on tiny checkpoints and a few rows in the same formats."""

import copy
import json

import pytest
from pairs import at, exhibits, run_cells

from lib.data.instructions import dialogue, write_alpaca
from lib.models import causal_lm
from lib.workflow import experiments
from papers.long_context import cmb

PLAN = experiments.load("long_context")
AT_FULL = [name for name in exhibits("long_context", "full") if PLAN.evidence(name, "full") == "real"]
NAMES = [f"herb{k}" for k in range(24)]
SIZES = {  # what a notebook is given in the place of the profile's own
    "tab5_volume": {"volumes": [4, 8, 12], "epochs": 1},
    "fig_context_length": {"lengths": [1, 2]},
    "fig_open_book": {"resamples": 20},
    "tab_scoring_modes": {"resamples": 20, "longest": 2},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder for each source of `full`."""
    root, told = tmp_path_factory.mktemp("sources"), PLAN.profiles["full"]
    options = dict(zip("ABCDE", NAMES, strict=False))
    questions = [
        {"exam_type": kind, "exam_class": "x", "exam_subject": "y", "question_type": cmb.SINGLE, "question": f"{name} 治 什 么",
         "option": options, "answer": "B", "explanation": f"{name} {NAMES[1]}。"}
        for name in NAMES for kind in list(cmb.EXAM_TYPES)[:2]
    ]  # fmt: skip
    rows = [dialogue([(f"{name} 治 什 么", f"{NAMES[k - 1]}")]) for k, name in enumerate(NAMES)]
    files = {name: root / "rows" / path for name, path in told["files"].items() if name != "source"}
    files["questions"].parent.mkdir(parents=True)
    files.pop("questions").write_text(json.dumps(questions, ensure_ascii=False))
    for path in files.values():
        write_alpaca(path, rows, history=False)
    said = json.dumps([told["wording"], told["reading"]["wording"], questions, "ABCDEFG.\n"], ensure_ascii=False)
    for width, one in enumerate(("qwen_1800", "qwen_7000"), start=1):
        causal_lm.write_checkpoint(
            root / one,
            texts=[said, "\n"],
            chat_template="chatml",
            architecture="qwen3",
            width=16 * width,
            depth=1,
            heads=2,
        )
    return {name: root / name for name in ("rows", "qwen_1800", "qwen_7000")}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Artefacts that the notebooks share."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.slow
@at("full", AT_FULL)
def test_a_notebook_reads_the_files_of_its_sources_at_full(exhibit, places, root):
    told = copy.deepcopy(PLAN.profiles["full"])
    told["machine"] = {"device": "cpu", "micro_batch": 2}
    told["checkpoints"] = {size: told["checkpoints"][size] for size in (1800, 7000)}
    told["tuning"] |= {"batch": 2, "max_length": 128, "dtype": "float32", "lora": {"rank": 2, "targets": ["q_proj"]}}
    told["budgets"] = {name: {"steps": 1, "learning_rate": 1e-3} for name in told["budgets"]}
    told["long_exam"] = {"distractors": 5}
    told["sizes"], told["middle"] = [1, 2], 2
    told["replies"] |= {"longest": 2, "dtype": "float32"}
    told["reading"] |= {"longest": 2, "dtype": "float32"}
    run_cells(
        "long_context", exhibit, "full", settings=told, root=root, sources=places, seeds=2, **SIZES.get(exhibit, {})
    )
    saved = json.loads((root / "out" / "papers" / "long_context" / "results" / f"{exhibit}.full.json").read_text())
    assert saved["evidence"] == "real" and saved["numbers"]
