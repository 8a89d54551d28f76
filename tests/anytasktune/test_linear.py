"""Answers without a language model: they learn what is there to be learnt, and nothing from shuffled answers."""

import numpy as np
import pytest

from lib.evaluation import EvaluationError
from papers.anytasktune import linear
from papers.anytasktune.lawbench import Item, Items
from papers.anytasktune.lawbench_tasks import TASKS

LABELS = ("甲类", "乙类", "丙类")


def _items(task, questions, golds, labels=()):
    rows = [Item("问", question, TASKS[task].text(gold), gold) for question, gold in zip(questions, golds, strict=True)]
    return Items(TASKS[task], "here", tuple(rows), tuple(labels))


def _texts(marks, *, seed=0):
    """Texts of noise, each with the mark of its class somewhere in it."""
    generator = np.random.default_rng(seed)
    noise = ["".join(generator.choice(list("天地玄黄宇宙洪荒日月盈昃"), 20)) for _ in marks]
    return [text[: k % 15] + mark + text[k % 15 :] for k, (text, mark) in enumerate(zip(noise, marks, strict=True))]


def _mean(items, train, test, way):
    texts = linear.answer(items, train, test, way=way, seed=0)
    return np.mean([items.score(text, items.items[i].gold).score for text, i in zip(texts, test, strict=True)])


@pytest.fixture(scope="module")
def labelled():
    classes = np.random.default_rng(1).integers(3, size=120)
    marks = [("买卖", "离婚", "盗窃")[k] for k in classes]
    return _items("2-4", _texts(marks), [LABELS[k] for k in classes], LABELS)


def test_a_label_is_learnt_from_the_text_and_not_from_shuffled_answers(labelled):
    train, test = range(80), range(80, 120)
    assert _mean(labelled, train, test, "linear") == 1.0
    assert _mean(labelled, train, test, "nearest") > 0.6
    assert _mean(labelled, train, test, "shuffled") < 0.6 and _mean(labelled, train, test, "constant") < 0.6


def test_nothing_of_the_asked_items_but_their_question_is_used(labelled):
    test = list(range(80, 120))
    other = [Item(i.instruction, i.question, "", "甲类") if k in test else i for k, i in enumerate(labelled.items)]
    changed = Items(labelled.task, labelled.path, tuple(other), labelled.labels)
    for way in linear.WAYS:
        assert linear.answer(labelled, range(80), test, way=way, seed=0) == linear.answer(
            changed, range(80), test, way=way, seed=0
        )


def test_sets_of_labels_are_never_empty_and_may_be_several():
    marks = [("买卖", "离婚", "买卖离婚")[k % 3] for k in range(90)]
    golds = [
        frozenset(label for label, mark in zip(LABELS, ("买卖", "离婚"), strict=False) if mark in text)
        for text in marks
    ]
    items = _items("2-3", _texts(marks), golds, LABELS)
    texts = linear.answer(items, range(60), range(60, 90), way="linear", seed=0)
    assert all(items.task.gold(text, labels=LABELS, place="here") for text in texts)
    assert (
        _mean(items, range(60), range(60, 90), "linear")
        > 0.85
        > _mean(items, range(60), range(60, 90), "shuffled") + 0.1
    )


def test_months_are_learnt_on_a_log_scale_and_never_negative():
    degree = np.random.default_rng(2).integers(4, size=100)
    marks = [("轻微", "一般", "较重", "特大")[k] for k in degree]
    items = _items("3-4", _texts(marks), [int(3 * 4**k) for k in degree])
    found = {way: _mean(items, range(70), range(70, 100), way) for way in ("linear", "shuffled", "constant")}
    assert found["linear"] > max(found["shuffled"], found["constant"]) + 0.05
    texts = linear.answer(items, range(70), range(70, 100), way="linear", seed=0)
    assert all(items.task.gold(text, labels=(), place="here") >= 0 for text in texts)


def test_entities_are_tagged_character_by_character():
    names = [a + b for a in "赵钱孙李周吴" for b in "甲乙丙丁戊己庚辛"]
    questions = [f"被告人{name}于{k % 12 + 1}月盗窃" for k, name in enumerate(names)]
    golds = [{"犯罪嫌疑人": name, "时间": f"{k % 12 + 1}月"} for k, name in enumerate(names)]
    items = _items("2-6", questions, golds, ("犯罪嫌疑人", "时间", "地点"))
    assert _mean(items, range(32), range(32, 48), "linear") > 0.95
    assert _mean(items, range(32), range(32, 48), "shuffled") < 0.5


def test_types_and_spans_are_inverse_where_entities_do_not_overlap():
    text, gold = "严某某、肖某某在河边", {"受害人": "严某某、肖某某", "地点": "河边"}
    types = linear.types_of(text, gold)
    assert types == ["受害人"] * 3 + [""] + ["受害人"] * 3 + [""] + ["地点"] * 2
    assert linear.spans(text, types) == gold
    assert linear.types_of("无关", gold) == ["", ""] and linear.spans("无关", ["", ""]) == {}


def test_the_constant_answer_is_the_most_frequent_one_or_the_median():
    assert linear.constant("label", ["乙类", "甲类", "乙类"]) == "乙类"
    assert (
        linear.constant("label", ["认定责任", "责任认定", "责任认定"]) == "责任认定"
    )  # the same letters in another order
    assert linear.constant("labels", [frozenset("ab"), frozenset("a"), frozenset("ba")]) == {"a", "b"}
    assert linear.constant("entities", [{"a": "1"}, {}, {}]) == {}
    assert linear.constant("months", [6, 12, 240]) == 12


def test_a_single_class_and_an_unknown_way():
    items = _items("2-4", ["甲", "乙", "丙"], ["甲类"] * 3, LABELS)
    assert linear.answer(items, [0, 1], [2], way="linear", seed=0) == ["甲类"]
    with pytest.raises(EvaluationError, match="no way 'magic'"):
        linear.answer(items, [0], [1], way="magic", seed=0)
    assert linear.tag(["甲"], [{}], ["乙"]) == [{}]
    assert TASKS["2-6"].text({"a": "1", "b": "2"}) == "a:1\nb:2"  # a line each, as the metric reads them
