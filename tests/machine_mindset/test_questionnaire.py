"""The questionnaire's balance, how its answers are read, and what is refused of its table."""

from collections import Counter

import numpy as np
import pytest

from lib.data.files import DataError
from lib.workflow import paths
from papers.machine_mindset import questionnaire as quest
from papers.machine_mindset.measures import parse_letter
from papers.machine_mindset.personality import AXES

ITEMS = quest.read_items(paths.paper("machine_mindset"))


def test_24_items_six_an_axis_every_pole_first_three_times():
    assert Counter(item.axis for item in ITEMS) == dict.fromkeys(AXES, 6)
    assert Counter(item.first for item in ITEMS) == dict.fromkeys("EISNTFJP", 3)
    assert len(set(quest.texts(ITEMS))) == 3 * 24  # no text twice


def test_the_likelier_option_of_both_orders_together_is_chosen():
    likes_one = [[[-1.0, -3.0], [-2.0, -1.0]]] * 24  # ahead by 2 in one order, behind by 1 in the other
    assert quest.chosen(ITEMS, likes_one) == [item.first for item in ITEMS]
    assert quest.chosen(ITEMS, -np.asarray(likes_one)) == [item.poles[1] for item in ITEMS]
    assert quest.flips(likes_one) == 1.0 and quest.flips([[[0.0, -1.0], [0.0, -1.0]]]) == 0.0


def test_a_model_that_always_takes_the_first_option_has_no_type():
    shares = quest.profile(ITEMS, [item.first for item in ITEMS])
    assert set(shares.values()) == {0.5}


def test_a_profile_and_its_outline():
    intj = [next(pole for pole in item.poles if pole in "INTJ") for item in ITEMS]
    shares = quest.profile(ITEMS, intj)
    assert {pole for pole, share in shares.items() if share == 1} == set("INTJ") and sum(shares.values()) == 4
    outline = quest.radar(shares)
    assert outline.shape == (9, 2) and np.allclose(outline[0], outline[-1])
    assert np.allclose(outline[4], [-1, 0]) and np.allclose(outline[0], [0, 0])  # I to the left, E not at all


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("energy,E,Why?,,b", r"line 26 has a blank text"),
        ("mood,E,Why?,a,b", r"line 26 has a blank text, or no axis"),
        ("energy,S,Why?,a,b", r"line 26 has a blank text, or no axis and pole"),
        ("energy,E,Why?,a,b", r"the items of energy begin with EIEIEIE; balance their poles"),
    ],
)
def test_a_wrong_item_is_named_with_its_line(tmp_path, line, message):
    table = (paths.paper("machine_mindset") / "questionnaire.csv").read_text()
    (tmp_path / "questionnaire.csv").write_text(f"{table}{line}\n")
    with pytest.raises(DataError, match=message):
        quest.read_items(tmp_path)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [("B", "B"), ("B.", "B"), (" (c) green", "C"), ("The correct answer is D.", "D"), ("Answer: A\n", "A"), ("A dog", None),
     ("", None), ("I think B", None), ("Because", None), ("AB", None)],
)  # fmt: skip
def test_a_letter_is_read_where_a_reply_begins_with_one(reply, letter):
    assert parse_letter(reply) == letter
