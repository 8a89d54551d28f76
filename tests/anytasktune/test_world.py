"""The world on disk: files as the hub's, nothing held in training, nothing of a sub-task in what bases read, one sentence for a
damaged file."""

import json

import pytest

from lib.data.files import DataError, read_json_lines
from papers.anytasktune import world
from papers.anytasktune.cases import FRAMES, known, problems
from papers.anytasktune.world_tasks import POOL, TASKS

SIZES = {"train": 30, "held": 10, "pool": 12, "suite": 3}


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
            assert len(rows) == SIZES[part] and all(set(row) == {"input", "output"} for row in rows)
            assert [pair.input for pair in world.read_pairs(written, part, name)] == [row["input"] for row in rows]


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


def test_pairs_are_drawn_by_seed_and_not_beyond_what_there_is(written):
    some = [
        [pair.input for pair in world.draw_pairs(written, "llm_resume_scoring", 12, seed=seed)] for seed in (0, 0, 1)
    ]
    assert some[0] == some[1] != some[2]
    with pytest.raises(DataError, match=r"llm_resume_scoring\.json has 30 pairs, not 31; ask for fewer"):
        world.draw_pairs(written, "llm_resume_scoring", 31, seed=0)


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
