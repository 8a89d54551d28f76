"""Arms made of released scores: who was tuned from whom, and what the best of as many is worth."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from released_files import released

from lib.data.files import DataError
from lib.workflow import paths
from papers.anytasktune.law_tuned import (
    arms,
    best_of,
    best_of_choices,
    pairs,
    picked,
    read_models,
    tuned_in,
    without_one,
)
from papers.anytasktune.lawbench import read_scores

FACTS = paths.paper("anytasktune")


@pytest.fixture(scope="module")
def models():
    return read_models(FACTS, read_scores(released("anytasktune", "lawbench_zero_shot")).index)


def test_nine_models_are_tuned_on_law_and_three_have_their_base(models):
    assert len(tuned_in(models, "law")) == 9 and len(tuned_in(models, "chinese")) == 15
    assert pairs(models, "law") == [
        ("wisdom-interrogatory-7b-hf", "baichuan-7b-hf"),
        ("lawyer-llama-13b-hf", "llama-13b"),
        ("chatlaw-13b-hf", "ziya-llama-13b-hf"),
    ]
    assert len(pairs(models, "chinese")) == 14


def test_no_base_was_tuned_on_law_and_a_pair_has_one_size(models):
    for group in ("law", "chinese"):
        for one, base in pairs(models, group):
            assert models.at[base, "group"] != "law" and models.at[one, "billions"] == models.at[base, "billions"]


def test_arms_are_means_over_pairs_and_the_best_of_a_group(models):
    zero, one = (read_scores(released("anytasktune", f"lawbench_{shots}_shot"), shots) for shots in ("zero", "one"))
    found = arms(zero, one, models)
    bases = ["baichuan-7b-hf", "llama-13b", "ziya-llama-13b-hf"]
    assert found["own_base"]["3-4"] == pytest.approx(zero.loc[bases, "3-4"].mean())
    best = one.loc[tuned_in(models, "law"), "2-5"].idxmax()
    assert found["best_law_tuned"]["2-5"] == zero.at[best, "2-5"]
    assert {"GPT4", "GPT-3.5-turbo-0613"} < set(found) and list(found["GPT4"].index) == list(zero.columns)
    # nine of the fifteen may miss the best, so as many are worth less than all of them, and more than one
    general = tuned_in(models, "chinese")
    every, single = best_of(zero.loc[general], zero.loc[general]), zero.loc[general].mean()
    of_nine = arms(zero, zero, models)["best_of_as_many_general"]
    assert (of_nine <= every + 1e-12).all() and (of_nine > single).all()


def test_a_source_is_left_out_with_all_its_tasks():
    values = pd.Series([1.0, 3.0, 8.0], index=["a", "b", "c"])
    assert without_one(values, ["x", "x", "y"]).to_dict() == {"y": 2.0, "x": 8.0}


def _frames():
    generator = np.random.default_rng(0)
    names, tasks = list("abcdef"), ["s", "t"]
    return [pd.DataFrame(generator.random((6, 2)).round(3), index=names, columns=tasks) for _ in range(2)]


@pytest.mark.parametrize("size", [1, 3, 6])
def test_the_best_of_as_many_is_the_mean_over_all_choices(size):
    picking, judging = _frames()
    every = [best_of(picking.loc[list(some)], judging.loc[list(some)]) for some in combinations(picking.index, size)]
    expected = pd.concat(every, axis=1).mean(axis=1)
    assert np.allclose(best_of_choices(picking, judging, size=size)[expected.index], expected)


def test_the_best_is_picked_by_one_table_and_judged_by_the_other():
    picking, judging = _frames()
    name = picking["s"].idxmax()
    assert picked(picking)["s"] == name and best_of(picking, judging)["s"] == judging.at[name, "s"]
    with pytest.raises(DataError, match="best of 7 of 6"):
        best_of_choices(picking, judging, size=7)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("chatlaw-33b-hf,", "chatlaw-34b-hf,", "differ in the model 'chatlaw-33b-hf'"),
        (",law,6,", ",legal,6,", "group 'legal'"),
        (",13,1,llama-13b,LLaMA\n", ",13,1,llama-14b,LLaMA\n", "the base 'llama-14b' has no row"),
    ],
)
def test_a_broken_list_of_models_ends_in_one_sentence(models, tmp_path, old, new, words):
    text = (FACTS / "lawbench_models.csv").read_text()
    assert old in text
    (tmp_path / "lawbench_models.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        read_models(tmp_path, models.index)
