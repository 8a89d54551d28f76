"""Markdown and notebooks as HTML: formed as they were meant, leading where they led, and nothing in them runs."""

import base64
import json
import re

import pytest
import toy_project as toy

from lib.workflow import gallery_text, paths
from lib.workflow.cells import NotebookError

EVIL = "<script>document.title='gone'</script><img src=x onerror=alert(1)>"


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    return tmp_path


def _html(text, **where):
    return gallery_text.markdown(text, **{"at": paths.ROOT, "folder": paths.RUNS / "gallery", **where}).html


def test_markdown_is_formed_and_raw_html_is_text(project):
    shown = _html(f"# A *title*\n\ntext {EVIL}\n\n<b>block</b>\n\n`code <i>`\n")
    assert "<h1>A <em>title</em></h1>" in shown and "<code>code &lt;i&gt;</code>" in shown
    assert "<script" not in shown and "<img" not in shown and "<b>" not in shown and "&lt;script&gt;" in shown


def test_links_lead_where_they_led_and_none_runs(project):
    shown = _html("[a](papers/toy/paper.yml) [b](https://example.org/x) [c](javascript:alert(1)) [d](#there)")
    assert re.findall(r'href="([^"]*)"', shown) == [
        "../../papers/toy/paper.yml", "https://example.org/x", "#harmful-link", "#there",
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["https://example.org/a.png", "//example.org/a.png", "gone.png", "../../outside.png"])
def test_a_picture_from_elsewhere_is_its_words(project, place):
    (project.parent / "outside.png").write_bytes(b"")
    shown = gallery_text.markdown(f"![some *dots*]({place})", at=project, folder=paths.RUNS)
    assert "<img" not in shown.html and "some dots" in shown.html and shown.pictures == []


def test_a_picture_of_the_repository_is_shown_from_the_gallery(project):
    (project / "figures").mkdir()
    (project / "figures" / "a.png").write_bytes(b"x")
    shown = gallery_text.markdown('![dots"<](../figures/a.png)', at=paths.NOTEBOOKS, folder=paths.RUNS)
    assert 'src="figures/a.png"' in shown.html and shown.pictures == [project / "figures" / "a.png"]


def test_each_cell_of_a_table_says_its_column(project):
    shown = _html('| one | t"wo |\n|---|---|\n| 1 | *2* |\n| 3 | |\n\n| x |\n|---|\n| 4 |\n')
    found = re.findall(r'<td data-label="([^"]*)">(.*?)</td>', shown)
    assert found == [("one", "1"), ("t&quot;wo", "<em>2</em>"), ("one", "3"), ("t&quot;wo", ""), ("x", "4")]


def test_comments_are_left_out(project):
    assert _html("a\n\n<!-- begin\n-->\n\nb") == "<p>a</p>\n<p>b</p>\n"


def _notebook(path, *outputs):
    toy.write_notebook(path, [("markdown", "# First"), ("code", "import this"), ("code", "print(1)"), ("code", "last")])
    content = json.loads(path.read_text())
    content["cells"][2]["outputs"] = list(outputs)
    path.write_text(json.dumps(content))
    return gallery_text.notebook(path, folder=paths.RUNS).html


def _data(**data):
    return {"output_type": "execute_result", "metadata": {}, "execution_count": 2, "data": data}


def test_a_notebook_is_its_texts_and_outputs_its_code_behind_a_click(project):
    said = {"output_type": "stream", "name": "stdout", "text": [f"told {EVIL}\n"]}
    table = (
        "<style>td {color: red}</style><table><thead><tr><th></th><th>effect</th></tr></thead><tbody>"
        f"<tr><th>C1 &lt;b&gt;</th><td onclick='x()'>+0.1{EVIL}</td></tr></tbody></table>"
    )
    picture = base64.b64encode(b"some bytes").decode()
    shown = _notebook(project / "a.ipynb", said, _data(**{"text/html": table}), _data(**{"image/png": picture}))
    assert shown.index("<h1>First</h1>") < shown.index("import this\n\nprint(1)") < shown.index("told &lt;script")
    assert '<td data-label="effect"><bdi>+0.1document.title=&#x27;gone&#x27;</bdi></td>' in shown
    assert "<bdi>C1 &lt;b&gt;</bdi>" in shown and "color: red" not in shown and "onclick" not in shown
    assert f'src="data:image/png;base64,{picture}"' in shown and "<script" not in shown
    assert shown.count("<details>") == 2 and shown.index("last") > shown.index("data:image")


def test_what_is_no_picture_is_not_put_into_the_page(project):
    shown = _notebook(project / "a.ipynb", _data(**{"image/png": '"><script>', "text/plain": "<Image>"}))
    assert "<script" not in shown and "<pre>&lt;Image&gt;</pre>" in shown


@pytest.mark.parametrize("content", ["", "[]", '{"cells": [{}]}', '{"cells": [{"cell_type": "code", "source": 3}]}'])
def test_a_damaged_notebook_is_one_sentence(project, content):
    (project / "a.ipynb").write_text(content)
    with pytest.raises(NotebookError, match=r"a\.ipynb is not a valid notebook"):
        gallery_text.notebook(project / "a.ipynb", folder=paths.RUNS)
