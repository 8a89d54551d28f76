"""The embedding explorer: untrusted text stays text, nothing is loaded from elsewhere, pixels and points arrive.

What a person does on the page (hover, lasso, search, saving) is tested in a browser: test_explorer_page.py.
"""

import base64
import html
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import embeddings
from lib.explorer import explore, export_html, main
from lib.explorer_points import MAX_THUMBNAILS, ExplorerError, data_uri, slices, unpacked

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $$x$$ @{c0}"


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(12, 4)), columns=["x", "y", "x_hat", "y_hat"])
    frame["modality"] = ["image", "report"] * 6
    frame["Cardiomegaly"] = [0, 0, 1, 1] * 3
    frame["report"] = [f"{EVIL} {i}" for i in range(12)]
    return frame.set_index(pd.Index([f"valid_{i}_a_1" for i in range(12)], name="volume"))


def column_of(page, name):
    """Values of a column of the points, as the page has them."""
    column = next(one for one in page.view["columns"] if one["name"] == name)
    held = unpacked(column["values"])
    return [None if code < 0 else column["levels"][code] for code in held] if "levels" in column else held


def group_of(page, name):
    groups = next(one for one in page.view["columns"] if one["name"] == name)["groups"]
    return [groups["names"][code] for code in unpacked(groups["codes"])]


def written(page, tmp_path, **settings):
    return export_html(page, tmp_path / "page.html", **settings).read_text(encoding="utf-8")


# ---------------------------------------------------------------------- untrusted text
def test_a_report_stays_text(points, tmp_path):
    frame = points.rename(columns={"modality": "<b onclick=x>"})
    page = explore(frame, colour="<b onclick=x>", hover=list(frame.columns)[4:], title="<i>t</i>")
    text = written(page, tmp_path, title="</title><script>alert(3)</script>")
    assert not re.search(r"<script>alert|<img src=x|<i>t</i>|<b onclick", text)
    carried = re.search(r'<script type="application/json" id="view">(.*?)</script>', text, re.DOTALL)[1]
    assert "<" not in carried and json.loads(carried) == page.view
    assert column_of(page, "report") == list(points["report"])
    assert html.escape("</title><script>alert(3)</script>") in text


def test_no_script_writes_markup():
    """Text reaches the page by textContent alone."""
    from lib.explorer import PARTS

    for file in PARTS.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", file.read_text()
        )


def test_nothing_is_loaded_from_elsewhere(points, tmp_path):
    images = np.zeros((12, 4, 4), dtype=np.uint8)
    text = written(explore(points, colour="Cardiomegaly", hover=["report"], thumbnails=images), tmp_path)
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)  # code is not a tag
    assert not re.search(r"<(link|iframe|object|embed|base)\b|\ssrc\s*=|url\(|@import|https?://", tags)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', tags)[1]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "*" not in policy
    assert "unsafe" not in policy and tags.index("Content-Security-Policy") < tags.index("<script")


def test_a_percent_sign_in_a_text_is_no_place_to_fill(points, tmp_path):
    text = written(explore(points.assign(report="100 %VIEW% %TITLE%"), colour="modality", title="50 %STYLE%"), tmp_path)
    assert "<title>50 %STYLE%</title>" in text and "100 %VIEW% %TITLE%" in text


# ---------------------------------------------------------------------- points
def test_every_point_is_there_with_its_groups_and_in_each_panel(points):
    panels = {"raw": ("x", "y"), "reconstructed": ("x_hat", "y_hat")}
    page = explore(points, colour="Cardiomegaly", marker="modality", panels=panels)
    view = page.view
    for name in ("x", "y", "x_hat", "y_hat"):
        np.testing.assert_array_equal(column_of(page, name), points[name])
    names = [column["name"] for column in view["columns"]]
    assert [(one["title"], names[one["x"]], names[one["y"]]) for one in view["panels"]] == [
        ("raw", "x", "y"), ("reconstructed", "x_hat", "y_hat")
    ]  # fmt: skip
    assert group_of(page, "Cardiomegaly") == [str(one) for one in points["Cardiomegaly"]]
    assert group_of(page, "modality") == list(points["modality"])
    assert column_of(page, "volume") == list(points.index)
    assert [names[n] for n in view["listed"]] == [
        "volume",
        "modality",
        "Cardiomegaly",
        "report",
    ]  # all but the coordinates
    assert [names[n] for n in view["colours"]] == ["modality", "Cardiomegaly"]  # what can be coloured
    assert (names[view["colour"]], names[view["marker"]], view["total"]) == ("Cardiomegaly", "modality", 12)


def test_numbers_are_coloured_by_a_scale_and_missing_ones_are_kept(points):
    points["age"] = np.linspace(20, 90, 12)
    points.iloc[3, points.columns.get_loc("age")] = np.nan
    points["sex"] = pd.array([True, False, None, True] * 3, dtype="boolean")
    page = explore(points, colour="age", marker="sex")
    assert page.view["columns"][page.view["colour"]]["measure"] == {"low": 20.0, "high": 90.0}
    assert np.isnan(column_of(page, "age")[3]) and column_of(page, "sex")[:3] == ["True", "False", None]
    assert set(group_of(page, "sex")) == {"True", "False", "missing"}


def test_the_same_texts_and_images_are_carried_once(points):
    images = np.stack([np.full((4, 4), row // 2, np.uint8) for row in range(12)])
    page = explore(points.assign(report="the same"), colour="modality", thumbnails=images)
    assert len(page.view["thumbnails"]["images"]) == 6
    assert unpacked(page.view["thumbnails"]["codes"]).tolist() == [row // 2 for row in range(12)]
    assert next(one for one in page.view["columns"] if one["name"] == "report")["levels"] == ["the same"]


# ---------------------------------------------------------------------- vectors
def test_an_array_with_its_table_is_placed_and_has_neighbours():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"modality": ["image"] * 10 + ["text"] * 10, "report": [f"r{i}" for i in range(20)]})
    vectors = rng.normal(size=(20, 6))
    page = explore(vectors, table, hover=["report"])
    near = unpacked(page.view["neighbours"]["rows"]).reshape(20, -1)
    assert (near[:10] >= 10).all() and (near[10:] < 10).all()
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert near[3, 0] == 10 + np.argmax(directions[10:] @ directions[3])
    assert np.isfinite(column_of(page, "x")).all()
    with pytest.raises(ExplorerError, match="vectors come without metadata"):
        explore(vectors)
    with pytest.raises(ExplorerError, match="vectors has 19 rows and the metadata 20; give one a vector"):
        explore(vectors[:19], table)


def test_findings_of_saved_embeddings_are_columns_to_colour_by(tmp_path):
    table = pd.DataFrame({"modality": ["image", "text"] * 6, "labels": [["Nodule", "Emphysema"], []] * 6})
    found = embeddings.read(
        embeddings.write(tmp_path / "a.parquet", np.random.default_rng(0).normal(size=(12, 3)), table)
    )
    page = explore(found, colour="Nodule")
    assert group_of(page, "Nodule") == ["yes", "no"] * 6 and column_of(page, "labels")[0] == "Nodule, Emphysema"
    assert "arm" not in [column["name"] for column in page.view["columns"]]  # nothing is known of it


def test_the_command_shows_saved_runs_beside_each_other(tmp_path, capsys):
    table = pd.DataFrame({"modality": ["image", "text"] * 6, "path": [f"v{i // 2}" for i in range(12)]})
    for name in ("nce", "full"):
        embeddings.write(tmp_path / f"{name}.parquet", np.random.default_rng(len(name)).normal(size=(12, 3)), table)
    files = [str(tmp_path / f"{name}.parquet") for name in ("nce", "full")]
    assert main([*files, "--output", str(tmp_path / "page.html")]) == 0
    carried = re.search(r'id="view">(.*?)</script>', (tmp_path / "page.html").read_text(), re.DOTALL)[1]
    assert [one["title"] for one in json.loads(carried)["panels"]] == ["nce", "full"]
    assert "open in a browser" in capsys.readouterr().out
    assert main([str(tmp_path / "none.parquet")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "none.parquet does not exist" in said and said.count("\n") == 1


def test_in_a_notebook_the_page_shows_itself_in_a_closed_frame(points):
    shown = explore(points.assign(report=EVIL), colour="modality")._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts allow-downloads" srcdoc="') and shown.count("<") == 2
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    assert inner == explore(points.assign(report=EVIL), colour="modality").html()


# ---------------------------------------------------------------------- thumbnails
def decode(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3)])
def test_thumbnails_carry_their_pixels(points, shape):
    images = np.random.default_rng(1).integers(0, 256, size=(12, *shape), dtype=np.uint8)
    held = explore(points, colour="Cardiomegaly", thumbnails=images).view["thumbnails"]
    np.testing.assert_array_equal([decode(held["images"][code]) for code in unpacked(held["codes"])], images)


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
    assert "\U0001f600" in written(layout, tmp_path, title="\U0001f600")
