"""Generated cases: what is held is held, and what is told can be traced back to the case."""

import numpy as np
import pytest

from lib.data.files import DataError
from papers.anytasktune import cases
from papers.anytasktune.cases import FRAMES, GENERAL, GRADES, SLOTS, Case, draw_case, known, problems, tell, things

DOMAINS = (*cases.DOMAINS, *GENERAL)


def _frame_words(slot, held):
    frames = FRAMES[slot][-1:] if held else FRAMES[slot][:-1]
    return {frame.format("").strip() for frame in frames}


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_word_has_two_meanings_and_every_domain_has_six_of_each(domain):
    own = problems(domain)
    assert len(own) == len(set(own.values())) == len(set(things(domain))) == 6
    others = {
        w for other in DOMAINS if other != domain for w in (*problems(other), *problems(other).values(), *things(other))
    }
    assert not others & {*own, *own.values(), *things(domain)}


def test_values_are_training_ones_or_held_ones_by_the_world():
    for world in range(5):
        train, held, both = (known("law", held=one, world=world) for one in (False, True, None))
        for slot, whole in (("problem", list(problems("law"))), ("thing", things("law"))):
            assert len(held[slot]) == cases.HELD_VALUES and not set(train[slot]) & set(held[slot])
            assert set(train[slot]) | set(held[slot]) == set(both[slot]) == set(whole)
    assert len({tuple(known("law", held=True, world=world)["problem"]) for world in range(8)}) > 1
    with pytest.raises(DataError, match="no domain 'cooking'; there are health"):
        known("cooking", held=None, world=0)


@pytest.mark.parametrize("held", [True, False])
def test_a_text_uses_the_frames_and_everyday_words_of_its_side_alone(held):
    draw, levels = (
        np.random.default_rng(0),
        {word for words in GRADES.values() for word in (words[-1:] if held else words[:-1])},
    )
    for _ in range(200):
        case = draw_case("mind", draw, held=held, world=3)
        text = tell(case, draw, held=held)
        for slot in SLOTS:
            here = any(frame in text for frame in _frame_words(slot, held))
            assert here == (slot in case.values), (slot, text)
            assert not any(frame in text for frame in _frame_words(slot, not held)), text
        problem = case.values["problem"]
        assert len({problem, problems("mind")[problem]} & set(text.split())) == 1
        assert ("level" in case.values) == bool(levels & set(text.split()))


def test_a_canonical_telling_holds_the_case_word_for_word():
    case = Case("law", {"problem": "theft", "thing": "deed", "time": "weeks", "level": "severe"})
    text = tell(case, np.random.default_rng(1), held=None, canonical=True).split()
    assert set(case.values.values()) <= set(text) and "stealing" not in text


def test_a_problem_is_always_told_and_other_slots_three_times_in_four():
    draw = np.random.default_rng(0)
    drawn = [draw_case("health", draw, held=False, world=0) for _ in range(2000)]
    assert all("problem" in case.values for case in drawn)
    for slot in SLOTS[1:]:
        assert abs(np.mean([slot in case.values for case in drawn]) - cases.PRESENT) < 0.04
        assert all((slot in case.missing) != (slot in case.values) for case in drawn)


def test_the_vocabulary_holds_every_word_of_every_text():
    words, draw = set(cases.words()), np.random.default_rng(2)
    for domain in DOMAINS:
        for held in (True, False, None):
            for canonical in (True, False):
                for _ in range(20):
                    case = draw_case(domain, draw, held=held, world=1)
                    assert set(tell(case, draw, held=held, canonical=canonical).split()) <= words
