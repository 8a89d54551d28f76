"""The notebook on the real model at `full` and `real`, cell by cell, on a toy model and a few rows in the real layout."""

import copy
import json

import pytest
from pairs import at, exhibits, run_cells

from lib.data.exams import MEDICAL, Exam, Question, Subject, write_exam
from lib.models import causal_lm
from lib.workflow import experiments

PLAN = experiments.load("huatuogpt_o1")
WORDS = "fever cough rash a patient has is it the cause of yes no maybe wait so perhaps cold flu rest water"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder for each source of `full`."""
    root = tmp_path_factory.mktemp("sources")
    told = PLAN.profiles["full"]["tuning"]
    words = WORDS.split()
    rows = [
        {
            "Question": f"{words[k % 20]} {words[(k + 3) % 20]}?",
            "Complex_CoT": " ".join(words[k % 9 :]),
            "Response": f"It is {words[k % 20]}.",
        }
        for k in range(24)
    ]
    (root / told["records"]["file"]).write_text(json.dumps(rows))
    known = {str(k): {"QUESTION": f"Is it {words[k]}?", "CONTEXTS": [WORDS]} for k in range(12)}
    (root / "ori_pqal.json").write_text(json.dumps(known))
    decisions = {str(k): ("yes", "no", "maybe")[k % 3] for k in range(12)}
    (root / "test_ground_truth.json").write_text(json.dumps(decisions))
    questions = {
        name: [
            Question(name, k, f"the cause of {words[k]}?", ("flu", "cold", "rest", "water"), "ABCD"[k % 4])
            for k in range(2)
        ]
        for name in MEDICAL["MMLU"]
    }
    subjects = {name: Subject(name, "Other") for name in questions}
    write_exam(root / told["exam"], Exam("MMLU", subjects, dict.fromkeys(("dev", "val", "test"), questions)))
    texts = [WORDS, "## Thinking Final Response", "The answer is A. B. C. D.", "It is flu?", "user assistant"]
    causal_lm.write_checkpoint(
        root / "llama", texts=texts, chat_template="chatml", architecture="llama", width=16, depth=1, heads=2
    )
    return {"llama": root / "llama", "sft": root, "pubmedqa": root, "exams": root}


@pytest.mark.slow
@at(("full", "real"), ["tab_real_tuning"])
def test_the_notebook_runs_on_a_toy_model_and_files_in_the_real_layout(exhibit, profile, places, tmp_path):
    told = copy.deepcopy(PLAN.profiles[profile])
    told["machine"] = {"device": "cpu", "micro_batch": 1, "recompute": True}
    told["tuning"] = copy.deepcopy(PLAN.profiles["full"]["tuning"])
    told["tuning"] |= {"tokens": 300, "loading": {}, "asked": {"outputs": 4, "reply": 4, "batch": 4}}
    told["tuning"]["lora"] |= {"rank": 2}
    told["tuning"]["fit"] |= {"batch": 2, "max_length": 128}
    said = run_cells("huatuogpt_o1", exhibit, profile, settings=told, root=tmp_path, sources=places, resamples=50)
    saved = json.loads((tmp_path / f"out/papers/huatuogpt_o1/results/{exhibit}.{profile}.json").read_text())
    assert saved["evidence"] == "real" and {*saved["claims"], *saved["declined"]} == {"N5", "N6"}
    assert (
        saved["claims"]["N6"]["effect"]["n"] == 8
        and saved["claims"].get("N5", {"effect": {"n": 24}})["effect"]["n"] == 24
    )
    assert "cannot be told from none" in said and said.index("cannot be told from none") < said.index("N5")
    steps = [len(json.loads(file.read_text())) for file in (tmp_path / "cache" / "finetune").rglob("losses.json")]
    assert len(steps) == 3 and max(steps) - min(steps) <= 1  # as many steps in each arm


def test_what_is_absent_says_why():
    assert "no miniature stands for" in PLAN.why_absent("tab_real_tuning", "mini")
    assert "simple chains were not released" in PLAN.why_absent("tab2_ablation", "full")
    assert exhibits("huatuogpt_o1", "gpu") == ["tab2_ablation", "tab3_cot_length", "fig_reward"]
    assert exhibits("huatuogpt_o1", "full") == exhibits("huatuogpt_o1", "real") == ["tab_real_tuning"]
    assert PLAN.evidence("tab_real_tuning", "full") == "real" and PLAN.evidence("fig_reward", "gpu") == "miniature"
