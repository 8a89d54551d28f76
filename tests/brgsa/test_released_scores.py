"""BrgSA's released scores: joins by name, class order, the merge to 16 classes, and files that do not fit together."""

import json

import numpy as np
import pandas as pd
import pytest
from brgsa_release import DEVICES, REST, score_path, write_release, write_scores
from sklearn.metrics import roc_auc_score

from lib.data.ct_rate import CT_RATE_LABELS, CT_RATE_LT_LABELS
from lib.data.files import DataError
from lib.data.scored_set import ScoredSet
from papers.brgsa.rad_chestct import RAD_LABELS
from papers.brgsa.released_scores import (
    RESOLUTIONS,
    VARIANTS,
    load_ct_rate,
    load_ct_rate_lt,
    load_rad_chestct,
    load_rad_chestct_rest,
)

RAD = "Rad_ChestCT_resolution0.8"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("brgsa") / "release")


def everything(release):
    root = release.root
    return [
        load_ct_rate_lt(root),
        load_ct_rate(root, release.ct_labels_path),
        load_rad_chestct(root),
        load_rad_chestct(root, subtract_negative=True),
        load_rad_chestct_rest(root),
    ]


@pytest.mark.parametrize("scramble", [1, 2, 3])
def test_order_of_label_rows_and_columns_changes_nothing(release, tmp_path, scramble):
    other = write_release(tmp_path / "scrambled", scramble=scramble)
    first = other.root / "Dataset" / "CT-RATE-LT-label.csv"
    assert first.read_text() != (release.root / "Dataset" / "CT-RATE-LT-label.csv").read_text()
    for one, two in zip(everything(release), everything(other), strict=True):
        assert one.names == two.names and one.classes == two.classes
        np.testing.assert_array_equal(one.labels, two.labels)
        np.testing.assert_array_equal(one.scores, two.scores)


def test_ct_rate_lt_is_in_prompt_order_and_row_k_is_image_k(release):
    found = load_ct_rate_lt(release.root)
    assert found.classes == CT_RATE_LT_LABELS and found.names == tuple(release.ct_names)
    np.testing.assert_array_equal(found.labels, release.lt.to_numpy())
    np.testing.assert_allclose(found.scores, release.scores["CT-RATE_LT_epoch38"], rtol=1e-12)
    aligned = roc_auc_score(found.labels, found.scores)
    # Scores separate their own label and no other: the file's column order, or rows off by one, would be near chance.
    own_order = pd.read_csv(release.root / "Dataset" / "CT-RATE-LT-label.csv").iloc[:, 1:].to_numpy()
    assert aligned > 0.85
    assert roc_auc_score(own_order, found.scores) < 0.7
    assert roc_auc_score(np.roll(found.labels, 1, axis=0), found.scores) < 0.7


def test_positives_count_the_label_file(release):
    assert load_ct_rate_lt(release.root).positives == release.lt.sum().to_dict()


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_its_own_file(release, variant):
    file = "CT-RATE_epoch38" if variant == "mean" else f"CT-RATE_{variant}_epoch38"
    found = load_ct_rate(release.root, release.ct_labels_path, variant=variant)
    assert found.classes == CT_RATE_LABELS
    np.testing.assert_array_equal(found.labels, release.ct.to_numpy())
    np.testing.assert_allclose(found.scores, release.scores[file], rtol=1e-12)


def test_headline_score_is_the_mean_of_vt_and_reconstructed_vt(release):
    one, two, mean = (
        load_ct_rate(release.root, release.ct_labels_path, variant=v).scores for v in ("vt", "v^t", "mean")
    )
    np.testing.assert_allclose((one + two) / 2, mean, rtol=1e-9)


def test_rad_chestct_merges_18_scores_to_16(release):
    raw = release.scores[f"{RAD}_epoch38"]
    found = load_rad_chestct(release.root)
    assert found.classes == RAD_LABELS and found.scores.shape == (40, 16)
    named = dict(zip(found.classes, found.scores.T, strict=True))
    np.testing.assert_allclose(named["Calcification"], np.maximum(raw[:, 1], raw[:, 4]))
    for name in RAD_LABELS:
        if name != "Calcification":
            np.testing.assert_allclose(named[name], raw[:, CT_RATE_LABELS.index(name)])


def test_negative_prompts_are_subtracted_and_their_calcification_is_the_smaller(release):
    positive, negative = release.scores[f"{RAD}_epoch38"], release.scores[f"{RAD}_no_epoch38"]
    found = load_rad_chestct(release.root, subtract_negative=True).scores
    larger, smaller = np.maximum(positive[:, 1], positive[:, 4]), np.minimum(negative[:, 1], negative[:, 4])
    np.testing.assert_allclose(found[:, 1], larger - smaller, atol=1e-12)
    np.testing.assert_allclose(found[:, 6], positive[:, 7] - negative[:, 7], atol=1e-12)


def test_a_rad_label_is_the_union_of_its_columns(release):
    merged, names = release.merged, release.rad_names
    union = load_rad_chestct(release.root)
    material, nodule = RAD_LABELS.index("Medical material"), RAD_LABELS.index("Lung nodule")
    np.testing.assert_array_equal(union.labels[:, material], merged.loc[names, list(DEVICES)].any(axis=1))
    np.testing.assert_array_equal(union.labels[:, nodule], merged.nodule | merged.nodulegr1cm)
    for name, column in (("Calcification", "calcification"), ("Emphysema", "emphysema"), ("Hiatal hernia", "hernia")):
        np.testing.assert_array_equal(union.labels[:, RAD_LABELS.index(name)], merged[column])


@pytest.mark.parametrize("size", RESOLUTIONS)
def test_resolutions_are_their_own_files(release, size):
    raw = release.scores[f"{RAD}_epoch38_{size}"]
    np.testing.assert_allclose(load_rad_chestct(release.root, resolution=size).scores[:, 2], raw[:, 2])


def test_rest_keeps_56_of_67_in_prompt_order(release):
    found = load_rad_chestct_rest(release.root)
    kept = [(k, name, column) for k, (name, column) in enumerate(REST) if column not in DEVICES]
    assert len(kept) == 56 and found.classes == tuple(name for _, name, _ in kept)
    np.testing.assert_array_equal(found.labels, release.merged[[column for _, _, column in kept]])
    np.testing.assert_allclose(found.scores, release.scores[f"{RAD}_rest_label_epoch38"][:, [k for k, _, _ in kept]])


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (load_ct_rate_lt, "CT-RATE_LT_epoch38"),
        (load_rad_chestct, f"{RAD}_epoch38"),
        (load_rad_chestct_rest, f"{RAD}_rest_label_epoch38"),
        (lambda root: load_rad_chestct(root, subtract_negative=True), f"{RAD}_no_epoch38"),
    ],
)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_score_file_with_another_number_of_rows_is_an_error(tmp_path, load, file, change):
    release = write_release(tmp_path / "release")
    rows = np.vstack([release.scores[file], release.scores[file][:1]])[: 40 + change]
    write_scores(release.root, file, rows)
    with pytest.raises(DataError, match=rf"{40 + change} rows for 40 images.*image list"):
        load(release.root)


@pytest.fixture
def broken(tmp_path):
    return write_release(tmp_path / "release")


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def test_a_cell_that_is_no_number_is_named_by_line_and_column(broken):
    path = score_path(broken.root, "CT-RATE_LT_epoch38")
    lines = path.read_text().splitlines()
    cells = lines[6].split(",")
    cells[3] = "nan"
    lines[6] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"CT-RATE_LT_epoch38.csv, line 7, column '3' holds 'nan'.*again"):
        load_ct_rate_lt(broken.root)


def test_a_file_cut_inside_a_line_is_an_error(broken):
    path = score_path(broken.root, "CT-RATE_LT_epoch38")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 3)[0]]))
    with pytest.raises(DataError, match=r"line 41 has 12 fields where the header has 15"):
        load_ct_rate_lt(broken.root)


def test_scores_of_other_prompts_are_refused(broken):
    write_scores(broken.root, "CT-RATE_LT_epoch38", broken.scores["CT-RATE_epoch38"])
    with pytest.raises(DataError, match=r"has 18 columns .* ask for 15"):
        load_ct_rate_lt(broken.root)
    shuffled = pd.DataFrame(broken.scores["CT-RATE_LT_epoch38"])[[1, 0, *range(2, 15)]]
    shuffled.to_csv(score_path(broken.root, "CT-RATE_LT_epoch38"), index=False)
    with pytest.raises(DataError, match="columns"):
        load_ct_rate_lt(broken.root)


def test_label_file_faults(broken):
    path = broken.root / "Dataset" / "CT-RATE-LT-label.csv"
    good = path.read_text()
    edit(path, "valid_3_a_1.nii.gz", "valid_3_x_1.nii.gz")
    with pytest.raises(DataError, match=r"no row for 'valid_3_a_1' \(1 of 40"):
        load_ct_rate_lt(broken.root)
    path.write_text(good.replace("valid_3_a_2.nii.gz", "valid_3_a_1.nii.gz"))
    with pytest.raises(DataError, match=r"valid_3_a_1.*on line 10 and again on line 11"):
        load_ct_rate_lt(broken.root)
    path.write_text(good.replace("Empyema", "Empyaema"))
    with pytest.raises(DataError, match="Empyema"):
        load_ct_rate_lt(broken.root)
    merged = broken.root / "Dataset" / "merged_abnormality_labels_with_id.csv"
    edit(merged, "True", "Maybe")
    with pytest.raises(DataError, match="Maybe"):
        load_rad_chestct(broken.root)


def test_an_image_listed_twice_is_an_error(broken):
    edit(broken.root / "Dataset" / "CT-RATE_valid_image.csv", "image/valid_1_a_2.nii.gz", "other/valid_1_a_1.nii.gz")
    with pytest.raises(DataError, match=r"'valid_1_a_1' on line 2 and again on line 3"):
        load_ct_rate_lt(broken.root)


def test_prompt_faults(broken):
    path = broken.root / "Dataset" / "CT-RATE_valid_text.json"
    prompts = json.loads(path.read_text())
    path.write_text(json.dumps({**prompts, "1": prompts["2"], "2": prompts["1"]}))
    with pytest.raises(DataError, match="18 labels in their order"):
        load_rad_chestct(broken.root)
    path.write_text(json.dumps({key: value for key, value in prompts.items() if key != "3"}))
    with pytest.raises(DataError, match="number them again"):
        load_rad_chestct(broken.root)
    path.write_text(json.dumps({**prompts, "4": ["Is there a hernia?"]}))
    with pytest.raises(DataError, match=r"key '4'.*There is X"):
        load_rad_chestct(broken.root)
    path.write_text(json.dumps({**prompts, "4": prompts["3"]}))
    with pytest.raises(DataError, match="keys '3' and '4' both ask for Pericardial effusion"):
        load_rad_chestct(broken.root)


@pytest.mark.parametrize(
    "choice",
    [
        {"variant": "tv"},
        {"resolution": "64x64x64"},
        {"variant": "vt", "resolution": "112x112x64"},
        {"variant": "vt", "subtract_negative": True},
    ],
)
def test_what_was_not_released_is_refused(release, choice):
    with pytest.raises(DataError, match=r"; (use|leave)"):
        load_rad_chestct(release.root, **choice)


def test_missing_release_names_the_file(tmp_path):
    with pytest.raises(DataError, match=r"CT-RATE-LT-text.json does not exist"):
        load_ct_rate_lt(tmp_path)


def test_a_scored_set_refuses_shapes_that_do_not_agree():
    with pytest.raises(DataError, match=r"labels \(2, 2\) and scores \(3, 2\)"):
        ScoredSet(names=("a", "b", "c"), classes=("x", "y"), labels=np.zeros((2, 2), np.int8), scores=np.zeros((3, 2)))
