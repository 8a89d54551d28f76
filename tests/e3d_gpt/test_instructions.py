"""Instruction sets in their two formats: round trips, and each way in which a file can be wrong as one sentence."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.data import ct_rate
from lib.data.files import DataError, write_json
from papers.e3d_gpt import sets, world
from papers.e3d_gpt.findings import SHOWN
from papers.e3d_gpt.instructions import (
    Item,
    read_questions,
    read_reports,
    rows_of,
    write_questions,
    write_reports,
)

REPORT = Item("train_1_a_1.nii.gz", "What does this CT show?", "No lung nodule.", "report")


def test_reports_go_out_and_in(tmp_path):
    path = tmp_path / "reports.json"
    write_reports(path, {"train": [REPORT], "test": []})
    assert read_reports(path, "train") == [REPORT]
    assert json.loads(path.read_text())["train"][0]["conversations"][0] == {"from": "human", "value": REPORT.question}


def changed(**more):
    row = {"image": "a/train_1_a_1.nii.gz", "conversations": [{"value": "<image> What?"}, {"value": "No nodule."}]}
    return {**row, **more}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [changed(conversations=[{"value": "What?"}, {"value": " . "}])],
            "the report of a/train_1_a_1.nii.gz has no word",
        ),
        ([changed(), changed(image="b/train_1_a_1.nii.gz")], "row 2: train_1_a_1.nii.gz is listed before"),
        ([changed(conversations=[{"value": "What?"}])], "must be a question and a report"),
        ([{"image": "x"}], "lacks 'conversations'"),
    ],
)
def test_reports_that_cannot_be_used_are_one_sentence(tmp_path, rows, said):
    write_json(tmp_path / "r.json", {"train": rows})
    with pytest.raises(DataError, match=said):
        read_reports(tmp_path / "r.json", "train")


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path):
    write_json(tmp_path / "r.json", {"train": [changed()]})
    assert read_reports(tmp_path / "r.json", "train")[0].question == "What?"
    with pytest.raises(DataError, match=r"no split 'test' .it has train."):
        read_reports(tmp_path / "r.json", "test")


def test_questions_go_out_and_in_with_their_choices(tmp_path):
    items = [
        Item("v.nii.gz", "Which of these is present?", "C", "choice"),
        Item("v.nii.gz", "Is there x?", "no", "yes_no"),
    ]
    write_questions(tmp_path / "q.json", items, [("p", "q", "r", "s"), ()])
    read = read_questions(tmp_path / "q.json")
    assert read[0].question == "Which of these is present? A. p B. q C. r D. s"
    assert read[0].answer == "C" and read[0].candidates == tuple("ABCD")
    assert read[1] == items[1] and read[1].candidates == ("yes", "no")
    assert json.loads((tmp_path / "q.json").read_text())[0]["Answer"] == "r"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Question Type": "organ"}, "'Question Type' is 'organ'"),
        ({"Answer Choice": "maybe"}, "'maybe' is none of yes, no"),
        ({"Choice E": "x"}, "has the key 'Choice E'"),
    ],
)
def test_questions_that_cannot_be_used_are_one_sentence(tmp_path, change, said):
    row = {
        "Image Path": "v",
        "Question": "Is there x?",
        "Answer": "no",
        "Answer Choice": "no",
        "Question Type": "yes_no",
    }
    write_json(tmp_path / "q.json", [{**row, **change}])
    with pytest.raises(DataError, match=said):
        read_questions(tmp_path / "q.json")


def test_a_volume_is_found_by_name_or_named(tmp_path):
    names = ["train_2_a_1.nii.gz", "train_1_a_1.nii.gz"]
    assert rows_of([REPORT], names, tmp_path) == [1]
    with pytest.raises(DataError, match=r"train_1_a_1.nii.gz is not among the 1 prepared"):
        rows_of([REPORT], names[:1], tmp_path)
    with pytest.raises(DataError, match=r"hold train_1_a_1.nii.gz twice"):
        rows_of([REPORT], [names[1]] * 2, tmp_path)


def test_nothing_in_a_question_tells_its_answer():
    """Blind: of the questions of one kind, equal texts have different answers about equally often."""
    rng = np.random.default_rng(0)
    seen = {}
    for number in range(400):
        shown = {name: "left upper lung" for name in SHOWN[:2] if rng.random() < 0.5}
        if "Lung nodule" in shown and rng.random() < 0.5:
            shown["Lung nodule"] = "right lower lung"
        for item in world.ask(f"train_{number}_a_1.nii.gz", shown, rng)[0]:
            seen.setdefault(item.kind, []).append(item.answer)
    shares = pd.Series(seen["choice"]).value_counts(normalize=True)
    assert len(shares) == 4 and shares.max() < 0.33
    assert set(seen) == {"yes_no", "choice", "side", "level"}


POSE = {"turn": 12, "tilt": 5, "shift": 18, "scale": 0.88}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    many = {name: {"train": 4, "test": 3} for name in world.SETS}
    world.write_world(folder, seed=1, pool=2, sets=many, shape=(12, 12, 6), spacing=(30.0, 30.0, 60.0), pose=POSE)
    return folder


def test_the_world_is_a_ct_rate_tree_that_its_readers_read(root):
    tree = root / "ct_rate"
    geometry = ct_rate.read_metadata(ct_rate.metadata_path(tree, "valid"))
    assert len(geometry) == 3
    name = next(iter(geometry))
    hu = ct_rate.load_volume(tree, name, geometry[name], target_spacing=(30.0, 30.0, 60.0), shape=(12, 12, 6))
    assert hu.shape == (12, 12, 6) and hu.min() < -900 and -200 < np.percentile(hu, 90) < 400
    labels = ct_rate.read_labels(ct_rate.labels_path(tree, "valid"), ct_rate.CT_RATE_LABELS)
    items = read_reports(world.reports_json(root, "ct_rate"), "test")
    for item in items:
        said = [f"{name} not seen." not in item.answer for name in SHOWN]
        assert said == labels.loc[item.image, list(SHOWN)].astype(bool).tolist()


def test_the_same_seed_draws_the_same_world_and_another_one_another(root, tmp_path):
    many = {name: {"train": 4, "test": 3} for name in world.SETS}
    how = {"pool": 2, "sets": many, "shape": (12, 12, 6), "spacing": (30.0, 30.0, 60.0), "pose": POSE}
    world.write_world(tmp_path / "same", seed=1, **how)
    world.write_world(tmp_path / "other", seed=2, **how)
    files = sorted(path.relative_to(root) for path in root.rglob("*.*"))
    assert all((root / one).read_bytes() == (tmp_path / "same" / one).read_bytes() for one in files)
    one = "pool/train/train_1/train_1_a/train_1_a_1.nii.gz"
    assert (root / one).read_bytes() != (tmp_path / "other" / one).read_bytes()


def source(root, prepared):
    return {
        "tree": root / "ct_rate", "split": "valid", "named": "test", "prepared": prepared,
        "reports": world.reports_json(root, "ct_rate"), "questions": world.questions_json(root, "ct_rate", "test"),
    }  # fmt: skip


def test_rows_of_several_sets_follow_each_other(root, tmp_path):
    names = [f"valid_{n}_a_1.nii.gz" for n in (2, 1, 3)]
    write_json(tmp_path / "names.json", names)
    sets.gather(tmp_path, sources=[source(root, tmp_path)] * 2, findings=list(SHOWN))
    content = json.loads((tmp_path / "instructions.json").read_text())
    rows = [row for row, image, *_ in content["reports"] if image == "valid_1_a_1.nii.gz"]
    assert rows == [1, 4]
    labels = ct_rate.read_labels(ct_rate.labels_path(root / "ct_rate", "valid"), SHOWN)
    assert np.load(tmp_path / "labels.npy")[:3].tolist() == labels.loc[names].to_numpy().tolist()
    said = json.loads((tmp_path / "reports.json").read_text())
    assert said[:3] == said[3:] and all(said)


def test_a_label_column_that_is_missing_is_one_sentence(root, tmp_path):
    write_json(tmp_path / "names.json", [f"valid_{n}_a_1.nii.gz" for n in (1, 2, 3)])
    path = ct_rate.labels_path(root / "ct_rate", "valid")
    other = tmp_path / "tree"
    ct_rate.labels_path(other, "valid").parent.mkdir(parents=True)
    table = pd.read_csv(path).drop(columns="Cardiomegaly")
    table.to_csv(ct_rate.labels_path(other, "valid"), index=False)
    with pytest.raises(DataError, match="Cardiomegaly"):
        sets.gather(tmp_path, sources=[{**source(root, tmp_path), "tree": other}], findings=list(SHOWN))


def test_a_volume_without_labels_is_one_sentence(root, tmp_path):
    names = [f"valid_{n}_a_1.nii.gz" for n in (1, 2, 3, 9)]
    write_json(tmp_path / "names.json", names)
    with pytest.raises(DataError, match=r"has no row for valid_9_a_1.nii.gz"):
        sets.gather(tmp_path, sources=[source(root, tmp_path)], findings=list(SHOWN))
