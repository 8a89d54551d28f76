"""Cleaning: counts are conserved whatever comes in, nothing is dropped without a true reason, order decides nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.instructions import dialogue
from papers.aurora import cleaning as ic
from papers.aurora.cleaning import cjk_share, is_cjk

OFF = ic.Rules(complete_after=None, least_cjk=None, exact=False, near=None)
WORDS = [
    "今天天气很好。",
    "他住在城里，",
    "hello world",
    "",
    " ",
    "她喜欢红色的花。",
    "我们去学校上课。",
    "```code",
    "3 + 4 = 7",
    "Ｎ",
]
TEXT = st.lists(st.sampled_from(WORDS), max_size=4).map("".join)
ROW = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(dialogue)
SOURCES = st.dictionaries(st.sampled_from(["zh", "gpt4", "chat"]), st.lists(ROW, max_size=12), min_size=1)
RULES = st.builds(
    ic.Rules,
    complete_after=st.sampled_from([None, 1, 12]),
    least_cjk=st.sampled_from([None, 0.3, 0.9]),
    exact=st.booleans(),
    near=st.sampled_from([None, 0.5, 0.8]),
)
FEW = settings(max_examples=60, deadline=None)


def one(*turns):
    return {"set": [dialogue(turns)]}


def texts(cleaned):
    return sorted(str(row) for row in cleaned.rows)


@FEW
@given(SOURCES, RULES)
@pytest.mark.slow
def test_rows_in_are_rows_kept_and_rows_dropped(sources, rules):
    cleaned = ic.clean(sources, rules=rules)
    places = [*cleaned.origins, *((d.source, d.row) for d in cleaned.dropped)]
    assert sorted(places) == sorted((name, n) for name, rows in sources.items() for n in range(1, len(rows) + 1))
    table = cleaned.counts()
    assert (table["in"] == table[[*ic.REASONS, "kept"]].sum(axis=1)).all()
    assert table.loc["merged", "in"] == sum(map(len, sources.values())) and table.loc["merged", "kept"] == len(
        cleaned.rows
    )
    assert [sources[name][number - 1] for name, number in cleaned.origins] == cleaned.rows
    assert cleaned.origins == sorted(cleaned.origins, key=lambda p: (list(sources).index(p[0]), p[1]))


@FEW
@given(SOURCES, RULES, st.randoms(use_true_random=False))
@pytest.mark.slow
def test_which_rows_stay_does_not_depend_on_the_order(sources, rules, random):
    turned = {name: random.sample(rows, len(rows)) for name, rows in reversed(sources.items())}
    assert texts(ic.clean(turned, rules=rules)) == texts(ic.clean(sources, rules=rules))


@FEW
@given(SOURCES)
@pytest.mark.slow
def test_no_near_duplicate_is_dropped_by_an_estimate(sources):
    cleaned = ic.clean(sources, rules=ic.Rules(complete_after=None, least_cjk=None, near=0.5))
    kept = [ic.triples(ic._plain(row)) for row in cleaned.rows]
    for dropped in cleaned.dropped:
        if dropped.reason == "near duplicate":
            own = ic.triples(ic._plain(sources[dropped.source][dropped.row - 1]))
            assert max(ic.jaccard(own, other) for other in kept) >= 0.5


@FEW
@given(SOURCES, RULES)
@pytest.mark.slow
def test_cleaning_twice_changes_nothing(sources, rules):
    once = ic.clean(sources, rules=rules)
    again = ic.clean({"merged": once.rows}, rules=rules)
    assert again.rows == once.rows and not again.dropped


@FEW
@given(SOURCES)
def test_with_every_rule_off_only_empty_rows_go(sources):
    cleaned = ic.clean(sources, rules=OFF)
    assert {dropped.reason for dropped in cleaned.dropped} <= {"no turn", "empty text"}


@pytest.mark.parametrize(
    "turns, reason, detail",
    [
        ([], "no turn", "empty"),
        ([("问", "")], "empty text", "turn 1 has a blank answer"),
        ([("问", "好。"), (" \n", "好。")], "empty text", "turn 2 has a blank question"),
        ([("问", "她住在城里的一条老街上，")], "truncated answer", "ends in '里的一条老街上，'"),
        ([("问", "她住在城里的一条老街上，门前")], "truncated answer", "ends in"),
        ([("问", "这是一段很长的程序：\n```python\nprint(1)")], "truncated answer", "code block"),
        ([("问", "She lives in the old town.")], "other language", "0.00 of the letters of the answer in turn 1"),
        ([("问", "她住在城里。"), ("问", "In town.")], "other language", "in turn 2"),
        ([("What?", "她住在城里。")], None, ""),
        ([("问", "黄色")], None, ""),
        ([("问", "她住在城里的一条老街上，有二十年了。")], None, ""),
        ([("问", "她在这座城市里一共住了二十年零 42")], None, ""),
        ([("问", "真是太好了，我们一起去爬山吧🎉")], None, ""),
        ([("问", "3 + 4 = 7")], None, ""),
        ([("问", "这是一段程序：\n```python\nprint('x')\n```")], None, ""),
    ],
)
def test_each_rule_has_its_reason(turns, reason, detail):
    cleaned = ic.clean(one(*turns), rules=ic.Rules())
    assert [d.reason for d in cleaned.dropped] == ([reason] if reason else [])
    assert all(detail in d.detail for d in cleaned.dropped)


def test_duplicates_name_the_row_that_stays():
    same, other = dialogue([("她住在哪里？", "她住在城里的一条老街上，有二十年了。")]), dialogue([("问", "别的。")])
    close = dialogue([("她住在哪里？", "她住在城里的一条老街上，有二十年了！！")])
    wide = dialogue([("她住在哪里?", "她住在城里的 一条老街上，有二十年了。")])
    cleaned = ic.clean({"a": [other, same, wide], "b": [same, close]}, rules=ic.Rules())
    assert [(d.source, d.row, d.reason) for d in cleaned.dropped] == [
        ("a", 2, "near duplicate"),
        ("a", 3, "near duplicate"),
        ("b", 1, "exact duplicate"),
    ]
    assert cleaned.dropped[2].detail == "same as a, row 2"
    assert cleaned.dropped[0].detail.endswith("in common with b, row 2")  # the longest of them stays
    assert cleaned.origins == [("a", 1), ("b", 2)]


def test_near_duplicates_are_found_as_by_comparing_every_pair():
    import random

    rng = random.Random(0)
    letters = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"
    base = ["".join(rng.choices(letters, k=60)) for _ in range(40)]
    near = [text[:k] + "云" + text[k + 1 :] for text in base[:20] for k in (10, 40)]
    rows = [dialogue([("问", text)]) for text in base + near]
    cleaned = ic.clean({"a": rows}, rules=ic.Rules(complete_after=None, near=0.8))
    grams = [ic.triples(ic._plain(row)) for row in rows]
    lonely = {
        i for i in range(len(rows)) if all(ic.jaccard(grams[i], grams[j]) < 0.8 for j in range(len(rows)) if j != i)
    }
    assert lonely == set(range(20, 40)) <= {number - 1 for _, number in cleaned.origins}
    kept = [number - 1 for _, number in cleaned.origins]
    pairs = [(i, j) for i in kept for j in kept if i < j and ic.jaccard(grams[i], grams[j]) >= 0.8]
    assert not pairs and len(cleaned.dropped) == 40


@pytest.mark.parametrize(
    "text, share",
    [("", None), ("3 + 4 = 7", None), ("红色", 1.0), ("red", 0.0), ("红 is red", 1 / 6), ("かな漢字", 0.5)],
)
def test_the_share_of_chinese_letters(text, share):
    assert cjk_share(text) == share if share is None else cjk_share(text) == pytest.approx(share)


def test_only_ideographs_count_as_chinese():
    assert [is_cjk(x) for x in "红㐀𠀀，あ한A１"] == [True, True, True, False, False, False, False, False]
