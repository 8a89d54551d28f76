"""Problem construction: each filter drops its own kind, every row is accounted for, replies are read strictly."""

import json
from collections import Counter

import pytest

from lib.data.files import DataError
from papers.huatuogpt_o1 import problems
from papers.huatuogpt_o1.editor import Editor, weak_models
from papers.huatuogpt_o1.exam_world import KINDS, draw_exam
from papers.huatuogpt_o1.records import QUESTION, TRUTH
from papers.huatuogpt_o1.world import Sizes, answers, cases, draw_world

WORLD = draw_world(Sizes(diseases=16, findings=10, each=5, shared=3, values=6), seed=3)
COUNTS = {"sound": 24, "recall": 16, "ambiguous": 8, "except": 8, "several": 6, "short": 4, "leaked": 4}
EXAM = draw_exam(WORLD, counts=COUNTS, seed=1)


class Says:
    """A chat model with a fixed list of replies."""

    name = "says"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def ask(self, prompt):
        self.asked.append(prompt)
        return self.replies.pop(0)


def _built(rows=EXAM, **more):
    given = {"weak": [], "chat": Editor(rows, seed=0), "shortest": 20}
    return problems.construct(rows, **{**given, **more})


def test_rows_in_are_kept_or_dropped_once():
    built = _built(weak=weak_models(WORLD, known=[0.9, 0.9, 0.9], seed=0))
    counts = built.counts()
    assert counts["in"] == len(EXAM) == sum(COUNTS.values())
    assert counts["in"] == counts["kept"] + sum(counts[reason] for reason in problems.REASONS)
    assert len({place for place, _ in built.dropped}) == len(built.dropped)


def test_each_filter_drops_its_own_kind():
    leaked = [row["question"] for row in EXAM if row["kind"] == "leaked"]
    built = _built(evaluation=leaked)
    why = {kind: Counter(reason for place, reason in built.dropped if EXAM[place]["kind"] == kind) for kind in KINDS}
    assert sum(why["except"].values()) == why["except"]["rule"] == 8 and why["several"]["rule"] == 6
    assert why["short"]["too short"] == 4 and why["leaked"]["contaminated"] + why["leaked"]["not rewritten"] == 4
    assert set(why["recall"]) <= {"too simple", "no verdict"} and sum(why["recall"].values()) == 16
    assert set(why["ambiguous"]) <= {"ambiguous answer", "no verdict"} and sum(why["ambiguous"].values()) == 8
    assert {row["kind"] for row in built.kept} == {"sound"}


def test_a_question_is_too_easy_only_when_all_weak_models_answer_it():
    right, wrong = (lambda row: row["answer_idx"]), (lambda row: "Z")
    assert _built(weak=[right, right, right]).counts()["too easy"] == len(EXAM)
    assert _built(weak=[right, wrong, right]).counts()["too easy"] == 0


def test_a_reply_that_holds_pass_does_not_pass():
    reply = "It does not pass. Ambiguous Answer."
    assert problems.released_pass(reply) and problems.verdict(reply) is None
    assert problems.verdict("Too Simple") == "Too Simple" and problems.verdict("I cannot say.") is None
    row = EXAM[[row["kind"] for row in EXAM].index("sound")]
    good = json.dumps({QUESTION: "Which?", "Standard Answer": "x"})
    assert _built([row], chat=Says(reply)).counts()["no verdict"] == 1
    assert _built([row], chat=Says(reply, good), passes=problems.released_pass).counts()["kept"] == 1


def test_a_rewriting_has_two_tries_and_strict_json():
    row = EXAM[[row["kind"] for row in EXAM].index("sound")]
    good = json.dumps({QUESTION: " Which? ", TRUTH: "x"})
    second = Says("Pass", "no json", good)
    kept = _built([row], chat=second).kept[0]
    assert (kept[QUESTION], kept[TRUTH]) == ("Which?", "x") and second.asked[1] != second.asked[2]
    assert kept["gpt_reformat_response"] == good and kept["options_str"].startswith("A. ")
    never = _built([row], chat=Says("Pass", "[1]", json.dumps({QUESTION: "Which?", TRUTH: ""})))
    assert never.counts()["not rewritten"] == 1
    assert problems.rewritten(json.dumps({QUESTION: "a", TRUTH: "b", "note": "c"})) is None


@pytest.mark.parametrize(
    ("question", "answer", "breaks"),
    [
        ("All are signs of flu EXCEPT?", "fever", True),
        ("She has not been treated. What is it?", "flu", False),
        ("He does not smoke. Which of the following is not indicated?", "x", True),
        ("Which is least likely?", "x", True),
        ("Which are true?", "ae", True),
        ("Which?", "a, b and d", True),
        ("Which?", "All of the above", True),
        ("Which?", "bed", True),  # three letters of options look like a word: the price of the rule
        ("Which gas?", "Oxygen", False),
    ],
)
def test_the_rule(question, answer, breaks):
    assert problems.breaks_rule({"question": question, "answer": answer}) is breaks


def test_overlap_is_64_characters_whatever_their_case_and_spaces():
    text = "".join(chr(97 + k % 26) for k in range(64))
    index = problems.overlap_index([f"xx {text} yy"])
    assert problems.overlaps(f"before {text.upper()}\nafter", index)
    assert not problems.overlaps(text[:-1] + "!", index) and not problems.overlaps(text[:63], index)


def test_the_world_says_which_questions_are_ambiguous():
    for case in cases(WORLD):
        fitting = [one for one in WORLD.diseases if set(case.findings) <= set(one.findings)]
        assert answers(WORLD, case) == {one.known[case.attribute] for one in fitting}
        assert WORLD.diseases[case.disease] in fitting
    for one in WORLD.diseases:
        assert all(one is other or len(set(one.findings) & set(other.findings)) <= 3 for other in WORLD.diseases)


def test_what_cannot_be_drawn_or_built():
    with pytest.raises(ValueError, match="no kind of item 'odd'"):
        draw_exam(WORLD, counts={"odd": 1}, seed=0)
    with pytest.raises(ValueError, match="ask for fewer"):
        draw_exam(WORLD, counts={"sound": 10_000}, seed=0)
    with pytest.raises(ValueError, match="allow more shared findings"):
        draw_world(Sizes(diseases=50, findings=6, each=3, shared=1, values=4), seed=0)
    with pytest.raises(ValueError, match="a question needs four values"):
        Sizes(diseases=8, findings=6, each=3, shared=2, values=3)
    with pytest.raises(DataError, match="exam row 1"):
        _built([{**EXAM[0], "answer_idx": "Z"}])
