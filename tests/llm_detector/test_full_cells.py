"""The notebooks of LLM-Detector at `full` and `real`, cell by cell, on a few small files in the released layout and a toy model."""

import copy
import json

import numpy as np
import pytest
from pairs import at, exhibits, run_cells

from lib.models import causal_lm
from lib.workflow import experiments
from papers.llm_detector import pairs, seqxgpt
from papers.llm_detector.texts import WRITTEN

HUMAN = ["storm", "harbour", "captain", "rope", "winter", "lantern", "gull", "anchor", "tide", "salt", "wooden", "pier"]
MACHINE = [
    "overall",
    "important",
    "various",
    "significant",
    "however",
    "moreover",
    "crucial",
    "remarkable",
    "ensure",
    "landscape",
    "vital",
    "journey",
]
SHARED = ["the", "of", "and", "in", "to", "was", "for", "on", "with", "as"]


def sentence(rng, machine, words=8):
    """A machine has words of its own, which any detector can learn."""
    said = [str(rng.choice(SHARED if k % 2 else (MACHINE if machine else HUMAN))) for k in range(words)]
    return " ".join(said) + "."


def text(rng, machine, sentences=4):
    return " ".join(sentence(rng, machine) for _ in range(sentences))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder for each source of `full`: pairs, documents, mixed documents, and a model."""
    root, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(0)
    for name in ("pairs", "documents", "mixed"):
        (root / name).mkdir()
    for domain in pairs.DOMAINS:
        for model in pairs.MODELS:
            begins = [text(rng, False, 1)[:-1] for _ in range(10)]
            rows = {"original": [f"{one} {text(rng, False)}" for one in begins],
                    "sampled": [f"{one} {text(rng, True)}" for one in begins]}  # fmt: skip
            (root / "pairs" / f"{domain}_{model}.raw_data.json").write_text(json.dumps(rows))
    for label in ("human", *seqxgpt.GENERATORS):
        rows = [{"text": text(rng, label != "human", 6), "label": label} for _ in range(6)]
        (root / "documents" / f"{label}_lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    begins = [text(rng, False, 8) for _ in range(8)]
    for label in ("human", *seqxgpt.GENERATORS):
        rows = []
        for one in begins:
            cut = len(" ".join(one.split(". ")[:4])) + 4
            row = {"text": one, "label": label}
            rows.append(
                row if label == "human" else {**row, "text": f"{one[:cut]} {text(rng, True, 7)}", "prompt_len": cut}
            )
        (root / "mixed" / f"{label}_lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    causal_lm.write_checkpoint(
        root / "qwen_7000", texts=[" ".join([*HUMAN, *MACHINE, *SHARED, *WRITTEN, "."])], chat_template="chatml",
        architecture="llama", width=32, depth=2, heads=2,
    )  # fmt: skip
    return {name: root / name for name in ("pairs", "documents", "mixed", "qwen_7000")} | {"smollm2": root}


def small(profile):
    """The settings of a profile with other sizes, on the CPU; at `real` with a folder of weights in the GGUF file's place."""
    told = copy.deepcopy(experiments.load("llm_detector").profiles[profile])
    told["machine"] = {"device": "cpu"} | ({"micro_batch": 4, "recompute": True} if profile == "full" else {})
    told["checkpoint"] = {"source": "qwen_7000"}
    told["corpus"] |= {"most": 24, "fewest": 12, "cell": 8}
    told["older"] |= {"most": 16, "cell": 4}
    told["windows"] |= {"sentences": 3, "words": 6, "each": 6}
    told["scoring"] |= {"layer": 1} | ({"dtype": "float32"} if "dtype" in told["scoring"] else {})
    told["detector"] |= {"asked": 2, "pairs": 8, "lora": {"rank": 2, "targets": ["q_proj", "v_proj"]}}
    told["detector"]["fit"] |= {"epochs": 1.0, "batch": 4, "max_length": 96}
    if "dtype" in told["detector"]["fit"]:
        told["detector"]["fit"]["dtype"] = "float32"
    return told


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Artefacts that the notebooks share."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.slow
@at("full", exhibits("llm_detector", "full"))
def test_a_notebook_says_at_full_what_it_says_of_real_texts(exhibit, places, root):
    said = run_cells("llm_detector", exhibit, "full", settings=small("full"), root=root, sources=places)
    saved = json.loads((root / "out" / "papers" / "llm_detector" / "results" / f"{exhibit}.full.json").read_text())
    assert saved["evidence"] == "real" and saved["numbers"]
    judged = experiments.load("llm_detector").experiments[exhibit].parameters["full"].get("claims", [])
    for claim in judged:
        assert claim in saved["claims"] or f"{claim} invalid (control)" in said
        if claim in saved["claims"]:
            assert said.index("could not be told from none") < said.index(f"\n{claim} ")


@pytest.mark.slow
@at("real", [name for name in exhibits("llm_detector", "real") if name != "tab_document"])
def test_a_notebook_at_real_takes_the_same_way(exhibit, places, root):
    run_cells("llm_detector", exhibit, "real", settings=small("real"), root=root, sources=places)
    saved = json.loads((root / "out" / "papers" / "llm_detector" / "results" / f"{exhibit}.real.json").read_text())
    assert saved["evidence"] == "real" and saved["numbers"]


@pytest.mark.slow
@at("real", ["tab_document"])
def test_documents_at_real_take_the_same_way(exhibit, places, root):
    told = {"settings": small("real"), "root": root, "sources": places}
    said = run_cells("llm_detector", exhibit, "real", **told)
    assert "9 cases" in said and "no source on both sides: True" in said
    saved = json.loads((root / "out" / "papers" / "llm_detector" / "results" / "tab_document.real.json").read_text())
    area = {n["arm"]: n["values"][0] for n in saved["numbers"] if n["quantity"] == "AUROC, in domain"}
    assert area["bag_of_words"] > 0.9  # the words tell
    assert 0.2 < area["embeddings_shuffled_labels"] < 0.8


def test_what_needs_known_truth_or_a_second_language_is_absent_on_real_texts():
    plan = experiments.load("llm_detector")
    for profile in ("real", "full"):
        assert "English alone" in plan.why_absent("tab_language", profile)
        assert "none has sentences polished in a known share" in plan.why_absent("fig_polished_share", profile)
        assert "world" not in plan.profiles[profile]
        assert {plan.evidence(name, profile) for name in exhibits("llm_detector", profile)} == {"real"}
