"""The embedding explorer: untrusted text stays text, nothing is loaded from elsewhere, pixels and points arrive."""

import base64
import html
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.explorer import explore, export_html
from lib.explorer_points import MAX_THUMBNAILS, ExplorerError, data_uri, slices

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $$x$$ @{c0}"


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(12, 4)), columns=["x", "y", "x_hat", "y_hat"])
    frame["modality"] = ["image", "report"] * 6
    frame["Cardiomegaly"] = [0, 0, 1, 1] * 3
    frame["report"] = [f"{EVIL} {i}" for i in range(12)]
    return frame.set_index(pd.Index([f"valid_{i}_a_1" for i in range(12)], name="volume"))


def models(layout, kind):
    return [model for model in layout.references() if type(model).__name__ == kind]


def column_of(layout, name):
    """Values of a column of the points, found as the CSV and the table find it."""
    save = next(code for code in models(layout, "CustomJS") if "names" in code.args)
    return save.args["source"].data[save.args["keys"][save.args["names"].index(name)]]


def page(layout, tmp_path, **settings):
    return export_html(layout, tmp_path / "page.html", **settings).read_text(encoding="utf-8")


# ---------------------------------------------------------------------- untrusted text
def test_a_report_stays_text(points, tmp_path):
    frame = points.rename(columns={"modality": "<b onclick=x>$name @{c1}</b>"})
    layout = explore(frame, colour="<b onclick=x>$name @{c1}</b>", hover=list(frame.columns)[4:], title="<i>t</i>")
    text = page(layout, tmp_path, title="</title><script>alert(3)</script>")
    assert not re.search(r"<script>alert|<img src=x|onerror=alert\(2\)>|<i>t</i>|<b onclick", text)
    carried = html.unescape(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)[1])
    assert EVIL in json.dumps(json.loads(carried)).replace('\\"', '"')
    tip = models(layout, "HoverTool")[0].tooltips
    assert "safe" not in tip and "&lt;b onclick=x&gt;&#36;name &#64;{c1}&lt;/b&gt;" in tip
    assert re.findall(r"@\{(\w+)\}", tip.replace("&#64;{c1}", "")) == ["c5", "c6", "c7"]
    titles = [one.title for one in models(layout, "TableColumn")]
    assert "&lt;b onclick=x&gt;&#36;name &#64;{c1}&lt;/b&gt;" in titles and not any("<" in one for one in titles)
    assert {type(one.formatter).__name__ for one in models(layout, "TableColumn")} == {"StringFormatter"}


def test_tex_in_labels_is_not_typeset(points):
    points["group"] = ["$$\\alpha$$", "\\[x\\]"] * 6
    layout = explore(points, colour="group", panels={"$$raw$$": ("x", "y")}, title="$$t$$")
    labels = [item.label.value for item in models(layout, "LegendItem")]
    shown = [*labels, models(layout, "Title")[0].text]
    assert len(labels) == 2 and not any("$$" in text or "\\[" in text for text in shown)
    assert models(layout, "Div")[0].disable_math


def test_nothing_is_loaded_from_elsewhere(points, tmp_path):
    images = np.zeros((12, 4, 4), dtype=np.uint8)
    text = page(explore(points, colour="Cardiomegaly", hover=["report"], thumbnails=images), tmp_path)
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)  # code is not a tag
    assert not re.search(r"<(link|iframe|object|embed|base)\b|\ssrc\s*=|url\(|@import|https?://", tags)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', tags)[1]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "*" not in policy
    assert tags.index("Content-Security-Policy") < tags.index("<script")


# ---------------------------------------------------------------------- points
def test_every_point_is_drawn_once_in_each_panel(points):
    panels = {"raw": ("x", "y"), "reconstructed": ("x_hat", "y_hat")}
    layout = explore(points, colour="Cardiomegaly", marker="modality", panels=panels)
    drawn = models(layout, "GlyphRenderer")
    source = drawn[0].data_source
    for x, name in (("x", "raw"), ("x_hat", "reconstructed")):
        mine = [one for one in drawn if column_of(layout, x) == source.data[one.glyph.x]]
        masks = np.array([one.view.filter.booleans for one in mine])
        assert masks.sum(axis=0).tolist() == [1] * 12, name
        for one, mask in zip(mine, masks, strict=True):
            group, kind = one.name.split(", ")
            assert {str(v) for v in points["Cardiomegaly"][mask]} == {group}
            assert set(points["modality"][mask]) == {kind}
            assert one.glyph.marker == {"image": "circle", "report": "triangle"}[kind]
    assert all(one.data_source is source for one in drawn) and len(drawn) == 8
    np.testing.assert_array_equal(column_of(layout, "y_hat"), points["y_hat"])
    assert column_of(layout, "volume") == list(points.index)
    assert {item.label.value for item in models(layout, "LegendItem")} == {one.name for one in drawn}
    assert models(layout, "Legend")[0].click_policy == "mute"
    links = [call for one in drawn for call in one.js_property_callbacks.get("change:muted", [])]
    assert len(links) == 4  # each group of the panel with the legend fades its twin


def test_numbers_are_coloured_by_a_scale_and_missing_ones_are_kept(points, tmp_path):
    points["age"] = np.linspace(20, 90, 12)
    points.iloc[3, points.columns.get_loc("age")] = np.nan
    points["sex"] = pd.array([True, False, None, True] * 3, dtype="boolean")
    layout = explore(points, colour="age", marker="sex")
    mapper = models(layout, "LinearColorMapper")[0]
    assert (mapper.low, mapper.high) == (20, 90) and len(models(layout, "ColorBar")) == 1
    assert np.isnan(column_of(layout, "age")[3]) and column_of(layout, "sex")[:3] == ["True", "False", None]
    assert {item.label.value for item in models(layout, "LegendItem")} == {"True", "False", "missing"}
    page(layout, tmp_path)


def test_the_selection_reaches_table_and_csv(points):
    layout = explore(points, colour="Cardiomegaly", hover=["report"])
    save = next(code for code in models(layout, "CustomJS") if "names" in code.args)
    assert save.args["names"] == ["volume", *points.columns] and save.args["total"] == 12
    table = models(layout, "DataTable")[0]
    assert set(table.source.data) == set(save.args["keys"])
    listed = [save.args["names"][save.args["keys"].index(one.field)] for one in table.columns]
    assert listed == ["volume", "x_hat", "y_hat", "modality", "Cardiomegaly", "report"]  # all but the coordinates
    tools = {type(tool).__name__ for tool in models(layout, "figure")[0].tools}
    assert {"LassoSelectTool", "BoxSelectTool", "HoverTool"} <= tools


# ---------------------------------------------------------------------- thumbnails
def decode(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3)])
def test_thumbnails_carry_their_pixels(points, shape):
    images = np.random.default_rng(1).integers(0, 256, size=(12, *shape), dtype=np.uint8)
    layout = explore(points, colour="Cardiomegaly", thumbnails=images)
    source = models(layout, "GlyphRenderer")[0].data_source
    np.testing.assert_array_equal([decode(uri) for uri in source.data["thumbnail"]], images)
    assert '<img src="@{thumbnail}"' in models(layout, "HoverTool")[0].tooltips


def test_slices_show_front_up_and_head_up():
    volumes = np.zeros((3, 16, 16, 16), dtype=np.float16)
    volumes[2, 1, 6:10, 14] = volumes[2, 2, 3, 8] = 1.0  # right side near the head; front of the middle plane
    axial, coronal = np.split(slices(volumes, [2], size=16)[0], 2, axis=1)
    assert np.argwhere(axial == 255).tolist() == [[3, 2]]  # row: front to back, column: right to left
    assert np.argwhere(coronal == 255).tolist() == [[1, 1]]  # row: head to feet
    assert slices(volumes, [0, 1, 2], size=8).shape == (3, 8, 16) and slices(volumes, []).shape == (0, 48, 96)


def test_grey_is_shared_by_the_rows():
    volumes = np.stack([np.full((4, 4, 4), level) for level in (0.0, 1.0, 2.0)])
    assert [int(one.mean().round()) for one in slices(volumes, [0, 1, 2])] == [0, 128, 255]


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        (None, {"colour": "age"}, "there is no column 'age'; the points have volume, x, y,"),
        (None, {"colour": "modality", "hover": ["text"]}, "there is no column 'text'"),
        (None, {"colour": "modality", "panels": {"": ("x", "z")}}, "there is no column 'z'"),
        (None, {"colour": "modality", "panels": {}}, "panels is empty"),
        (None, {"colour": "report"}, "'report' has 12 values and only 8 can be told apart; group them"),
        (None, {"colour": "modality", "marker": "report"}, "'report' has 12 values and only 5"),
        (("y", np.nan), {"colour": "modality"}, "row 4 of column 'y' is nan; drop that row"),
        (("x", np.inf), {"colour": "modality"}, "row 4 of column 'x' is inf; drop that row"),
        (None, {"colour": "modality", "thumbnails": np.zeros((5, 4, 4), np.uint8)}, "5 thumbnails for 12 points"),
        (None, {"colour": "modality", "thumbnails": np.zeros((12, 4, 4))}, r"float64 \(4, 4\); give uint8"),
        (None, {"colour": "modality", "thumbnails": np.zeros((12, 4, 4, 2), np.uint8)}, r"uint8 \(4, 4, 2\); give"),
    ],
)
def test_what_cannot_be_shown_is_told(points, change, settings, sentence):
    if change:
        points.iloc[4, points.columns.get_loc(change[0])] = change[1]
    with pytest.raises(ExplorerError, match=sentence):
        explore(points, **settings)


def test_too_many_too_few_and_doubled(points):
    many = pd.DataFrame({"x": 0.0, "y": 0.0, "g": "a"}, index=range(MAX_THUMBNAILS + 1))
    with pytest.raises(ExplorerError, match=r"2001 points with thumbnails are too many .* a sample of 2000"):
        explore(many, colour="g", thumbnails=[np.zeros((2, 2), np.uint8)] * len(many))
    with pytest.raises(ExplorerError, match="there are no points"):
        explore(points.iloc[:0], colour="modality")
    with pytest.raises(ExplorerError, match="column 'x' is there twice"):
        explore(pd.concat([points, points[["x"]]], axis=1), colour="modality")
    with pytest.raises(ExplorerError, match=r"volumes has shape \(2, 3\)"):
        slices(np.zeros((2, 3)), [0])
    with pytest.raises(ExplorerError, match="give uint8"):
        data_uri(np.zeros((0, 4), np.uint8))


def test_a_page_is_written_whole_or_not_at_all(points, tmp_path, monkeypatch):
    layout = explore(points, colour="modality")
    target = export_html(layout, tmp_path / "new" / "page.html")
    before = target.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ExplorerError, match=r"page.html cannot be written \(No space left on device\)"):
        export_html(layout, target)
    assert target.read_bytes() == before and [p.name for p in target.parent.iterdir()] == ["page.html"]
    with pytest.raises(ExplorerError, match="cannot be written"):
        export_html(layout, target / "inside.html")


HALF = "cut \ud83d here"


@pytest.mark.parametrize(
    "change, settings, named",
    [
        (lambda f: f.assign(report=pd.Series(["fine", HALF] * 6, f.index, object)), {}, "row 1 of column 'report'"),
        (lambda f: f.set_axis(pd.Index([*f.columns[:-1], HALF], dtype=object), axis=1), {}, "the name of column 7"),
        (lambda f: f.set_axis(pd.Index([HALF] * 12, dtype=object, name="volume")), {}, "entry 0 of the index"),
        (lambda f: f, {"title": HALF}, "title"),
        (lambda f: f, {"panels": {HALF: ("x", "y")}}, "panels"),
    ],
)
def test_half_a_surrogate_pair_is_one_sentence(points, change, settings, named):
    with pytest.raises(ExplorerError) as caught:
        explore(change(points), colour="modality", **settings)
    assert str(caught.value) == f"{named} holds half a surrogate pair: {HALF!a}; repair that text."


def test_a_title_of_the_page_with_half_a_pair_leaves_nothing_and_a_whole_pair_is_shown(points, tmp_path):
    layout = explore(points.assign(report="\U0001f600"), colour="modality", title="\U0001f600")
    with pytest.raises(ExplorerError, match=r"^title holds half"):
        export_html(layout, tmp_path / "page.html", title=HALF)
    assert not list(tmp_path.iterdir())
    assert "\U0001f600" in page(layout, tmp_path, title="\U0001f600")
