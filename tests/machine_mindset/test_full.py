"""The notebooks of Machine Mindset at `full` and at `real`, cell by cell, on a toy model and a few rows in the real layout."""

import copy
import json

import pytest
from mindset_files import write_release
from pairs import at, exhibits, run_cells

from lib.models import causal_lm
from lib.workflow import experiments, paths
from papers.machine_mindset import material
from papers.machine_mindset import questionnaire as quest
from papers.machine_mindset import released_sets as sets

PLAN = experiments.load("machine_mindset")
AT_FULL = exhibits("machine_mindset", "full")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder for each source of `full`: both bases, the released texts, the self-awareness files, the exam."""
    root = tmp_path_factory.mktemp("sources")
    write_release(root, rows=48)
    under = PLAN.profiles["full"]["exam"]["under"]
    (root / "exams" / under).parent.mkdir(parents=True)
    (root / "exam").rename(root / "exams" / under)
    said = [
        text
        for file in root.rglob("*.json")
        if "exam" not in str(file)
        for text in _strings(json.loads(file.read_text()))
    ]
    asked = [material.asked(one) for part in ("val", "test") for one in _questions(root / "exams" / under, part)]
    items = quest.texts(quest.read_items(paths.paper("machine_mindset")))
    words = " ".join(["I am an A B C D - a person of You", *sets.TYPES, *sets.ATTRIBUTES.values()])
    for name, seed in {"llama": 0, "qwen": 1}.items():
        causal_lm.write_checkpoint(
            root / name, texts=[*said, *asked, *items, words], chat_template="mistral", architecture="llama", width=16, depth=1,
            heads=2, seed=seed,
        )  # fmt: skip
    return {
        "llama": root / "llama", "qwen": root / "qwen", "texts": root, "self_awareness": root / "self", "exams": root / "exams",
        "results": root,
    }  # fmt: skip


def _strings(content):
    if isinstance(content, dict):
        return [text for value in content.values() for text in _strings(value)]
    return [content] if isinstance(content, str) else [text for one in content for text in _strings(one)]


def _questions(folder, part):
    return material.exam_questions(folder, part, longest=None)


@pytest.fixture(scope="module")
def small():
    """The settings of `full` with other sizes, on the CPU."""
    told = copy.deepcopy(PLAN.profiles["full"])
    told["machine"] = {"device": "cpu", "micro_batch": 2, "recompute": True}
    told["shortest"] = 5
    told["lora"] = {**told["lora"], "rank": 2}
    told["loading"] = {}
    for phase in told["phases"].values():
        phase |= {"steps": 2, "batch": 4, "max_length": 128}
    told["asked"] = {"pairs": 6, "batch": 8, "apart": True, "questions": 6, "reply": 3}
    told["naming"] |= {"longest": 3}
    told["exam"] |= {"known": 0.0}  # random weights know nothing
    return told


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Artefacts that the notebooks share."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.slow
@at("full", AT_FULL)
def test_a_notebook_runs_at_full_on_files_in_the_real_layout(exhibit, places, small, root):
    said = run_cells(
        "machine_mindset", exhibit, "full", settings=copy.deepcopy(small), root=root, sources=places, resamples=20
    ) if exhibit == "fig_style_separability" else run_cells(
        "machine_mindset", exhibit, "full", settings=copy.deepcopy(small), root=root, sources=places
    )  # fmt: skip
    saved = json.loads((root / "out" / "papers" / "machine_mindset" / "results" / f"{exhibit}.full.json").read_text())
    assert (
        saved["evidence"] == "real"
        and saved["numbers"]
        and set(saved["claims"]) == set(PLAN.experiments[exhibit].claims)
    )
    cases = {one["effect"]["n"] for one in saved["claims"].values()}
    assert (
        all(n >= 2 for n in cases) and "could not be told from none." in said
    )  # over cases, and the power before the outcome


@pytest.mark.slow
@at("real", exhibits("machine_mindset", "real"))
def test_a_notebook_runs_at_real_with_a_toy_model(exhibit, places, root):
    told = copy.deepcopy(PLAN.profiles["real"])
    told |= {"checkpoints": {"en": {"source": "llama"}}, "shortest": 5, "loading": {}}
    told["lora"] |= {"rank": 2, "targets": ["q_proj", "v_proj"]}
    for phase in told["phases"].values():
        phase |= {"steps": 2, "max_length": 128}
    told["asked"] |= {"pairs": 6, "questions": 6, "reply": 3}
    told["naming"] |= {"longest": 3}
    told["exam"] |= {"known": 0.0}
    run_cells("machine_mindset", exhibit, "real", settings=told, root=root, sources=places)
    saved = json.loads((root / "out" / "papers" / "machine_mindset" / "results" / f"{exhibit}.real.json").read_text())
    assert saved["evidence"] == "real" and saved["numbers"]


@pytest.mark.slow
def test_a_base_that_does_not_know_the_exam_leaves_c6b_unjudged_with_its_reason(places, small, root):
    told = copy.deepcopy(small)
    told["exam"]["known"] = PLAN.profiles["full"]["exam"]["known"]
    said = run_cells("machine_mindset", "tab_general_mix", "full", settings=told, root=root, sources=places)
    saved = json.loads(
        (root / "out" / "papers" / "machine_mindset" / "results" / "tab_general_mix.full.json").read_text()
    )
    assert not saved["claims"] and saved["declined"]["C6b"].endswith("less than 0.4: no ability to lose")
    assert "C6b not judged" in said and saved["numbers"]


@pytest.mark.slow
def test_dpo_at_full_begins_at_ln_2_because_its_reference_is_the_model_of_the_phase_before(places, small, root):
    run_cells(
        "machine_mindset", "tab_pole_preference", "full", settings=copy.deepcopy(small), root=root, sources=places
    )
    histories = [json.loads(file.read_text()) for file in (root / "cache" / "prefer").rglob("history.json")]
    assert len(histories) >= 3 and all(abs(one[0]["loss"] - 0.6931) < 1e-3 for one in histories)


def test_what_is_absent_says_why():
    assert "same at every profile" in PLAN.why_absent("fig_style_separability", "real")
    assert "reads no Chinese" in PLAN.why_absent("tab_data_balance", "real")
    assert {PLAN.evidence(name, "full") for name in AT_FULL} == {"real"} and "tab_data_balance" in AT_FULL
    assert PLAN.evidence("tab_pole_preference", "mini") == "miniature"
    assert PLAN.evidence("fig_style_separability", "mini") == "released"
