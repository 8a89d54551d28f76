"""The gallery: every claim has its card, every exhibit its page; what is untrusted stays text; nothing comes from elsewhere."""

import html
import re

import pytest
import toy_project as toy
from browser import Browser, needs_browser

from lib.workflow import gallery, paths, report
from lib.workflow.__main__ import main
from lib.workflow.report import ReportError

EVIL = "</script><script>document.title = 'gone'</script><img src=x onerror=alert(1)><style>*{display:none}</style>"
PICTURE = bytes.fromhex(  # one grey pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6368000000820081dd436af40000000049454e44ae426082"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    toy.make(tmp_path, monkeypatch)
    made = {
        "hardware": "a <machine>",
        "arithmetic": "b5d88e93375f",
        "commit": "31f7392cb6c0",
        "versions": {"torch": "2"},
    }
    toy.write_result(toy.result(provenance=made))
    for at in (paths.figure, paths.outcomes):
        paths.write(at("toy", "tab_a", "mini", "png"), PICTURE)
    return tmp_path


def _facts(change):
    facts = toy.paper_facts()
    change(facts)
    toy.write_yaml(paths.paper("toy") / "paper.yml", facts)


def _text(page):
    """What a reader sees of a page: no tags, no code."""
    bare = re.sub(r"<(script|style)>.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


# ---------------------------------------------------------------------- what is there
def test_the_command_says_where_the_front_page_is(project, capsys):
    assert main(["gallery"]) == 0
    assert capsys.readouterr().out == "open in a browser: runs/gallery/index.html\n"
    found = {str(f.relative_to(paths.RUNS / "gallery")) for f in (paths.RUNS / "gallery").rglob("*") if f.is_file()}
    pictures = {"figures/toy/tab_a.mini.png", "figures/toy/outcomes/tab_a.mini.png"}
    assert found == {"index.html", "toy.html", "toy/tab_a.html", *pictures}


def test_a_claim_has_one_card_with_its_numbers_control_command_and_link(project):
    page = gallery.build().read_text(encoding="utf-8")
    cards = re.findall(r'<article class="card" id="([^"]+)".*?</article>', page, flags=re.DOTALL)
    assert cards == ["toy-C1", "toy-C2"]
    text = _text(paths.RUNS / "gallery" / "index.html")
    judged = report.measured("toy")[0]["claims"]["C1"]
    for part in (judged["outcome"], *(report.interval(judged[key]) for key in ("effect", "control", "excess"))):
        assert part in text
    assert "The full arm is better than the plain one." in text and "make run P=toy N=tab_a" in text
    assert "not tested" in text  # C2
    assert 'src="figures/toy/outcomes/tab_a.mini.png"' in page and 'href="toy/tab_a.html"' in page


def test_an_exhibit_stands_beside_printed_numbers_and_says_how_it_was_made(project):
    gallery.build()
    page = paths.RUNS / "gallery" / "toy" / "tab_a.html"
    text = _text(page)
    assert "Table 1 of the paper" in text and "80.5" in text and "not found" in text
    for part in ("a <machine>", "b5d88e93375f", "31f7392cb6c0", "torch 2"):
        assert part in text
    assert "seeds" in text and "rate 0.1 learning rate" in text
    link = re.search(r'href="([^"]+\.ipynb)"', page.read_text())[1]
    assert (page.parent / link).resolve() == paths.notebook("toy", "tab_a")


def test_every_link_and_picture_is_there_in_the_projects_own_gallery(tmp_path):
    front = gallery.build(tmp_path / "gallery")
    pages = sorted(front.parent.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        content = page.read_text(encoding="utf-8")
        assert "<script src" not in content and not re.search(r'(src|href)="(//|http)[^"]*\.(js|css|png)"', content)
        for place in re.findall(r'(?:src|href)="([^"#]+)"', content.split('<section class="page">')[0]):
            if not place.startswith("http") and not place.endswith(".ipynb"):
                assert (page.parent / place).is_file(), f"{page.name}: {place}"


def test_it_is_written_again_only_when_something_is_newer(project):
    front = gallery.current()
    first = front.stat().st_ino
    assert gallery.current().stat().st_ino == first
    content = toy.result()
    content["claims"]["C1"]["effect"]["mean"] = 0.777
    toy.write_result(content)
    assert "+0.777" in gallery.current().read_text(encoding="utf-8")


# ---------------------------------------------------------------------- what is untrusted
def test_hostile_text_is_shown_as_text(project):
    long = "x" * 50_000

    def change(facts):
        facts["claims"][0]["statement"] = EVIL + "\u202eright to left"
        facts["title"], facts["claims"][1]["statement"] = EVIL, long
        facts["published"]["t1"]["rows"]["full" + EVIL] = [1.0, 2.0]

    _facts(change)
    page = paths.paper("toy") / "README.md"
    page.write_text(f"# Toy\n{EVIL}\n[bad](javascript:alert(1))\n{page.read_text()}")
    gallery.build()
    for name in ("index.html", "toy.html", "toy/tab_a.html"):
        content = (paths.RUNS / "gallery" / name).read_text(encoding="utf-8")
        assert content.count("<script") == 1 and content.count("<style") == 1, name
        assert "<img src=x" not in content and not re.search(r"<[^>]+\sonerror|href=.javascript", content), name
    assert EVIL in _text_of_cards() and "\u202eright" in _text_of_cards()
    assert long not in _text_of_cards() and "xxx..." in _text_of_cards()


def _text_of_cards():
    page = (paths.RUNS / "gallery" / "index.html").read_text(encoding="utf-8")
    return " ".join(html.unescape(one) for one in re.findall(r"<bdi>(.*?)</bdi>", page, flags=re.DOTALL))


@pytest.mark.parametrize("change", [{"numbers": [{"quantity": "AUC"}]}, {"provenance": None}, {"seeds": 3}])
def test_a_damaged_result_is_one_sentence(project, capsys, change):
    toy.write_result(toy.result(**change))
    assert main(["gallery"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: a file of papers/toy/results is damaged") and said.count("\n") == 1


def test_half_a_surrogate_pair_is_refused_and_the_old_gallery_stays(project):
    front = gallery.build()
    before = front.read_bytes()
    toy.write_result(toy.result(claims={}, declined={"C1": "cut \ud83d here"}))
    with pytest.raises(ReportError, match=r"index.html|toy.html") as caught:
        gallery.build()
    assert "half a surrogate pair" in str(caught.value) and front.read_bytes() == before
    assert [one.name for one in paths.RUNS.iterdir()] == ["gallery"]


def test_a_papers_page_is_shown_with_its_headings_and_tables_and_leads_where_it_led(project):
    page = paths.paper("toy") / "README.md"
    page.write_text("# Toy\n| what | how |\n|---|---|\n| a | [facts](paper.yml) |\n")
    gallery.build()
    content = (paths.RUNS / "gallery" / "toy.html").read_text(encoding="utf-8")
    assert "<h1>Toy</h1>" in content and "&lt;h1" not in content and '<td data-label="what">a</td>' in content
    link = re.search(r'href="([^"]+paper\.yml)"', content)[1]
    assert (paths.RUNS / "gallery" / link).resolve() == paths.paper("toy") / "paper.yml"


def test_the_start_page_is_a_page_and_the_front_page_leads_there(project):
    picture = paths.figure("toy", "tab_a", "mini", "png").relative_to(paths.ROOT)
    toy.write_notebook(
        paths.NOTEBOOKS / gallery.START, [("markdown", f"# First\n![dots](../{picture})"), ("code", "print('told')")]
    )
    front = gallery.build()
    assert 'href="start.html"' in front.read_text(encoding="utf-8")
    content = (front.parent / "start.html").read_text(encoding="utf-8")
    assert "<h1>First</h1>" in content and f'src="{picture}"' in content and "print(&#x27;told&#x27;)" in content
    assert (front.parent / picture).is_file()


# ---------------------------------------------------------------------- in a browser
@needs_browser
@pytest.mark.slow
def test_in_a_browser_it_fits_a_phone_finds_and_stays_silent(project):
    _facts(lambda facts: facts["claims"][0].update(statement=EVIL, quantity="long" * 500))
    front = gallery.build()
    with Browser() as browser:
        for page in (front, front.parent / "toy.html", front.parent / "toy" / "tab_a.html"):
            browser.resize(390, 844, phone=True)
            browser.open(page)
            assert browser.value("document.documentElement.scrollWidth") <= 390, page.name
            assert browser.value("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
            assert "Reprise" in browser.value("document.title")
        browser.resize(1280, 900)
        browser.open(front)
        seen = "[...document.querySelectorAll('[data-search]')].filter((one) => one.offsetParent).map((one) => one.id)"
        assert browser.value(seen) == ["", "toy-C1", "toy-C2"]
        browser.value("document.getElementById('search').focus()")
        browser.call("Input.insertText", text="nobody TESTED")
        browser.until(f"{seen}.join() == 'toy-C2'")
        assert browser.value("document.getElementById('found').textContent") == "1 of 3"
        assert not browser.errors and not browser.requests


@needs_browser
@pytest.mark.slow
def test_on_a_phone_no_page_of_the_projects_own_gallery_scrolls_sideways(tmp_path):
    front = gallery.build(tmp_path / "gallery")
    wide = []
    with Browser(390, 844) as browser:
        browser.resize(390, 844, phone=True)
        for page in sorted(front.parent.rglob("*.html")):
            browser.open(page)
            if browser.value("document.documentElement.scrollWidth") > 390:
                wide.append(page.name)
        assert not wide and not browser.errors and not browser.requests


@needs_browser
@pytest.mark.slow
def test_the_start_page_shows_its_picture_before_any_code_and_its_numbers(tmp_path):
    front = gallery.build(tmp_path / "gallery")
    with Browser(1000, 900) as browser:
        browser.open(front.parent / "start.html")
        first = browser.value("document.images[0].getBoundingClientRect().top")
        assert browser.value("document.images[0].naturalWidth") > 300 and first < 300
        assert first < browser.value("document.querySelector('details').getBoundingClientRect().top")
        assert browser.value("[...document.querySelectorAll('details')].every((one) => !one.open)")
        assert browser.value("document.querySelector('table th').textContent") == "claim"
        assert browser.value("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
        assert not browser.errors and not browser.requests
