"""Every notebook that stands at `full`, its own cells on small files in the real layout, with a real checkpoint's format."""

import copy
import json

import pytest
from pairs import at, exhibits, run_cells

from lib.models import causal_lm
from lib.models.text_encoder import write_tiny_checkpoint
from lib.workflow import experiments, paths
from papers.e3d_gpt import world
from papers.e3d_gpt.findings import SHOWN

PLAN = experiments.load("e3d_gpt")
POSE = {"turn": 12, "tilt": 5, "shift": 18, "scale": 0.88}
SPACING = (15.0, 15.0, 30.0)
GIVEN = {
    "fig_masked_reconstruction": {"components": 8},
    "tab_pretraining": {"components": 8},
    "tab_projector": {"others": 2},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folders of full's sources: trees in CT-RATE's layout, instruction JSON, a Llama with a chat template, a BERT."""
    root = tmp_path_factory.mktemp("sources")
    made = root / "instructions"
    world.write_world(
        made, seed=3, pool=1, sets={name: {"train": 10, "test": 10} for name in world.SETS}, shape=(24, 24, 12),
        spacing=SPACING, pose=POSE,
    )  # fmt: skip
    for name in world.SETS:
        (made / name).rename(root / name)
    words = [f"{name} not seen. yes no right left upper lower A B C D lobe in the" for name in SHOWN]
    words += [*world.CAPTION, "Say whether there is Name the side level of Which of these is present?"]
    causal_lm.write_checkpoint(
        root / "phi3", texts=words, chat_template="chatml", architecture="llama", width=16, depth=2, heads=2
    )
    write_tiny_checkpoint(root / "bert", words, width=16, depth=4, heads=2)
    return {name: root / name for name in PLAN.profiles["full"]["sources"]}


@pytest.fixture(scope="module")
def settings():
    """The profile's section with small sizes on a CPU."""
    told = copy.deepcopy(PLAN.profiles["full"])
    told["machine"] |= {"device": "cpu", "precision": "no", "processes": 1, "micro_batch": 4}
    told["grid"] |= {"target_spacing": list(SPACING), "shape": [24, 24, 12]}
    told["crop"] = [16, 16, 8]
    told["vit"] |= {"patch": [4, 4, 2], "base_grid": [4, 4, 4], "width": 24, "depth": 2, "heads": 2}
    few = {"steps": 2, "batch": 8, "warmup": 1}
    told["masked"] |= {**few, "decoder": {"width": 12, "depth": 1, "heads": 2}}
    told["contrastive"] |= few
    told["labels"] |= few
    told["stages"] |= {"dtype": "float32", "longest": 160, "batch": 4, "question_batch": 4}
    for stage in ("align", "tune"):
        told["stages"][stage] |= {"steps": 2, "warmup": 1}
    told["answers"] |= {"new": 8, "dtype": "float32", "longest": 160}
    return told


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Artefacts that the notebooks share."""
    return tmp_path_factory.mktemp("full")


@pytest.mark.slow
@at("full", exhibits("e3d_gpt", "full"))
def test_an_exhibit_runs_at_full(exhibit, settings, sources, root):
    given = {"seeds": 2, **GIVEN.get(exhibit, {})}
    run_cells("e3d_gpt", exhibit, "full", settings=settings, root=root, sources=sources, **given)
    saved = json.loads(paths.result("e3d_gpt", exhibit, "full", root=root / "out").read_text())
    assert saved["numbers"] and saved["evidence"] == "real"
    assert set(saved["claims"]) == set(PLAN.experiments[exhibit].claims)


@pytest.mark.slow
@at("real", exhibits("e3d_gpt", "real"))
def test_an_exhibit_runs_at_real_on_a_small_ct(exhibit, tmp_path):
    import nibabel
    import numpy as np

    told = copy.deepcopy(PLAN.profiles["real"])
    told["slabs"] |= {"held": [1, 3], "stride": [8, 8, 2]}
    told |= {"crop": [16, 16, 8], "vit": {**told["vit"], "base_grid": [2, 2, 2], "width": 48, "depth": 1}}
    told["masked"] |= {"steps": 2, "batch": 4, "warmup": 1}
    hu = np.random.default_rng(0).normal(40, 200, size=(64, 64, 64)).astype(np.int16)
    (tmp_path / told["slabs"]["file"]).parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([1.5, 1.5, 3.0, 1])), tmp_path / told["slabs"]["file"])
    places = {"chest_ct": tmp_path}
    run_cells("e3d_gpt", exhibit, "real", settings=told, root=tmp_path, sources=places, seeds=2, components=3, shown=1)
    saved = json.loads(paths.result("e3d_gpt", exhibit, "real", root=tmp_path / "out").read_text())
    assert saved["numbers"] and saved["evidence"] == "real" and saved["claims"]


def test_the_real_ct_is_cut_into_slabs_that_share_no_slice(tmp_path):
    """Crops of the test lie in the held slabs; no training crop comes nearer to them than the gap."""
    import nibabel
    import numpy as np

    from papers.e3d_gpt.prepare import read_prepared
    from papers.e3d_gpt.scan import prepare_slabs

    rng = np.random.default_rng(0)
    hu = rng.normal(40, 10, size=(32, 24, 64)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([1.5, 1.5, 3.0, 1])), tmp_path / "ct.nii.gz")
    prepare_slabs(
        tmp_path, ct=tmp_path / "ct.nii.gz", target_spacing=(1.5, 1.5, 3.0), intensity={"mean": 0, "sd": 1}, crop=(16, 8, 8),
        held=[1, 3], gap=2, stride=(8, 8, 2),
    )  # fmt: skip
    places = {
        name: [tuple(map(int, one.split("_"))) for one in read_prepared(tmp_path / name)[1]]
        for name in ("train", "test")
    }
    assert sorted({z for *_, z in places["test"]}) == [8, 24] and len(places["test"]) == 2 * 2 * 3
    assert all(not (z < held + 10 and z + 8 > held - 2) for *_, z in places["train"] for held in (8, 24))
    assert {z for *_, z in places["train"]} == set(range(34, 57, 2))
    volumes, _ = read_prepared(tmp_path / "test")
    x, y, z = places["test"][0]
    assert np.allclose(volumes[0], hu[x : x + 16, y : y + 8, z : z + 8] / 1000, atol=1e-3)
