"""Readers of the released texts: the fact sheet's counts to the row, conserved counts, and bad files named in one sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mindset_files import write_release
from released_files import released

from lib.data.files import DataError
from papers.machine_mindset import released_sets as sets
from papers.machine_mindset.released_sets import REASONS, Row

# Fact sheet, section 3.2: rows a side, unique instructions, mean characters of both poles, answers equal in both.
PAIRS = {
    ("en", "energy"): (2050, 1838, 401, 402, 24),
    ("zh", "energy"): (1417, 1407, 104, 106, 50),
    ("zh", "decision"): (7398, 7389, 133, 132, 204),
    ("zh", "execution"): (3781, 3772, 132, 133, 272),
}
FIRST_SPEAKER = {"energy": "EI", "decision": "FT", "execution": "JP"}  # the sheet's order of the poles
SHORT = {("en", "energy"): 11, ("zh", "energy"): 60, ("zh", "decision"): 144, ("zh", "execution"): 66}
PREFERENCES = {"dpo_energy_i_e": (1209, 481, 728, 31, 272, 274), "dpo_execution_p_j": (3771, 1305, 2466, 224, 346, 337)}
ROWS_OF_TYPES = {
    "ENFJ": 437, "ENFP": 440, "ENTJ": 456, "ENTP": 422, "ESFJ": 448, "ESFP": 446, "ESTJ": 453, "ESTP": 438,
    "INFJ": 423, "INFP": 437, "INTJ": 438, "INTP": 424, "ISFJ": 446, "ISFP": 439, "ISTJ": 446, "ISTP": 445,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder():
    return released("machine_mindset", "texts")


@pytest.mark.parametrize(("language", "axis"), PAIRS)
def test_behaviour_files_hold_what_the_sheet_counts(folder, language, axis):
    rows = sets.read_behaviour(folder, language=language, axis=axis)
    turned = [Row(row.instruction, {pole: row.answers[pole] for pole in FIRST_SPEAKER[axis]}) for row in rows]
    found = sets.count(turned)
    means = [round(found[f"mean characters, {side}"]) for side in ("first", "second")]
    assert (found["rows"], found["instructions"], *means, found["alike in both"]) == PAIRS[language, axis]
    assert found["first under 5 characters"] == SHORT[language, axis]
    assert found["repeated, first"] == (37 if language == "en" else 0)


@pytest.mark.parametrize("name", PREFERENCES)
def test_preference_files_hold_what_the_sheet_counts(folder, name):
    rows = sets.read_preferences(folder / "datasets" / "dpo" / f"{name}.json")
    chinese = sum(sets.language_of(row.instruction) == "zh" for row in rows)
    found = sets.count(rows)
    means = [round(found[f"mean characters, {side}"]) for side in ("first", "second")]
    assert (found["rows"], chinese, len(rows) - chinese, found["alike in both"], *means) == PREFERENCES[name]
    assert list(rows[0].answers) == [letter.upper() for letter in name.split("_")[2:]]


def test_preferences_of_energy_are_rows_of_the_behaviour_files(folder):
    behaviour = {
        (row.instruction, row.answers["I"].strip(), row.answers["E"].strip())
        for language in ("en", "zh")
        for row in sets.read_behaviour(folder, language=language, axis="energy")
    }
    pairs = sets.read_preferences(folder / "datasets" / "dpo" / "dpo_energy_i_e.json")
    assert all((row.instruction, row.answers["I"].strip(), row.answers["E"].strip()) in behaviour for row in pairs)


def test_self_awareness_files_hold_what_the_sheet_counts():
    folder = released("machine_mindset", "self_awareness")
    rows = {kind: sets.read_self_awareness(folder, kind) for kind in sets.TYPES}
    assert {kind: len(listed) for kind, listed in rows.items()} == ROWS_OF_TYPES and sum(ROWS_OF_TYPES.values()) == 7038
    asked = [{row.instruction for row in listed} for listed in rows.values()]
    assert len(set.intersection(*asked)) == 238 and len(set.union(*asked)) == 917
    named = [sets.count_named(listed, kind) for kind, listed in rows.items()]
    assert (min(one["own"] for one in named), max(one["own"] for one in named)) == (72, 141)
    assert {one["other"] for one in named} <= {0, 1, 2, 3}
    means = [sets.count(listed)["mean characters, first"] for listed in rows.values()]
    assert round(min(means)) == 592 and round(max(means)) == 708


def test_cleaning_the_real_pairs_conserves_them(folder):
    rows = sets.read_behaviour(folder, language="en", axis="energy")
    found = sets.clean(rows, shortest=20)
    assert len(found.rows) + sum(found.dropped.values()) == len(rows) == 2050
    assert found.dropped["equal"] == 24 and found.dropped["empty"] == 0 and min(found.dropped.values()) >= 0


# ---------------------------------------------------------------------- generated files
def test_reading_gives_back_what_was_written(tmp_path):
    write_release(tmp_path, rows=6)
    (row, *_) = sets.read_behaviour(tmp_path, language="en", axis="energy")
    assert set(row.answers) == {"E", "I"} and not row.instruction.endswith(" ")
    assert list(sets.read_self_awareness(tmp_path / "self", "INTJ")[0].answers) == ["INTJ"]
    assert set(sets.read_preferences(tmp_path / "datasets" / "dpo" / "dpo_energy_i_e.json")[0].answers) == {"I", "E"}


def _rewrite(path, change):
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(change(rows)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[:-1],
            r"en_energy_extraversion\.json has 5 rows and .* 6; they go in pairs, fetch both again\.",
        ),
        (
            lambda rows: rows[::-1],
            r"extraversion\.json, row 1 asks .* must have the same instructions in the same order",
        ),
        (lambda rows: [{**rows[0], "reply": "x"}, *rows[1:]], r"row 1 has the key 'reply'.*rename or remove it"),
        (
            lambda rows: [*rows[:2], {"instruction": "a", "input": " "}, *rows[3:]],
            r"row 3 lacks 'output'.*add or rename it",
        ),
        (lambda rows: [{**rows[0], "output": 3}, *rows[1:]], r"row 1: 'output' is a int, not text"),
        (lambda rows: [], r"holds no row; it was probably cut off"),
        (lambda rows: {"rows": rows}, r"holds a dict, not a list of rows"),
    ],
)
def test_a_wrong_behaviour_file_is_named_with_its_row(tmp_path, change, message):
    write_release(tmp_path, rows=6)
    _rewrite(sets.behaviour_path(tmp_path, language="en", axis="energy", pole="E"), change)
    with pytest.raises(DataError, match=message):
        sets.read_behaviour(tmp_path, language="en", axis="energy")


def test_a_truncated_last_line_is_one_sentence(tmp_path):
    write_release(tmp_path, rows=6)
    path = tmp_path / "self" / "en_INTJ_self_awareness.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=r"INTJ_self_awareness\.json is not JSON .* it was cut off or edited, fetch or"):
        sets.read_self_awareness(tmp_path / "self", "INTJ")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("one answer", r"row 1: 'output' is no \[chosen, rejected\] pair"),
        (["a", "b", "c"], r"row 1: 'output' is no \[chosen, rejected\] pair"),
        (["a", None], r"row 1: 'output' is a NoneType, not text"),
    ],
)
def test_a_wrong_preference_pair_is_named_with_its_row(tmp_path, output, message):
    write_release(tmp_path, rows=6)
    path = tmp_path / "datasets" / "dpo" / "dpo_energy_i_e.json"
    _rewrite(path, lambda rows: [{**rows[0], "output": output}, *rows[1:]])
    with pytest.raises(DataError, match=message):
        sets.read_preferences(path)


@pytest.mark.parametrize("name", ["dpo_energy_i_p.json", "dpo_infp.json", "dpo_mood_i_e.json", "pairs.json"])
def test_a_preference_file_must_tell_its_poles(tmp_path, name):
    with pytest.raises(DataError, match=r"does not tell its poles; name it dpo_<axis>_<wanted>_<rejected>\.json"):
        sets.read_preferences(tmp_path / name)


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(DataError, match=r"no axis 'mood'; use one of energy, information"):
        sets.read_behaviour(tmp_path, language="en", axis="mood")
    with pytest.raises(DataError, match=r"languages are en, zh, poles EI"):
        sets.behaviour_path(tmp_path, language="fr", axis="energy", pole="E")
    with pytest.raises(DataError, match=r"no type 'INTX'"):
        sets.read_self_awareness(tmp_path, "INTX")
    with pytest.raises(DataError, match=r"does not exist; download or generate it first"):
        sets.read_behaviour(tmp_path, language="en", axis="energy")


# ---------------------------------------------------------------------- properties
TEXTS = st.sampled_from(["", " ", "a", "ab", "abcdef", "abcdef ", "uvwxyz"])
ONE = st.builds(lambda q, e, i: Row(q, {"E": e, "I": i}), st.sampled_from(["q", "r", ""]), TEXTS, TEXTS)
ROWS = st.lists(ONE, max_size=20)


@given(ROWS, st.integers(1, 5))
def test_cleaning_conserves_counts_and_keeps_only_what_can_be_trained_on(rows, shortest):
    found = sets.clean(rows, shortest=shortest)
    assert len(found.rows) + sum(found.dropped.values()) == len(rows) and tuple(found.dropped) == REASONS
    for row in found.rows:
        texts = [text.strip() for text in row.answers.values()]
        assert row.instruction and min(map(len, texts)) >= shortest and texts[0] != texts[1]
    assert sets.clean(found.rows, shortest=shortest).rows == found.rows
    keys = [(row.instruction, *(text.strip() for text in row.answers.values())) for row in found.rows]
    assert len(set(keys)) == len(keys)


@given(ROWS, st.integers(0, 9), st.floats(0.1, 0.9))
def test_a_split_parts_instructions_and_loses_none(rows, seed, share):
    train, test = sets.split(rows, seed=seed, share=share)
    assert not {row.instruction for row in train} & {row.instruction for row in test}
    assert len(train) + len(test) == len(rows)


def test_the_split_holds_out_about_its_share_and_another_with_another_seed():
    texts = [f"question {k}" for k in range(2000)]
    held = [{text for text in texts if sets.is_held(text, seed=seed, share=0.2)} for seed in (0, 1)]
    assert all(340 < len(one) < 460 for one in held) and len(held[0] & held[1]) < 120
