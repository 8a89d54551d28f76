"""LawBench's released files give the released scores; broken ones end in one sentence."""

import json
import shutil

import numpy as np
import pytest
from released_files import released

from lib.data.files import DataError
from papers.anytasktune.lawbench import ANSWERING, read_answers, read_scores, read_task
from papers.anytasktune.lawbench_tasks import ANSWERED, TASKS

MODEL = "GPT4"


@pytest.fixture(scope="module")
def scores():
    return read_scores(released("anytasktune", "lawbench_zero_shot"), "zero")


@pytest.mark.parametrize("task", ANSWERED)
def test_recomputed_scores_are_the_released_ones(task, scores):
    items = read_task(released("anytasktune", "lawbench"), task)
    for model in ANSWERING:
        answers = read_answers(released("anytasktune", "lawbench_answers"), model, items)
        assert answers.score() == pytest.approx(scores.at[model, task], abs=1e-9), model
        assert np.nanmean(answers.scores()) == pytest.approx(answers.score(), abs=1e-12)
        assert answers.outside + np.isfinite(answers.scores()).sum() <= len(items.items)


def test_answers_in_another_order_are_joined_by_the_prompt():
    items = read_task(released("anytasktune", "lawbench"), "2-2")
    answers = read_answers(released("anytasktune", "lawbench_answers"), MODEL, items)
    assert (answers.moved, answers.repeated, answers.outside) == (472, 4, 15)
    joined = [answer.item for answer in answers.answers if answer.item is not None]
    assert len(set(joined)) == len(joined) == 485  # a repeated prompt's answers go to its items by turns
    assert all(answer.gold == items.items[answer.item].gold for answer in answers.answers if answer.item is not None)
    by_row = np.mean(
        [items.score(a.text, item.gold).score for a, item in zip(answers.answers, items.items, strict=True)]
    )
    assert abs(by_row - answers.score()) > 0.1  # joined by the row they would be scored by others' gold answers


def test_every_task_has_500_items_and_every_model_every_score(scores):
    folder = released("anytasktune", "lawbench")
    assert all(len(read_task(folder, task).items) == 500 for task in TASKS)
    assert scores.shape == (51, 20) and list(scores.columns) == list(TASKS)
    assert scores.at["GPT4", "1-2"] == 0.552


# ---------------------------------------------------------------------------------------------------- made here
ROWS = [("甲", "B"), ("乙", "A"), ("丙", "C")]


@pytest.fixture
def folder(tmp_path):
    """Three items of task 1-2, and GPT-4's answers to them in another order, one prompt in a chat template."""
    items = [{"instruction": "选", "question": q, "answer": f"正确答案：{a}。"} for q, a in ROWS]
    _write(tmp_path / "1-2.json", items)
    order = [2, 0, 1]
    prompts = [f"选\n{ROWS[i][0]}" for i in order]
    told = [
        [{"role": "HUMAN", "prompt": prompts[0]}],
        prompts[1],
        f"\n<|im_start|>user\n{prompts[2]}<|im_end|>\n<|im_start|>assistant\n",
    ]
    rows = {
        str(n): {"origin_prompt": told[n], "prediction": "B", "refr": items[i]["answer"]} for n, i in enumerate(order)
    }
    _write(tmp_path / MODEL / "1-2.json", rows)
    return tmp_path


def _write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _edit(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    _write(path, content)


def _read(folder):
    return read_answers(folder, MODEL, read_task(folder, "1-2", count=3))


def test_scores_stand_in_the_order_of_the_items(folder):
    answers = _read(folder)
    assert answers.scores().tolist() == [1.0, 0.0, 0.0]
    assert [answer.item for answer in answers.answers] == [2, 0, 1] and answers.moved == 3
    assert answers.score() == pytest.approx(1 / 3) and answers.abstention() == 0.0


TASK, ANSWERS = "1-2.json", f"{MODEL}/1-2.json"
BROKEN = {
    "unknown column": (
        TASK,
        lambda rows: rows[1].update(query=rows[1].pop("question")),
        ["row 2", "'question'", "rename"],
    ),
    "a column too many": (TASK, lambda rows: rows[0].update(hint="x"), ["row 1", "'hint'", "remove"]),
    "not text": (TASK, lambda rows: rows[2].update(answer=3), ["row 3", "'answer'", "not text"]),
    "out of the label set": (
        TASK,
        lambda rows: rows[1].update(answer="正确答案：E。"),
        ["row 2", "'E'", "4 labels", "correct"],
    ),
    "another form": (TASK, lambda rows: rows[1].update(answer="A"), ["row 2", "'A'", "correct"]),
    "items missing": (TASK, lambda rows: rows.pop(), ["2 items", "3", "fetch"]),
    "two instructions": (TASK, lambda rows: rows[2].update(instruction="答"), ["row 3", "another instruction"]),
    "answers missing": (ANSWERS, lambda rows: rows.pop("2"), ["2 answers", "3 items", "fetch"]),
    "rows out of number": (ANSWERS, lambda rows: rows.update({"9": rows.pop("2")}), ["row '9'", "'2'", "number"]),
    "another prompt": (ANSWERS, lambda rows: rows["1"].update(origin_prompt="选\n丁"), ["row '1'", "丁", "join"]),
    "asked too often": (
        ANSWERS,
        lambda rows: rows["1"].update(origin_prompt="选\n丙"),
        ["row '1'", "as often", "join"],
    ),
    "another gold text": (ANSWERS, lambda rows: rows["1"].update(refr="正确答案：D。"), ["row '1'", "row 1", "fetch"]),
    "answer's gold out of the set": (
        ANSWERS,
        lambda rows: rows["0"].update(refr="正确答案：F。"),
        ["row '0'", "'F'", "correct"],
    ),
    "no prompt": (ANSWERS, lambda rows: rows["0"].update(origin_prompt=[]), ["row '0'", "origin_prompt", "fetch"]),
    "a key missing": (ANSWERS, lambda rows: rows["2"].pop("prediction"), ["row '2'", "'prediction'", "add"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_ends_in_one_sentence_with_file_row_and_remedy(folder, case):
    name, change, words = BROKEN[case]
    _edit(folder / name, change)
    with pytest.raises(DataError) as error:
        _read(folder)
    message = str(error.value)
    assert str(folder / name) in message and "\n" not in message
    assert all(word in message for word in words), message


def test_two_files_of_answers_swapped_are_noticed(folder):
    released_tasks, released_answers = released("anytasktune", "lawbench"), released("anytasktune", "lawbench_answers")
    shutil.copy(released_answers / MODEL / "3-4.json", folder / MODEL / "3-5.json")
    with pytest.raises(DataError, match=r"row '0' asks .* which no item of .*3-5\.json"):
        read_answers(folder, MODEL, read_task(released_tasks, "3-5"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1-2,GPT4,1.2,0.0", ["line 2", "'1.2'", "fetch"]),
        ("9-9,GPT4,0.2,0.0", ["line 2", "'9-9'", "correct"]),
        ("1-2,GPT4,0.2,0.0\n1-2,GPT4,0.2,0.0", ["line 3", "second score", "delete"]),
        ("1-2,GPT4,0.2,0.0", ["no score of 'GPT4' in task 1-1"]),
    ],
)
def test_a_broken_table_of_scores_ends_in_one_sentence(tmp_path, line, words):
    (tmp_path / "results_zero_shot.csv").write_text(f"task,model_name,score,abstention_rate\n{line}\n")
    with pytest.raises(DataError) as error:
        read_scores(tmp_path)
    assert all(word in str(error.value) for word in words), error.value


def test_unknown_names_are_refused(folder):
    with pytest.raises(DataError, match="no task '4-1'"):
        read_task(folder, "4-1")
    with pytest.raises(DataError, match="no answers of 'GPT5'"):
        read_answers(folder, "GPT5", read_task(folder, "1-2", count=3))
    with pytest.raises(DataError, match="'two' shots"):
        read_scores(folder, "two")


@pytest.mark.parametrize(
    ("task", "answer", "gold"),
    [
        ("2-2", "争议焦点类别：赔偿。", None),  # offered by no instruction, skipped by the benchmark
        ("2-6", "", {}),
        ("2-6", "受害人:李某;时间:5月", {"受害人": "李某", "时间": "5月"}),
        ("3-3", "罪名:盗窃;诈骗", {"盗窃", "诈骗"}),
        ("3-4", "刑期:18个月", 18),
        ("3-4", "刑期:无期", None),
    ],
)
def test_gold_answers_are_values(task, answer, gold):
    labels = {"2-2": ("违约",), "2-6": ("受害人", "时间"), "3-3": ("盗窃", "诈骗")}.get(task, ())
    assert TASKS[task].gold(answer, labels=labels, place="row 1") == gold


@pytest.mark.parametrize(
    ("task", "answer"), [("2-6", "受害人李某"), ("2-6", "证人:李某"), ("3-4", "刑期:三年"), ("3-3", "罪名:")]
)
def test_gold_answers_of_another_form_are_refused(task, answer):
    with pytest.raises(DataError, match="row 7"):
        TASKS[task].gold(answer, labels=("受害人",), place="row 7")
