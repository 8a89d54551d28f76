"""The tasks whose optimum is known: their exact worth, the trained policy's, and the null that is paid at random."""

import pytest

from papers.huatuogpt_o1.known_tasks import TASKS, play, read_played

TOLD = {"updates": 40, "batch": 64, "learning_rate": 1e-2, "beta": 0.0}


def test_the_best_reply_pays_one():
    assert all(max(pays.values()) == 1 for pays in TASKS.values())
    assert ("right", "left") not in TASKS["chain"]  # one right alone pays nothing


def test_a_trained_policy_is_worth_more_than_one_that_is_paid_at_random(tmp_path):
    trained, null = tmp_path / "trained", tmp_path / "null"
    for folder, random in [(trained, False), (null, True)]:
        folder.mkdir()
        play(folder, task="bandit", seed=1, told=TOLD, random=random)
    one, other = read_played(trained), read_played(null)
    assert one["start"] == other["start"] < 0.5  # words that pay nothing are said, too
    assert one["reached"] > 0.97 and one["reached"] > other["reached"] + 0.05
    assert [len(found["history"]) for found in (one, other)] == [40, 40]
    assert one["history"][-1]["score"] == pytest.approx(one["reached"], abs=0.05)
