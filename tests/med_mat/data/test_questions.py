"""Questions of Med-MAT: the letter always points to the label, letters are uniform, distractors are never the truth."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.files import DataError
from papers.med_mat.data.questions import (
    SUFFIX,
    ask,
    chance,
    instructions,
    question_text,
    read_options,
    rotations,
)
from papers.med_mat.data.selection import Subset

quick = settings(max_examples=80, deadline=None, derandomize=True)
LUNG = Subset("03", "CT", "Lung", "COVID-19 classification", "State")

words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12)
label_sets = st.lists(
    words.filter(str.strip), min_size=2, max_size=9, unique_by=lambda w: " ".join(w.split()).casefold()
)


def plain(label):
    return " ".join(label.split())


@quick
@given(label_sets, st.data(), st.integers(0, 9))
def test_the_letter_points_to_the_label_and_distractors_are_other_labels(labels, data, seed):
    truth = data.draw(st.sampled_from(labels))
    question = ask(truth, labels, LUNG, image="med-mat/x/1.png", seed=seed)
    assert question.options[question.answer] == plain(truth)
    assert len(question.options) == min(4, len(labels)) and "".join(question.options) == "ABCD"[: len(question.options)]
    distractors = [text.casefold() for letter, text in question.options.items() if letter != question.answer]
    assert plain(truth).casefold() not in distractors and len(set(distractors)) == len(distractors)
    assert set(question.options.values()) <= {plain(label) for label in labels}
    assert question.text.startswith(question.instruction) and question.text.endswith(SUFFIX)
    assert read_options(question.text) == question.options


@quick
@given(label_sets, st.integers(0, 9))
def test_a_question_depends_on_seed_and_image_only(labels, seed):
    first = ask(labels[0], labels, LUNG, image="a.png", seed=seed)
    assert first == ask(labels[0], labels[::-1], LUNG, image="a.png", seed=seed)
    spaced = [*labels, f"  {labels[1]} "]  # the same label once more
    assert first == ask(labels[0], spaced, LUNG, image="a.png", seed=seed)


@pytest.mark.parametrize("labels", [["yes", "no"], ["a", "b", "c"], ["a", "b", "c", "d"], list("abcdefg")])
def test_letters_instructions_and_distractors_are_uniform(labels):
    """Chi-square against equal shares over 6,000 images; the bound is the 1 - 1e-6 quantile."""
    from scipy.stats import chi2

    asked = [ask("a" if "a" in labels else "yes", labels, LUNG, image=f"{i}.png", seed=7) for i in range(6_000)]
    kinds = {
        "letters": [q.answer for q in asked],
        "instructions": [q.instruction for q in asked],
        "distractors": [t for q in asked for letter, t in q.options.items() if letter != q.answer],
    }
    expected = {"letters": min(4, len(labels)), "instructions": 6, "distractors": len(labels) - 1}
    for kind, drawn in kinds.items():
        _, counts = np.unique(drawn, return_counts=True)
        assert len(counts) == expected[kind], kind
        even = len(drawn) / len(counts)
        assert ((counts - even) ** 2 / even).sum() <= chi2.ppf(1 - 1e-6, max(1, len(counts) - 1)), kind


def test_two_seeds_and_two_images_ask_differently():
    asked = {
        ask("a", list("abcdefgh"), LUNG, image=image, seed=s).text for image in ("1.png", "2.png") for s in range(8)
    }
    assert len(asked) > 12


def test_six_different_instructions_with_modality_and_area():
    found = instructions(LUNG)
    assert len(set(found)) == 6
    assert all("CT" in text and "lung" in text.lower() for text in found)


def test_two_options_for_a_binary_subset_and_four_at_most():
    assert len(ask("yes", ["yes", "no"], LUNG, image="1.png", seed=0).options) == 2
    assert len(ask("a", list("abcdef"), LUNG, image="1.png", seed=0).options) == 4


def test_both_letter_styles_are_read():
    options = {"A": "yes", "B": "no"}
    assert question_text("Is it?", options) == f"Is it?\nA: yes\nB: no\n{SUFFIX}"
    assert read_options(f"Is it?\nA. yes\nB. no\n{SUFFIX}") == options == read_options(question_text("Is it?", options))


@pytest.mark.parametrize(
    "question",
    [
        "Q: what is seen?",
        "T. solium cyst or not?",
        "A. fumigatus is seen where?",
        "Culture of:\nT. solium?",
    ],
)
def test_a_question_that_begins_like_an_option_is_none(question):
    text = question_text(question, {"A": "cyst", "B": "none"})
    assert read_options(text) == {"A": "cyst", "B": "none"}
    assert rotations(text, "B")[1] == (question_text(question, {"A": "none", "B": "cyst"}), 0)


@pytest.mark.parametrize("last", ["", "\nanswer with the letter", "\n\nThe letter only", f"\n{SUFFIX}"])
def test_an_option_over_two_lines_moves_as_a_whole(last):
    text = f"What?\nA: cyst\n(benign)\n\nB: tumour\n  (malignant)\nC: none{last}"
    assert read_options(text) == {"A": "cyst (benign)", "B": "tumour (malignant)", "C": "none"}
    turned = f"What?\nA: tumour\n  (malignant)\n\nB: none\nC: cyst\n(benign){last}"
    assert rotations(text, "B")[1] == (turned, 0)
    for one, place in rotations(text, "A"):
        assert list(read_options(one).values())[place] == "cyst (benign)"


def test_rotations_of_any_text_lose_and_mix_nothing():
    """Texts made of lines that are or resemble options: refused in a sentence, or each option whole at its place."""
    count = Counter()
    lines = [
        "A: cyst",
        "B: none",
        "B. lung",
        "C: both",
        "D. T4",
        "A. fumigatus?",
        "(benign)",
        "",
        "What?",
        SUFFIX,
        "  b",
        "T. solium",
    ]

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from(lines), max_size=3), st.lists(st.sampled_from(lines), max_size=3), st.booleans())
    def each(before, after, plain):
        text = "\n".join([*before, *([] if plain else ["A: yes", "B: no"]), *after])
        try:
            options = read_options(text)
        except DataError as error:
            count["refused"] += 1
            assert "\n" not in str(error) and ";" in str(error)
            return
        count["read"] += 1
        assert "".join(options) == "ABCD"[: len(options)]
        for answer, right in options.items():
            for one, place in rotations(text, answer):
                turned = read_options(one)
                assert list(turned.values())[place] == right and sorted(turned.values()) == sorted(options.values())
                assert sorted(one.split()) == sorted(text.split())

    each()
    assert count.total() >= 300 and min(count.values()) > 50


def test_a_sentence_behind_the_options_that_may_be_either_is_refused():
    with pytest.raises(DataError, match="has 'Malignant or not' below an option; write the option on one line"):
        read_options("What?\nA: cyst\nB: tumour\nMalignant or not")


def test_chance_follows_the_number_of_options():
    assert chance([2, 2]) == 0.5 and chance([4, 2]) == pytest.approx(0.375)
    with pytest.raises(DataError, match="at least one question"):
        chance([])


BAD = {
    "unknown label": ({"label": "c"}, "'c' (1.png) is not among its labels"),
    "one label": ({"labels": ["a", "A "]}, "has one label, 'a'; a question needs two"),
    "empty label": ({"labels": ["a", " "]}, "A label is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_question_that_cannot_be_asked_is_told_in_one_sentence(case):
    changed, sentence = BAD[case]
    told = {"label": "a", "labels": ["a", "b"], "image": "1.png", "seed": 0} | changed
    with pytest.raises(DataError) as error:
        ask(told.pop("label"), told.pop("labels"), LUNG, **told)
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A: only",
        "A: one\nC: three",
        "B: two\nA: one",
        "A: one\nA: two",
        "?\nA: a\nA: b\nB: c",
        "A: a\nB: b\nA: c\nB: d",
    ],
)
def test_options_that_are_not_lettered_in_order_are_refused(text):
    with pytest.raises(DataError, match="the options are lettered"):
        read_options(text)


@pytest.mark.parametrize("style", ["A: text", "A. text"])
def test_rotations_move_the_options_and_nothing_else(style):
    """The first is the question as released; each text is behind each letter once; the place follows the right text."""
    options = {"A": "No", "B": "Yes: A", "C": "No"[::-1]}

    def written(options):
        plain = question_text("Is C: the answer?", options)
        return plain if style == "A: text" else re.sub(r"(?m)^([A-C]):", r"\1.", plain)

    text = written(options)
    turned = rotations(text, "B")
    assert turned[0] == (text, 1) and [place for _, place in turned] == [1, 0, 2]
    for one, place in turned:
        lines, moved = one.splitlines(), read_options(one)
        assert (lines[0], lines[-1]) == ("Is C: the answer?", SUFFIX) and list(moved.values())[place] == "Yes: A"
        assert one == written(moved)
    for letter in options:
        assert sorted(read_options(one)[letter] for one, _ in turned) == sorted(options.values())
