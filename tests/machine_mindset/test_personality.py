"""Letter contrasts: planted effects, symmetries, an exact p like scipy's, and the values of the released table."""

import itertools

import numpy as np
import pandas as pd
import pytest
from released_files import released
from scipy.stats import permutation_test

from lib.evaluation import EvaluationError
from papers.machine_mindset.personality import AXES, letter_contrasts, matched_pairs

TYPES = ["".join(letters) for letters in itertools.product(*AXES.values())]

# Fact sheet of Machine Mindset, section 7.2: difference and p for E-I, S-N, T-F, J-P.
SHEET = {
    "C-Eval": [(-0.85, 0.87), (3.40, 0.48), (0.45, 0.89), (-0.47, 0.86)],
    "CMMLU": [(-0.31, 0.90), (-0.56, 0.78), (3.69, 0.29), (1.55, 0.56)],
    "MMLU": [(0.82, 0.62), (0.75, 0.59), (-2.10, 0.11), (-0.67, 0.68)],
    "AGIEval": [(0.28, 0.82), (0.69, 0.56), (-1.66, 0.15), (-1.51, 0.20)],
    "GAOKAO": [(0.85, 0.68), (1.47, 0.47), (-3.09, 0.09), (-1.99, 0.34)],
    "GSM8K": [(-0.08, 1.0), (0.29, 0.06), (-0.13, 0.75), (0.22, 0.44)],
    "MATH": [(-0.06, 0.53), (-0.07, 0.59), (-0.56, 0.25), (-0.58, 0.20)],
}


# The one p that the sheet prints otherwise than exact enumeration gives: 142 of the 256 sign patterns, which rounds
# to 0.55.
EXACT = {("information", "AGIEval"): 142 / 256}


def random_table(seed=0, columns=("one", "two")):
    values = np.random.default_rng(seed).normal(10, 3, (16, len(columns)))
    return pd.DataFrame(values, index=TYPES, columns=list(columns))


def test_28_contrasts_of_the_released_table():
    from papers.machine_mindset.opencompass import read_results, written_table

    table = written_table(read_results(released("machine_mindset", "results") / "results"))
    ps = []
    for column, axis in enumerate(AXES):
        found = letter_contrasts(table, axis)
        for name, expected in SHEET.items():
            difference, p = expected[column]
            assert abs(found.loc[name, "difference"] - difference) <= 0.005 + 1e-9, (axis, name)
            if (axis, name) in EXACT:
                assert found.loc[name, "p"] == EXACT[axis, name] and abs(found.loc[name, "p"] - p) > 0.005
            else:
                assert abs(found.loc[name, "p"] - p) <= 0.005 + 1e-9, (axis, name)
            ps.append(found.loc[name, "p"])
            assert found.loc[name, "pairs"] == (8 if name != "GSM8K" else 6 if axis == "execution" else 5)
    assert len(ps) == 28 and min(ps) > 0.05  # the claim that a letter moves ability has no support here


def test_there_are_eight_pairs_and_each_differs_in_one_letter():
    for place, axis in enumerate(AXES):
        pairs = matched_pairs(TYPES, axis)
        assert len(pairs) == 8 and len({name for pair in pairs for name in pair}) == 16
        for first, second in pairs:
            assert [k for k in range(4) if first[k] != second[k]] == [place]
            assert first[place] + second[place] == AXES[axis]


@pytest.mark.parametrize("axis", AXES)
def test_a_planted_letter_effect_is_found_on_its_axis_only(axis):
    place, first = list(AXES).index(axis), AXES[axis][0]
    table = random_table() * 0
    for type_ in TYPES:  # the other letters move the score too, alike in both types of a pair
        table.loc[type_, "one"] = 5.0 * (type_[place] == first) + sum(map(ord, type_[:place] + type_[place + 1 :])) / 10
    found = letter_contrasts(table, axis).loc["one"]
    assert found["difference"] == pytest.approx(5.0) and found["p"] == pytest.approx(2 / 256)
    for other in set(AXES) - {axis}:
        assert letter_contrasts(table, other).loc["one", "difference"] != pytest.approx(5.0)
    # No effect at all: every sign pattern is as extreme.
    assert letter_contrasts(table, axis).loc["two", "p"] == 1.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("axis", AXES)
def test_p_is_scipys_exact_sign_flip(seed, axis):
    table = random_table(seed)
    found = letter_contrasts(table, axis)
    for column in table:
        a, b = (table.loc[list(side), column].to_numpy() for side in zip(*matched_pairs(TYPES, axis), strict=True))
        exact = permutation_test(
            (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert found.loc[column, "difference"] == pytest.approx(exact.statistic)
        assert found.loc[column, "p"] == pytest.approx(exact.pvalue)


@pytest.mark.parametrize("axis", AXES)
def test_row_order_and_shifts_do_not_matter_and_swapped_poles_flip_the_sign(axis):
    table, found = random_table(), letter_contrasts(random_table(), axis)
    pd.testing.assert_frame_equal(letter_contrasts(table.sample(frac=1, random_state=1), axis), found)
    pd.testing.assert_frame_equal(letter_contrasts(table + 7, axis), found)
    pd.testing.assert_frame_equal(letter_contrasts(table * 3, axis), found * [3, 1, 1], check_dtype=False)
    place, (one, two) = list(AXES).index(axis), AXES[axis]
    mirrored = table.rename(index=lambda t: t[:place] + (two if t[place] == one else one) + t[place + 1 :])
    pd.testing.assert_frame_equal(letter_contrasts(mirrored, axis), found * [-1, 1, 1], check_dtype=False)


def test_a_missing_score_drops_its_pair_only():
    table = random_table()
    table.loc["ESTJ", "one"] = np.nan
    found = letter_contrasts(table, "energy")
    assert found["pairs"].tolist() == [7, 8]
    without = random_table().drop(index=["ESTJ", "ISTJ"])
    pd.testing.assert_series_equal(found.loc["one"], letter_contrasts(without, "energy").loc["one"])


def test_bad_input_is_refused():
    table = random_table()
    with pytest.raises(EvaluationError, match=r"no axis 'EI'; use one of energy"):
        letter_contrasts(table, "EI")
    with pytest.raises(EvaluationError, match=r"'ESTX' is no MBTI type"):
        letter_contrasts(table.rename(index={"ESTJ": "ESTX"}), "energy")
    with pytest.raises(EvaluationError, match=r"'ESTJ' has two rows"):
        letter_contrasts(pd.concat([table, table.loc[["ESTJ"]]]), "energy")
    table["two"] = np.nan
    with pytest.raises(EvaluationError, match=r"column 'two' has no pair"):
        letter_contrasts(table, "energy")
