"""Open-I: the released files give the known counts and AUCs; small copies of their format fail clearly when damaged."""

import json

import numpy as np
import pytest
from released_files import released
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

from lib.data.files import DataError
from papers.carzero.openi import OPENI_FINDINGS, label_report, load_openi

# Positives and AUC of each class, from the fact sheet of CARZero (recomputed there from the same files).
POSITIVES = [711, 493, 346, 174, 13, 157, 158, 44, 144, 193, 39, 68, 97, 189, 819, 7, 416, 781]
AUC = [0.856, 0.933, 0.938, 0.785, 0.882, 0.619, 0.880, 0.922, 0.900, 0.901, 0.918, 0.824, 0.956, 0.734, 0.785, 0.969]
AUC += [0.660, 0.617]


@pytest.fixture(scope="module")
def openi():
    return load_openi(released("carzero", "open_i"))


def test_released_files_have_the_known_counts(openi):
    assert openi.scores.shape == openi.labels.shape == (7470, 18)
    assert list(openi.positives.values()) == POSITIVES
    assert int((openi.labels.sum(axis=1) == 0).sum()) == 4715
    assert openi.names[0] == "CXR1_IM-0001-4001.png"


def test_released_scores_give_the_published_auc(openi):
    each = roc_auc_score(openi.labels, openi.scores, average=None)
    assert [round(value, 3) for value in each] == AUC
    assert round(float(each.mean()), 4) == 0.8376  # the paper prints .838
    assert abs(each.mean() - 0.838) < 5e-4


def test_released_scores_give_the_known_auprc(openi):
    def area(labels, scores):
        precision, recall, _ = precision_recall_curve(labels, scores)
        return auc(recall, precision)  # the trapezoid of the official code, not average precision

    macro = np.mean([area(openi.labels[:, k], openi.scores[:, k]) for k in range(18)])
    assert round(float(macro), 3) == 0.258
    assert round(float(area(openi.labels.ravel(), openi.scores.ravel())), 3) == 0.151


def test_images_moved_by_one_row_lose_the_result(openi):
    assert roc_auc_score(np.roll(openi.labels, 2, axis=0), openi.scores) < 0.6  # most studies have two images in a row


def test_label_rule_is_a_substring_test_with_synonyms():
    def found(text):
        return {name for name, value in zip(OPENI_FINDINGS, label_report(text), strict=True) if value}

    assert found("") == set()
    assert found("Atelectases;Infiltrates") == {"Atelectasis", "Infiltration"}
    assert found("PLEURAL THICKENING") == {"Pleural thickening"}
    assert found("calcified granuloma") == {"Calcified granuloma", "Granuloma"}
    assert found("granulomatous disease") == {"Granuloma"}
    assert found("thickening of the pleura") == set()
    assert found("pneumothorax") == {"Pneumothorax"}


def write_openi(root, *, texts=("Edema", "", "hernia;mass"), label_order=(2, 0, 1)):
    """Three images in the released format; label rows in another order than the image list."""
    folder = root / "Dataset" / "OpenI"
    folder.mkdir(parents=True)
    (root / "Performance" / "test").mkdir(parents=True)
    files = [f"CXR{k}_IM-000{k}-1001.png" for k in range(len(texts))]
    prompts = {str(k): [f"There is {name}"] for k, name in enumerate(OPENI_FINDINGS)}
    (folder / "openi_multi_label_text.json").write_text(json.dumps(prompts))
    (folder / "openi_multi_label_image.csv").write_text("Path\n" + "".join(f"/data/x/OpenI/{file}\n" for file in files))
    rows = [f'0,CXR{k},{files[k]},normal,"{texts[k]}"\n' for k in label_order]
    (folder / "custom.csv").write_text(",uid,file_name,labels_major,labels_automatic\n" + "".join(rows))
    scores = np.arange(len(texts) * 18).reshape(-1, 18) / 10
    lines = [",".join(str(k) for k in range(18)), *(",".join(f"{value}" for value in row) for row in scores)]
    (root / "Performance" / "test" / "Openi.csv").write_text("\n".join(lines) + "\n")
    return folder, files


def test_labels_are_joined_by_file_name_not_by_row(tmp_path):
    write_openi(tmp_path)
    found = load_openi(tmp_path)
    names = list(OPENI_FINDINGS)
    expected = np.zeros((3, 18), dtype=int)
    expected[0, names.index("Edema")] = expected[2, names.index("Hernia")] = expected[2, names.index("Mass")] = 1
    np.testing.assert_array_equal(found.labels, expected)
    np.testing.assert_allclose(found.scores, np.arange(54).reshape(3, 18) / 10)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


FAULTS = {
    "image without labels": (
        "Dataset/OpenI/custom.csv",
        "CXR1_IM",
        "CXR9_IM",
        r"custom.csv has no row for 'CXR1_IM-0001-1001.png'",
    ),
    "labels twice": (
        "Dataset/OpenI/custom.csv",
        "CXR1_IM-0001",
        "CXR0_IM-0000",
        r"on line 3 and again on line 4; delete",
    ),
    "image twice": (
        "Dataset/OpenI/openi_multi_label_image.csv",
        "CXR1_IM-0001",
        "CXR0_IM-0000",
        r"on line 2 and again on line 3",
    ),
    "no Path column": ("Dataset/OpenI/openi_multi_label_image.csv", "Path", "File", r"lacks column 'Path'"),
    "no label column": (
        "Dataset/OpenI/custom.csv",
        "labels_automatic",
        "labels_auto",
        r"lacks column 'labels_automatic'",
    ),
    "NaN score": (
        "Performance/test/Openi.csv",
        "1.9,",
        "nan,",
        r"Openi.csv, line 3, column '1' holds 'nan', .*score that image",
    ),
    "empty score": ("Performance/test/Openi.csv", "1.9,", ",", r"line 3, column '1' holds '', "),
    "infinite score": ("Performance/test/Openi.csv", "1.9,", "inf,", r"line 3, column '1' holds 'inf'"),
    "one score missing": ("Performance/test/Openi.csv", "1.9,", "", r"line 3 has 17 fields where the header has 18"),
    "one score too many": (
        "Performance/test/Openi.csv",
        "1.9,",
        "1.9,2,",
        r"line 3 has 19 fields where the header has 18",
    ),
    "another class": (
        "Dataset/OpenI/openi_multi_label_text.json",
        "Hernia",
        "Scoliosis",
        r"key '12' asks for 'Scoliosis'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_ends_in_one_sentence(tmp_path, fault):
    write_openi(tmp_path)
    file, old, new, message = FAULTS[fault]
    replace(tmp_path / file, old, new)
    with pytest.raises(DataError, match=message) as caught:
        load_openi(tmp_path)
    assert "\n" not in str(caught.value)


def test_scores_of_another_number_of_images_or_classes(tmp_path):
    write_openi(tmp_path)
    path = tmp_path / "Performance" / "test" / "Openi.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match=r"has 2 rows for 3 images"):
        load_openi(tmp_path)
    path.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    with pytest.raises(DataError, match=r"has 17 columns .* ask for 18"):
        load_openi(tmp_path)
    path.write_text(lines[0] + "\n")
    with pytest.raises(DataError, match=r"no row under its header"):
        load_openi(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"Openi.csv does not exist"):
        load_openi(tmp_path)
