"""Selection of Med-MAT: no condition holds its target, pairs and triples hold its elements, volumes are exactly equal."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lib.data.files import DataError
from papers.med_mat.data.selection import (
    CONDITIONS,
    DIRECTION_TYPES,
    ELEMENTS,
    Subset,
    direction_type,
    direction_types,
    related,
    select,
    shared,
    tied_pairs,
    unrelated,
)
from papers.med_mat.data.volumes import allocate, balanced_cap, balanced_split, equalise, share_out

quick = settings(max_examples=60, deadline=None, derandomize=True)

CELLS = [(m, a, t) for m in "CMXU" for a in "lbsk" for t in ("state", "level", "count")]
LIKE = ("without_modality", "without_area", "without_task")


def subset(no, modality, area, family, **more):
    return Subset(f"{no:02d}", modality, area, f"{family} of the {area}", family, **more)


@st.composite
def worlds(draw, least=6):
    """A target and the pool it is in: cells may repeat (two subsets of one triplet), as in the paper."""
    cells = draw(st.lists(st.sampled_from(CELLS), min_size=least, max_size=24))
    pool = [subset(i, *cell) for i, cell in enumerate(cells)]
    return draw(st.sampled_from(pool)), pool


def _select(condition, target, pool, seed):
    """Every selection of a condition that exists in this world."""
    for like in LIKE if condition == "without_random" else ("",):
        try:
            yield like, select(condition, target, pool, like=like, seed=seed)
        except DataError as error:
            assert "\n" not in str(error) and target.no in str(error)


# ---------------------------------------------------------------------- conditions
@quick
@given(worlds(), st.sampled_from(CONDITIONS), st.integers(0, 5))
def test_no_condition_ever_holds_the_target_or_a_subset_twice(world, condition, seed):
    target, pool = world
    for _, chosen in _select(condition, target, pool, seed):
        numbers = [s.no for s in chosen]
        assert target.no not in numbers
        assert len(set(numbers)) == len(numbers) and set(chosen) <= set(pool)


@quick
@given(worlds())
def test_the_pool_without_the_target_gives_the_same_selection(world):
    target, pool = world
    rest = [s for s in pool if s.no != target.no]
    assert related(target, pool) == related(target, rest) and unrelated(target, pool) == unrelated(target, rest)
    assert related(target, pool[::-1]) == related(target, pool)


@quick
@given(worlds())
def test_related_and_unrelated_share_out_the_pool(world):
    target, pool = world
    kin, rest = related(target, pool), unrelated(target, pool)
    assert len(kin) + len(rest) == len(pool) - 1 and not set(kin) & set(rest)
    assert all(shared(s, target) for s in kin) and not any(shared(s, target) for s in rest)


@quick
@given(worlds(), st.integers(0, 5))
def test_each_condition_is_what_its_name_says(world, seed):
    target, pool = world
    kin = related(target, pool)
    for element, condition in zip(ELEMENTS, LIKE, strict=True):
        for _, chosen in _select(condition, target, pool, seed):
            assert chosen and not any(element in shared(s, target) for s in chosen)
            assert {s for s in kin if element not in shared(s, target)} == set(chosen)
    for _, chosen in _select("task_only", target, pool, seed):
        assert len(chosen) == 2 and all(shared(s, target) == {"task"} for s in chosen)
    for condition in ("baseline_plus", "all_unrelated"):
        for _, chosen in _select(condition, target, pool, seed):
            assert chosen == unrelated(target, pool)
    for _, chosen in _select("all_data", target, pool, seed):
        assert len(chosen) == len(pool) - 1
    assert select("baseline", target, pool) == []


@quick
@given(worlds(least=10), st.integers(0, 5))
def test_leaving_out_at_random_removes_as_many_and_keeps_the_elements(world, seed):
    target, pool = world
    kin = related(target, pool)
    for like, chosen in _select("without_random", target, pool, seed):
        assert set(chosen) < set(kin) or len(kin) == len(chosen)
        assert len(chosen) == len(select(like, target, pool))
        offered = frozenset().union(*(shared(s, target) for s in kin))
        kept = frozenset().union(*(shared(s, target) for s in chosen))
        if len(chosen) >= len(offered):  # one giver an element always fits
            assert kept == offered


def test_leaving_out_at_random_depends_on_the_seed_and_on_nothing_else():
    target = subset(0, "C", "l", "state")
    pool = [target, *(subset(i, *cell) for i, cell in enumerate(CELLS[1:], start=1))]
    draws = [select("without_random", target, pool, like="without_area", seed=seed) for seed in range(6)]
    assert draws[0] == select("without_random", target, pool[::-1], like="without_area", seed=0)
    assert len({tuple(s.no for s in draw) for draw in draws}) > 1


# ---------------------------------------------------------------------- pairs and triples
def test_the_four_direction_types_on_the_papers_own_triplets():
    ct_lung, tied = ("CT", "Lung", "COVID"), {"tied": True}
    free = {"tied": False}
    assert direction_type(("CT", "Lung", "Cancer"), ("CT", "Brain", "COVID"), ct_lung, **free) == "fixed modality"
    assert direction_type(("CT", "Lung", "Cancer"), ("X-ray", "Lung", "COVID"), ct_lung, **free) == "fixed area"
    assert direction_type(("CT", "Brain", "COVID"), ("X-ray", "Lung", "COVID"), ct_lung, **free) == "fixed task"
    assert direction_type(("CT", "Lung", "Cancer"), ("X-ray", "Brain", "COVID"), ct_lung, **free) is None
    skin = ("Der", "Skin", "Cancer")
    pair = (("Der", "Skin", "Diseases"), ("DP", "Mouth", "Cancer"), skin)
    assert direction_type(*pair, **tied) == "modality-area pair" and direction_type(*pair, **free) is None
    assert direction_type(pair[1], pair[0], skin, **tied) is None  # the order of the table
    for partner in (("DP", "Skin", "Cancer"), ("Der", "Mouth", "Cancer")):  # half of the tied element
        assert direction_type(pair[0], partner, skin, **tied) is None
    assert direction_type(ct_lung, ("X-ray", "Lung", "COVID"), ct_lung, **free) is None  # the target's own triplet


def test_tied_pairs_are_those_that_never_occur_apart():
    pool = [subset(1, "Der", "Skin", "x"), subset(2, "Der", "Skin", "y"), subset(3, "X", "Bones", "x")]
    assert tied_pairs(pool) == {("Der", "Skin"), ("X", "Bones")}
    assert tied_pairs([*pool, subset(4, "X", "Lung", "x")]) == {("Der", "Skin")}
    assert tied_pairs([*pool, subset(4, "US", "Bones", "x")]) == {("Der", "Skin")}


def test_a_subset_read_under_another_name_of_its_task():
    """Row 2 of Table 3: subset 03 is COVID by itself and the State that the brain subset's task is."""
    lung = Subset("03", "CT", "Lung", "COVID-19", "State", ("COVID", "State"))
    cancer = Subset("04", "CT", "Lung", "cancer", "State", ("Cancer",))
    brain = Subset("05", "CT", "Brain", "bleeding", "State", ("State",))
    assert direction_types(cancer, brain, lung, tied=False) == {"fixed modality"}
    strict = [dataclasses.replace(s, names=()) for s in (cancer, brain, lung)]
    assert direction_types(*strict, tied=False) == set()  # one family: the first has the target's triplet


# ---------------------------------------------------------------------- bad input
BAD = {
    "unknown condition": ({"condition": "everything"}, "There is no condition 'everything'"),
    "like": ({"condition": "without_random", "like": "all_data"}, "needs like='without_modality'"),
    "nothing": ({"condition": "without_modality"}, "holds no subset of this pool"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_selection_ends_in_one_sentence(case):
    told, sentence = BAD[case]
    pool = [subset(0, "C", "l", "state"), subset(1, "C", "b", "state"), subset(2, "C", "s", "level")]
    told = dict(told)
    with pytest.raises(DataError) as error:
        select(told.pop("condition"), pool[0], pool, **told)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_number_in_the_pool_twice_is_refused():
    pool = [subset(0, "C", "l", "state"), subset(1, "C", "b", "state"), subset(1, "X", "b", "state")]
    with pytest.raises(DataError, match="Subset 01 is in the pool 2 times"):
        related(pool[0], pool)


# ---------------------------------------------------------------------- volumes
@quick
@given(worlds(), st.integers(1, 15_000), st.data())
def test_conditions_have_exactly_equal_volumes(world, cap, data):
    target, pool = world
    conditions = {"baseline": []}
    for name in ("all_related", "all_unrelated", "all_data", *LIKE):
        for _, chosen in _select(name, target, pool, 0):
            conditions[name] = chosen
    assume(len(conditions) > 1)
    available = {s.no: data.draw(st.integers(1, 4_000)) for s in pool}
    amounts = equalise(conditions, available, total=cap)
    totals = {name: sum(amounts[name].values()) for name in conditions}
    assert totals.pop("baseline") == 0
    smallest = min(sum(available[s.no] for s in chosen) for chosen in conditions.values() if chosen)
    assert set(totals.values()) == {min(cap, smallest)}
    for name, chosen in conditions.items():
        assert set(amounts[name]) == {s.no for s in chosen} and target.no not in amounts[name]
        assert all(0 <= n <= available[no] for no, n in amounts[name].items())


@quick
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 200), st.integers(0, 3))
def test_sharing_out_is_exact_and_as_even_as_it_can_be(available, total, seed):
    total = min(total, sum(available))
    given_ = share_out(available, total, rng=np.random.default_rng(seed))
    assert sum(given_) == total and all(0 <= n <= most for n, most in zip(given_, available, strict=True))
    full = max(given_)
    # whoever got two less than another had no more to give
    assert all(n >= full - 1 or n == most for n, most in zip(given_, available, strict=True))


def test_more_than_there_is_cannot_be_shared_out():
    with pytest.raises(DataError, match="5 examples cannot be taken from 4"):
        share_out([1, 3], 5, rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="Subset 00 has no number of available examples"):
        allocate([subset(0, "C", "l", "state")], {}, total=1)
    with pytest.raises(DataError, match="nothing to equalise"):
        equalise({"baseline": []}, {})


@quick
@given(st.lists(st.sampled_from("aaaabbc"), min_size=1, max_size=60), st.integers(1, 40), st.integers(0, 3))
def test_the_cap_is_kept_and_labels_are_balanced_as_far_as_possible(labels, cap, seed):
    kept = balanced_cap(labels, cap=cap, seed=seed)
    assert kept == sorted(set(kept)) and len(kept) == min(cap, len(labels))
    counts = {label: sum(labels[i] == label for i in kept) for label in set(labels)}
    most = max(counts.values())
    assert all(n >= most - 1 or n == labels.count(label) for label, n in counts.items())
    assert kept == balanced_cap(labels, cap=cap, seed=seed)


@st.composite
def labelled(draw):
    """Rows of images, some images several times, a few of those under two labels."""
    images = draw(st.lists(st.integers(0, 80), min_size=60, max_size=160))
    odd = draw(st.integers(0, 80))
    labels = ["ab cd"[0 if i != odd else n % 2] if i % 3 else "c" for n, i in enumerate(images)]
    return [label + str(i % 2) for label, i in zip(labels, images, strict=True)], [f"{i}.png" for i in images]


@quick
@given(labelled(), st.integers(0, 3))
def test_the_test_split_is_strictly_balanced_and_no_image_is_on_both_sides(rows, seed):
    labels, images = rows
    try:
        split = balanced_split(labels, images, fewest=4, seed=seed)
    except DataError as error:
        assert "a balanced test needs two labels" in str(error)
        return
    tested = [labels[i] for i in split.test]
    assert len({tested.count(label) for label in set(tested)}) == 1 and len(set(tested)) >= 2
    assert set(tested) | set(split.untested) == set(labels)
    assert not set(tested) & set(split.untested)
    train, test = ({images[i] for i in part} for part in (split.train, split.test))
    assert not train & test and len(test) == len(split.test) and train | test == set(images)
    assert split == balanced_split(labels, images, fewest=4, seed=seed)


def test_nine_to_one_on_a_balanced_subset():
    labels = ["yes", "no"] * 500
    split = balanced_split(labels, [f"{i}.png" for i in range(1000)])
    assert (len(split.train), len(split.test), split.untested) == (900, 100, {})
    assert sum(labels[i] == "yes" for i in split.test) == 50
    rare = [*labels, *["odd"] * 5]
    assert balanced_split(rare, [f"{i}.png" for i in range(1005)]).untested == {"odd": 5}


def test_half_of_the_rarest_label_stays_in_training():
    labels = ["yes"] * 988 + ["no"] * 12
    split = balanced_split(labels, [f"{i}.png" for i in range(1000)])
    assert sum(labels[i] == "no" for i in split.test) == 6 and len(split.test) == 12


def test_an_image_with_two_labels_is_never_tested():
    images = [f"{i}.png" for i in range(40)]
    labels = ["yes", "no"] * 20
    again = [*zip(images[:30], ["no", "yes"] * 15, strict=True)]  # the same images under the other label
    for seed in range(10):
        split = balanced_split(
            [*labels, *(b for _, b in again)], [*images, *(a for a, _ in again)], fewest=2, seed=seed
        )
        assert all(i >= 30 for i in split.test) and len(split.train) == 70 - len(split.test)


def test_a_split_that_cannot_be_made_is_told():
    images = [f"{i}.png" for i in range(20)]
    with pytest.raises(DataError, match="1 of 2 labels have 10 images or more; a balanced test needs two"):
        balanced_split(["a"] * 15 + ["b"] * 5, images)
    with pytest.raises(DataError, match="19 labels and 20 images"):
        balanced_split(["a"] * 19, images)
    with pytest.raises(DataError, match="'fewest' is 1"):
        balanced_split(["a"] * 20, images, fewest=1)


def test_the_direction_types_have_the_papers_names():
    assert DIRECTION_TYPES == ("fixed modality", "fixed area", "fixed task", "modality-area pair")
