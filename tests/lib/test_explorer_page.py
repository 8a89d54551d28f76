"""The explorer's page in a real browser: points drawn, hover, lasso, legend, search, neighbours, saving; silent and local."""

import csv
import io
import time

import numpy as np
import pandas as pd
import pytest
from browser import Browser, needs_browser
from explorer_page import chosen, lasso, places
from PIL import Image

from lib.explorer import explore, export_html

pytestmark = [needs_browser, pytest.mark.slow]

EVIL = "<img src=x onerror=\"document.title='gone'\"><script>document.title='gone'</script>"
FORMULA = "=cmd|' /C calc'!A0"


@pytest.fixture(scope="module")
def browser():
    with Browser(1280, 1000) as one:
        yield one


@pytest.fixture
def silent(browser):
    """What a page must not do: complain, or ask anybody for anything."""
    browser.errors.clear()
    browser.requests.clear()
    yield browser
    assert browser.errors == [] and browser.requests == [] and browser.value("document.title") != "gone"


CENTRE = "(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({}.getBoundingClientRect())"
FADED = "[...look.strength].map((s, i) => [s > 0, view.columns[view.colour].groups.codes[i]])"
RECOLOUR = (
    "(() => {{ const s = document.getElementById('colour'); s.value = s.options[{}].value; "
    "s.dispatchEvent(new Event('change')) }})()"
)


def frame(n=40):
    """Points on a grid of their own, the first half images, the second texts; row i lies at (i, i mod 7)."""
    rows = np.arange(n)
    table = pd.DataFrame({"x": rows.astype(float), "y": (rows % 7).astype(float)})
    table["modality"] = np.where(rows < n // 2, "image", "text")
    table["group"] = np.where(rows % 3 == 0, "yes", "no")
    table["age"] = np.linspace(20, 90, n)
    table["report"] = [f"report {row} of the chest" for row in rows]
    return table


def shown(browser, page, tmp_path):
    file = export_html(page, tmp_path / "page.html")
    browser.open(file)
    browser.until("document.documentElement.dataset.ready")
    return file


def test_points_and_the_legends_marks_are_there_at_first_paint(silent, tmp_path):
    shown(silent, explore(frame(), colour="group", marker="modality", title=EVIL), tmp_path)
    colours = """(() => { const c = panels[0].canvas, d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data
        let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] + d[i + 1] + d[i + 2] < 690; return n })()"""
    assert silent.value(colours) > 40 * 20  # a point has some thirty pixels
    marks = """[...document.querySelectorAll("#legend button")].map((button) => { const c = button.querySelector("canvas")
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data
        let [n, r, g, b] = [0, 0, 0, 0]
        for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) { n++; r = d[i]; g = d[i + 1]; b = d[i + 2] }
        return [button.textContent, n, r, g, b, button.getBoundingClientRect().width] })"""
    found = silent.value(marks)
    names = [one[0] for one in found]
    assert names == ["no, image (13)", "no, text (13)", "yes, image (7)", "yes, text (7)"]
    assert all(one[1] > 20 and one[5] > 20 for one in found)
    assert [tuple(one[2:5]) for one in found[::2]] == [(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)]
    assert silent.value("document.querySelector('h1').textContent") == EVIL


def test_a_lasso_selects_what_it_encloses_in_every_panel_and_the_table_lists_it(silent, tmp_path):
    table = frame().assign(x2=lambda t: -t["x"], y2=lambda t: t["y"] * 2)
    panels = {"raw": ("x", "y"), "reconstructed": ("x2", "y2")}
    shown(silent, explore(table, colour="group", panels=panels), tmp_path)
    where = np.array(places(silent))
    low, high = np.quantile(where, 0.2, axis=0) - 3, np.quantile(where, 0.7, axis=0) + 3  # between the rows of the grid
    inside = np.flatnonzero(((where > low) & (where < high)).all(axis=1)).tolist()
    assert 3 < len(inside) < 40
    lasso(silent, low, high)
    assert chosen(silent) == inside
    assert silent.value("document.querySelector('#selection h2').textContent") == f"{len(inside)} of 40 selected"
    listed = silent.value("[...document.querySelectorAll('#selection tbody tr')].map((r) => r.lastChild.textContent)")
    assert listed == [f"report {row} of the chest" for row in inside]
    other = np.array(places(silent, 1))[inside]
    lasso(silent, other.min(axis=0) - 4, other.max(axis=0) + 4)
    assert set(inside) <= set(chosen(silent))
    for kind in ("keyDown", "keyUp"):
        silent.call("Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape", windowsVirtualKeyCode=27)
    assert chosen(silent) == []


def test_pointing_at_a_case_shows_its_picture_and_text_as_text(silent, tmp_path):
    long = "w" * 50_000
    table = frame()
    table["report"] = [EVIL, "\u202eright to left", long] + ["fine"] * 37
    images = np.stack([np.full((8, 12), row, np.uint8) for row in range(40)])
    shown(silent, explore(table, colour="group", hover=["report", "age"], thumbnails=images), tmp_path)
    where = places(silent)
    for row, text in ((0, EVIL), (1, "\u202eright to left"), (2, long[:600] + "…")):
        silent.mouse("mouseMoved", *where[row])
        silent.until("!document.getElementById('tip').hidden")
        assert silent.value("document.querySelector('#tip bdi').textContent") == text
        silent.until("document.querySelector('#tip img').naturalWidth == 12")
        assert silent.value("document.getElementById('tip').getBoundingClientRect().width") <= 342
    silent.mouse("mouseMoved", 5, 5)
    silent.until("document.getElementById('tip').hidden")


def test_hostile_text_is_text_in_both_tables_and_in_the_file_that_is_saved(silent, tmp_path):
    long = "w" * 50_000
    table = frame()
    table.loc[[0, 1, 2, 20, 21, 22], "report"] = [EVIL, "\u202eright to left", long] * 2
    vectors = np.eye(20, 21)[list(range(20)) * 2]  # the text of each image is its nearest
    shown(silent, explore(table, vectors=vectors), tmp_path)
    silent.value("choose([0, 1, 2])")
    for part in ("selection", "neighbours"):
        cells = silent.value(f"[...document.querySelectorAll('#{part} tbody tr')].map((r) => r.lastChild.textContent)")
        assert {EVIL, "\u202eright to left"} <= set(cells), part
        assert any(cell.startswith("www") and len(cell) <= 50_000 for cell in cells)
        assert silent.value(f"document.querySelectorAll('#{part} tbody td :not(bdi)').length") == 0
    assert silent.value("document.documentElement.scrollWidth") <= 1280
    silent.value("document.getElementById('save').click()")
    rows = list(csv.reader(io.StringIO(silent.downloaded("selection.csv"), newline="")))
    column = rows[0].index("report")
    assert [row[column] for row in rows[1:]] == [EVIL, "\u202eright to left", long]


def test_the_legend_fades_a_group_and_colour_may_be_any_column(silent, tmp_path):
    shown(silent, explore(frame(), colour="group"), tmp_path)
    box = silent.value(CENTRE.format("document.querySelector('#legend button')"))
    silent.click(*box)
    assert all(seen == (code == 1) for seen, code in silent.value(FADED))
    where = np.array(places(silent))
    lasso(silent, where.min(axis=0) - 6, where.max(axis=0) + 6)
    assert chosen(silent) == [row for row in range(40) if row % 3 == 0]  # what is faded is not selected
    names = silent.value("[...document.querySelectorAll('#colour option')].map((one) => one.textContent)")
    assert names == ["modality", "group", "age"]
    silent.value(RECOLOUR.format(2))
    assert silent.value("document.querySelector('#legend b').textContent") == "age"
    assert silent.value("look.colours[0] == 0 && look.colours[39] == 127")


def test_what_was_searched_is_selected_and_saved_without_formulas(silent, tmp_path):
    table = frame()
    table.loc[[5, 9], "report"] = [FORMULA, 'a "quote", and\nmore: NODULE']
    table = table.assign(**{"+name": "@sum"})
    shown(silent, explore(table, colour="group"), tmp_path)
    silent.value("document.getElementById('search').focus()")
    silent.call("Input.insertText", text="nodule more")
    silent.until("state.chosen.join() == '9'")
    silent.value("document.getElementById('search').value = ''; choose([5, 9])")
    silent.value("document.getElementById('save').click()")
    rows = list(csv.reader(io.StringIO(silent.downloaded("selection.csv"), newline="")))
    assert rows[0] == ["row", "x", "y", "modality", "group", "age", "report", "'+name"]
    assert [row[0] for row in rows[1:]] == ["5", "9"] and [row[7] for row in rows[1:]] == ["'@sum", "'@sum"]
    assert [row[6] for row in rows[1:]] == ["'" + FORMULA, 'a "quote", and\nmore: NODULE']
    assert float(rows[1][5]) == table["age"][5] and rows[2][1] == "9"


def test_the_selections_neighbours_in_the_other_modality_are_listed(silent, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(20, 16))
    table = frame()
    shown(silent, explore(table, vectors=np.concatenate([image, image + 0.01 * rng.normal(size=(20, 16))])), tmp_path)
    silent.value("choose([3])")
    first = silent.value("[...document.querySelector('#neighbours tbody tr').children].map((cell) => cell.textContent)")
    assert first[0] == "1" and float(first[1]) > 0.99 and first[-1] == "report 23 of the chest"
    assert silent.value("state.rings[0]") == 23


def test_on_a_phone_nothing_scrolls_sideways(silent, tmp_path):
    silent.resize(390, 844, phone=True)
    try:
        shown(silent, explore(frame().assign(report="w" * 50_000), colour="group", title="t" * 300), tmp_path)
        silent.value("choose([1, 2, 3])")
        assert silent.value("document.documentElement.scrollWidth") <= 390
    finally:
        silent.resize(1280, 1000)


def test_in_a_frame_of_a_notebook_it_runs_closed(silent, tmp_path):
    outer = tmp_path / "notebook.html"  # its encoding is not told: the page must not rest on it
    outer.write_text(
        "<!DOCTYPE html><title>Lab</title>" + explore(frame(), colour="group")._repr_html_(), encoding="utf-8"
    )
    silent.open(outer)
    assert silent.value(
        "document.querySelector('iframe').contentDocument === null"
    )  # of another origin: it reaches nothing
    blue = 0
    for _ in range(100):
        picture = np.asarray(Image.open(silent.screenshot(tmp_path / "seen.png")).convert("RGB"), dtype=int)
        blue = (np.abs(picture - [0x00, 0x72, 0xB2]).sum(axis=2) < 120).sum()
        if blue > 300:
            break
        time.sleep(0.1)
    assert blue > 300  # the points of one group, and its mark


def _many(n, text):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(n, 2)), columns=["x", "y"])
    table["modality"] = np.where(np.arange(n) % 2, "text", "image")
    table["age"] = rng.uniform(20, 90, n)
    return table.assign(text=[f"report {row % 5000} of the chest" for row in range(n)]) if text else table


def test_100000_points_are_drawn_within_three_seconds_and_move_smoothly(silent, tmp_path):
    page = explore(_many(100_000, True), marker="modality", panels={"raw": ("x", "y"), "again": ("y", "x")})
    shown(silent, page, tmp_path)
    drawn = silent.value("performance.now()")  # since the page was opened
    silent.value("document.getElementById('move').click()")
    silent.value("state.frames.length = 0")
    box = silent.value(CENTRE.format("panels[0].over"))
    silent.drag([(box[0] + step, box[1] + step / 2) for step in range(0, 60, 3)])
    frames = silent.value("state.frames")
    print(f"first draw {drawn:.0f} ms, a frame {np.median(frames):.0f} ms")
    assert drawn <= 3000 and len(frames) >= 3 and np.median(frames) <= 150
    silent.value("document.getElementById('lasso').click()")
    box = np.array(silent.value(CENTRE.format("panels[0].over")))
    lasso(silent, box - 20, box + 20)
    assert len(chosen(silent)) > 500


def test_neighbours_of_a_lasso_of_500_come_in_half_a_second_on_the_page(silent, tmp_path):
    vectors = np.random.default_rng(1).normal(size=(10_000, 8))
    shown(silent, explore(_many(10_000, True), vectors=vectors), tmp_path)
    silent.value("choose([...Array(500).keys()])")
    spent = silent.value("state.search")
    print(f"neighbours of 500: {spent:.0f} ms")
    assert spent <= 500


def test_a_million_points_load(silent, tmp_path):
    page = explore(_many(1_000_000, False), colour="age")
    shown(silent, page, tmp_path)
    assert silent.value("document.documentElement.dataset.drawn") == "1000000"
    print(f"a frame of a million {silent.value('state.frames[0]'):.0f} ms")
