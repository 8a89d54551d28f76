"""The public sub-tasks' files: two columns under five names, everything else refused."""

import json

import pytest

from lib.data.files import DataError
from lib.workflow.papers import load_paper
from papers.anytasktune.subtasks import SUBTASKS, Pair, file_name, read_subtask, write_subtask

PAIRS = [Pair("孩子咳嗽三天", "1. 发热吗？"), Pair("租房押金不退", "1. 有合同吗？")]


def _file(tmp_path, rows):
    path = tmp_path / "datatager_x.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("asks", ["input", "query", "instruction"])
@pytest.mark.parametrize("answers", ["output", "response"])
def test_input_and_output_may_have_their_usual_names(tmp_path, asks, answers):
    rows = [{answers: pair.output, asks: pair.input} for pair in PAIRS]
    assert read_subtask(_file(tmp_path, rows)) == PAIRS


def test_what_is_written_is_read(tmp_path):
    write_subtask(tmp_path / file_name("legal_split_cases"), PAIRS)
    assert read_subtask(tmp_path / "datatager_legal_split_cases.json") == PAIRS
    with pytest.raises(DataError, match="no row to write"):
        write_subtask(tmp_path / "empty.json", [])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": "a", "output": "b"}], ["row 1", "no column for the input", "'text'", "name one of them"]),
        ([{"input": "a", "label": "b"}], ["row 1", "no column for the output"]),
        ([{"input": "a", "query": "c", "output": "b"}], ["row 1", "more than one column for the input"]),
        ([{"input": "a", "output": "b", "note": "c"}], ["row 1", "'note'", "remove"]),
        ([{"input": "a", "output": "b"}, {"query": "a", "output": "b"}], ["row 2", "query", "row 1 has input"]),
        ([{"input": "a", "output": " "}], ["row 1", "'output' is empty"]),
        ([{"input": 1, "output": "b"}], ["row 1", "'input'", "not text"]),
        (["a"], ["row 1", "str", "correct"]),
    ],
)
def test_anything_else_is_refused_in_one_sentence(tmp_path, rows, words):
    path = _file(tmp_path, rows)
    with pytest.raises(DataError) as error:
        read_subtask(path)
    assert all(word in str(error.value) for word in [str(path), *words]), error.value


def test_the_twelve_are_those_that_the_paper_lists():
    rows = load_paper("anytasktune").published["released_sets"].rows
    assert set(SUBTASKS) == set(rows) - {"psychology"} and len(SUBTASKS) == 12
    with pytest.raises(DataError, match="no public sub-task 'psychology'"):
        file_name("psychology")
