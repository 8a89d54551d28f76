"""Figures: what is drawn equals the spec, what is written equals what is drawn, and a changed number is named."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

from lib import drawing, figures
from lib.drawing import draw, save
from lib.evaluation.statistics import paired_difference
from lib.figures import FigureError, normalise
from lib.workflow.compare_figures import differences

NAN = math.nan
SPECS = {
    "dots": {
        "kind": "dots", "title": "Loss terms", "x": "arm", "y": "AUC", "reference": {"chance": 0.5},
        "panels": [
            {"title": "a", "series": [
                {"label": "full", "values": [0.7, 0.72, 0.71]}, {"label": "nce", "values": [0.61, NAN, 0.6]},
            ]},
            {"title": "b", "series": [
                {"label": "nce", "values": [0.4, 0.5], "mean": 0.46, "low": 0.3, "high": 0.55, "control": True},
            ]},
        ],
    },
    "lines": {
        "kind": "lines", "title": "Curve", "x": "atoms", "y": "AUC",
        "panels": [{"title": "", "series": [
            {"label": "one", "x": [1, 2, 4], "y": [0.5, 0.6, NAN], "low": [0.4, 0.5, 0.6], "high": [0.6, 0.7, 0.8]},
            {"label": "two", "x": [1, 2], "y": [0.3, 0.2]},
        ]}],
    },
    "scatter": {
        "kind": "scatter", "title": "UMAP", "x": "", "y": "",
        "panels": [{"title": "raw", "series": [
            {"label": "image", "x": [0.0, 1.0, 2.5], "y": [3.0, 4.0, 5.5], "compare": False},
            {"label": "text", "x": [9.0], "y": [8.0]},
        ]}],
    },
    "heatmap": {
        "kind": "heatmap", "title": "Grid", "x": "start", "y": "atoms",
        "panels": [{"title": "", "series": [
            {"label": "AUC", "rows": ["64", "128"], "columns": ["k-means", "random", "zero"],
             "values": [[0.1, 0.2, 0.3], [0.4, NAN, 0.6]]},
        ]}],
    },
    "forest": {
        "kind": "forest", "title": "Letters", "x": "difference", "y": "", "reference": {"no difference": 0.0},
        "panels": [{"title": "E - I", "series": [
            {"label": "C-Eval", "mean": -0.85, "low": -4.0, "high": 3.0, "p": 0.87},
            {"label": "MMLU", "mean": 0.82, "low": -1.0, "high": math.inf},
        ]}],
    },
    "dumbbells": {
        "kind": "dumbbells", "title": "Printed and ours", "x": "AUC", "y": "", "reference": {"chance": 0.5},
        "panels": [{"title": "", "series": [
            {"label": "CT", "names": ["printed", "ours"], "mean": [0.8, 0.7], "low": [None, 0.65], "high": [None, 0.75]},
            {"label": "MRI", "names": ["printed", "ours"], "mean": [NAN, 0.6], "low": [None, 0.5], "high": [None, 0.7]},
        ]}],
    },
    "images": {
        "kind": "images", "title": "Maps", "x": "", "y": "",
        "panels": [
            {"title": "p", "series": [
                {"label": "a", "image": [[0.0, 1.0], [2.0, 3.0]], "overlay": [[0.0, 0.25], [0.5, 1.0]]},
                {"label": "b", "image": [[4.0, 5.0, 6.0]]},
            ]},
            {"title": "q", "series": [{"label": "c", "image": [[7.0]]}]},
        ],
    },
}  # fmt: skip


def changed(kind, change):
    spec = json.loads(json.dumps(normalise(SPECS[kind])))
    change(spec["panels"][0]["series"])
    return spec


def texts(labels):
    return [label.get_text() for label in labels]


def segments(axes):
    return [np.ma.filled(s, NAN) for c in axes.collections if isinstance(c, LineCollection) for s in c.get_segments()]


def test_dots_are_the_values_the_mean_and_the_interval():
    first, second = draw(SPECS["dots"]).axes
    clouds = [c.get_offsets() for c in first.collections if isinstance(c, PathCollection)]
    np.testing.assert_array_equal(clouds[0][:, 1], [0.7, 0.72, 0.71])
    np.testing.assert_array_equal(np.asarray(clouds[1])[:, 1], [0.61, NAN, 0.6])
    assert [np.round(np.mean(c[:, 0]), 9) for c in clouds] == [0, 1]  # each series stands over its own tick
    assert texts(first.get_xticklabels()) == ["full", "nce"] and texts(second.get_xticklabels()) == ["nce"]
    found = paired_difference([0.7, 0.72, 0.71], 0.0)
    np.testing.assert_allclose(segments(first)[0], [[0, found.low], [0, found.high]], rtol=1e-6)
    means = [line.get_ydata()[0] for line in first.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(means, [0.71, 0.605], rtol=1e-6)
    np.testing.assert_array_equal(segments(second)[0], [[0, 0.3], [0, 0.55]])  # a given interval is drawn as given
    assert [line.get_ydata()[0] for line in second.lines if line.get_marker() == "D"] == [0.46]
    assert [line.get_ydata()[0] for line in first.lines if line.get_linestyle() == "--"] == [0.5]


def test_one_seed_has_no_interval():
    spec = {"kind": "dots", "panels": [{"series": [{"label": "a", "values": [0.5]}]}]}
    assert normalise(spec)["panels"][0]["series"][0]["low"] is None
    assert [len(s) for s in segments(draw(spec).axes[0])] == [0]


def test_lines_are_their_points_and_band():
    (axes,) = draw(SPECS["lines"]).axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 0.5], [2, 0.6], [4, NAN]])
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [[1, 0.3], [2, 0.2]])
    band = {tuple(corner) for corner in axes.collections[0].get_paths()[0].vertices}
    assert {(1.0, 0.4), (2.0, 0.5), (4.0, 0.6), (1.0, 0.6), (2.0, 0.7), (4.0, 0.8)} <= band
    assert texts(axes.figure.legends[0].get_texts()) == ["one", "two"]
    assert axes.get_xlabel() == "atoms" and axes.get_ylabel() == "AUC"


def test_scatter_is_its_points():
    (axes,) = draw(SPECS["scatter"]).axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), [[0, 3], [1, 4], [2.5, 5.5]])
    np.testing.assert_array_equal(axes.collections[1].get_offsets(), [[9, 8]])


def test_heatmap_is_its_matrix_with_names_and_numbers():
    axes = draw(SPECS["heatmap"]).axes[0]
    np.testing.assert_array_equal(np.ma.filled(axes.images[0].get_array(), NAN), [[0.1, 0.2, 0.3], [0.4, NAN, 0.6]])
    assert texts(axes.get_xticklabels()) == ["k-means", "random", "zero"]
    assert texts(axes.get_yticklabels()) == ["64", "128"]
    written = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert written[0, 1] == "0.2" and written[1, 0] == "0.4" and written[1, 1] == "–"


def test_forest_rows_are_means_and_intervals_from_the_top():
    (axes,) = draw(SPECS["forest"]).axes
    assert texts(axes.get_yticklabels()) == ["C-Eval", "MMLU"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    marks = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o"]
    assert marks == [[-0.85, 0.0], [0.82, 1.0]]
    np.testing.assert_array_equal(segments(axes)[0], [[-4.0, 0], [3.0, 0]])
    assert len(segments(axes)[1]) < 2  # an infinite end is not drawn
    assert "p 0.87" in texts(axes.texts) and "no difference" in texts(axes.texts)
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [0.0]


def test_images_are_their_arrays_in_order():
    axes = draw(SPECS["images"]).axes
    shown = [[np.asarray(image.get_array()).tolist() for image in one.images] for one in axes]
    assert shown[0] == [[[0, 1], [2, 3]], [[0, 0.25], [0.5, 1]]]
    assert shown[1:] == [[[[4, 5, 6]]], [[[7]]], []]
    assert axes[0].get_title() == "p\na" and axes[1].get_title() == "b"
    np.testing.assert_allclose(
        axes[0].images[1].get_alpha(), [[0, 0.15], [0.3, 0.6]]
    )  # nothing hides where the map is 0


def test_a_label_has_one_colour_in_every_panel_and_nulls_are_grey():
    series = [{"label": "a", "values": [1.0]}, {"label": "null", "values": [0.0], "control": True}]
    one, two = draw({"kind": "dots", "panels": [{"series": series}, {"series": series[::-1]}]}).axes
    colours = [[to_hex(line.get_color()) for line in axes.lines if line.get_marker() == "D"] for axes in (one, two)]
    assert colours[0] == colours[1][::-1] == [drawing.PALETTE[0].lower(), drawing.CONTROL_COLOUR.lower()]


@pytest.mark.parametrize("kind", SPECS)
def test_json_holds_every_number_and_round_trips(kind, tmp_path):
    figure = draw(SPECS[kind])
    png, numbers = tmp_path / "deep" / "a.png", tmp_path / "deep" / "a.json"
    save(figure, SPECS[kind], png=png, json=numbers)
    found = json.loads(numbers.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    for panel, wanted in zip(found["panels"], SPECS[kind]["panels"], strict=True):
        for one, series in zip(panel["series"], wanted["series"], strict=True):
            for key, value in series.items():
                if key in ("label", "rows", "columns", "names", "compare", "control"):
                    assert one[key] == value
                else:
                    flat = np.asarray(value, dtype=float)
                    plain = np.where(np.isfinite(flat), flat, NAN)
                    np.testing.assert_allclose(np.asarray(one[key], dtype=float), plain, rtol=1e-6)
    assert differences(found, normalise(SPECS[kind]), rtol=0, atol=0) == []
    assert png.read_bytes().startswith(b"\x89PNG") and png.read_bytes() == figure._repr_png_()
    assert sorted(path.name for path in png.parent.iterdir()) == ["a.json", "a.png"]


def test_nan_and_infinity_become_null():
    assert normalise(SPECS["dots"])["panels"][0]["series"][1]["values"] == [0.61, None, 0.6]
    assert normalise(SPECS["forest"])["panels"][0]["series"][1]["high"] is None


def test_compare_names_each_differing_field():
    golden = normalise(SPECS["dots"])

    def change(series):
        series[0]["values"][2] = 0.75

    (sentence,) = differences(golden, changed("dots", change))
    assert "series[0] 'full'.values[2]" in sentence and "0.71" in sentence and "0.75" in sentence
    assert differences(golden, changed("dots", change), atol=0.1) == []
    assert differences(golden, changed("dots", lambda s: s[0].pop("low"))) != []
    assert differences(golden, changed("dots", lambda s: s[0]["values"].append(0.7))) != []
    assert (
        differences(golden, changed("dots", lambda s: s[1]["values"].__setitem__(1, 0.6))) != []
    )  # null became a number


@pytest.mark.parametrize("kind", [kind for kind in SPECS if kind != "heatmap"])
def test_swapped_series_are_noticed(kind):
    golden = normalise(SPECS[kind])
    assert differences(golden, changed(kind, lambda s: s.reverse())) != []

    def swap_data(series):  # the labels stay, the numbers change places
        labels = [one["label"] for one in series]
        series.reverse()
        for one, label in zip(series, labels, strict=True):
            one["label"] = label

    assert differences(golden, changed(kind, swap_data)) != []


def test_swapped_heatmap_columns_are_noticed():
    def swap(series):
        for row in series[0]["values"]:
            row[0], row[2] = row[2], row[0]

    assert len(differences(normalise(SPECS["heatmap"]), changed("heatmap", swap))) == 4


def test_coordinates_that_are_a_picture_are_skipped_but_their_label_is_not():
    golden = normalise(SPECS["scatter"])
    assert differences(golden, changed("scatter", lambda s: s[0].update(x=[5.0], y=[5.0]))) == []
    assert differences(golden, changed("scatter", lambda s: s[0].update(label="other"))) != []
    assert differences(golden, changed("scatter", lambda s: s[1].update(x=[5.0]))) != []
    assert differences(golden, changed("scatter", lambda s: s[0].pop("compare"))) != []


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"kind": "pie", "panels": []}, "'pie'"),
        ({"kind": "dots", "panels": []}, "no panels"),
        ({"kind": "dots", "panels": [{"series": []}]}, "panel 1 has 0 series"),
        ({"kind": "dots", "panels": [{"series": [{"label": "a"}]}]}, "series 'a' has no 'values'"),
        ({"kind": "dots", "panels": [{"series": [{"label": "a", "values": [1], "size": 3}]}]}, "'size'"),
        ({"kind": "dots", "panels": [{"series": [{"label": "a", "values": [1], "low": 0}]}]}, "one end"),
        ({"kind": "dots", "panels": [{"series": [{"label": "a", "values": ["x"]}]}]}, "'values'"),
        ({"kind": "forest", "panels": [{"series": [{"label": "a", "mean": [1], "low": 0, "high": 2}]}]}, "'mean'"),
        ({"kind": "lines", "panels": [{"series": [{"label": "a", "x": [1, 2], "y": [1]}]}]}, "different length"),
        ({"kind": "images", "panels": [{"series": [{"label": "a", "image": [1, 2]}]}]}, "'image'"),
        ({"kind": "images", "panels": [{"series": [{"label": "a", "image": [[1]]}]}], "reference": {"a": 1}}, "'reference'"),
        ({"kind": "heatmap", "panels": [{"series": [
            {"label": "a", "rows": ["r"], "columns": ["c", "d"], "values": [[1.0]]}]}]}, "'values'"),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_one_sentence(spec, named):
    with pytest.raises(FigureError) as error:
        draw(spec)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_importing_figures_loads_no_matplotlib_and_drawing_no_pyplot():
    code = "import sys, lib.drawing; assert 'matplotlib' not in sys.modules; "
    code += "lib.drawing.draw({'kind': 'dots', 'panels': [{'series': [{'label': 'a', 'values': [1, 2]}]}]}); "
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------- builders
def test_dots_by_name_are_the_written_out_spec():
    panels = {"a": {"full_arm": [0.7, 0.72], "permuted_arm": np.array([0.5, 0.4])}, "control": {"full_arm": [0.1]}}
    built = figures.dots("t", panels, y="AUC", chance=0.5, reference={"other": 0.6}, label=figures.spaced,
                         control=["permuted_arm", "control"])  # fmt: skip
    written = {
        "kind": "dots", "title": "t", "x": "", "y": "AUC", "reference": {"chance": 0.5, "other": 0.6},
        "panels": [
            {"title": "a", "series": [{"label": "full arm", "values": [0.7, 0.72]},
                                      {"label": "permuted arm", "values": [0.5, 0.4], "control": True}]},
            {"title": "control", "series": [{"label": "full arm", "values": [0.1], "control": True}]},
        ],
    }  # fmt: skip
    assert normalise(built) == normalise(written)


@pytest.mark.parametrize("control", ["permuted", ["a_permuted", "permuted_b"], lambda arm: arm != "c"])
def test_controls_are_named_by_word_name_or_predicate(control):
    built = normalise(figures.dots("t", {"p": {"a_permuted": [1], "permuted_b": [1], "c": [1]}}, control=control))
    assert [one.get("control", False) for one in built["panels"][0]["series"]] == [True, True, False]


def test_lines_take_numbers_replicates_and_given_ends():
    at = {"p": [1, 2], "q": [3, 4]}
    plain = normalise(figures.lines("t", {"p": {"a": [5, 6]}, "q": {"a": [7, 8]}}, at=at))
    assert [panel["series"][0] for panel in plain["panels"]] == [
        {"label": "a", "x": [1, 2], "y": [5, 6]}, {"label": "a", "x": [3, 4], "y": [7, 8]},
    ]  # fmt: skip
    replicates = np.array([[1.0, 2.0, 6.0], [4.0, 4.0, 5.0]])
    found = [paired_difference(values, 0.0) for values in replicates]
    (one,) = normalise(figures.lines("t", {"p": {"a": replicates}}, at=[1, 2]))["panels"][0]["series"]
    np.testing.assert_allclose([one["y"], one["low"], one["high"]],
                               [[d.mean for d in found], [d.low for d in found], [d.high for d in found]], rtol=1e-6)  # fmt: skip
    (one,) = normalise(figures.lines("t", {"p": {"a": replicates}}, at=[1, 2], spread="range"))["panels"][0]["series"]
    assert (one["y"], one["low"], one["high"]) == ([3.0, 4.333333], [1, 4], [6, 5])
    (one,) = normalise(figures.lines("t", {"p": {"a": replicates}}, at=[1, 2], spread="given"))["panels"][0]["series"]
    assert (one["y"], one["low"], one["high"]) == ([1, 4], [2, 4], [6, 5])
    with pytest.raises(FigureError, match="'sd'"):
        figures.lines("t", {"p": {"a": replicates}}, at=[1, 2], spread="sd")


def test_the_other_builders_are_the_written_out_specs():
    cloud = np.array([[0.0, 3.0], [1.0, 4.0]])
    built = figures.scatter("t", {"raw": {"image": cloud}}, compare=False)
    series = [{"label": "image", "x": [0, 1], "y": [3, 4], "compare": False}]
    assert normalise(built) == normalise(
        {"kind": "scatter", "title": "t", "panels": [{"title": "raw", "series": series}]}
    )
    built = figures.heat("t", {"AUC": {"64": {"a": [1, 3], "b": [2, 2]}, "128": {"a": [0, 0], "b": [5, 7]}}}, x="start")
    series = [
        {"label": "AUC", "rows": ["64", "128"], "columns": ["a", "b"], "values": [[[1, 3], [2, 2]], [[0, 0], [5, 7]]]}
    ]
    panels = [{"title": "AUC", "series": series}]
    assert normalise(built) == normalise({"kind": "heatmap", "title": "t", "x": "start", "panels": panels})
    built = figures.forest("t", {"p": [("a", (1, 0, 2)), ("a", (3, 2, 4, 0.01))]}, reference={"": 0.0})
    series = [{"label": "a", "mean": 1, "low": 0, "high": 2}, {"label": "a", "mean": 3, "low": 2, "high": 4, "p": 0.01}]
    written = {"kind": "forest", "title": "t", "reference": {"": 0}, "panels": [{"title": "p", "series": series}]}
    assert normalise(built) == normalise(written)
    built = figures.images("t", [("p", {"a": np.eye(2), "b": (np.eye(2), np.ones((2, 2)))}), ("p", {"a": np.eye(3)})])
    series = [{"label": "a", "image": np.eye(2)}, {"label": "b", "image": np.eye(2), "overlay": np.ones((2, 2))}]
    panels = [{"title": "p", "series": series}, {"title": "p", "series": [{"label": "a", "image": np.eye(3)}]}]
    assert normalise(built) == normalise({"kind": "images", "title": "t", "panels": panels})


def test_dumbbells_join_a_number_and_replicates():
    replicates = [0.70, 0.72, 0.71]
    built = figures.dumbbells("t", {"p": {"CT": {"printed": 0.8, "ours": replicates}}}, reference={"chance": 0.5})
    found = paired_difference(replicates, 0.0)
    (one,) = normalise(built)["panels"][0]["series"]
    assert one["names"] == ["printed", "ours"] and (one["low"][0], one["high"][0]) == (None, None)
    np.testing.assert_allclose(
        [one["mean"][0], one["mean"][1], one["low"][1], one["high"][1]],
        [0.8, found.mean, found.low, found.high],
        rtol=1e-6,
    )
    (axes,) = draw(built).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["CT"]
    assert sorted({line.get_color() for line in axes.lines if line.get_marker() == "o"}) == sorted(drawing.PALETTE[:2])
    missing = figures.dumbbells("t", {"p": {"CT": {"printed": None, "ours": 0.5}}})  # not found in the paper
    assert normalise(missing)["panels"][0]["series"][0]["mean"] == [None, 0.5]
    draw(missing)


def test_heat_maps_share_one_scale_when_asked():
    tables = {"a": {"r": {"c": 0.0, "d": 1.0}}, "b": {"r": {"c": 5.0, "d": 9.0}}}

    def limits(**options):
        return [axes.images[0].get_clim() for axes in draw(figures.heat("t", tables, **options)).axes if axes.images]

    assert limits(one_scale=True) == [(0, 9), (0, 9)] and limits() == [(0, 1), (5, 9)]
