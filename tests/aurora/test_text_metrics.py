"""Text metrics: closed forms on short texts, NLTK's example of smoothing method 3, and a silent segmenter."""

import subprocess
import sys

import numpy as np
import pytest

from lib.evaluation import EvaluationError
from lib.workflow import paths
from papers.aurora.text_metrics import character_bleu, rouge, text_scores


def test_equal_texts_score_100_and_disjoint_texts_0():
    texts = ["我们学习的环境很好。", "他住在城里的老街上。"]
    assert text_scores(texts, texts) == pytest.approx({"BLEU-4": 100, "ROUGE-1": 100, "ROUGE-2": 100, "ROUGE-L": 100})
    assert set(text_scores(texts, ["甲乙丙丁", "戊己庚辛"]).values()) == {0.0}


def test_bleu_is_the_geometric_mean_of_character_precisions():
    # abcde against abcdf: precisions 4/5, 3/4, 2/3, 1/2, same length
    assert character_bleu(["天地玄黄宇"], ["天地玄黄宙"])[0] == pytest.approx(
        100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )


def test_missing_orders_are_smoothed_by_method_3():
    # two characters match, one pair does, no triple and no quadruple: 1/2 and 1/4 count instead (over 2 and 1 places)
    found = character_bleu(["天地甲乙"], ["天地玄黄"])[0]
    assert found == pytest.approx(100 * (2 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** 0.25)


def test_short_replies_pay_the_brevity_penalty():
    assert character_bleu(["天地玄黄"], ["天地玄黄宇宙"])[0] == pytest.approx(100 * np.exp(1 - 6 / 4))
    assert character_bleu([""], ["天地"])[0] == 0.0
    assert 0 < character_bleu(["天"], ["天地"])[0] < character_bleu(["天地"], ["天地"])[0]


def test_rouge_counts_words_of_jieba_not_characters():
    # jieba: 我 / 来到 / 北京 against 我 / 来到 / 上海; by characters the overlap would be 3 of 5
    found = rouge(["我来到北京"], ["我来到上海"])
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(
        {"ROUGE-1": 100 * 2 / 3, "ROUGE-2": 100 * 1 / 2, "ROUGE-L": 100 * 2 / 3}
    )


def test_rouge_l_respects_order_and_f_is_the_harmonic_mean():
    found = rouge(["北京 来到 我"], ["我 来到 北京 大学"])
    assert found["ROUGE-1"][0] == pytest.approx(100 * 2 * 1 * (3 / 4) / (1 + 3 / 4))
    assert found["ROUGE-L"][0] == pytest.approx(100 * 2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4))


def test_distinct_counts_each_word_once_and_the_default_each_occurrence():
    # jieba: five times 好 against 好 / 人; once counted, one of one and one of two words are common
    reply, reference = ["好 好 好 好 好"], ["好 人"]
    plain, distinct = rouge(reply, reference), rouge(reply, reference, distinct=True)
    assert plain["ROUGE-1"][0] == pytest.approx(100 * 2 * 1 / (5 + 2))
    assert distinct["ROUGE-1"][0] == pytest.approx(100 * 2 * 1 / (1 + 2))
    assert distinct["ROUGE-L"][0] == plain["ROUGE-L"][0]  # of all words in both
    # pairs 他在, 在家, 家他, 在校 (each once) against 他在, 在家
    pair = rouge(["他 在 家 他 在 家 他 在 校"], ["他 在 家"], distinct=True)["ROUGE-2"][0]
    assert pair == pytest.approx(100 * 2 * 2 / (4 + 2))


def test_the_two_ways_agree_where_no_word_is_repeated_and_differ_in_rouge_1_and_2_alone():
    once = (["我来到北京"], ["我来到上海"])
    assert text_scores(*once, distinct=True) == pytest.approx(text_scores(*once))
    twice = (["我来到北京，我来到北京"], ["我来到北京"])
    plain, distinct = text_scores(*twice), text_scores(*twice, distinct=True)
    assert {name for name in plain if plain[name] != distinct[name]} == {"ROUGE-1", "ROUGE-2"}
    assert rouge([""], ["天地"], distinct=True)["ROUGE-1"][0] == 0.0


def test_the_mean_does_not_depend_on_the_order_of_the_pairs():
    replies, references = ["天地玄黄", "他住在城里", "我来到北京"], ["天地甲乙", "他住在山里", "我来到上海"]
    straight, turned = text_scores(replies, references), text_scores(replies[::-1], references[::-1])
    assert straight == pytest.approx(turned)


def test_unpaired_or_empty_references_are_told():
    for replies, references, told in [
        (["a"], [], "1 replies and 0"),
        ([], [], "0 replies"),
        (["a"], [" "], "reference 0"),
    ]:
        with pytest.raises(EvaluationError, match=told):
            text_scores(replies, references)


@pytest.mark.slow
def test_the_segmenter_prints_nothing():
    code = "from papers.aurora.text_metrics import rouge; rouge(['我来到北京'], ['我来到上海'])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=paths.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
