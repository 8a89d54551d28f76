"""The notebooks of Aurora at `full`, cell by cell, on a mixture of toy size and a few rows in the same formats."""

import copy
import json
from itertools import pairwise

import pytest
from pairs import at, exhibits, run_cells

from lib.data.exams import FOLDERS, read_exam
from lib.data.instructions import dialogue, write_alpaca
from lib.models import causal_lm
from lib.training.sft import finetune
from lib.workflow import experiments
from papers.aurora import exam_sample, letters, world_files
from papers.aurora.world import make_world

WORLD = make_world(seed=0, entities=16)
LORA = {"rank": 2, "targets": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder for each source of `full`: base, adapter, chat rows and pairs, exams."""
    root = tmp_path_factory.mktemp("sources")
    chat = root / "chat"
    told = experiments.load("aurora").profiles["full"]
    facts = [fact for fact in WORLD.facts if fact.in_b]
    for language in "AB":
        rows = [dialogue([(WORLD.ask(fact, language), WORLD.tell(fact, language))]) for fact in facts]
        for path in {*told["files"][language], *(told["sets"].values() if language == "B" else ())}:
            (chat / path).parent.mkdir(parents=True, exist_ok=True)
            write_alpaca(chat / path, rows, history=False)
    pairs = [
        {"instruction": WORLD.ask(fact, "B"), "input": " ", "output": [WORLD.tell(fact, "B"), WORLD.tell(other, "B")]}
        for fact, other in pairwise(facts)
    ]
    for path in told["pairs"]["paths"]:
        (chat / path).parent.mkdir(parents=True, exist_ok=True)
        (chat / path).write_text(json.dumps(pairs, ensure_ascii=False))
    world_files.write_exams(root / "exams" / told["exams"]["under"], WORLD, seed=0)
    causal_lm.write_checkpoint(
        root / "mixtral", texts=[*world_files.vocabulary(WORLD), *letters.words()], chat_template="mistral",
        architecture="mixtral", width=32, depth=2, key_value_heads=2, intermediate_size=32, num_local_experts=4,
        num_experts_per_tok=2,
    )  # fmt: skip
    (root / "released").mkdir()
    finetune(
        root / "released", checkpoint=root / "mixtral", rows=_messages(root, facts), lora=LORA, quantisation="nf4", steps=1,
        batch=2, learning_rate=1e-3, max_length=64,
    )  # fmt: skip
    return {name: root / name for name in ("mixtral", "released", "chat", "exams")}


def _messages(root, facts):
    lines = [json.dumps(dialogue([(WORLD.ask(f, "B"), WORLD.tell(f, "B"))]), ensure_ascii=False) for f in facts[:4]]
    (root / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return root / "rows.jsonl"


@pytest.fixture(scope="module")
def small():
    """The settings of `full` with other sizes, on the CPU."""
    told = copy.deepcopy(experiments.load("aurora").profiles["full"])
    told["machine"] = {"device": "cpu", "micro_batch": 2, "recompute": True}
    told["files"] |= {"rows": 8, "prompts": 2}
    told["rules"] = {"complete_after": None, "least_cjk": 0.3, "exact": True, "near": None}
    told["lora"] = {**told["lora"], "rank": 2}
    told["fit"] |= {"epochs": 1.0, "batch": 4, "max_length": 64, "dtype": "float32"}
    told["measure"] = {"longest": 3, "batch": 8}
    told["harness"] |= {"shots": 1, "dtype": "float32"}
    told["pairs"] |= {"count": 4}
    told["preference"] |= {"batch": 2, "max_length": 64}
    return told


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Artefacts that the notebooks share."""
    return tmp_path_factory.mktemp("runs")


AT_FULL = [name for name in exhibits("aurora", "full") if name != "tab3_exams"]  # which reads what the paper printed


@pytest.mark.slow
@at("full", AT_FULL)
def test_a_notebook_says_at_full_what_it_says_of_real_rows(exhibit, places, small, root):
    given = {} if exhibit == "tab_instruction_data" else {"seeds": 2}
    said = run_cells("aurora", exhibit, "full", settings=copy.deepcopy(small), root=root, sources=places, **given)
    saved = json.loads((root / "out" / "papers" / "aurora" / "results" / f"{exhibit}.full.json").read_text())
    assert saved["evidence"] == "real" and saved["numbers"]
    assert "entities" not in said and set(FOLDERS) == {"MMLU", "C-Eval", "CMMLU"}


@pytest.mark.slow
@at("real", exhibits("aurora", "real"))
def test_a_notebook_runs_at_real_with_a_toy_model(exhibit, places, root, monkeypatch):
    told = copy.deepcopy(experiments.load("aurora").profiles["real"])
    told["checkpoint"] = {"source": "mixtral"}
    told["files"] |= {"rows": 8, "prompts": 2}
    told["rules"] = {"complete_after": None, "least_cjk": 0.3, "exact": True, "near": None}
    told["lora"] = {**told["lora"], "rank": 2}
    told["fit"] |= {"steps": 2, "max_length": 64}
    told["measure"] |= {"longest": 3}
    told["exams"]["longest"] = dict.fromkeys(FOLDERS, 2000)
    exams = places["exams"] / told["exams"]["under"]
    subjects = {name: frozenset(read_exam(name, exams / place).subjects) for name, place in FOLDERS.items()}
    monkeypatch.setattr(exam_sample, "MEDICAL", subjects)  # the world's own have other names
    told["pairs"] |= {"count": 4}
    told["preference"] |= {"max_length": 64, "epochs": 1.0}
    run_cells("aurora", exhibit, "real", settings=told, root=root, sources={**places, "smollm2": places["mixtral"]})
    saved = json.loads((root / "out" / "papers" / "aurora" / "results" / f"{exhibit}.real.json").read_text())
    assert saved["evidence"] == "real" and saved["numbers"]


@pytest.mark.slow
def test_the_start_of_dpo_is_judged_over_pairs(places, small, root):
    told = {"settings": copy.deepcopy(small), "root": root, "sources": places, "claim": "R5", "seeds": 2}
    assert "could not be told from none.\nR5 " in run_cells("aurora", "tab_dpo_reference", "full", **told)
    saved = json.loads((root / "out" / "papers" / "aurora" / "results" / "tab_dpo_reference.full.json").read_text())
    starts = {n["arm"]: n["values"] for n in saved["numbers"] if n["quantity"].startswith("reward margin at the start")}
    assert set(starts) == {"resumed from extraverted", "resumed from introverted"}
    assert {len(values) for values in starts.values()} == {saved["claims"]["R5"]["effect"]["n"]} and 4 <= len(
        starts.popitem()[1]
    ) <= 8


def test_what_is_made_of_a_generated_sets_faults_is_absent_at_full():
    plan = experiments.load("aurora")
    assert "generated sets" in plan.why_absent("tab_tuning_variants", "full") and "world" not in plan.profiles["full"]
    assert {plan.evidence(name, "full") for name in AT_FULL} == {"real"}
