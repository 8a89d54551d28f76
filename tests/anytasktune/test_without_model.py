"""The answers without a model: they see the tuned model's own pairs, and nothing of the held outputs."""

import json

import pytest

from lib.data.files import DataError
from papers.anytasktune import world
from papers.anytasktune.subtasks import Pair, write_subtask
from papers.anytasktune.without_model import WAYS, answer_without_model, majority

TASK = "legal_sentence_prediction"


@pytest.fixture
def folder(tmp_path):
    train = [
        Pair("it is theft for days", "fine"),
        Pair("it is fraud for years", "prison"),
        Pair("it is debt for days", "fine"),
    ]
    held = [Pair("it was fraud over years", "probation"), Pair("it was theft over days", "prison")]
    for part, pairs in (("train", train), ("held", held)):
        (tmp_path / part).mkdir()
        write_subtask(world.task_file(tmp_path, part, TASK), pairs)
    return tmp_path


@pytest.mark.parametrize(
    ("way", "answers"),
    [
        ("majority_output", ["fine", "fine"]),
        ("nearest_pair", ["prison", "fine"]),
        ("copied_input", ["it was fraud over years", "it was theft over days"]),
    ],
)
def test_each_way_by_hand(folder, tmp_path, way, answers):
    answer_without_model(tmp_path, world=folder, tasks=[TASK], way=way, each=3, count=9, seed=0)
    assert json.loads((tmp_path / "answers.json").read_text(encoding="utf-8")) == {TASK: answers}


def test_fewer_pairs_than_asked_for_and_an_unknown_way_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="has 3 pairs, not 4"):
        answer_without_model(tmp_path, world=folder, tasks=[TASK], way=WAYS[0], each=4, count=2, seed=0)
    with pytest.raises(DataError, match="no way 'median'"):
        answer_without_model(tmp_path, world=folder, tasks=[TASK], way="median", each=3, count=2, seed=0)


def test_ties_do_not_depend_on_the_order():
    assert majority(["b", "a"]) == majority(["a", "b"]) == "a"
