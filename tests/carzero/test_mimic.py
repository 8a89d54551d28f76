"""The training table: sentences as released, frontal views alone, and what is refused by name and line."""

import pytest

from lib.data.files import DataError
from papers.carzero import mimic
from papers.carzero.world import write_world


@pytest.fixture
def table(tmp_path):
    write_world(tmp_path, seed=0, train=60, test=1, size=48)
    return tmp_path / mimic.FOLDER / mimic.TABLE


def test_sentences_are_cut_as_released():
    said = mimic.sentences("1. MILD  edema.2. Normal. 3. Größe of the heart is normal. No mass,no nodule")
    assert said == ["mild edema", "gre of the heart is normal", "no mass no nodule"]


def test_frontal_views_of_the_split_are_read(table):
    studies = mimic.read_training(table.parents[2], text=mimic.REWRITTEN)
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    wanted = [row[0] for row in rows if row[1] == "Frontal" and row[2] == "train"]
    assert list(studies.files) == wanted and 0 < len(wanted) < 60
    assert all((studies.folder / file).is_file() for file in studies.files)
    assert all(sentence.startswith("there is ") for study in studies.sentences for sentence in study)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Frontal/Lateral", "View", "lacks column 'Frontal/Lateral'"),
        ("xinhuo", "rewritten", "lacks column 'xinhuo'"),
        (",Frontal,", ",PA,", r"line \d+: Frontal/Lateral is 'PA'; write one of Frontal, Lateral"),
        (",train,", ",fit,", r"line \d+: Split is 'fit'; write one of train, valid, test"),
    ],
)
def test_a_wrong_table_is_refused(table, old, new, sentence):
    edit(table, old, new)
    with pytest.raises(DataError, match=sentence):
        mimic.read_training(table.parents[2], text=mimic.REWRITTEN)


@pytest.mark.parametrize("empty", ["", "Normal.", "1. 2."])
def test_a_report_of_zero_words_is_refused_with_its_line(table, empty):
    lines = table.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if ",Frontal,train," in line)
    lines[row] = ",".join([*lines[row].split(",")[:3], "The lungs are clear.", empty])
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=rf"line {row + 1}: the report in 'xinhuo' has no sentence of two words \(1 of"):
        mimic.read_training(table.parents[2], text=mimic.REWRITTEN)


def test_an_image_listed_twice_is_refused(table):
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(DataError, match="on line 2 and again on line 62"):
        mimic.read_training(table.parents[2], text=mimic.RAW)


def test_no_frontal_view_is_said(table):
    table.write_text(table.read_text().replace("Frontal,", "Lateral,"))
    table.write_text(table.read_text().replace("Path,Lateral", "Path,Frontal", 1))
    with pytest.raises(DataError, match=r"lacks column|no frontal view"):
        mimic.read_training(table.parents[2], text=mimic.RAW, split="test")
