"""CMB-Exam files: round trip, what a malformed file is told, the released extractor's traps, averages."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.files import DataError
from lib.evaluation import EvaluationError
from papers.long_context import cmb
from papers.long_context.cmb_scoring import accuracy_gap, exam_accuracy, released_letters, strict_letters

NAMES = {"exam_type": "医师考试", "exam_class": "执业医师", "exam_subject": "内科"}


def item(number=1, **changes):
    fields = {
        **NAMES, "id": str(number), "question": "哪项正确？", "question_type": cmb.SINGLE,
        "options": {"A": "CT", "B": "X线", "C": "DNA"}, "answer": "B", **changes,
    }  # fmt: skip
    return cmb.Item(**fields)


@pytest.fixture
def folder(tmp_path):
    cmb.write_test(tmp_path, [item(1), item(2, question_type=cmb.MULTIPLE, answer="AC"), item(3, exam_type="医学考研")])
    return tmp_path


def edit(path, change):
    rows = json.loads(path.read_text(encoding="utf-8"))
    change(rows)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


# ---------------------------------------------------------------------- files
def test_questions_and_answers_come_back_as_they_were_written(folder):
    read = cmb.read_test(folder)
    assert read == [item(1), item(2, question_type=cmb.MULTIPLE, answer="AC"), item(3, exam_type="医学考研")]
    assert [one.multiple for one in read] == [False, True, False]
    questions = json.loads((folder / cmb.QUESTIONS).read_text(encoding="utf-8"))
    assert not any("answer" in row for row in questions), "the test questions are released without answers"


def test_answers_are_joined_by_id_and_not_by_place(folder):
    edit(folder / cmb.ANSWERS, lambda rows: rows.reverse())
    assert [one.answer for one in cmb.read_test(folder)] == ["B", "AC", "B"]


def test_a_file_in_the_validation_layout_is_read(tmp_path):
    record = {**NAMES, "question": "?", "question_type": cmb.SINGLE, "explanation": "因为。", "answer": "A"}
    options = {"A": "一", "B": "二", "C": "三", "D": "四", "E": "", "F": ""}
    path = tmp_path / "CMB-val-merge.json"
    path.write_text(json.dumps([{**record, "option": options}]), encoding="utf-8")
    (one,) = cmb.read_items(path)
    assert list(one.options) == ["A", "B", "C", "D"] and one.id == "1" and one.explanation == "因为。"


QUESTION_FAULTS = {
    "lacks 'option'": lambda row: row.pop("option"),
    "has the key 'Option'": lambda row: row.update(Option=1),
    "the exam type '医生'": lambda row: row.update(exam_type="医生"),
    "the question type '判断题'": lambda row: row.update(question_type="判断题"),
    "has the option 'H'": lambda row: row["option"].update(H="x"),
    "has 1 options": lambda row: row.update(option={"A": "x", "B": " "}),
    "no usable 'id'": lambda row: row.update(id=None),
    "repeats the id 1": lambda row: row.update(id=1),
    "has a blank question": lambda row: row.update(question=" "),
    "'explanation' is a int": lambda row: row.update(explanation=1),
    "'option' is a list": lambda row: row.update(option=["x"]),
}


@pytest.mark.parametrize("told", QUESTION_FAULTS)
def test_a_malformed_question_is_named_by_file_and_row(folder, told):
    edit(folder / cmb.QUESTIONS, lambda rows: QUESTION_FAULTS[told](rows[1]))
    with pytest.raises(DataError, match=rf"{cmb.QUESTIONS.name}, row 2.*{told}"):
        cmb.read_test(folder)


ANSWER_FAULTS = {
    "row 2: the answer 'AZ'": lambda rows: rows[1].update(answer="AZ"),
    "row 2: the answer ''": lambda rows: rows[1].update(answer=""),
    "row 2: the answer 'AA'": lambda rows: rows[1].update(answer="AA"),
    "row 1: the answer 'AB' has 2 letters": lambda rows: rows[0].update(answer="AB"),
    "row 2 answers the question 9": lambda rows: rows[1].update(id="9"),
    "has no answer to question 2": lambda rows: rows.pop(1),
    "row 2 lacks 'answer'": lambda rows: rows[1].pop("answer"),
}


@pytest.mark.parametrize("told", ANSWER_FAULTS)
def test_a_malformed_answer_is_named(folder, told):
    edit(folder / cmb.ANSWERS, ANSWER_FAULTS[told])
    with pytest.raises(DataError, match=told):
        cmb.read_test(folder)


def test_a_file_cut_off_or_missing_is_told(folder):
    text = (folder / cmb.QUESTIONS).read_text(encoding="utf-8")
    (folder / cmb.QUESTIONS).write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(DataError, match="is not JSON"):
        cmb.read_test(folder)
    (folder / cmb.QUESTIONS).unlink()
    with pytest.raises(DataError, match="does not exist"):
        cmb.read_test(folder)


def test_knowledge_round_trip_and_faults(tmp_path):
    path, listed = tmp_path / "knowledge.json", [cmb.Knowledge("1", "a b", ("c d",)), cmb.Knowledge("2", "e f")]
    cmb.write_knowledge(path, listed)
    assert list(cmb.read_knowledge(path).values()) == listed
    edit(path, lambda rows: rows[1].update(id="1"))
    with pytest.raises(DataError, match="row 2 repeats the id 1"):
        cmb.read_knowledge(path)
    for row in ({"knowledge": " "}, {"knowledge": "a", "distractors": [""]}, {"knowledge": "a", "distractors": "b"}):
        path.write_text(json.dumps([{"id": "1", **row}]))
        with pytest.raises(DataError, match="row 1: give a passage"):
            cmb.read_knowledge(path)


def test_an_explanation_as_knowledge_does_not_give_the_letter_away():
    texts = {
        "1": "胸部CT是首选检查。故选B。结核多见于上叶。",
        "2": "本题答案为ACD。心肌缺血时ST段压低。",
        "3": "A项错误，因为无依据。正确答案是C。",
        "4": "维生素B缺乏引起脚气病；C选项对。",
    }
    items = [item(id, explanation=text) for id, text in texts.items()]
    found = {one.id: one for one in cmb.knowledge_from_explanations(items, distractors=1)}
    assert found["1"].passage == "胸部CT是首选检查。结核多见于上叶。"
    assert found["2"].passage == "心肌缺血时ST段压低。"
    assert "3" not in found, "nothing is left of an explanation that only names letters"
    assert found["4"].passage == "维生素B缺乏引起脚气病；"
    assert found["1"].distractors == (found["2"].passage,) and found["4"].distractors == (found["1"].passage,)


# ---------------------------------------------------------------------- reading replies
@pytest.mark.parametrize(
    ("reply", "multiple", "released", "strict"),
    [
        ("B", False, "B", "B"),
        ("选项B", False, "B", "B"),
        ("The answer is C", False, "C", "C"),
        ("A和B都不对，答案是C", False, "C", "C"),  # "A和B" is a run of two, no answer to a single-answer question
        ("CT检查", False, "C", ""),  # the trap: a capital inside a word
        ("Basil", False, "B", ""),
        ("Basil\nBasil C", False, "B", "C"),
        ("ABC", False, "A", ""),
        ("ABC", True, "ABC", "ABC"),
        ("A, C", True, "AC", "AC"),
        ("C、A", True, "AC", "AC"),
        ("DNA说明A", True, "AD", "A"),
        ("没有", False, "", ""),
        ("H", False, "", ""),
    ],
)
def test_letters_of_a_reply(reply, multiple, released, strict):
    assert released_letters(reply, multiple=multiple) == released
    assert strict_letters(reply, multiple=multiple) == strict


@pytest.mark.parametrize(
    ("reply", "single", "several"),
    [
        # either case and full width behind a cue, and a letter that is all of the reply
        ("the answer is b", "B", "B"),
        ("Answer: b", "B", "B"),
        ("答案：Ｂ", "B", "B"),
        ("答案是b。", "B", "B"),
        ("故选Ｃ。", "C", "C"),
        ("ｄ", "D", "D"),
        ("(c) a bird", "C", "C"),
        ("b. 4", "B", "B"),
        ("abc", "", "ABC"),
        # dressed
        ("The answer is **B**.", "B", "B"),
        ("ANSWER: $A$", "A", "A"),
        (r"\boxed{\text{D}}", "D", "D"),
        ("The correct choice is (B), not (A).", "B", "B"),
        # what is denied does not count
        ("The answer is not A.", "", ""),
        ("It isn't A, it is D", "D", "D"),
        ("The answer is neither A nor B.", "", ""),
        ("不选A，选B", "B", "B"),
        ("选项A错误，选项B正确", "B", "B"),
        ("Option A is wrong. The answer is C.", "C", "C"),
        # the last statement wins, and what is said without a cue does not undo it
        ("Answer: A\n...\nWait. Answer: B", "B", "B"),
        ("The answer is B. Note that A is a distractor.", "B", "B"),
        # several letters
        ("The answer is A or C", None, None),
        ("A或C", None, None),
        ("A/B", None, None),
        ("The correct options are A and C.", None, "AC"),
        ("答案为ＡＣ", "", "AC"),
        ("答案是C、A", None, "AC"),
        ("Both A and C are right", None, "AC"),
        ("B at first, then C", None, None),
        ("A正确，B错误，C正确", None, None),
        # letters that are none
        ("A dog, so B", "B", "B"),
        ("A dog.", "", ""),
        ("The answer is a cat", "", ""),
        ("The answer is e.g. aspirin", "", ""),
        ("体温38℃", "", ""),
        ("D-dimer is raised", "", ""),
        ("Bébé", "", ""),
        ("", "", ""),
    ],
)
def test_a_reply_settles_on_its_last_statement_or_on_nothing(reply, single, several):
    assert strict_letters(reply, multiple=False) == single
    assert strict_letters(reply, multiple=True) == several


SAYS = [
    "{}",
    "({})",
    "答案：{}",
    "答案是{}。",
    "正确答案为 {}",
    "故选{}",
    "The answer is {}.",
    "Answer: {}",
    "**Answer: {}**",
    "I choose {}",
]
FORMS = [str, str.lower, lambda letter: chr(ord(letter) + 0xFEE0)]  # full width
TALK = [
    "",
    "患者发热三天。",
    "Let us think. ",
    "The patient has a cough. ",
    "体温38℃, ",
    "CT and DNA were normal. ",
    "e.g. fever; ",
]


def test_letters_are_read_in_every_form_and_contradictions_never():
    tried = {"right": 0, "None": 0, "any": 0}
    letter, say, form = st.sampled_from("ABCDEFG"), st.sampled_from(SAYS), st.sampled_from(FORMS)

    @settings(max_examples=350, deadline=None, derandomize=True)
    @given(letter, letter, say, form, st.sampled_from(TALK), st.booleans())
    def try_one(one, other, say, form, talk, multiple):
        cued = say not in SAYS[:2]  # without a cue small letters are read only where they are the whole reply
        before = talk if cued else ""
        assert strict_letters(before + say.format(form(one)), multiple=multiple) == one
        denied = f"{before}答案不是{one}。The answer is not {one}."
        assert not strict_letters(denied, multiple=multiple)
        assert strict_letters(denied + "答案是" + form(other), multiple=multiple) == other  # corrected
        tried["right"] += 3
        if one != other:
            for joined in (f"{one} or {other}", f"{one}或{other}", f"{one}还是{other}", f"{one}/{other}"):
                assert strict_letters(before + say.format(joined), multiple=multiple) is None
            together = strict_letters(f"{before}答案是{one}和{other}", multiple=multiple)
            assert together == ("".join(sorted(one + other)) if multiple else None)
            tried["None"] += 5

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(st.text(max_size=60) | st.text("ABCG abeorntd答案是选不、或.:()-\n*'", max_size=40), st.booleans())
    def try_any(reply, multiple):
        found = strict_letters(reply, multiple=multiple)
        assert found is None or (set(found) <= set("ABCDEFG") and list(found) == sorted(set(found)))
        assert multiple or found is None or len(found) <= 1
        tried["any"] += 1

    try_one()
    try_any()
    print(f"replies read: {tried}")
    assert tried["right"] >= 300 and tried["None"] >= 300 and tried["any"] >= 300


def test_accuracy_of_each_exam():
    accuracy = exam_accuracy([True, True, False, False, False, False], ["a", "a", "b", "b", "b", "b"])
    assert accuracy == {"a": 1.0, "b": 0.0}
    with pytest.raises(EvaluationError, match="2 answers and 1 exam"):
        exam_accuracy([True, False], ["a"])


def test_the_gap_of_two_published_accuracies():
    gap, low, high = accuracy_gap(37.52, 34.65, items=2400)
    assert gap == pytest.approx(2.87) and low == pytest.approx(0.15, abs=0.05) and high == pytest.approx(5.58, abs=0.05)
    assert accuracy_gap(34.65, 37.52, items=2400)[1] == pytest.approx(-high)
    assert accuracy_gap(37.52, 34.65, items=300)[1] < 0 < accuracy_gap(37.52, 34.65, items=11_200)[1]
    normal = 1.96 * np.sqrt(0.3752 * 0.6248 / 11_200 + 0.3465 * 0.6535 / 11_200) * 100
    assert np.ptp(accuracy_gap(37.52, 34.65, items=11_200)[1:]) / 2 == pytest.approx(normal, rel=0.01)
