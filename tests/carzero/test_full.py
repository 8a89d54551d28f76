"""Every notebook that stands at `full`, its own cells on small files in the real layout, with released weights' formats."""

import copy
import json

import pytest
import torch
from pairs import at, exhibits, run_cells

from lib.models.text_encoder import write_tiny_checkpoint
from lib.models.vision_transformer_2d import VisionTransformer2D
from lib.workflow import experiments, paths
from papers.carzero import mimic, sets
from papers.carzero.findings import FINDINGS
from papers.carzero.world import write_world

PLAN = experiments.load("carzero")
IMAGE = {"size": 28, "patch": 7, "width": 16, "depth": 2, "heads": 2, "ratio": 2}
GIVEN = {"fig_similarity_representation": {"picture": "pca"}}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folders of full's sources: lists with the paths of their authors' machines, M3AE as a Lightning file, a BERT."""
    root = tmp_path_factory.mktemp("sources")
    write_world(root / "radiographs", seed=1, train=40, test=40, size=48)
    for layout in sets.LAYOUT.values():
        path = root / "radiographs" / sets.ROOT / layout.folder / layout.images
        head, *lines = path.read_text().splitlines()
        path.write_text("\n".join([head, *(f"/elsewhere/{layout.folder}/{line}" for line in lines)]) + "\n")
    table = root / "radiographs" / mimic.FOLDER / mimic.TABLE
    lines = table.read_text().splitlines()  # further columns, as the real table has them
    table.write_text("\n".join([f"Index,{lines[0]}", *(f"{n},{line}" for n, line in enumerate(lines[1:]))]) + "\n")
    state = {f"vision_encoder.{name}": value for name, value in VisionTransformer2D(**IMAGE).state_dict().items()}
    (root / "m3ae").mkdir()
    torch.save(
        {"state_dict": {**state, "text_encoder.weight": torch.zeros(2)}, "epoch": 9},
        root / "m3ae/VITB-16-M3AE_last.ckpt",
    )
    words = [f"there is mild {name}" for finding in FINDINGS.values() for name in finding.names]
    write_tiny_checkpoint(root / "text_encoder", [*words, "there is no severe"], width=16, depth=4, heads=2)
    return {name: root / name for name in PLAN.profiles["full"]["sources"]}


@pytest.fixture(scope="module")
def settings():
    """The profile's section with small sizes on a CPU."""
    told = copy.deepcopy(PLAN.profiles["full"])
    told["machine"] |= {"device": "cpu", "precision": "no", "processes": 1}
    told["size"] = 32
    told["model"] |= {"image": IMAGE, "positions": 24}
    told["model"]["fusion"] |= {"layers": 2, "feedforward": 16}
    told["arm"] |= {"steps": 3, "batches": [[0, 6], [1, 8]]}
    return told


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Artefacts that the notebooks share."""
    return tmp_path_factory.mktemp("full")


@pytest.mark.slow
@at("full", exhibits("carzero", "full"))
def test_an_exhibit_runs_at_full(exhibit, settings, sources, root):
    given = {"seeds": 2 if PLAN.experiments[exhibit].claims else 1, **GIVEN.get(exhibit, {})}
    run_cells("carzero", exhibit, "full", settings=settings, root=root, sources=sources, **given)
    saved = json.loads(paths.result("carzero", exhibit, "full", root=root / "out").read_text())
    assert saved["numbers"] and saved["evidence"] == "real"
    assert set(saved["claims"]) == set(PLAN.experiments[exhibit].claims)
