"""Which tokens the loss counts, and how long dialogues are cut."""

import copy
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.data.files import DataError, write_json_lines
from lib.models import causal_lm
from lib.training.chat_encoding import IGNORED, encode, encode_file, read_rows, turns
from lib.training.loop import TrainingError

WORDS = [f"w{i}" for i in range(40)]


@pytest.fixture(scope="module", params=["mistral", "chatml", "plain"])
def tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    architecture = "qwen3" if request.param == "chatml" else "llama"
    causal_lm.write_checkpoint(
        folder,
        texts=[" ".join(WORDS)],
        chat_template=request.param,
        architecture=architecture,
        width=8,
        depth=1,
        heads=2,
    )
    return causal_lm.load(folder)[1]


def _row(*contents: str, system: str | None = None) -> dict:
    said = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return {"messages": ([{"role": "system", "content": system}] if system else []) + said}


def _counted(encoded, tokenizer, i: int = 0) -> list[str]:
    wanted = [t for t, label in zip(encoded.input_ids[i], encoded.labels[i], strict=True) if label != IGNORED]
    assert wanted == [label for label in encoded.labels[i] if label != IGNORED]
    return tokenizer.convert_ids_to_tokens(wanted)


def test_the_loss_counts_every_answer_and_its_end_and_nothing_else(tokenizer):
    encoded = encode([_row("w1 w2", "w3", "w4", "w5 w6")], tokenizer, max_length=64)
    end = tokenizer.eos_token
    assert _counted(encoded, tokenizer) == ["w3", end, "w5", "w6", end]


def test_what_is_encoded_is_what_the_template_writes(tokenizer):
    row = _row("w1", "w2", "w3", "w4", system="w9")
    text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    encoded = encode([row], tokenizer, max_length=64).input_ids[0]
    assert ids[: len(encoded)] == encoded and len(ids) - len(encoded) <= 1  # a line break after the last end
    assert [t for s, a in turns(row["messages"], tokenizer) for t in s + a] == encoded


def test_a_question_after_the_last_answer_is_left_out(tokenizer):
    short, long = (encode([_row("w1", "w2", *more)], tokenizer, max_length=64) for more in ((), ("w3",)))
    assert short.input_ids == long.input_ids


def test_a_document_counts_all_its_tokens_and_its_end(tokenizer):
    encoded = encode([{"text": "w1 w2 w3"}], tokenizer, max_length=64)
    assert _counted(encoded, tokenizer) == ["w1", "w2", "w3", tokenizer.eos_token]


def test_a_long_turn_keeps_source_and_target_in_proportion_and_is_listed(tokenizer):
    source, target = " ".join(WORDS[:30]), " ".join(WORDS[30:])  # 30 and 10 words, and what the template adds
    encoded = encode([_row("w1", "w2"), _row(source, target)], tokenizer, max_length=20)
    (s, t), ids = turns(_row(source, target)["messages"], tokenizer)[0], encoded.input_ids[1]
    kept = max(1, 20 * len(t) // (len(s) + len(t)))
    assert ids == s[: 20 - kept] + t[:kept] and encoded.shortened == [1]
    assert sum(label != IGNORED for label in encoded.labels[1]) == kept


def test_a_long_dialogue_is_cut_at_the_length_and_listed(tokenizer):
    row = _row(*WORDS[:16])
    encoded, whole = encode([row], tokenizer, max_length=12), encode([row], tokenizer, max_length=500)
    assert encoded.input_ids[0] == whole.input_ids[0][:12] and encoded.labels[0] == whole.labels[0][:12]
    assert (encoded.shortened, whole.shortened) == ([0], [])


PARTS = [{"type": "text", "text": "w1"}]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_row("w1"), "row 1 has no answer"),
        (_row("w1", ""), "row 1, message 2 is blank; complete it or take the row out"),
        (_row("w1", "  "), "row 1, message 2 is blank"),
        (_row(" \u3000", "w2"), "row 1, message 1 is blank"),
        (_row("w1", "w2", "\n"), "row 1, message 3 is blank"),
        (_row(None, "w2"), "row 1, message 1: 'content' is a NoneType, not text"),
        (_row(PARTS, "w2"), "row 1, message 1: 'content' is a list, not text"),
        (_row("w1", "w2 \ud83d"), "row 1, message 2: 'content' holds half of a surrogate pair"),
        (_row("w1", "w2", "w3", "w4", system=" "), "row 1, message 1 is blank"),
        ({"messages": [{"from": "human", "value": "w1"}]}, r"message 1 lacks 'role' \(it has 'from', 'value'\)"),
        ({"messages": [{"content": "w1"}]}, "row 1, message 1 lacks 'role'"),
        (
            {"messages": _row("w1", "w2")["messages"][::-1]},
            "row 1 has no answer, or other turns than user and assistant",
        ),
        ({"messages": [{"role": "user assistant", "content": "w1"}]}, "row 1 has no answer, or other turns"),
        ({"messages": [{"role": ["user"], "content": "w1"}]}, "row 1 has no answer, or other turns"),
        ({"messages": [{"role": "system", "content": "w1"}, *_row("w1", "w2")["messages"][1:]]}, "or other turns"),
        ({"messages": {}}, "row 1: 'messages' is a dict; give a list"),
        ({"messages": []}, "row 1 has no answer"),
        ({"text": 7}, "row 1, message 1: 'content' is a int, not text"),
        ({"text": " "}, "row 1, message 1 is blank"),
        ({"text": "w1", **_row("w1", "w2")}, "has neither 'messages' nor 'text', or both"),
        ([1], "has neither 'messages' nor 'text'"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_named(tokenizer, tmp_path, row, says):
    with pytest.raises(DataError, match=says):
        encode([_row("w1", "w2"), row], tokenizer, max_length=64)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (_row("w1", "w2"), row)))
    with pytest.raises(DataError) as told:
        read_rows(path)
    assert str(told.value).startswith(f"{path}, line 2")


def test_a_word_that_the_tokenizer_does_not_know_is_told_with_its_line(tokenizer, tmp_path):
    rows = [_row("w1", "w2"), _row("w1", "green")]
    with pytest.raises(TrainingError, match="row 1 has a word that the tokenizer does not know: 'w1 green'"):
        encode(rows, tokenizer, max_length=64)
    write_json_lines(tmp_path / "rows.jsonl", rows)
    with pytest.raises(TrainingError, match=r"rows.jsonl, line 2 has a word that the tokenizer does not know"):
        encode_file(tmp_path / "rows.jsonl", tokenizer, max_length=64)


@pytest.mark.parametrize(
    ("template", "says"), [(None, "it has none"), ("{{ raise_exception('no system') }}", "no system")]
)
def test_a_template_that_is_missing_or_refuses_is_told(tokenizer, template, says):
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    with pytest.raises(
        TrainingError, match=f"the chat template cannot write a dialogue .{says}.; give a chat_template"
    ):
        encode([_row("w1", "w2")], other, max_length=64)
    assert encode([{"text": "w1"}], other, max_length=64).tokens == 2  # documents need none


def test_an_end_token_inside_an_answer_is_told_and_one_in_a_question_cuts_nothing(tokenizer):
    end = tokenizer.eos_token
    with pytest.raises(TrainingError, match="row 0 has the end token inside an answer, which would be cut there"):
        encode([_row("w1", f"w2{end} w3")], tokenizer, max_length=64)
    encoded = encode([_row(f"w1{end} w4", "w2 w3")], tokenizer, max_length=64)
    assert _counted(encoded, tokenizer) == ["w2", "w3", end]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    rows, path = [_row("w1", "w2"), {"text": "w3"}], tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, rows)).encode())
    assert read_rows(path) == rows


def _with(key, value):
    def change(row, k):
        row["messages"][k % len(row["messages"])][key] = value

    return change


def _swap(change):
    return lambda row, k: row.update(messages=change(row["messages"], k))


BAD = [
    *(_with("content", value) for value in (None, 7, 1.5, True, [], PARTS, {}, "", " ", "\u3000\n", "w1 \ud800")),
    *(
        _with("role", value)
        for value in (None, 3, [], {}, "", "gpt", "human", "User", "system ", "user assistant", "text")
    ),
    *(_with(key, "w1") for key in ("name", "value", "tool_calls")),
    *(lambda row, k, key=key: row["messages"][k % len(row["messages"])].pop(key) for key in ("role", "content")),
    _swap(lambda said, k: said[::-1] if len(said) % 2 == 0 else said[:1]),
    _swap(lambda said, k: [*said[: k % len(said)], said[k % len(said)], *said[k % len(said) :]]),  # a turn twice
    _swap(lambda said, k: [*said, {"role": "system", "content": "w1"}]),
    _swap(lambda said, k: said[:1]),
    *(_swap(lambda said, k, value=value: value) for value in (None, 5, "w1", {}, [], [None], ["w1"], [[]])),
    *(lambda row, k, value=value: row.update(text=value) for value in ("w1", None, "")),
    lambda row, k: row.clear(),
    lambda row, k: row.update(message=row.pop("messages")),
    *(
        lambda row, k, value=value: row.update(text=value, messages=row.pop("messages", 0) and None)
        for value in (1, [], {})
    ),
]
TORN = [b"", b"{", b'{"messages": [{"role": "user"', b'{"text": "w1", "text": "w2"}', b'"w1"', b"[]", b"7", b"null", b"NaN",
        b'{"text": "w1"} {"text": "w2"}', b'{"text": "\\ud800"}', b'{"text": "\xe9"}', b"\x00", b"[" * 3000]  # fmt: skip


@pytest.mark.slow
def test_whatever_is_wrong_with_a_row_is_told_with_its_file_and_line(tmp_path_factory):
    path, tried = tmp_path_factory.mktemp("bad") / "rows.jsonl", Counter()

    @settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from([*BAD, *TORN]), st.integers(1, 3), st.integers(0, 5), st.integers(0, 3), st.booleans())
    def try_one(wrong, turns_each, k, before, system):
        good = json.dumps(_row("w1", "w2"))
        row = _row(*(["w1", "w2"] * turns_each), system="w3" if system else None)
        if callable(wrong):
            wrong(row, k)
            line = json.dumps(row).encode()
        else:
            line = wrong
        path.write_bytes(b"\n".join([*[good.encode()] * before, line, good.encode()]))
        with pytest.raises(DataError) as told:
            read_rows(path)
        sentence = str(told.value)
        assert sentence.startswith(str(path)) and "\n" not in sentence and sentence.endswith(".")
        assert f", line {before + 1}" in sentence or b"\xe9" in line  # what is not UTF-8 has no line
        tried[type(told.value).__name__] += 1

    try_one()
    print(f"{sum(tried.values())} malformed files of training rows: {dict(tried)}")
    assert sum(tried.values()) >= 300


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = "{{ messages | length }}" + other.chat_template.replace("eos_token", "eos_token")
    other.chat_template = "{% if messages | length > 2 %}w7{% endif %}" + tokenizer.chat_template
    with pytest.raises(TrainingError, match="row 0 is written differently when turns follow it"):
        encode([_row("w1", "w2", "w3", "w4")], other, max_length=64)


def test_rows_go_to_disk_and_back(tmp_path):
    rows = [_row("问", "答\n二"), {"text": "a \u2028 b"}]  # a separator that is no end of line in JSON
    write_json_lines(tmp_path / "rows.jsonl", rows)
    assert read_rows(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is not JSON"),
        (json.dumps({"prompt": 1}), "line 2 has neither 'messages' nor 'text'"),
        (None, "holds no row"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, line, says):
    path = tmp_path / "rows.jsonl"
    path.write_text("" if line is None else json.dumps({"text": "a"}) + f"\n{line}\n")
    with pytest.raises(DataError, match=says):
        read_rows(path)
