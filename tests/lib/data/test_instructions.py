"""Instruction files: exact round trips of every format, real released files, and bad rows told in one sentence."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data import instructions as ins
from lib.data.files import DataError, read_json_lines
from lib.workflow import paths

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TURNS = st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=4)
ROWS = st.lists(st.builds(ins.dialogue, TURNS, system=TEXT), min_size=1, max_size=5)
PLAIN = st.lists(st.builds(ins.dialogue, TURNS | st.just([])), min_size=1, max_size=5)
ONE_FILE = settings(max_examples=60, deadline=None)


def read_messages(path):
    """Rows as they were written, each in the canonical form."""
    rows = []
    for place, row in read_json_lines(path):
        ins.check_row(row, place)
        rows.append(row)
    return rows


def real(name: str) -> Path:
    """A released instruction file of Machine Mindset or HuatuoGPT-o1 in the data root."""
    path = paths.DATA_ROOT / name
    if not path.is_file():
        pytest.skip(f"{name} is not in the data root")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@ONE_FILE
@given(ROWS)
def test_alpaca_with_history_and_messages_give_back_the_same_rows(folder, rows):
    ins.write_alpaca(folder / "a.json", rows)
    ins.write_messages(folder / "m.jsonl", rows)
    assert ins.read_alpaca(folder / "a.json") == read_messages(folder / "m.jsonl") == rows


@ONE_FILE
@given(PLAIN)
def test_sharegpt_gives_back_the_same_rows_with_the_empty_ones(folder, rows):
    ins.write_sharegpt(folder / "s.jsonl", rows)
    assert ins.read_sharegpt(folder / "s.jsonl") == rows
    assert ins.count_empty(rows) == sum(row == {"messages": []} for row in rows)


@ONE_FILE
@given(ROWS, TEXT)
def test_comparisons_give_back_the_same_rows(folder, rows, worse):
    split = [(row["messages"][:-1], row["messages"][-1:]) for row in rows]
    rows = [{"prompt": prompt, "chosen": best, "rejected": [ins.assistant(worse)]} for prompt, best in split]
    ins.write_comparisons(folder / "c.json", rows)
    assert ins.read_comparisons(folder / "c.json") == rows


def test_alpaca_joins_instruction_and_input_with_a_line_break(tmp_path):
    records = [
        {
            "instruction": "Translate.",
            "input": "你好",
            "output": "Hello",
            "history": [["a", "b"]],
            "system": "Be brief.",
        },
        {"instruction": "Hi", "input": "", "output": ""},
    ]
    ins.write_records(tmp_path / "a.json", records)
    assert ins.alpaca_records(tmp_path / "a.json") == records
    first, second = ins.read_alpaca(tmp_path / "a.json")
    assert [(m["role"], m["content"]) for m in first["messages"]] == [
        ("system", "Be brief."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Translate.\n你好"),
        ("assistant", "Hello"),
    ]
    assert second["messages"] == [ins.user("Hi"), ins.assistant("")]


def test_sharegpt_becomes_alpaca_with_history_as_read_data_does(tmp_path):
    lines = [
        '{"conversation_id": 7, "category": "x", "conversation": [{"human": "一", "assistant": "二"}]}',
        '{"conversation": []}',
        '{"conversation": [{"human": "1", "assistant": "2"}, {"human": "3", "assistant": "4\u2028"}]}',
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    rows = ins.read_sharegpt(tmp_path / "s.jsonl")
    assert ins.count_empty(rows) == 1
    ins.write_alpaca(tmp_path / "a.json", [row for row in rows if row["messages"]])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == [
        {"instruction": "一", "input": "", "output": "二", "history": []},
        {"instruction": "3", "input": "", "output": "4\u2028", "history": [["1", "2"]]},
    ]


@pytest.mark.parametrize(
    "name, rows",
    [("behaviour/zh/zh_energy_extraversion", 1417), ("self_awareness/en/en_ENFJ_self_awareness", 437)],
)
def test_released_alpaca_files_come_back_to_the_byte(tmp_path, name, rows):
    path = real(f"machine_mindset/datasets/{name}.json")
    records = ins.alpaca_records(path)
    assert len(records) == rows and records == json.loads(path.read_text(encoding="utf-8"))
    ins.write_records(tmp_path / "copy.json", records)
    assert ins.alpaca_records(tmp_path / "copy.json") == records
    ins.write_alpaca(tmp_path / "rows.json", ins.read_alpaca(path), history=False)
    assert ins.read_alpaca(tmp_path / "rows.json") == ins.read_alpaca(path)


def test_released_comparisons_keep_the_chosen_answer_first(tmp_path):
    path = real("machine_mindset/datasets/dpo/dpo_energy_i_e.json")
    rows, raw = ins.read_comparisons(path), json.loads(path.read_text(encoding="utf-8"))
    assert len(rows) == 1209
    assert [[row["chosen"][0]["content"], row["rejected"][0]["content"]] for row in rows] == [r["output"] for r in raw]
    ins.write_comparisons(tmp_path / "copy.json", rows)
    assert ins.read_comparisons(tmp_path / "copy.json") == rows


def test_a_file_of_another_shape_is_not_taken_for_alpaca():
    with pytest.raises(DataError, match=r"demo_data.json, row 1 lacks 'instruction' \(it has 'question'"):
        ins.read_alpaca(real("huatuogpt_o1/data/demo_data.json"))
    with pytest.raises(DataError, match="row 1: 'output' is a list, not text"):
        ins.read_alpaca(real("machine_mindset/datasets/dpo/dpo_energy_i_e.json"))


GOOD = '{"instruction": "a", "input": "", "output": "b"}'
PAIR = '{"instruction": "a", "input": "", "output": ["b", "c"]}'
TURN = '{"conversation": [{"human": "a", "assistant": "b"}]}'
BAD = {
    "missing key": (ins.read_alpaca, f'[{GOOD}, {{"instruction": "a", "output": "b"}}]', "row 2 lacks 'input'"),
    "unknown key": (ins.read_alpaca, f'[{GOOD[:-1]}, "answer": "b"}}]', "row 1 has the key 'answer'"),
    "repeated key": (ins.read_alpaca, f'[{GOOD}, {GOOD[:-1]}, "input": "x"}}]', "row 2 has the key 'input' more than"),
    "null text": (ins.read_alpaca, '[{"instruction": null, "input": "", "output": ""}]', "'instruction' is a NoneType"),
    "number": (ins.read_alpaca, '[{"instruction": "a", "input": NaN, "output": ""}]', "row 1: 'input' is a float"),
    "row is text": (ins.read_alpaca, f'[{GOOD}, "x"]', "row 2 is a str"),
    "cut off": (ins.read_alpaca, f"[{GOOD}, {GOOD[:20]}", "is not JSON .*cut off"),
    "object": (ins.read_alpaca, GOOD, "holds a dict, not a list"),
    "empty list": (ins.read_alpaca, "[]", "holds no row"),
    "empty file": (ins.read_alpaca, "", "is not JSON"),
    "nested too deep": (ins.read_alpaca, "[" * 100_000, "is not JSON"),
    "half a pair": (ins.read_alpaca, GOOD.replace('"b"', '"\\ud83d"').join("[]"), "half of a surrogate pair"),
    "history pair": (ins.read_alpaca, f'[{GOOD[:-1]}, "history": [["x"]]}}]', "row 1: entry 1 of 'history'"),
    "history text": (ins.read_alpaca, f'[{GOOD[:-1]}, "history": [["x", 1]]}}]', "history, entry 1' is a int"),
    "one answer": (ins.read_comparisons, f"[{PAIR}, {GOOD}]", "row 2: 'output' is no"),
    "three answers": (ins.read_comparisons, PAIR.replace('"c"', '"c", "d"').join("[]"), "row 1: 'output' is no"),
    "no conversation": (ins.read_sharegpt, TURN + '\n{"conversations": []}', "line 2 lacks 'conversation'"),
    "turn key": (ins.read_sharegpt, TURN.replace("human", "user"), "line 1, turn 1 lacks 'human'"),
    "repeated turn key": (
        ins.read_sharegpt,
        TURN.replace('"b"', '"b", "human": "c"'),
        "line 1 has the key 'human' more",
    ),
    "blank line": (ins.read_sharegpt, f"{TURN}\n\n{TURN}\n", "line 2 is blank"),
    "cut line": (ins.read_sharegpt, f"{TURN}\n{TURN[:30]}", "line 2 is not JSON"),
    "two user turns": (
        read_messages,
        '{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
        "line 1, message 2 is from 'user' where 'assistant'",
    ),
    "no answer": (read_messages, '{"messages": [{"role": "user", "content": "a"}]}', "ends without an assistant's"),
    "unknown role": (read_messages, '{"messages": [{"role": "tool", "content": "a"}]}', "is from 'tool'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_sentence(tmp_path, case):
    reader, content, told = BAD[case]
    path = tmp_path / "rows.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=told) as error:
        reader(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_text_or_not_there_is_told(tmp_path):
    (tmp_path / "gbk.json").write_bytes("你好".encode("gbk"))
    for name, told in [("gbk.json", "not a text file in UTF-8"), ("none.json", "does not exist")]:
        for reader in (ins.read_alpaca, ins.read_sharegpt, ins.read_comparisons, read_messages):
            with pytest.raises(DataError, match=told):
                reader(tmp_path / name)


def test_writers_refuse_what_a_format_cannot_hold_and_write_nothing(tmp_path):
    two, spoken = ins.dialogue([["a", "b"], ["c", "d"]]), ins.dialogue([["a", "b"]], system="s")
    refused = [
        (lambda path: ins.write_alpaca(path, [two], history=False), "row 1 for .* has 2 turns"),
        (lambda path: ins.write_alpaca(path, [two, {"messages": []}]), "row 2 for .* has no turn"),
        (lambda path: ins.write_sharegpt(path, [two, spoken]), "row 2 for .* has a system text"),
        (lambda path: ins.write_messages(path, []), "no row to write"),
        (lambda path: ins.write_alpaca(path, [{"messages": two["messages"][:1]}]), "ends without"),
        (lambda path: ins.write_comparisons(path, [{"prompt": [], "chosen": [], "rejected": []}]), "'chosen' must be"),
    ]
    for write, told in refused:
        with pytest.raises(DataError, match=told):
            write(tmp_path / "out.json")
    assert not list(tmp_path.iterdir())
