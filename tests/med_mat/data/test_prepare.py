"""Cap, balance and split of a question file, in both layouts, with and without all of its images."""

import json

import numpy as np
import pytest
from PIL import Image

from lib.data.files import DataError
from papers.med_mat.data.files import record, write_records
from papers.med_mat.data.prepare import draw, label, permute_images, prepare, without_tested
from papers.med_mat.data.questions import ask
from papers.med_mat.data.registry import Registry, Source
from papers.med_mat.data.selection import Subset
from papers.med_mat.data.volumes import equalise

SUBSETS = {no: Subset(no, "CT", area, "finding", "State") for no, area in (("01", "lung"), ("02", "brain"))}
REGISTRY = Registry(
    subsets=SUBSETS,
    sources={no: Source(no, f"set {no}", f"https://example.org/{no}", ("01",)) for no in ("1", "2")},
    members={"01": ("1",), "02": ("2",)},
    notes={},
)
FILES = {"folders": "Aggregated_Subsets/Subset--{}-train.json", "later revision": "Subset-{}-train.json"}


def _write(root, no, labels, *, layout="folders"):
    rows, known = [], sorted(set(labels))
    for i, text in enumerate(labels):
        image = f"med-mat/{no}/{i}.png"
        question = ask(text, known, SUBSETS[no], image=image, seed=0)
        rows.append(record(question, id=i, caption=text.upper(), image=image, data_no=no.lstrip("0")))
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / image)
    write_records(root / FILES[layout].format(no), rows)


LABELS = ["yes", "no", "no", "no"] * 50


@pytest.mark.parametrize("layout", FILES)
def test_a_file_of_either_layout_becomes_balanced_sets_without_a_common_image(tmp_path, layout):
    _write(tmp_path, "01", LABELS, layout=layout)
    found = prepare(tmp_path, SUBSETS["01"], registry=REGISTRY, cap=60)
    tested = [label(one) for one in found.test]
    assert (tested.count("yes"), tested.count("no")) == (10, 10)  # 9:1 of 200 images
    trained = [label(one) for one in found.train]
    assert (trained.count("yes"), trained.count("no")) == (30, 30) and found.said == []
    assert not {one.image for one in found.train} & {one.image for one in found.test}


def test_the_label_is_the_right_option_not_the_raw_caption(tmp_path):
    _write(tmp_path, "01", LABELS)
    found = prepare(tmp_path, SUBSETS["01"], registry=REGISTRY)
    assert {label(one) for one in found.train} == {"yes", "no"} and found.train[0].caption in ("YES", "NO")


def test_what_is_left_out_is_said(tmp_path):
    _write(tmp_path, "01", [*LABELS, "odd", "odd"])
    (tmp_path / "med-mat/01/0.png").unlink()
    with pytest.raises(DataError, match=r"image med-mat/01/0\.png of dataset 1 .*https://example\.org/1"):
        prepare(tmp_path, SUBSETS["01"], registry=REGISTRY)
    found = prepare(tmp_path, SUBSETS["01"], registry=REGISTRY, missing="skip")
    assert "1 of 202 images are missing" in found.said[0] and "only trained on: odd (2)" in found.said[1]
    assert sum(label(one) == "odd" for one in found.train) == 2 and "odd" not in map(label, found.test)


def test_a_bound_on_the_test_keeps_it_balanced(tmp_path):
    _write(tmp_path, "01", LABELS)
    found = prepare(tmp_path, SUBSETS["01"], registry=REGISTRY, most_tests=8)
    assert sorted(label(one) for one in found.test) == ["no"] * 4 + ["yes"] * 4


def test_a_subset_of_one_label_is_told_with_its_number(tmp_path):
    _write(tmp_path, "01", ["yes"] * 30 + ["no"] * 3)
    with pytest.raises(DataError, match=r"Subset 01 under .*: 1 of 2 labels have 10 images or more"):
        prepare(tmp_path, SUBSETS["01"], registry=REGISTRY)


def test_questions_with_another_number_of_options_are_only_trained_on_and_told(tmp_path):
    _write(tmp_path, "01", ["yes", "no", "maybe"] * 40)
    path = tmp_path / FILES["folders"].format("01")
    rows = json.loads(path.read_text())
    for row in rows[:12]:  # the last option goes, where it is a distractor
        if row["Answer-choice"] != "C":
            lines = row["Question-choice"].splitlines()
            row["Question-choice"] = "\n".join([*lines[:3], lines[4]])
    path.write_text(json.dumps(rows))
    short = sum(len(row["Question-choice"].splitlines()) == 4 for row in rows)
    found = prepare(tmp_path, SUBSETS["01"], registry=REGISTRY)
    assert found.said == [f"subset 01: {short} questions have not the usual 3 options, they are only trained on"]
    assert {len(one.options) for one in found.test} == {3} and len(found.train) + len(found.test) == 120
    assert sum(len(one.options) == 2 for one in found.train) == short > 0


def test_a_condition_gets_its_amounts_balanced_and_reproducibly(tmp_path):
    for no in SUBSETS:
        _write(tmp_path, no, LABELS)
    ready = {no: prepare(tmp_path, subset, registry=REGISTRY) for no, subset in SUBSETS.items()}
    available = {no: len(one.train) for no, one in ready.items()}
    amounts = equalise({"both": list(SUBSETS.values()), "one": [SUBSETS["01"]]}, available, total=50)
    both, one = (draw(ready, amounts[name], seed=3) for name in ("both", "one"))
    assert len(both) == len(one) == 50 and sorted({r.data_no for r in both}) == ["1", "2"]
    assert sum(label(r) == "yes" for r in one) == 25
    assert both == draw(ready, amounts["both"], seed=3) != draw(ready, amounts["both"], seed=4)
    assert {r.image for r in both} != {r.image for r in draw(ready, amounts["both"], seed=4)}
    with pytest.raises(DataError, match="Subset 01 has 180 training rows, not 181"):
        draw(ready, {"01": 181})


def test_images_that_a_target_tests_leave_the_training_of_others(tmp_path):
    _write(tmp_path, "01", LABELS)
    one, other = (prepare(tmp_path, SUBSETS["01"], registry=REGISTRY, seed=seed) for seed in (0, 1))
    clean = without_tested(one, other.test)
    common = {r.image for r in one.train} & {r.image for r in other.test}
    assert common and not common & {r.image for r in clean.train} and len(clean.train) == len(one.train) - len(common)
    assert clean.said == [f"subset 01: {len(common)} training rows left out, their images are tested"]
    assert without_tested(one, one.test) == one


def test_the_null_keeps_questions_images_and_labels_but_not_who_belongs_to_whom(tmp_path):
    for no in SUBSETS:
        _write(tmp_path, no, LABELS)
    ready = {no: prepare(tmp_path, subset, registry=REGISTRY) for no, subset in SUBSETS.items()}
    rows = ready["01"].train
    null = permute_images(rows, seed=1)
    assert [(r.question_choice, r.answer_choice) for r in null] == [(r.question_choice, r.answer_choice) for r in rows]
    assert sorted((r.image, r.data_no) for r in null) == sorted((r.image, r.data_no) for r in rows)
    truth = {r.image: label(r) for one in ready.values() for r in one.train}
    right = np.mean([truth[r.image] == label(r) for r in null])
    assert abs(right - (0.25**2 + 0.75**2)) < 0.1  # as often as labels agree by chance
    assert null == permute_images(rows, seed=1) != permute_images(rows, seed=2)
    # in a condition: the partner is permuted, the other subset is not, and both keep what they had
    amounts = {"01": 80, "02": 80}
    plain, drawn = draw(ready, amounts, seed=1), draw(ready, amounts, permuted=["02"], seed=1)
    kept = {no: [truth[r.image] == label(r) for r in drawn if r.data_no == no] for no in "12"}
    assert all(kept["1"]) and 0.3 < np.mean(kept["2"]) < 0.7
    assert sorted(r.image for r in plain) == sorted(r.image for r in drawn)
    with pytest.raises(DataError, match="Subset 03 is to be permuted and is not in this condition"):
        draw(ready, amounts, permuted=["03"])
