"""Every notebook that stands at `full`, its own cells on small files in the layouts of CT-RATE, RAD-ChestCT and the release."""

import copy
import json
import shutil

import pandas as pd
import pytest
from brgsa_release import write_release
from chat_server import completion, server
from pairs import at, exhibits, run_cells

from lib.data import ct_rate
from lib.data.chest_ct import world as chest_ct_world
from lib.models.text_encoder import write_tiny_checkpoint
from lib.workflow import experiments, paths
from papers.brgsa.external import write_external

PLAN = experiments.load("brgsa")
GIVEN = {  # sizes; the rest of a notebook's parameters is that of full
    "fig_modality_gap": {"picture": "pca", "points": 10},
    "tab_input_resolution": {"grids": [[8, 8, 4], [16, 16, 4]]},
    "tab_knowledge_bank": {"sizes": [4, 8], "base": 8},
    "tab_zero_shot": {"resamples": 20, "head": 12, "tail": 4},
    "tab_released_scores": {"resamples": 20},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folders of full's sources, without what the real ones lack: masks, and label files that the release holds."""
    root = tmp_path_factory.mktemp("sources")
    tree, rad, clone = root / "ct_rate", root / "rad_chestct", root / "brgsa"
    for split in ("train", "valid"):
        chest_ct_world.write_internal(tree, split=split, scans=20, seed=0, shape=(12, 12, 6), spacing=(30, 30, 60))
    write_external(rad, scans=20, seed=0, shape=(12, 12, 12), spacing=(30, 30, 30))
    (clone / "Dataset").mkdir(parents=True)
    shutil.rmtree(tree / "masks")
    for path in (chest_ct_world.lt_labels_path(tree, "valid"), rad / "merged_abnormality_labels_with_id.csv"):
        path.rename(clone / "Dataset" / path.name)
    for path in (*tree.glob("*.csv"), *tree.glob("*.json"), *rad.glob("*.json")):
        path.unlink()
    path = ct_rate.reports_path(tree, "train")
    table = pd.read_csv(path, keep_default_na=False)
    write_tiny_checkpoint(root / "cxr_bert", list(table["Findings_EN"]), width=12, depth=4, heads=2)
    table.loc[0, ["Findings_EN", "Impressions_EN"]] = ""  # as of some real volumes
    table.insert(1, "ClinicalInformation_EN", "Dyspnoea, cough.")
    table.to_csv(path, index=False)
    return {name: root / name for name in PLAN.profiles["full"]["sources"]}


@pytest.fixture(scope="module")
def settings(sources, tmp_path_factory):
    """The profile's section with small sizes on a CPU, and a chat model that finds two things in every report."""
    told = copy.deepcopy(PLAN.profiles["full"])
    told["machine"] |= {"device": "cpu", "precision": "no", "micro_batch": 4, "processes": 1}
    told["grid"], told["crop"] = {"target_spacing": [22.5, 22.5, 45], "shape": [16, 16, 8]}, [12, 12, 6]
    told["external"]["spacing"] = [30, 30, 30]
    told["model"] |= {"width": 12}
    told["model"]["vit"] = {"patch": [4, 4, 2], "base_grid": [3, 3, 3], "width": 12, "depth": 2, "heads": 2}
    told["pretraining"] |= {"decoder": {"decoder_width": 8, "decoder_depth": 1}, "voxel_batch": 8}
    told["pretraining"] |= {"batch": 8, "steps": 2, "warmup": 1}
    told["bank"]["size"] = 8
    told["arm"] |= {"steps": 2, "batch": 8}
    names = ct_rate.CT_RATE_LABELS
    answers = [f"There is {names[i % 18]}.\nThere is {names[(7 * i + 3) % 18].lower()}." for i in range(200)]
    with server(*map(completion, answers)) as (address, _):
        told["chat"] |= {"url": address, "answers": str(tmp_path_factory.mktemp("answers"))}
        yield told


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Artefacts that the notebooks share."""
    return tmp_path_factory.mktemp("full")


@pytest.mark.slow
@at("full", exhibits("brgsa", "full"))
def test_an_exhibit_runs_at_full(exhibit, settings, sources, root, tmp_path):
    given = dict(GIVEN.get(exhibit, {}))
    if exhibit == "tab_released_scores":
        release = write_release(tmp_path / "clone")
        given |= {"brgsa_root": str(release.root), "ct_rate_labels": str(release.ct_labels_path)}
    else:
        given["seeds"] = 2
    run_cells("brgsa", exhibit, "full", settings=settings, root=root, sources=sources, **given)
    saved = json.loads(paths.result("brgsa", exhibit, "full", root=root / "out").read_text())
    assert saved["numbers"] and saved["evidence"] == PLAN.evidence(exhibit, "full")
    cells = {"R2a", "R2b", "R2c", "R2d"}  # claims about the cells of one real CT, at the profile real
    assert set(saved["claims"]) == set(PLAN.experiments[exhibit].claims) - cells
