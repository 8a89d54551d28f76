"""The small models: rows to tune on hold what they say, and a model is asked as it was trained."""

import json
from collections import Counter

import pytest

from lib.data.files import read_json_lines
from lib.models import causal_lm
from lib.training.chat_encoding import encode_file
from papers.anytasktune import small_models, world
from papers.anytasktune.task_metrics import spaced
from papers.anytasktune.world_tasks import TASKS

TWO = ["legal_extract_information", "psychology_risk_assessor"]
TINY = {"architecture": "llama", "width": 16, "depth": 1, "heads": 2, "tie_word_embeddings": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    for name in ("world", "base"):
        (folder / name).mkdir()
    world.write_world(folder / "world", train=30, held=5, pool=8, suite=1, seed=0)
    small_models.write_initial(folder / "base", architecture=TINY, seed=0)
    return folder


def _rows(made, tmp_path, **how):
    small_models.write_rows(tmp_path, world=made / "world", tasks=TWO, each=20, seed=1, **how)
    rows = [row["messages"] for _, row in read_json_lines(tmp_path / "rows.jsonl")]
    assert all([message["role"] for message in row] == ["user", "assistant"] for row in rows)
    return [(row[0]["content"], row[1]["content"]) for row in rows]


def test_rows_are_the_seeds_pairs_with_the_prompt_before_each_input(made, tmp_path):
    rows = _rows(made, tmp_path)
    drawn = [(TASKS[name].prompt, pair) for name in TWO for pair in world.draw_pairs(made / "world", name, 20, seed=1)]
    assert rows == [(f"{prompt} {pair.input}", pair.output) for prompt, pair in drawn]


def test_shuffled_outputs_stay_in_their_task_and_leave_their_inputs(made, tmp_path):
    plain, shuffled = _rows(made, tmp_path), _rows(made, tmp_path, shuffled=True)
    assert [text for text, _ in plain] == [text for text, _ in shuffled] and plain != shuffled
    for half in (slice(0, 20), slice(20, 40)):
        assert Counter(said for _, said in plain[half]) == Counter(said for _, said in shuffled[half])


def test_dealt_rows_are_a_partition_across_tasks(made, tmp_path):
    parts = [_rows(made, tmp_path, dealt=[k, 4]) for k in range(4)]
    assert sorted(row for part in parts for row in part) == sorted(_rows(made, tmp_path))
    assert all(len({text.split(" :")[0] for text, _ in part}) == 2 for part in parts)


def test_a_base_knows_every_word_of_its_world(made, tmp_path):
    world.write_readings(tmp_path, world=made / "world", seed=0, readings=30, pool=30, turns=4)
    _, tokenizer = causal_lm.load(made / "base")
    assert not encode_file(tmp_path / "rows.jsonl", tokenizer, max_length=256).shortened  # and no unknown word
    _rows(made, tmp_path)
    assert not encode_file(tmp_path / "rows.jsonl", tokenizer, max_length=96).shortened


def test_the_prompt_is_all_that_rows_without_it_lack(made, tmp_path):
    plain, bare, dealt = (_rows(made, tmp_path, prompt=one) for one in ("own", "none", "random"))
    assert [said for _, said in plain] == [said for _, said in bare] == [said for _, said in dealt]
    assert all(text.endswith(f" : {short}") for (text, _), (short, _) in zip(plain, bare, strict=True))
    assert len({text.split(" :")[0] for text, _ in dealt}) > len({text.split(" :")[0] for text, _ in plain}) == 2


@pytest.mark.parametrize("shots", [0, 3])
def test_a_model_is_asked_in_the_form_of_its_training(made, tmp_path, monkeypatch, shots):
    seen = []

    def generate(model, prompts, *, end, longest, batch):
        seen.extend(prompts)
        return [[5, 6] for _ in prompts]

    monkeypatch.setattr(small_models, "generate", generate)
    small_models.answer_tasks(
        tmp_path,
        base=made / "base",
        world=made / "world",
        tasks=TWO,
        part="held",
        count=4,
        longest=8,
        batch=2,
        shots=shots,
    )
    _, tokenizer = causal_lm.load(made / "base")
    said = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert list(said) == TWO and all(len(texts) == 4 for texts in said.values())
    held, train = (world.read_pairs(made / "world", part, TWO[0]) for part in ("held", "train"))
    turns = [spaced(turn) for turn in tokenizer.decode(seen[0]).split("<s>")[1:]]
    prompt = TASKS[TWO[0]].prompt
    assert len(turns) == shots + 1 and turns[-1] == f"{prompt} {held[0].input}"
    known = {spaced(f"{prompt} {pair.input} {pair.output} </s>") for pair in train}
    assert set(turns[:-1]) <= known and len(set(turns)) == shots + 1
