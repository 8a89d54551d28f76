"""LawBench's metrics on answers whose score can be worked out by hand."""

import math

import pytest

from papers.anytasktune import metrics
from papers.anytasktune.metrics import Scored


def test_a_choice_is_right_when_one_label_is_named_and_no_other():
    assert metrics.choose_one("[正确答案]B<eoa>", "ABCD", "B") == Scored(1.0, True)
    assert metrics.choose_one("A或B", "ABCD", "B") == Scored(0.0, True)
    assert metrics.choose_one("BBB", "ABCD", "B") == Scored(1.0, True)
    assert metrics.choose_one("不知道", "ABCD", "B") == Scored(0.0, False)
    # "侵权" is inside "侵权责任": what stands anywhere counts, as in the benchmark
    assert metrics.choose_one("侵权责任", ("侵权", "公司法"), "侵权").score == 1.0


def test_f1_of_sets_is_symmetric_and_punishes_naming_everything():
    labels = ("盗窃", "诈骗", "抢劫", "受贿")
    assert metrics.choose_some("盗窃;诈骗", labels, {"盗窃"}).score == pytest.approx(2 / 3)
    assert metrics.choose_some("盗窃", labels, {"盗窃", "诈骗"}).score == pytest.approx(2 / 3)
    assert metrics.choose_some("".join(labels), labels, {"盗窃"}).score == pytest.approx(2 / 5)
    assert metrics.choose_some("无罪", labels, {"盗窃"}) == Scored(0.0, False)
    assert metrics.f1(set(), set()) == 0.0


def test_character_f1_counts_letters_and_digits_as_bags():
    assert metrics.character_f1("人民币，200元。", "人民币200元") == 1.0
    assert metrics.character_f1("ab", "ba") == 1.0
    assert metrics.character_f1("aab", "ab") == pytest.approx(4 / 5)
    assert metrics.character_f1("Ab", "aB") == 1.0
    assert metrics.character_f1("。", "") == 1.0 and metrics.character_f1("。", "元") == 0.0


def test_entities_are_read_by_type_to_the_end_of_the_line_the_last_one_counts():
    types = ("受害人", "时间", "地点")
    text = "受害人：王某 等\n时间:5月\n受害人:李某\n地点:无"
    assert metrics.entities(text, types) == {"受害人": "李某", "时间": "5月"}
    assert metrics.entities("地点:x", types) == {}  # a single last character is not read
    gold = {"受害人": "李某", "地点": "河边"}
    assert metrics.extract(text, types, gold).score == pytest.approx(2 * 1 / (2 + 2))
    assert metrics.extract("没有", types, gold) == Scored(0.0, False)
    assert metrics.extract("没有", types, {}).score == 1.0 and metrics.extract(text, types, {}).score == 0.0


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("[刑期]12月<eoa>", 12),
        ("有期徒刑八个月", 8),
        ("三年以上十年以下", 36),
        ("3年6个月", 6),  # months go before years, as the benchmark reads them
        ("8月，或6个月", 6),  # and 个月 before 月
        ("一百二十个月", 120),
        ("二〇二三年五月", 5),
        ("两年", 24),
        ("十五年", 180),
        ("无期徒刑", None),
        ("", None),
    ],
)
def test_a_prison_term_is_the_first_number_of_months_else_of_years(text, term):
    assert metrics.months(text) == term


def test_log_distance_is_one_at_the_gold_answer_and_zero_for_an_abstention():
    assert metrics.sentence("24个月", 24) == Scored(1.0, True)
    assert metrics.sentence("拒绝回答", 24) == Scored(0.0, False)
    assert metrics.closeness(11, 5) == pytest.approx(1 - math.log(12 / 6) / math.log(216))
    assert metrics.closeness(5, 11) == pytest.approx(metrics.closeness(11, 5))
    assert metrics.closeness(0, 215) == pytest.approx(0.0)
