"""Under another arithmetic: what is allowed to differ, and results that are wrong on purpose and must be caught."""

import copy
import json

import pytest
import toy_project as toy

from lib import figures
from lib.workflow import compare, compare_figures, paths, spread

ARMS = {
    "full": [0.80, 0.82, 0.81, 0.83, 0.79],
    "plain": [0.70, 0.71, 0.69, 0.72, 0.70],
    "shuffled": [0.50, 0.51, 0.49, 0.50, 0.52],
}
CASES = 40


def _claim(outcome="direction seen", mean=0.1, n=5):
    difference = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": n}
    return {"claim": "C1", "outcome": outcome, "effect": difference, "control": {**difference, "mean": 0.0}}


def _result(arms=ARMS, **changes):
    numbers = [{"quantity": "AUC", "unit": "", "arm": arm, "values": list(values)} for arm, values in arms.items()]
    numbers.append({"quantity": "test cases", "unit": "", "arm": "all", "values": CASES})
    provenance = {"arithmetic": "here", "seconds": 1.0, "commit": "a"}
    return toy.result(numbers=numbers, claims={"C1": _claim()}, provenance=provenance) | changes


def _figure(arms=ARMS, *, kind="dots", title="AUC 0.81"):
    def series(label, values):
        if kind == "dots":
            return {"label": label, "values": values, "control": label == "shuffled"}
        if kind == "heatmap":
            return {"label": label, "rows": ["a", "b"], "columns": ["c"], "values": [[values], [values]]}
        mean = sum(values) / len(values)
        return {"label": label, "x": [1, 2], "y": [mean] * 2, "low": [mean - 0.02] * 2, "high": [mean + 0.02] * 2}

    made = [series(label, values) for label, values in arms.items()]
    panels = (
        [{"title": title, "series": made}] if kind != "heatmap" else [{"title": title, "series": [s]} for s in made]
    )
    reference = {} if kind == "heatmap" else {"chance": 0.5}
    return figures.normalise({"kind": kind, "title": "t", "x": "", "y": "", "panels": panels, "reference": reference})


def _moved(by, arms=ARMS):
    return {name: [value + by for value in values] for name, values in arms.items()}


def _swapped():
    return {**ARMS, "full": ARMS["plain"], "plain": ARMS["full"]}


KINDS = ["dots", "lines", "heatmap"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_may_move_within_its_replicates_spread(kind):
    assert compare_figures.figure(_figure(kind=kind), _figure(_moved(0.012), kind=kind), trained=True) == []
    assert compare.result(_result(), _result(_moved(-0.012)), exact=False) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [_swapped(), _moved(0.08), {**ARMS, "full": [0.5, 0.51, 0.5, 0.49, 0.5]}])
def test_an_arm_swapped_or_moved_or_evaluated_on_permuted_labels_is_caught(kind, wrong):
    """Permuted labels bring an AUC to chance."""
    problems = compare_figures.figure(_figure(kind=kind), _figure(wrong, kind=kind), trained=True)
    assert problems and all("the mean was" in p or "was clearly" in p for p in problems)
    assert compare.result(_result(), _result(wrong), exact=False)


def test_two_arms_that_change_places_are_caught_however_near_they_are():
    """Means within the allowed spread, but the order of the arms was clear, seed by seed."""
    near = {"full": [0.80, 0.60, 0.70, 0.90, 0.50], "plain": [0.79, 0.59, 0.69, 0.89, 0.49]}
    swapped = {"full": near["plain"], "plain": near["full"]}
    found = compare.result(_result(near), _result(swapped), exact=False)
    assert found == ["AUC: 'full' was clearly above 'plain' and is not"]
    found = compare_figures.figure(_figure(near), _figure(swapped), trained=True)
    assert found == ["panel 'AUC 0.81': 'full' was clearly above 'plain' and is not"]
    assert compare.result(_result(near), _result({**near, "plain": near["full"]}), exact=False) == []  # not turned


def test_a_dropped_seed_is_caught():
    fewer = {name: values[:-1] for name, values in ARMS.items()}
    assert "replicates was 5 and is 4" in compare_figures.figure(_figure(), _figure(fewer), trained=True)[0]
    assert "numbers:" in compare.result(_result(), _result(fewer), exact=False)[0]
    one = copy.deepcopy(_result())
    one["claims"]["C1"]["effect"]["n"] = 4
    assert "rested on 5 replicates, now on 4" in compare.result(_result(), one, exact=False)[0]
    seeds = compare.result(_result(), _result(seeds=[0, 1, 2, 3]), exact=False)
    assert "seeds was [0, 1, 2, 3, 4] and is [0, 1, 2, 3]" in seeds[0]


def test_permuted_labels_of_the_arms_are_caught():
    renamed = dict(zip(["plain", "full", "shuffled"], ARMS.values(), strict=True))
    assert any("label" in problem for problem in compare_figures.figure(_figure(), _figure(renamed), trained=True))
    assert "numbers:" in compare.result(_result(), _result(renamed), exact=False)[0]


def test_counts_labels_kind_and_words_of_a_title_stay_equal():
    other = _result()
    other["numbers"][-1]["values"] = CASES + 1
    assert "40" in compare.result(_result(), other, exact=False)[0]
    other["numbers"][-1]["values"] = [0.5] * CASES  # as many replicates as there were cases
    assert "'replicates', 40" in compare.result(_result(), other, exact=False)[0]
    for changed in (_figure(kind="lines"), _figure(title="F1 0.81"), _figure({**ARMS, "more": [0.1] * 5})):
        assert compare_figures.figure(_figure(), changed, trained=True)
    assert (
        compare_figures.figure(_figure(), _figure(title="AUC 0.84"), trained=True) == []
    )  # a trained digit in a title


def test_a_series_without_a_spread_is_compared_exactly():
    def curve(last):
        series = [{"label": "rows kept", "x": [1, 2], "y": [10, last]}]
        return figures.normalise({"kind": "lines", "title": "", "x": "", "y": "", "panels": [{"series": series}]})

    assert compare_figures.figure(curve(8), curve(8), trained=True) == []
    assert "was 8" in compare_figures.figure(curve(8), curve(9), trained=True)[0]


def test_what_was_not_trained_is_compared_exactly():
    assert compare_figures.figure(_figure(), _figure(_moved(0.001)), trained=False)
    released = _result(evidence="released")
    assert compare.result(released, _result(_moved(0.001), evidence="released"), exact=False)
    assert compare.result(released, _result(_moved(1e-9), evidence="released"), exact=False) == []
    moved = copy.deepcopy(released)
    moved["claims"]["C1"]["outcome"] = "undecided"
    assert compare.result(released, moved, exact=False)


def test_replicates_that_agree_do_not_prescribe_a_digit_but_their_neighbours_spread_bounds_them():
    saturated = {**ARMS, "full": [1.0] * 5}
    assert (
        compare_figures.figure(_figure(saturated), _figure({**saturated, "full": [1, 1, 1, 1, 0.98]}), trained=True)
        == []
    )
    assert compare_figures.figure(_figure(saturated), _figure({**saturated, "full": [0.95] * 5}), trained=True)
    alone = {"full": [1.0] * 5}
    assert compare_figures.figure(
        _figure(alone), _figure({"full": [0.94] * 5}), trained=True
    )  # nothing near tells a spread


def test_where_replicates_share_a_base_more_is_allowed_but_no_change_of_places():
    moved = _moved(0.1)
    assert compare.result(_result(), _result(moved), exact=False)
    wide = {"exact": False, "multiple": spread.MULTIPLE_SHARED}
    assert compare.result(_result(), _result(moved), **wide) == []
    assert "AUC: 'full' was clearly above 'plain' and is not" in compare.result(_result(), _result(_swapped()), **wide)


TRAINED = [
    path
    for path in sorted(paths.PAPERS.glob(f"*/results/*.{paths.SHOWN_PROFILE}.json"))
    if json.loads(path.read_text())["evidence"] == "miniature"
]


def _clearest(content):
    """Two numbers of one quantity whose replicates are clearly apart, the widest first; ``None`` where there are none."""
    by_quantity = {}
    for number in content["numbers"]:
        if isinstance(number["values"], list) and len(number["values"]) > 2:
            by_quantity.setdefault(number["quantity"], []).append(number)
    apart = [
        (abs(sum(a["values"]) - sum(b["values"])), a, b)
        for numbers in by_quantity.values()
        for i, a in enumerate(numbers)
        for b in numbers[i + 1 :]
        if spread.order(*(spread.Arm.of(n["arm"], n["values"]) for n in (a, b)))
    ]
    return max(apart, key=lambda found: found[0])[1:] if apart else None


@pytest.mark.parametrize("path", TRAINED, ids=paths.relative)
def test_each_committed_result_with_two_arms_swapped_or_a_seed_dropped_is_caught(path):
    golden = json.loads(path.read_text())
    multiple = spread.MULTIPLE_SHARED  # the wider rule must catch it, too
    assert compare.result(golden, golden, exact=False, multiple=multiple) == []
    swapped, dropped = copy.deepcopy(golden), copy.deepcopy(golden)
    if pair := _clearest(swapped):
        pair[0]["values"], pair[1]["values"] = pair[1]["values"], pair[0]["values"]
        assert compare.result(golden, swapped, exact=False, multiple=multiple)
    for number in dropped["numbers"]:
        number["values"] = number["values"][:-1] if isinstance(number["values"], list) else number["values"] + 1
    assert compare.result(golden, dropped, exact=False, multiple=multiple)


@pytest.mark.parametrize(
    "old, new, allowed",
    [
        ("direction seen", "undecided", True),
        ("undecided", "opposite seen", True),
        ("invalid (control)", "direction seen", True),
        ("direction seen", "opposite seen", False),
        ("opposite seen", "direction seen", False),
        ("holds", "contradicted", False),
    ],
)
def test_an_outcome_may_move_to_a_neighbour_only(old, new, allowed):
    golden, fresh = (_result(claims={"C1": _claim(verdict)}) for verdict in (old, new))
    problems = compare.result(golden, fresh, exact=False)
    assert problems == ([] if allowed else [f"C1 was '{old}' and is '{new}'"])
    assert compare.result(golden, fresh, exact=True)  # equal arithmetic: no outcome moves
    assert compare.result(golden, _result(claims={}), exact=False) == ["C1 is judged in one of the two only"]


def test_equal_arithmetic_allows_no_digit_to_move():
    assert compare.result(_result(), _result(provenance={"arithmetic": "here", "seconds": 9.0}), exact=True) == []
    nearly = _result({**ARMS, "full": [0.80, 0.82, 0.81, 0.83, 0.79 + 1e-12]})
    assert compare.result(_result(), nearly, exact=True) == ["the measured numbers are others"]


@pytest.mark.parametrize("there, word", [("here", "differs"), ("elsewhere", "same meaning")])
def test_the_fingerprints_decide_how_an_exhibit_is_compared(tmp_path, monkeypatch, there, word):
    toy.make(tmp_path, monkeypatch)
    root = tmp_path / "runs/mini"
    for place, arms, arithmetic in ((None, ARMS, "here"), (root, _moved(0.001), there)):
        files = {
            paths.result("toy", "tab_a", "mini", root=place): _result(arms, provenance={"arithmetic": arithmetic}),
            paths.figure("toy", "tab_a", "mini", "json", root=place): _figure(arms),
        }
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
    found = compare.exhibit("toy", "tab_a", "mini", root)
    assert found.exact is (there == "here") and found.word == word
    assert compare.exhibit("toy", "tab_z", "mini", root) is None
    paths.figure("toy", "tab_a", "mini", "json", root=root).unlink()
    assert "only one of the two has a figure" in compare.exhibit("toy", "tab_a", "mini", root).problems
    paths.result("toy", "tab_a", "mini", root=root).write_text("{")
    with pytest.raises(compare.CompareError, match=r"runs/mini/papers/toy/results/tab_a\.mini\.json is damaged"):
        compare.exhibit("toy", "tab_a", "mini", root)
