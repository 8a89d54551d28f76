"""Every exhibit that stands at `full`, cell by cell, on a small release: all 37 subsets, a tiny LLaVA, few steps."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from med_mat_release import write_release
from pairs import at, exhibits, run_cells
from tiny_llava import write_tiny_llava
from transformers import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from lib.workflow import experiments, paths
from papers.med_mat import adapters
from papers.med_mat import released as med_mat_released
from papers.med_mat.checkpoints import ReleasedCheckpoint
from papers.med_mat.data.registry import read_registry

PLAN = experiments.load("med_mat")
GIVEN = {  # dials in the place of the exhibit's own at full
    "tab3_combinations": {"most": 2},
    "tab1_tab2_multitask": {"every": 25, "equal_steps": 1},
    "fig4_breaking_cg": {"targets": 1, "examples": 8},
    "fig5_data_curve": {"sizes": [4, 8]},
    "fig6_few_target_data": {"sizes": [4, 8]},
    "tab4_backbones": {"most": 1},
    "tab9_repeats": {"repeats": 2, "test": 1},
    "tab10_triples": {"most": 1},
    "tab_published_audit": {},
}
SOURCES = {"questions": "release", "llava": "release/llava", "qwen2_vl": "second"}


def small():
    """The profile's own section with another device and other sizes."""
    told = copy.deepcopy(PLAN.profiles["full"])
    told["machine"] |= {"device": "cpu", "precision": "no", "micro_batch": 4}
    told["released"] |= {"cap": 8, "tests": 2, "pool": 2, "rank": 2}
    return {**told, "tuning": {"batch": 4, "epochs": 1, "learning_rate": 1.0e-3}, "volume": 8}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The release, a model in the place of each of the two, and room for artefacts, which the exhibits share."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "release").mkdir()
    write_release(folder / "release", read_registry(paths.paper("med_mat") / "datasets.csv"), count=24)
    write_tiny_llava(folder / "second", texts=["bright dark"], seed=1)
    return folder


def test_every_exhibit_that_stands_at_full_is_here():
    assert set(GIVEN) == set(exhibits("med_mat", "full")) and set(SOURCES) == set(PLAN.profiles["full"]["sources"])


@pytest.mark.slow
@at("full", GIVEN)
def test_an_exhibit_runs_at_full(root, exhibit):
    seeds = {} if exhibit == "tab_published_audit" else {"seeds": 2 if exhibit == "tab3_combinations" else 1}
    places = {name: root / place for name, place in SOURCES.items()}
    told = {"settings": small(), "root": root, "sources": places, **seeds, **GIVEN[exhibit]}
    said = run_cells("med_mat", exhibit, "full", **told)
    plan, out = PLAN.experiments[exhibit], root / "out"
    saved = json.loads(paths.result("med_mat", exhibit, "full", root=out).read_text())
    assert saved["evidence"] == PLAN.evidence(exhibit, "full") and saved["numbers"]
    assert set(saved["claims"]) == set(plan.claims) and all(f"{claim} " in said for claim in plan.claims)
    assert (out / f"figures/med_mat/{exhibit}.full.png").is_file()


# ---------------------------------------------------------------------- what only a card or a large image would show
def test_a_batch_is_handed_to_the_trainer_on_the_cpu(tmp_path, monkeypatch):
    """It pins what it is given and moves it itself; what lies on a card already cannot be pinned."""

    class Batch(dict):
        def to(self, place):
            return {"place": place}

    def fit(folder, model, tokenizer, dataset, batch_of, **how):
        return model, batch_of([dataset[0]])

    monkeypatch.setattr(adapters, "answer_batch", lambda *_: Batch())
    monkeypatch.setattr(adapters.sft, "fit", fit)
    checkpoint = ReleasedCheckpoint(torch.nn.Module(), SimpleNamespace(tokenizer=None))
    told = {"steps": 1, "batch": 1, "learning_rate": 1e-3, "seed": 2**40}
    assert adapters.tune(tmp_path, checkpoint, lambda row: None, ["A?"], ["A"], **told) == {"place": "cpu"}


def test_a_large_image_has_no_more_visual_tokens_than_llavas(monkeypatch):
    own = {
        "qwen": Qwen2VLImageProcessorPil(max_pixels=12_845_056, min_pixels=3136),
        "clip": CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
    }

    def load(source, **how):
        return ReleasedCheckpoint(torch.nn.Module(), SimpleNamespace(image_processor=own[source]))

    monkeypatch.setattr(med_mat_released, "load", load)
    seen = {}
    for source in own:
        pictures = med_mat_released._loaded.__wrapped__(source, "cpu", "no").processor.image_processor
        seen[source] = pictures([np.zeros((2000, 3000, 3), np.uint8)], return_tensors="pt")
    assert 500 < seen["qwen"]["image_grid_thw"].prod() / 4 <= 576  # 2 x 2 patches are a token
    assert seen["clip"]["pixel_values"].shape == (1, 3, 336, 336)
