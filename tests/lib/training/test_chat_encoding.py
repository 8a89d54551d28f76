"""Which tokens the loss counts, and how long dialogues are cut."""

import json

import pytest

from lib.data.files import DataError, write_json_lines
from lib.models import causal_lm
from lib.training.chat_encoding import IGNORED, encode, read_rows, turns
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


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_row("w1"), "row 1 has no answer, or an empty one; take it out"),
        (_row("w1", ""), "row 1 has no answer, or an empty one"),
        (_row("w1", "green"), "row 1 has a word that the tokenizer does not know: 'w1 green'"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_named(tokenizer, row, says):
    with pytest.raises(TrainingError, match=says):
        encode([_row("w1", "w2"), row], tokenizer, max_length=64)


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer):
    import copy

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
