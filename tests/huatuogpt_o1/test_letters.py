"""Letters out of free answers: the released rules with their quirks, and the strict one."""

import pytest

from papers.huatuogpt_o1.letters import as_released, released_letters, score, score_cases, strict_letter

FOUR = {"A": "Aspirin", "B": "Biotin", "C": "Vitamin C", "D": "Digoxin"}
ROW = {"question": "?", "options": FOUR, "answer_idx": "D", "answer": "Digoxin"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is B. No, the answer is D.", ("B", "D", 1)),
        ("The answer is B.\n\n## Final Response\n\nThe answer is D.", ("D", "D", 1)),
        ("A man took (B) or maybe D.", ("B", "D", 1)),  # "A " is no letter
        ("Take vitamin C daily, then digoxin.", ("C", "C", 1)),  # the C of a word counts as a letter
        ("aspirin first, then digoxin, then aspirin", ("D", "A", 2)),  # "first" is the option first named latest
        ("vitamine", ("C", "C", 3)),
        ("答案是D", ("D", "D", 1)),
        ("The answer is K", ("K", "K", 1)),  # a letter that is no option
    ],
)
def test_the_released_rules(text, found):
    assert released_letters(text, FOUR) == found


def test_likeness_always_names_an_option():
    assert released_letters("zzz", FOUR) == ("D", "D", 3)  # all ratios are 0: the last one


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is D.", "D"),
        ("**Answer:** (B)", "B"),
        ("The answer is A patient thing.", None),
        ("The correct option: A", "A"),
        ("Answer: **B**", "B"),
        ("D. Digoxin", "D"),
        ("C", "C"),
        ("Take vitamin C daily.", "C"),  # the option's text
        ("Digoxin, because of the rhythm.", "D"),
        ("Aspirin or digoxin.", None),
        ("The answer is B. The answer is D.", None),
        ("A man of 40 has a cough.", None),
        ("zzz", None),
        ("", None),
        ("## Thinking\n\nThe answer is A.\n\n## Final Response\n\nThe answer is B.", "B"),
    ],
)
def test_the_strict_rule(text, letter):
    assert strict_letter(text, FOUR) == letter


def test_empty_outputs_leave_the_released_score_and_lower_the_strict_one():
    right, rows = ["The answer is D."] * 4, [ROW] * 4
    whole, half = score(right, rows), score([*right[:2], "", " \n"], rows)
    assert whole["released"] == half["released"] == 1 and (whole["strict"], half["strict"]) == (1, 0.5)
    assert half["empty"] == 0.5 and half["unanswered"] == 0.5
    assert as_released(score_cases([*right[:2], "", ""], rows)).mean() == pytest.approx(1)


def test_the_better_of_both_rules_counts():
    outputs = ["The answer is B. The answer is D."] * 3 + ["The answer is D. The answer is B."]
    found = score(outputs, [ROW] * 4)
    assert (found["first"], found["last"], found["released"], found["strict"]) == (0.25, 0.75, 0.75, 0)
    assert as_released(score_cases(outputs, [ROW] * 4)).tolist() == [1, 1, 1, 0]


def test_what_cannot_be_scored():
    with pytest.raises(ValueError, match="all 2 outputs are empty"):
        score(["", ""], [ROW] * 2)
    with pytest.raises(ValueError, match="1 outputs of 2 questions"):
        score_cases(["D"], [ROW] * 2)
