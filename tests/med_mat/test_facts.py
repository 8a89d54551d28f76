"""Med-MAT's facts: the 43 printed combinations are what they are called, and every number computed from the tables."""

import csv
import dataclasses
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lib.data.files import DataError
from lib.evaluation import EvaluationError
from lib.workflow import papers, paths
from papers.med_mat import audit
from papers.med_mat.compositional import (
    accuracy_error,
    gain_error,
    gains,
    implied_test_size,
    passes,
    shuffled_successes,
)
from papers.med_mat.data.published import is_triple, read_combinations
from papers.med_mat.data.registry import read_registry
from papers.med_mat.data.selection import direction_types, related, shared, tied_pairs, unrelated

FOLDER = paths.paper("med_mat")
REGISTRY = read_registry(FOLDER / "datasets.csv")
ROWS = read_combinations(FOLDER / "combinations.csv", REGISTRY)
PAIRS = [row for row in ROWS if row.table == "tab3_combinations"]
TABLES = {name: audit.frame(table) for name, table in papers.load_paper("med_mat").published.items()}


def _of(table):
    return [row for row in ROWS if row.table == table]


@pytest.fixture(scope="module")
def computed():
    sizes = audit.test_sizes(PAIRS, TABLES["tab9_repeats"])
    return audit.combinations_table(PAIRS, TABLES["tab3_combinations"], sizes, assumed=100)


# ---------------------------------------------------------------------- the tables of datasets and subsets
def test_the_table_has_the_papers_counts():
    printed = TABLES["data_sizes"]["count"]
    assert len(REGISTRY.sources) == printed["source sets numbered in the tables"] == 109
    roles = Counter(subset.role for subset in REGISTRY.subsets.values())
    assert roles == {"ID": 25, "OOD": 12, "det/seg": 16} and len(REGISTRY.subsets) == printed["subsets"]
    assert len({s.modality for s in REGISTRY.subsets.values()}) == printed["modalities"]
    assert len({s.area for s in REGISTRY.subsets.values()}) == 16  # the text says 14
    assert [s.no for s in REGISTRY.role("ID")] == list(TABLES["tab1_id"].columns)
    assert [s.no for s in REGISTRY.role("OOD")] == list(TABLES["tab2_ood"].columns)


def test_sources_and_subsets_name_each_other_but_for_the_slips():
    nowhere = sorted((no for no, s in REGISTRY.sources.items() if not s.subset_nos), key=int)
    assert nowhere == ["43", "64", "83"]
    twice = {no: s.subset_nos for no, s in REGISTRY.sources.items() if len(s.subset_nos) > 1}
    assert twice == {"44": ("18", "22")}
    for no, source in REGISTRY.sources.items():
        assert set(source.subset_nos) == {s for s, members in REGISTRY.members.items() if no in members}
        assert source.url.startswith("https://")


@pytest.mark.parametrize("no", ["32", "43", "44", "46", "50", "54", "57", "64", "67", "83", "103"])
def test_a_slip_of_the_sources_is_flagged_in_its_row(no):
    assert REGISTRY.sources[no].notes


@pytest.mark.parametrize(
    "pair", ["13 89", "34 96", "48 97", "73 102", "79 99", "86 100", "87 101", "26 27", "104 105", "37 70"]
)
def test_images_that_occur_twice_point_to_each_other(pair):
    one, other = pair.split()
    assert REGISTRY.sources[one].same_images_as == (other,) and REGISTRY.sources[other].same_images_as == (one,)


def test_slips_of_subsets_are_flagged():
    assert "breast ultrasound" in REGISTRY.notes["43"] and REGISTRY.subsets["43"].area == "Chest"
    assert "Recognition" in REGISTRY.notes["33"]


def test_accuracies_are_in_paper_yml_only():
    with (FOLDER / "datasets.csv").open(encoding="utf-8") as stream:
        assert not [name for name in next(csv.reader(stream)) if name.startswith("acc")]


# ---------------------------------------------------------------------- the printed combinations
def test_all_43_pairs_and_all_triples_are_what_they_are_called():
    assert len(PAIRS) == 43 and all(row.valid for row in PAIRS)
    assert Counter(row.direction_type for row in PAIRS) == {
        "fixed modality": 14,
        "fixed area": 4,
        "fixed task": 12,
        "modality-area pair": 13,
    }
    for row in _of("tab10_triples") + _of("tab13_tab14_detection_helps"):
        assert row.valid, row.row
    assert (len(_of("tab10_triples")), len(_of("tab13_tab14_detection_helps"))) == (9, 8)


def test_no_pair_would_be_valid_with_its_target_exchanged():
    """The check can fail: with the target of the row before or after, most rows are no combination at all."""
    tied = tied_pairs(REGISTRY.classification)
    for shift in (13, 20):
        wrong = 0
        for row, other in zip(PAIRS, PAIRS[shift:] + PAIRS[:shift], strict=True):
            is_tied = (other.target.modality, other.target.area) in tied
            types = set().union(*(direction_types(*m, other.target, tied=is_tied) for m in row.fits))
            wrong += row.direction_type not in types and other.target.no != row.target.no
        assert wrong >= 35


def test_every_fit_jointly_holds_the_targets_elements_and_never_the_target():
    for row in PAIRS:
        assert row.fits
        for members in row.fits:
            assert row.target not in members
            held = frozenset().union(*(shared(s, row.target) for s in members))
            named = any(set(s.readings) & set(row.target.readings) for s in members)
            assert held | ({"task"} if named else set()) == {"modality", "area", "task"}


PRINTED = re.compile(r"(?:(?P<number>\d\d) (?P<type>[\w -]+): )?(?P<first>.+) \+ (?P<second>.+) -> (?P<target>.+)")
AREAS = {subset.area for subset in REGISTRY.subsets.values()}
MODALITIES = {subset.modality for subset in REGISTRY.subsets.values()}


def _fits_name(subset, name):
    """Whether the paper's words for a subset ("CT Brain (State)", "Der-Skin Cancer") can mean this one."""
    words = name.replace("(", "").replace(")", "").split()
    pairs = [w.split("-", 1) for w in words if "-" in w and w != "X-ray"]
    words = [w for w in words if "-" not in w or w == "X-ray"] + [part for pair in pairs for part in pair]
    known = {"modality": subset.modality, "area": subset.area}
    for word in words:
        if word in MODALITIES and word != known["modality"]:
            return False
        if word in AREAS and word != known["area"]:
            return False
        if word not in MODALITIES | AREAS and word not in subset.names:
            return False
    return True


@pytest.mark.parametrize("row", PAIRS, ids=lambda row: row.row[:2])
def test_candidates_are_all_subsets_the_printed_name_can_mean(row):
    """Names are read here again, from the text of the row, with the target's modality and area where it is silent."""
    said = PRINTED.fullmatch(row.row)
    assert said["type"] == row.direction_type
    fixed = {"fixed modality": "modality", "fixed area": "area", "fixed task": "family"}.get(row.direction_type)
    for name, members in (("first", row.members[0]), ("second", row.members[1]), ("target", (row.target,))):
        possible = [s for s in REGISTRY.classification if _fits_name(s, said[name])]
        if fixed:
            possible = [s for s in possible if getattr(s, fixed) == getattr(row.target, fixed)]
        possible = [s for s in possible if name == "target" or s != row.target]
        assert set(members) <= set(possible), name
        if name != "target":
            # what is left out could not be meant: with it the row is of no or of another type
            others = set(possible) - set(members)
            assert not [s for s in others if _would_fit(row, name, s)], name


def _would_fit(row, name, subset):
    others = row.members[1] if name == "first" else row.members[0]
    pairs = [(subset, other) if name == "first" else (other, subset) for other in others]
    return any(row.direction_type in direction_types(*pair, row.target, tied=row.tied) for pair in pairs)


@pytest.mark.parametrize("row", PAIRS + _of("tab10_triples"), ids=lambda row: row.row[:24])
def test_the_target_is_inferred_from_name_and_baseline(row):
    known = audit.baselines(TABLES["tab1_id"], TABLES["tab2_ood"])
    words, printed = row.row.rsplit("-> ", 1)[1], TABLES[row.table].loc[row.row, "Baseline"]
    possible = [s for s in REGISTRY.classification if _fits_name(s, words)]
    # where no baseline is the printed one (a slip), the name must be enough
    assert ([s for s in possible if known[s.no] == printed] or possible) == [row.target]


def test_rows_whose_baseline_is_not_their_targets_are_the_sheets():
    known = audit.baselines(TABLES["tab1_id"], TABLES["tab2_ood"])
    said = audit.disagreements(PAIRS + _of("tab10_triples"), TABLES, known)
    assert [re.sub(r".*, (.{11}).*: ", r"\1: ", line) for line in said] == [
        "21 fixed ta: Baseline 25, subset 32 has 49",
        "CT 02 + Bra: Baseline 28, subset 06 has 33",
        "CT 03 + Bra: Baseline 28, subset 06 has 33",
    ]
    assert [row.row[:2] for row in PAIRS if row.note] == ["20", "21", "22", "24", "26", "37"]
    assert all(row.note for row in _of("tab10_triples") if "State" not in row.row and "Breast" not in row.row)


def test_a_triple_must_donate_in_order_and_nothing_else():
    by = REGISTRY.subsets
    target = by["05"]  # CT brain State
    assert is_triple((by["02"], by["22"], by["09"]), target)
    assert not is_triple((by["22"], by["02"], by["09"]), target)
    assert not is_triple((by["06"], by["22"], by["09"]), target)  # 06 is CT and brain
    assert not is_triple((by["02"], by["22"], by["11"]), target)  # a Level
    assert not is_triple((by["02"], by["22"], by["03"]), target)  # gives the task and is CT as well


def test_a_target_is_no_member_of_its_own_pair_under_another_name():
    """Subset 28 is called Diseases, COVID and State: row 16 could be fitted with its own target."""
    row = next(row for row in PAIRS if row.row.startswith("16"))
    doubled = dataclasses.replace(row, members=((row.target, *row.members[0]), row.members[1]))
    assert doubled.fits == row.fits


def test_the_rows_of_the_repeats_are_rows_of_table_3():
    repeated = {row.repeated_as: row.row for row in PAIRS if row.repeated_as}
    for table in ("tab9_repeats", "tab11_tab12_backbones", "tab15_huatuogpt_vision"):
        assert set(repeated) == set(TABLES[table].index)
    t3, t9 = TABLES["tab3_combinations"]["Trained"], TABLES["tab9_repeats"]
    apart = {row for row, key in repeated.items() if not (t9.loc[row, "run 1":"run 3"] - t3[key]).abs().min() <= 1}
    assert apart == {"CT Brain + X-ray Lung -> CT Lung (04)"}  # 36 against 32, as the sheet says


# ---------------------------------------------------------------------- what is computed from them
def test_the_success_rule_gives_37_of_43_and_every_printed_mark(computed):
    assert (computed["passes"] == computed["mark"]).all() and computed["passes"].sum() == 37
    means = computed[["Baseline", "Baseline+", "Trained"]].mean().round(1)
    assert list(means) == [38.5, 40.0, 50.5]


def test_successes_and_means_of_each_direction_type(computed):
    found = audit.by_type(computed)
    assert [f"{s:.0f}/{n:.0f}" for s, n in found[["successes", "rows"]].to_numpy()] == [
        "13/14",
        "3/4",
        "10/12",
        "11/13",
        "37/43",
    ]
    expected = [[40.9, 41.4, 47.4], [35.0, 29.0, 48.8], [37.0, 42.1, 57.7], [38.5, 40.0, 47.8], [38.5, 40.0, 50.5]]
    assert np.allclose(found[["Baseline", "Baseline+", "Trained"]], expected, atol=0.05)


def test_the_gains_are_the_sheets(computed):
    gain = computed["gain"]
    assert round(gain.mean(), 1) == 9.2 and gain.median() == 6
    assert ((gain >= 10).sum(), gain.between(1, 3).sum()) == (15, 10)
    assert (computed["Baseline+"] > computed["Baseline"]).sum() == 24
    small = computed[gain.between(1, 3)]
    assert (small["gain"] < small["error"]).all()  # inside one standard error
    assert 15 <= len(audit.by_target(computed)) <= 25 and audit.by_target(computed)["rows"].sum() == 43


def test_the_implied_test_sizes_are_the_sheets():
    sizes = audit.test_sizes(PAIRS, TABLES["tab9_repeats"])
    assert sizes == {"27": 67, "30": 100, "28": 150, "04": 200, "03": 100, "17": 33, "19": 200}
    assert implied_test_size(TABLES["tab7_population"]["gain"]) == 149
    assert implied_test_size(TABLES["tab8_disease"]["gain"]) == 150


def test_one_standard_error_is_four_to_nine_points(computed):
    implied = computed[computed["implied"]]
    assert len(implied) == 24 and implied["error"].min() > 3.1 and 8 < implied["error"].max() < 9
    passing = computed[computed["passes"]]
    beyond = passing["gain"] > passing["error"]
    assert (beyond & passing["implied"]).sum() == 8 and passing["implied"].sum() == 22


def test_table_9_is_what_its_runs_give():
    found = audit.repeats_table(TABLES["tab9_repeats"])
    assert found["as printed"].all() and (found["SD"] < found["standard error"]).all()
    wrong = TABLES["tab9_repeats"].copy()
    wrong.iloc[0, -1] = 1.87
    assert not audit.repeats_table(wrong)["as printed"].all()


def test_the_means_of_tables_1_and_2():
    t1, t2 = TABLES["tab1_id"], TABLES["tab2_ood"]
    assert list(t1.mean(axis=1).round(1)) == [29.6, 53.1, 79.8] and list(t2.mean(axis=1).round(1)) == [30.5, 45.3]
    assert (t1.loc["Multi-task"] > t1.loc["Single-task"]).sum() == 25
    assert (t2.loc["Multi-task"] > t2.loc["Baseline"]).sum() == 11


def test_the_counts_of_the_other_tables():
    rises = {
        "Qwen": passes(*(TABLES["tab11_tab12_backbones"][f"Qwen2-VL {a}"] for a in ("Trained", "Baseline"))).sum(),
        "Llama": passes(
            *(TABLES["tab11_tab12_backbones"][f"Llama-3.2-Vision {a}"] for a in ("Trained", "Baseline"))
        ).sum(),
        "triples": passes(TABLES["tab10_triples"]["Trained"], TABLES["tab10_triples"]["Baseline"]).sum(),
    }
    assert rises == {"Qwen": 7, "Llama": 7, "triples": 7} and (TABLES["tab15_huatuogpt_vision"]["gain"] > 0).all()
    marks = [row.mark for row in _of("tab10_triples")]
    assert marks == list(TABLES["tab10_triples"]["Trained"] > TABLES["tab10_triples"]["Baseline"])


def test_no_reading_of_the_labels_gives_both_printed_ratios():
    found = audit.relation_counts(REGISTRY, ["03", "28"], TABLES["fig4_relation_counts"])
    assert found.to_numpy().tolist() == [["8:16", "12:12"], ["13:11", "17:7"], ["7:17", "11:13"], ["13:11", "11:13"]]
    pool = REGISTRY.role("ID")
    for no, counts in (("03", (8, 16)), ("28", (12, 12))):
        target = REGISTRY.subsets[no]
        assert (len(related(target, pool)), len(unrelated(target, pool))) == counts


def test_the_tied_pairs_are_the_papers():
    tied = {"-".join(pair) for pair in tied_pairs(REGISTRY.classification)}
    assert tied == {"Der-Skin", "Mic-Cell", "FP-Fundus", "DP-Mouth", "OCT-Retina", "Co-Cervix"}


def test_some_rows_train_on_the_image_set_they_are_tested_on():
    found = audit.shared_images(ROWS, REGISTRY)
    assert sorted(row.row for row in found) == sorted(
        row.row for row in _of("tab13_tab14_detection_helps") if row.target.no in ("30", "36", "08")
    )
    by = REGISTRY.subsets
    assert REGISTRY.images_in_common(by["18"], by["22"]) == {"44"} and not REGISTRY.images_in_common(by["03"], by["28"])
    assert REGISTRY.images_in_common(by["47"], by["30"]) == {"99"} and REGISTRY.images_in_common(
        by["30"], by["47"]
    ) == {"79"}


# ---------------------------------------------------------------------- the arithmetic by itself
def test_a_tie_is_no_success_and_without_baseline_plus_the_baseline_counts():
    assert passes([50, 51, 50], [49, 49, 50], [50, 50, 1]).tolist() == [False, True, False]
    assert passes([50], [49]).tolist() == [True] and gains([50], [40], [45]).tolist() == [5]


def test_an_implied_size_is_the_smallest_that_fits_every_value():
    for n in (7, 33, 67, 150, 200):
        counts = np.array([1, n // 3, n // 2, n - 1])
        found = implied_test_size(np.round(100 * counts / n, 2))
        assert found <= n and np.allclose(
            np.round(100 * np.round(counts / n * found) / found, 2), np.round(100 * counts / n, 2)
        )
    assert implied_test_size([50.0]) == 2 and implied_test_size([50.0, 33.33]) == 6
    assert implied_test_size([-33.33, 33.33]) == 3  # gains may be negative
    assert implied_test_size([33.34, 0.1, 0.23, 77.77]) is None
    with pytest.raises(EvaluationError, match="no percentage is given"):
        implied_test_size([])


def test_errors_have_their_closed_forms():
    assert accuracy_error(50, 100) == pytest.approx(5) and accuracy_error([0, 100], [10, 10]).tolist() == [0, 0]
    assert gain_error([50], [50], 100) == pytest.approx(5 * 2**0.5)
    drawn = np.random.default_rng(0).binomial(150, 0.3, 20_000) / 1.5
    assert accuracy_error(30, 150) == pytest.approx(drawn.std(), rel=0.02)
    with pytest.raises(EvaluationError, match="a test has at least one question"):
        accuracy_error(50, 0)
    with pytest.raises(EvaluationError, match=r"accuracy holds 101; give percentages in \[0, 100\]"):
        accuracy_error(101, 10)
    with pytest.raises(EvaluationError, match="the arms have 2, 1 targets"):
        gains([1, 2], [1])


def test_the_null_of_the_success_count():
    """A row with one best arm succeeds in a third of the draws, a row whose best is shared in none."""
    drawn = shuffled_successes([[1, 2, 3]] * 30 + [[3, 3, 1]] * 10)
    assert drawn.mean() == pytest.approx(10, abs=0.1) and drawn.var() == pytest.approx(30 * 2 / 9, rel=0.05)


# ---------------------------------------------------------------------- damaged tables
BAD = {
    "no subset": (("first", "99"), "'99' under 'first' is no subset"),
    "type": (("direction_type", "fixed organ"), "direction_type is 'fixed organ'"),
    "mark": (("mark", "✓"), "mark is '✓'; write 'yes' or 'no'"),
    "no third": (("direction_type", "triple"), "'' under 'third' is no subset"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_row_names_file_and_line(tmp_path, case):
    (column, value), sentence = BAD[case]
    table = pd.read_csv(FOLDER / "combinations.csv", dtype=str, keep_default_na=False)
    table.loc[3, column] = value
    table.to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(DataError) as error:
        read_combinations(tmp_path / "c.csv", REGISTRY)
    assert str(error.value).startswith(f"{tmp_path / 'c.csv'}, line 5: ") and sentence in str(error.value)
