"""Intervals and exact tests: closed forms, a published table's p-values, coverage with five seeds."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test, ttest_1samp

from lib.evaluation import EvaluationError
from lib.evaluation.statistics import binomial_interval, one_sided_p, paired_difference, sign_flip_test

finite_floats = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))


def test_difference_is_paired_treatment_minus_baseline():
    treatment, baseline = (
        [0.9, 0.5, 0.7, 0.8, 0.6],
        [0.8, 0.4, 0.6, 0.7, 0.5],
    )  # spread between seeds, none between arms
    result = paired_difference(treatment, baseline)
    assert (result.mean, result.n) == (pytest.approx(0.1), 5)
    assert result.low == pytest.approx(0.1) and result.high == pytest.approx(0.1)
    unpaired = paired_difference(treatment, baseline[::-1])
    assert unpaired.mean == pytest.approx(0.1) and unpaired.low < 0 < unpaired.high


def test_a_number_stands_for_a_baseline_of_equal_seeds():
    values = [0.55, 0.61, 0.58, 0.49, 0.6]
    assert paired_difference(values, 0.5) == paired_difference(values, [0.5] * 5)


@settings(max_examples=40, deadline=None)
@given(st.lists(finite_floats, min_size=2, max_size=8), finite_floats)
def test_interval_properties(values, shift):
    result = paired_difference(values, 0.0)
    assert result.low - 1e-9 <= result.mean <= result.high + 1e-9
    moved = paired_difference(np.array(values) + shift, shift)
    np.testing.assert_allclose([moved.low, moved.high], [result.low, result.high], atol=1e-9)
    mirrored = paired_difference(0.0 * np.array(values), values)
    np.testing.assert_allclose([mirrored.low, mirrored.high], [-result.high, -result.low], atol=1e-9)
    assert result.mirrored().mean == -result.mean and result.mirrored().low == -result.high


@pytest.mark.parametrize("n", [2, 3, 5, 60])
def test_the_interval_is_that_of_scipy_and_covers_the_truth(n):
    values = np.random.default_rng(3).normal(0.2, 1, size=(600, n))
    found = [paired_difference(row, 0.0) for row in values]
    expected = ttest_1samp(values[0], 0.0).confidence_interval(0.95)
    assert (found[0].low, found[0].high) == pytest.approx((expected.low, expected.high))
    assert 0.92 < np.mean([one.low <= 0.2 <= one.high for one in found]) < 0.98


def test_a_one_sided_p_is_that_of_scipy():
    values = np.random.default_rng(5).normal(0.3, 1, size=6)
    found = paired_difference(values, 0.0)
    for bound in (-0.2, 0.0, 0.4):
        assert one_sided_p(found, above=bound) == pytest.approx(
            ttest_1samp(values, bound, alternative="greater").pvalue
        )
        assert one_sided_p(found, below=bound) == pytest.approx(ttest_1samp(values, bound, alternative="less").pvalue)
    assert one_sided_p(paired_difference([0.5, 0.5], 0.0), above=0.0) == 0.0
    with pytest.raises(EvaluationError, match="one bound"):
        one_sided_p(found)


def test_one_seed_says_nothing():
    result = paired_difference([0.9], 0.1)
    assert (result.mean, result.low, result.high, result.n) == (pytest.approx(0.8), -np.inf, np.inf, 1)


# English Machine Mindset models, released table (sheet section 7.1): one benchmark value a type.
TYPES = ["".join(letters) for letters in product("EI", "NS", "FT", "JP")]
RELEASED = {
    "MMLU": [3.25, 0.34, 1.22, 0.77, 8.07, 4.96, 0.82, 3.38, 0.44, 8.43, 0.28, 1.79, 1.37, 1.07, 1.39, 1.49],
    "GSM8K": [2.58, 2.50, 2.12, 2.58, 2.73, None, 2.81, 2.65, 3.03, 1.97, 2.05, 2.58, 3.26, 2.27, None, None],
    "C-Eval": [
        29.31,
        9.28,
        26.97,
        30.92,
        30.07,
        29.71,
        25.43,
        29.97,
        29.65,
        28.49,
        16.34,
        30.51,
        28.23,
        28.52,
        27.19,
        29.52,
    ],
}


@pytest.mark.parametrize(
    ("benchmark", "contrasts"),
    [
        ("MMLU", [(0.82, 0.62), (0.75, 0.59), (-2.10, 0.11), (-0.67, 0.68)]),
        ("GSM8K", [(-0.08, 1.0), (0.29, 0.06), (-0.13, 0.75), (0.22, 0.44)]),
        ("C-Eval", [(-0.85, 0.87), (3.40, 0.48), (0.45, 0.89), (-0.47, 0.86)]),
    ],
)
def test_sign_flips_reproduce_the_letter_contrasts(benchmark, contrasts):
    values = dict(zip(TYPES, RELEASED[benchmark], strict=True))
    for place, (letters, (mean, p)) in enumerate(zip(("EI", "SN", "TF", "JP"), contrasts, strict=True)):
        pairs = [
            (value, values[name[:place] + letters[1] + name[place + 1 :]])
            for name, value in values.items()
            if name[place] == letters[0]
        ]
        differences = [first - second for first, second in pairs if first is not None and second is not None]
        assert np.mean(differences) == pytest.approx(mean, abs=0.0051)
        assert sign_flip_test(differences) == pytest.approx(p, abs=0.0051)


@settings(max_examples=60, deadline=None)
@given(st.lists(finite_floats, min_size=1, max_size=9))
def test_sign_flips_equal_the_enumeration(values):
    scale = sum(abs(value) for value in values)
    means = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((-1, 1), repeat=len(values))
    ]
    expected = np.mean([mean >= abs(sum(values)) - 1e-9 * scale for mean in means])
    assert sign_flip_test(values) == expected
    assert sign_flip_test([-value for value in values]) == expected
    assert sign_flip_test(sorted(values)) == expected


def test_sign_flips_equal_scipy():
    values = np.random.default_rng(2).normal(0.4, 1, size=10)
    reference = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(values) == pytest.approx(reference.pvalue, abs=1e-12)


def test_sign_flip_extremes():
    assert sign_flip_test([1, 2, 3, 4, 5]) == 2 / 32
    assert sign_flip_test([0, 0, 0]) == 1
    assert sign_flip_test([0.1 + 0.2, -0.3, 0.0]) == 1  # equal on paper


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 7), (7, 7), (112, 112), (1, 1000)])
def test_wilson_interval_in_closed_form(successes, trials):
    z, share = 1.959963984540054, successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    np.testing.assert_allclose(binomial_interval(successes, trials), (centre - half, centre + half), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([1, 2, 3], [1, 2]), "3 replicates and baseline 2"),
        (lambda: paired_difference([], []), "no replicates"),
        (lambda: paired_difference([1, np.nan], 0.0), r"treatment\[1\] is nan"),
        (lambda: paired_difference([1, 2], np.nan), r"baseline\[0\] is nan"),
        (lambda: sign_flip_test([]), "0 differences"),
        (lambda: sign_flip_test(np.ones(23)), "23 differences"),
        (lambda: binomial_interval(5, 4), "5 successes of 4"),
        (lambda: binomial_interval(0, 0), "0 trials"),
    ],
)
def test_bad_input_names_the_remedy(call, message):
    with pytest.raises(EvaluationError, match=message):
        call()
