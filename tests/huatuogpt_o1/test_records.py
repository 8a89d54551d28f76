"""The release's JSON formats: the real file reads, its figures come out, and what is broken is named by file and row."""

import json

import pytest
from released_files import released

from lib.data.files import DataError
from papers.huatuogpt_o1.records import EXAM, SFT, TRUTH, VERIFIABLE, read_records, write_records
from papers.huatuogpt_o1.verifiers import mentions

ROW = {"question": "Which?", "options": {"A": "one", "B": "two"}, "answer_idx": "B", "answer": "two"}


def _real():
    return read_records(released("huatuogpt_o1", "records") / "data" / "demo_data.json", EXAM, VERIFIABLE, SFT)


def test_the_released_records_and_their_printed_shares():
    rows = _real()
    assert len(rows) == 198 and all(row["Question"] == row["Open-ended Verifiable Question"] for row in rows)
    share = [sum(mentions(row[key], row[TRUTH]) for row in rows) / len(rows) for key in ("Response", "Complex_CoT")]
    same = sum(row[TRUTH].strip().lower() == row["answer"].strip().lower() for row in rows) / len(rows)
    assert [round(100 * one) for one in (*share, same)] == [31, 38, 82]


def test_a_file_round_trips_with_exactly_the_released_keys(tmp_path):
    rows = _real()[:5]
    write_records(tmp_path / "problems.json", [{**row, "more": 1} for row in rows], VERIFIABLE)
    assert json.loads((tmp_path / "problems.json").read_text()) == [
        {key: row[key] for key in VERIFIABLE} for row in rows
    ]
    write_records(tmp_path / "all.json", rows, EXAM, VERIFIABLE, SFT)
    assert read_records(tmp_path / "all.json", EXAM, VERIFIABLE, SFT) == rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer_idx": "C"}, "'answer_idx' is 'C'"),
        ({"answer": "one"}, "option B is not the text under 'answer'"),
        ({"options": {"A": "one"}}, "must map the letters"),
        ({"options": {"A": "one", "C": "two"}}, "must map the letters"),
        ({"options": ["one", "two"]}, "must map the letters"),
        ({"options": {"A": "one", "B": " "}}, "option B is blank"),
        ({"question": ""}, "'question' is blank"),
        ({"question": 3}, "'question' is a int"),
    ],
)
def test_a_broken_row_is_named(tmp_path, change, said):
    path = tmp_path / "exam.json"
    path.write_text(json.dumps([ROW, {**ROW, **change}]))
    with pytest.raises(DataError, match=r"exam\.json, row 2") as caught:
        read_records(path, EXAM)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataError):
        write_records(tmp_path / "out.json", [{**ROW, **change}], EXAM)
    assert not (tmp_path / "out.json").exists()


def test_a_missing_key_and_a_cut_file(tmp_path):
    path = tmp_path / "exam.json"
    path.write_text(json.dumps([{key: ROW[key] for key in ROW if key != "answer"}]))
    with pytest.raises(DataError, match="row 1 lacks 'answer'"):
        read_records(path, EXAM)
    path.write_text(json.dumps([ROW])[:-9])
    with pytest.raises(DataError, match="is not JSON"):
        read_records(path, EXAM)
