"""The real model's rows at equal tokens, its questions, and what is read out of its outputs."""

import json

import numpy as np
import pytest

from lib.data.exams import MEDICAL, Exam, Question, Subject, write_exam
from lib.models import causal_lm
from papers.huatuogpt_o1 import real_tuning as tuning
from papers.huatuogpt_o1.records import read_records
from papers.huatuogpt_o1.replies import sections

RECORDS = [
    {"Question": f"why {k} ?", "Complex_CoT": f"chain {k} " + "so " * 20, "Response": f"answer {k} ."} for k in range(8)
]


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    texts = [" ".join([*row.values(), "## Thinking Final Response"]) for row in RECORDS]
    texts.append("The answer is A B C D yes no maybe It rains often why not")
    causal_lm.write_checkpoint(
        folder, texts=texts, chat_template="chatml", architecture="llama", width=16, depth=1, heads=2
    )
    return folder


def test_arms_hold_the_same_records_and_swapped_chains_are_others():
    listed = {arm: tuning.tuning_rows(RECORDS, arm, seed=0) for arm in tuning.ARMS}
    asked = {arm: [row["messages"][0]["content"] for row in rows] for arm, rows in listed.items()}
    assert asked["complex"] == asked["answer"] == asked["swapped"] and sorted(asked["answer"]) == [
        one["Question"] for one in RECORDS
    ]
    for arm, equal in {"complex": True, "swapped": False}.items():
        for row in listed[arm]:
            chain, response = sections(row["messages"][1]["content"])
            number = row["messages"][0]["content"].split()[1]
            assert (chain.split()[1] == number) == equal and response == f"answer {number} ."
    with pytest.raises(ValueError, match="no arm 'simple'"):
        tuning.tuning_rows(RECORDS, "simple", seed=0)


def test_arms_are_filled_to_equal_tokens(base, tmp_path):
    file, counts = tmp_path / "records.json", {}
    file.write_text(json.dumps(RECORDS))
    for arm in tuning.ARMS:
        folder = tmp_path / arm
        folder.mkdir()
        tuning.write_tuning_rows(
            folder, records=file, arm=arm, checkpoint=base, chat_template=None, tokens=90, longest=1000, seed=0
        )
        counts[arm] = json.loads((folder / "count.json").read_text())
        assert len((folder / "rows.jsonl").read_text().splitlines()) == counts[arm]["rows"]
    assert counts["complex"]["rows"] == counts["swapped"]["rows"] < counts["answer"]["rows"]
    assert all(one["tokens"] <= 90 for one in counts.values()) and counts["answer"]["tokens"] > 70


def test_pubmedqa_keeps_the_end_of_an_abstract_and_the_decision(tmp_path):
    (tmp_path / "ori_pqal.json").write_text(
        json.dumps({str(k): {"QUESTION": f"Is it {k}?", "CONTEXTS": ["begin", f"end {k}"]} for k in range(3)})
    )
    (tmp_path / "test_ground_truth.json").write_text(json.dumps({"0": "no", "2": "maybe"}))
    whole, short = tuning.pubmedqa(tmp_path, context=None), tuning.pubmedqa(tmp_path, context=5)
    assert [row["question"] for row in whole] == ["begin end 0\nIs it 0?", "begin end 2\nIs it 2?"]
    assert [row["question"] for row in short] == ["end 0\nIs it 0?", "end 2\nIs it 2?"]
    assert [(row["answer_idx"], row["answer"]) for row in whole] == [("B", "no"), ("C", "maybe")]
    assert list(whole[0]["options"].values()) == ["yes", "no", "maybe"]


def test_questions_are_the_first_of_an_order_that_nobody_chose(tmp_path):
    questions = [
        Question("anatomy", k, "It rains?" * (k + 1), ("a", "b", f"c{k}", "d"), "ABCD"[k % 4]) for k in range(6)
    ]
    names = [*MEDICAL["MMLU"], "astronomy"]
    other = {
        name: [Question(name, 0, f"Too long a question of {name} to be asked?", ("a", "b", "c", "d"), "A")]
        for name in names
    }
    other["astronomy"] = [Question("astronomy", 0, "Stars?", ("a", "b", "c9", "d"), "A")]
    subjects = {name: Subject(name, "Other") for name in names}
    listed = {split: {**other, "anatomy": questions} for split in ("dev", "val", "test")}
    write_exam(tmp_path / "mmlu", Exam("MMLU", subjects, listed))
    found = {}
    for count in (2, None):
        folder = tmp_path / str(count)
        folder.mkdir()
        tuning.write_questions(
            folder, name="MMLU medical", source=tmp_path / "mmlu", count=count, context=None, longest=40
        )
        found[count] = read_records(folder / "questions.json")
    assert len(found[None]) == 4 and found[2] == found[None][:2]  # those of at most 40 characters, and no astronomy
    assert {row["answer"] for row in found[None]} <= {"a", "b", "c2", "d"}


def test_sitting_takes_the_likeliest_option_and_keeps_the_outputs(base, tmp_path):
    rows = [
        {
            "question": f"why {k} ?",
            "options": {"A": "yes", "B": "no"},
            "answer_idx": "AB"[k % 2],
            "answer": ("yes", "no")[k % 2],
        }
        for k in range(6)
    ]
    (tmp_path / "questions.json").write_text(json.dumps(rows))
    told = {"checkpoint": base, "adapter": None, "questions": tmp_path, "outputs": 2, "reply": 3, "how": {}}
    found = []
    for batch in (1, 4):
        folder = tmp_path / str(batch)
        folder.mkdir()
        tuning.sit(folder, batch=batch, **told)
        found.append(tuning.read_sat(folder))
    assert found[0] == found[1] and len(found[0]["outputs"]) == 2
    assert found[0]["right"] == ["AB"[k] == row["answer_idx"] for k, row in zip(found[0]["chosen"], rows, strict=True)]


def test_where_a_letter_is_stated_there_is_nothing_to_flatter():
    rows = [{"question": "q", "options": {"A": "red", "B": "blue"}, "answer_idx": "B", "answer": "blue"}] * 40
    texts = ["nothing of the kind"] * 40
    gap, cases = tuning.flattery(texts, rows)
    assert cases["strict"].sum() == 0 and gap.mean() == cases["first"].mean()
    said = tuning.closed(texts, rows, seed=0)
    gap, cases = tuning.flattery(said, rows)
    assert not gap.any() and 0.2 < cases["strict"].mean() < 0.8 and said == tuning.closed(texts, rows, seed=0)
    assert np.mean([text.endswith("is B.") for text in said]) == cases["strict"].mean()
