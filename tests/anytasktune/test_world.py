"""The world on disk: files as the hub's, nothing held in training, nothing of a sub-task in what bases read, one sentence for a
damaged file."""

import json
from collections import Counter

import numpy as np
import pytest

from lib.data.files import DataError, read_json_lines
from papers.anytasktune import world
from papers.anytasktune.cases import DOMAINS, FRAMES, GENERAL, known, problems
from papers.anytasktune.splits import NEAR, overlap, triples
from papers.anytasktune.world_tasks import POOL, PROMPTS, TASKS

SIZES = {"train": 60, "held": 10, "pool": 12, "suite": 3}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    world.write_world(folder, **SIZES, seed=4)
    return folder


def test_every_task_has_its_files_in_the_hubs_form(written):
    for part, tasks in (("train", TASKS), ("held", TASKS), ("pool", POOL), ("suite", POOL)):
        assert {file.name for file in (written / part).iterdir()} == {f"datatager_{name}.json" for name in tasks}
        for name in tasks:
            rows = json.loads((written / part / f"datatager_{name}.json").read_text(encoding="utf-8"))
            assert all(set(row) == {"input", "output"} for row in rows)
            assert len(rows) == SIZES[part] or (part == "train" and 0.75 * SIZES[part] < len(rows) < SIZES[part])
            assert [pair.input for pair in world.read_pairs(written, part, name)] == [row["input"] for row in rows]


def test_a_sub_tasks_pairs_are_split_with_near_duplicates_on_one_side(written):
    parts = ("train", "validation", "test")
    shares = dict.fromkeys(parts, 0)
    for name in TASKS:
        there = [part for part in parts if world.task_file(written, part, name).exists()]
        inputs = {part: [pair.input for pair in world.read_pairs(written, part, name)] for part in there}
        assert sum(map(len, inputs.values())) == SIZES["train"]
        for part, texts in inputs.items():
            shares[part] += len(texts) / SIZES["train"] / len(TASKS)
            others = [triples(text) for other in there if other != part for text in inputs[other]]
            assert max((overlap(triples(text), other) for text in texts for other in others), default=0) < NEAR
    assert abs(shares["train"] - 0.9) < 0.04 and all(abs(shares[part] - 0.05) < 0.03 for part in parts[1:])


def test_held_frames_and_values_are_in_no_training_input(written):
    for name, task in TASKS.items():
        held = known(task.domain, held=True, world=4)
        values = {*held["problem"], *(problems(task.domain)[one] for one in held["problem"]), *held["thing"]}
        frames = {frames[-1].format("").strip() for frames in FRAMES.values()}
        train, asked = (
            [f" {pair.input} " for pair in world.read_pairs(written, part, name)] for part in ("train", "held")
        )
        assert not any(values & set(text.split()) or any(f" {frame} " in text for frame in frames) for text in train)
        assert all(values & set(text.split()) and any(f" {frame} " in text for frame in frames) for text in asked)


def test_a_world_is_its_seed(written, tmp_path):
    for seed, same in ((4, True), (5, False)):
        (folder := tmp_path / str(seed)).mkdir()
        world.write_world(folder, **SIZES, seed=seed)
        texts = [
            world.task_file(one, "train", "legal_split_cases").read_text(encoding="utf-8") for one in (folder, written)
        ]
        assert (texts[0] == texts[1]) is same


@pytest.mark.parametrize("turns", [1, 4])
def test_a_base_reads_cases_and_the_general_pool_and_nothing_of_a_sub_task(written, tmp_path, turns):
    world.write_readings(tmp_path, world=written, seed=0, readings=20, pool=16, turns=turns)
    rows = [row for _, row in read_json_lines(tmp_path / "rows.jsonl")]
    told, asked = [row["text"] for row in rows if "text" in row], [row["messages"] for row in rows if "messages" in row]
    assert (len(told), len(asked)) == (20, 16) and all(len(row) == 2 * turns for row in asked)
    assert all(len(text.split("\n")) == 2 * turns == 2 * text.count(world.AGAIN) for text in told)
    texts = [*told, *(message["content"] for row in asked for message in row)]
    assert not any(task.prompt in text for text in texts for task in TASKS.values())
    held = {pair.input for name in POOL for pair in world.read_pairs(written, "suite", name)}
    pool = {pair.input for name in POOL for pair in world.read_pairs(written, "pool", name)}
    for row in asked:
        (name,) = [name for name, task in POOL.items() if row[0]["content"].startswith(task.prompt)]
        inputs = {message["content"].removeprefix(f"{POOL[name].prompt} ") for message in row[::2]}
        assert inputs <= pool and not inputs & held


def test_broad_readings_ask_the_pool_about_anything_and_show_no_held_value(written, tmp_path):
    world.write_readings(tmp_path, world=written, seed=4, readings=0, pool=200, turns=1, broad=True)
    rows = [row["messages"] for row in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())]
    assert not any(task.prompt in message["content"] for row in rows for message in row for task in TASKS.values())
    answers = {word for row in rows for word in row[1]["content"].split()}
    for domain in (*DOMAINS, *GENERAL):
        for slot in ("problem", "thing"):
            seen, held = (known(domain, held=part, world=4)[slot] for part in (False, True))
            assert answers & set(seen) and not answers & set(held)


def test_what_stands_before_an_input_is_its_prompt_or_nothing_or_that_of_any_skill():
    task, draw = TASKS["legal_split_cases"], np.random.default_rng(0)
    assert world.asked(task, "a b") == f"{task.prompt} a b" and world.asked(task, "a b", prompt="none") == "a b"
    said = Counter(world.asked(task, "a", prompt="random", draw=draw) for _ in range(700))
    assert set(said) == {f"{prompt.format('law')} a" for prompt in PROMPTS.values()} and min(said.values()) > 60


def test_pairs_are_drawn_by_seed_and_not_beyond_what_there_is(written):
    some = [
        [pair.input for pair in world.draw_pairs(written, "llm_resume_scoring", 12, seed=seed)] for seed in (0, 0, 1)
    ]
    assert some[0] == some[1] != some[2]
    there = len(world.read_pairs(written, "train", "llm_resume_scoring"))
    with pytest.raises(DataError, match=rf"llm_resume_scoring\.json has {there} pairs, not 61; ask for fewer"):
        world.draw_pairs(written, "llm_resume_scoring", 61, seed=0)


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("legal_sentence_prediction", {"input": "a", "output": "jail"}, ["row 2", "'jail' is not one of fine, probation, prison"]),
        ("llm_resume_scoring", {"input": "a", "output": "6"}, ["row 2", "'6' is not one of one, two"]),
        ("legal_extract_information", {"input": "a", "output": "theft"}, ["row 2", "is not written as the task 'extract' asks"]),
        ("legal_split_cases", {"text": "it is theft", "output": "theft"}, ["row 2", "no column for the input"]),
        ("legal_split_cases", {"input": "it is theft", "output": ""}, ["row 2", "'output' is empty"]),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_one_sentence(written, tmp_path, name, row, words):
    rows = json.loads(world.task_file(written, "train", name).read_text(encoding="utf-8"))
    path = world.task_file(tmp_path, "train", name)
    path.parent.mkdir()
    path.write_text(json.dumps([rows[0], row, *rows[2:]]), encoding="utf-8")
    with pytest.raises(DataError) as error:
        world.read_pairs(tmp_path, "train", name)
    assert all(word in str(error.value) for word in [str(path), *words]), error.value
    assert "\n" not in str(error.value)
