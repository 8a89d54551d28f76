"""Med-MAT files: both released layouts are read, written files read back, faults are told in one sentence."""

import json

import numpy as np
import pytest
from med_mat_table import write_registry
from PIL import Image

from lib.data.files import DataError
from papers.med_mat.data.files import (
    KEYS,
    Record,
    load,
    load_subset,
    read_image,
    read_records,
    record,
    subset_file,
    write_records,
)
from papers.med_mat.data.questions import SUFFIX, ask
from papers.med_mat.data.registry import COLUMNS, Registry, Source, read_registry
from papers.med_mat.data.selection import Subset

LUNG = Subset("03", "CT", "Lung", "COVID-19 classification", "State", ("COVID", "State"))
REGISTRY = Registry(
    subsets={"03": LUNG},
    sources={
        "3": Source("3", "SARS-COV-2 Ct-Scan", "https://example.org/3", ("03",)),
        "6": Source("6", "COVID-19-CT SCAN IMAGES", "https://example.org/6", ("03",), ("3",), "a note, with a comma"),
    },
    members={"03": ("3", "6")},
    notes={"03": "a slip"},
)
# A row as the release writes it, copied key by key from its README.
RELEASED = {
    "id": 1,
    "caption": "Yes",
    "image": "med-mat/CT/1.png",
    "Question": "Does this CT of the lung show COVID-19?",
    "Answer": "Yes, it does.",
    "Question-choice": f"Does this CT of the lung show COVID-19?\nA: No\nB: Yes\n{SUFFIX}",
    "Answer-choice": "B",
    "data-no": "3",
}
LAYOUTS = {
    "folders": ("Aggregated_Subsets/Subset--03-train.json", "Original_Medical_Datasets/ori--06-train.json"),
    "later revision": ("Subset-03-train.json", "Original_Medical_Datasets/Ori--06-train.json"),
}


def _rows(count=4):
    """Rows of two source datasets; odd ones in the letter style of the paper's Figure 8."""
    rows = []
    for i in range(count):
        style = {"Question-choice": f"COVID-19?\nA. No\nB. Yes\n{SUFFIX}"} if i % 2 else {}
        rows.append(RELEASED | {"id": i, "image": f"med-mat/CT/{i}.png", "data-no": "36"[i % 2]} | style)
    return rows


def _put(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def _images(root, rows):
    for row in rows:
        path = root / row["image"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 2), row["id"], np.uint8)).save(path)


# ---------------------------------------------------------------------- reading
@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_are_read(tmp_path, layout):
    aggregated, original = LAYOUTS[layout]
    rows = _rows()
    _put(tmp_path / aggregated, rows), _put(tmp_path / original, rows[1::2]), _images(tmp_path, rows)
    found = load_subset(tmp_path, "03", registry=REGISTRY)
    assert subset_file(tmp_path, "03") == tmp_path / aggregated and found.missing == {} and found.said == []
    assert [r.id for r in found.records] == [0, 1, 2, 3] and {r.data_no for r in found.records} == {"3", "6"}
    for one in found.records:
        assert one.options == {"A": "No", "B": "Yes"} and one.options[one.answer_choice] == one.caption
        assert read_image(tmp_path, one).tolist() == [[one.id] * 2] * 3


def test_every_key_lands_in_its_field(tmp_path):
    (one,) = read_records(_put(tmp_path / "a.json", [RELEASED]))
    fields = (
        one.id,
        one.caption,
        one.image,
        one.question,
        one.answer,
        one.question_choice,
        one.answer_choice,
        one.data_no,
    )
    assert dict(zip(KEYS, fields, strict=True)) == RELEASED


def test_source_numbers_are_compared_without_their_zeros(tmp_path):
    rows = [RELEASED | {"id": i, "data-no": number} for i, number in enumerate(("03", 3, " 3"))]
    assert {one.data_no for one in read_records(_put(tmp_path / "a.json", rows))} == {"3"}


def test_a_file_that_is_nowhere_names_both_places(tmp_path):
    with pytest.raises(DataError, match=r"looked for as Aggregated_Subsets/Subset--07-train\.json and Subset-07-train"):
        subset_file(tmp_path, "07")


# ---------------------------------------------------------------------- missing images
def test_a_missing_image_stops_naming_dataset_url_and_how_many(tmp_path):
    rows = _rows()
    path = _put(tmp_path / "Subset-03-train.json", rows)
    _images(tmp_path, rows[:1])
    with pytest.raises(DataError) as error:
        load_subset(tmp_path, "03", registry=REGISTRY)
    said = str(error.value)
    assert said.startswith(f"{path}, row 2: image med-mat/CT/1.png of dataset 6 (COVID-19-CT SCAN IMAGES)")
    assert "3 of 4 images are missing" in said and "https://example.org/6" in said and "missing='skip'" in said
    assert "\n" not in said


def test_or_it_is_left_out_counted_and_told(tmp_path):
    rows = _rows()
    _put(tmp_path / "Subset-03-train.json", rows)
    _images(tmp_path, rows[:1])
    found = load_subset(tmp_path, "03", registry=REGISTRY, missing="skip")
    assert [one.id for one in found.records] == [0] and found.missing == {"3": 1, "6": 2}
    assert [said.split(":")[0] for said in found.said] == [
        "dataset 3 (SARS-COV-2 Ct-Scan)",
        "dataset 6 (COVID-19-CT SCAN IMAGES)",
    ]
    assert "1 of 2 images" in found.said[0] and found.said[1].endswith("https://example.org/6")


def test_no_image_at_all_is_an_error_even_when_skipping(tmp_path):
    path = _put(tmp_path / "a.json", _rows())
    with pytest.raises(DataError, match="none of its 4 images is under"):
        load(path, registry=REGISTRY, images=tmp_path, missing="skip")
    with pytest.raises(DataError, match="missing is 'ask'; use 'stop' or 'skip'"):
        load(path, registry=REGISTRY, images=tmp_path, missing="ask")


def test_images_may_lie_elsewhere(tmp_path):
    _put(tmp_path / "json" / "Subset-03-train.json", _rows())
    _images(tmp_path / "images", _rows())
    path = subset_file(tmp_path / "json", "03")
    assert len(load(path, registry=REGISTRY, images=tmp_path / "images").records) == 4


def test_a_file_that_is_no_image_is_told(tmp_path):
    one = Record(0, "Yes", "med-mat/CT/1.png", "q", "a", RELEASED["Question-choice"], "A", "3")
    with pytest.raises(DataError, match=r"1\.png does not exist; fetch dataset 3"):
        read_image(tmp_path, one)
    _put(tmp_path / one.image, "no picture")
    with pytest.raises(DataError, match=r"1\.png is not an image"):
        read_image(tmp_path, one)


def test_a_file_that_holds_half_an_image_is_told(tmp_path):
    one = Record(0, "Yes", "a.png", "q", "a", RELEASED["Question-choice"], "A", "3")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 30), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for size in (0, 40, len(whole) // 2):
        (tmp_path / "a.png").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a\.png is not an image \(.*\); fetch dataset 3 again"):
            read_image(tmp_path, one)


def test_sixteen_bits_a_pixel_are_scaled_not_cut_off(tmp_path):
    one = Record(0, "Yes", "a.png", "q", "a", RELEASED["Question-choice"], "A", "3")
    Image.fromarray(np.array([[1000, 2000], [3000, 4000]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path, one).tolist() == [[0, 85], [170, 255]]
    Image.fromarray(np.full((2, 2), 7, np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path, one).tolist() == [[0, 0], [0, 0]]


def test_colour_images_keep_their_channels(tmp_path):
    one = Record(0, "Yes", "a.png", "q", "a", RELEASED["Question-choice"], "A", "3")
    Image.fromarray(np.full((3, 2, 3), (1, 2, 3), np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path, one).shape == (3, 2, 3)


# ---------------------------------------------------------------------- faults
def _without(key):
    return {k: v for k, v in RELEASED.items() if k != key}


FAULTS = {
    **{f"no {key}": (_without(key), f"lacks the key '{key}'") for key in KEYS},
    **{f"empty {key}": (RELEASED | {key: " "}, f"has nothing under '{key}'") for key in KEYS if key != "id"},
    "text id": (RELEASED | {"id": "1"}, "has '1' under 'id'; write a whole number"),
    "true id": (RELEASED | {"id": True}, "under 'id'; write a whole number"),
    "null caption": (RELEASED | {"caption": None}, "has None under 'caption'; write a text"),
    "list of images": (RELEASED | {"image": ["a.png"]}, "under 'image'; write a text"),
    "wrong letter": (RELEASED | {"Answer-choice": "C"}, "answers 'C', which is none of its options A, B"),
    "a word": (RELEASED | {"Answer-choice": "Yes"}, "answers 'Yes', which is none of its options"),
    "no options": (RELEASED | {"Question-choice": "COVID?"}, "the options are lettered ''"),
    "gap in letters": (RELEASED | {"Question-choice": "COVID?\nA: No\nC: Yes"}, "the options are lettered 'AC'"),
    "five options": (
        RELEASED | {"Question-choice": "?\nA: a\nB: b\nC: c\nD: d\nE: e"},
        "has 5 options; leave at most 4",
    ),
    "absolute path": (RELEASED | {"image": "/med-mat/1.png"}, "write a path below the root"),
    "path above": (RELEASED | {"image": "med-mat/../../1.png"}, "write a path below the root"),
    "windows path": (RELEASED | {"image": "med-mat\\1.png"}, "write a path below the root"),
    "no object": ("text", "is a str, not an object with the keys id, caption"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_malformed_row_names_file_row_and_remedy(tmp_path, case):
    row, sentence = FAULTS[case]
    path = _put(tmp_path / "a.json", [RELEASED, row])
    with pytest.raises(DataError) as error:
        read_records(path)
    said = str(error.value)
    assert said.startswith(f"{path}, row 2 ") and sentence in said and ";" in said and "\n" not in said


def test_an_id_that_a_dataset_has_twice_names_both_rows(tmp_path):
    other = RELEASED | {"data-no": "6"}
    assert len(read_records(_put(tmp_path / "a.json", [RELEASED, other]))) == 2  # each dataset counts its own
    path = _put(tmp_path / "a.json", [RELEASED, other, other | {"image": "med-mat/CT/2.png"}])
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value) == (
        f"{path}, row 3 has the id 1, which row 2 of dataset 6 has already; give it another or take one of them out."
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is not JSON"),
        (json.dumps([RELEASED])[:-9], "is not JSON"),
        ("[]", "holds no row"),
        (json.dumps({"rows": []}), "holds a dict, not a list of rows"),
        ("\udcff", "is not a text file in UTF-8"),
    ],
)
def test_a_file_that_is_no_list_of_questions_is_told(tmp_path, content, sentence):
    path = tmp_path / "a.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value).startswith(f"{path} {sentence}") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            '"Answer-choice": "B"',
            '"Answer-choice": "A", "Answer-choice": "B"',
            "has the key 'Answer-choice' more than once",
        ),
        ("Does this CT", "Does \\ud83d CT", "half of a surrogate pair"),
        ('"id": 1', '"id": ' + "1" * 5000, "a number has thousands of digits"),
    ],
)
def test_json_that_python_would_pass_is_told(tmp_path, old, new, sentence):
    path, text = tmp_path / "a.json", json.dumps([RELEASED | {"id": 0}, RELEASED])
    path.write_text(old.join(text.split(old)[:-1]) + new + text.split(old)[-1])
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value).startswith(str(path)) and sentence in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_missing_and_a_source_nobody_knows(tmp_path):
    with pytest.raises(DataError, match=r"a\.json does not exist"):
        read_records(tmp_path / "a.json")
    path = _put(tmp_path / "a.json", [RELEASED, RELEASED | {"data-no": "300"}])
    with pytest.raises(DataError, match="row 2: dataset 300 is not in the table of sources"):
        load(path, registry=REGISTRY, images=tmp_path, missing="skip")


# ---------------------------------------------------------------------- writing
def test_generated_questions_are_written_as_the_release_and_read_back(tmp_path):
    rows = []
    for i, label in enumerate(["yes", "no", "yes"]):
        question = ask(label, ["yes", "no"], LUNG, image=f"med-mat/{i}.png", seed=0)
        rows.append(record(question, id=i, caption=label, image=f"med-mat/{i}.png", data_no="3"))
    path = tmp_path / "Aggregated_Subsets" / "Subset--03-train.json"
    write_records(path, rows)
    assert read_records(path) == rows and tuple(json.loads(path.read_text())[0]) == KEYS
    assert all(one.options[one.answer_choice] == one.caption for one in read_records(path))


def test_a_row_that_could_not_be_read_is_not_written_and_the_old_file_stays(tmp_path):
    path, good = tmp_path / "a.json", Record(0, "Yes", "a.png", "q", "a", RELEASED["Question-choice"], "B", "3")
    write_records(path, [good])
    before = path.read_bytes()
    with pytest.raises(DataError, match="row 2 answers 'D'"):
        write_records(path, [good, Record(1, "Yes", "a.png", "q", "a", RELEASED["Question-choice"], "D", "3")])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------------- the table
def test_the_table_reads_back_as_it_was_written(tmp_path):
    write_registry(tmp_path / "datasets.csv", REGISTRY)
    assert read_registry(tmp_path / "datasets.csv") == REGISTRY


TABLE_FAULTS = {
    "record type": (lambda row: {**row, "record_type": "group"}, "record_type is 'group'"),
    "role": (lambda row: {**row, "role": "train"}, "role is 'train'; write one of ID, OOD, det/seg"),
    "no family": (lambda row: {**row, "family": ""}, "column 'family' is empty"),
    "no area": (lambda row: {**row, "area": " "}, "column 'area' is empty"),
    "member": (lambda row: {**row, "member_dataset_nos": "3;7"}, "member 7 of subset 03 is no dataset"),
}


@pytest.mark.parametrize("case", TABLE_FAULTS)
def test_a_wrong_line_of_the_table_is_named(tmp_path, case):
    change, sentence = TABLE_FAULTS[case]
    path = tmp_path / "datasets.csv"
    write_registry(path, REGISTRY)
    lines = path.read_text().splitlines()
    row = change(dict(zip(COLUMNS, lines[-1].split(","), strict=True)))
    path.write_text("\n".join([*lines[:-1], ",".join(row.values())]) + "\n")
    with pytest.raises(DataError) as error:
        read_registry(path)
    assert str(error.value).startswith(f"{path}, line 4: {sentence}") and "\n" not in str(error.value)


def test_a_subset_that_is_in_the_table_twice_names_both_lines(tmp_path):
    path = tmp_path / "datasets.csv"
    write_registry(path, REGISTRY)
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    with pytest.raises(DataError, match="subset 03 is on line 4 and again on line 5; keep one"):
        read_registry(path)
