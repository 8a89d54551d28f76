"""The committed pages of the explorer: small, closed, and alive in a real browser."""

import re

import numpy as np
import pytest
from browser import Browser, needs_browser
from explorer_page import chosen, lasso, places

from lib.workflow import paths

PAGES = sorted((paths.ROOT / "pages").glob("*.html"))
LARGEST = 1_500_000
WIDTHS = {"brgsa_full.mini.html": 80, "chest_ct.real.html": 64}  # pixels of a thumbnail: two slices beside each other


def test_there_is_a_page_of_a_miniature_and_the_readmes_pictures():
    assert "brgsa_full.mini.html" in [page.name for page in PAGES]
    assert all((paths.ROOT / "pages" / name).is_file() for name in ("gallery.png", "explorer.png"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_small_and_holds_all_it_needs(page):
    content = page.read_text(encoding="utf-8")
    assert page.stat().st_size <= LARGEST
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", content, flags=re.DOTALL)
    assert "default-src 'none'" in tags and not re.search(r"<link|https?://|\ssrc\s*=", tags)


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_alive(page):
    with Browser(1280, 1000) as browser:
        browser.open(page)
        browser.until("document.documentElement.dataset.ready")
        total = browser.value("view.total")
        assert browser.value("panels.length") == 2 and total > 300
        assert browser.value("[...document.querySelectorAll('#legend canvas')].every((one) => one.offsetWidth > 8)")
        where = np.array(places(browser))
        low, high = np.quantile(where, 0.3, axis=0) + 0.3, np.quantile(where, 0.7, axis=0) + 0.3
        inside = np.flatnonzero(((where > low) & (where < high)).all(axis=1))
        lasso(browser, low, high)
        got = np.array(chosen(browser), dtype=int)
        off = np.setxor1d(got, inside)  # only what lies within a pixel of the lasso may differ
        near = np.minimum(np.abs(where[off] - low), np.abs(where[off] - high)).min(axis=1) if off.size else np.zeros(0)
        assert (near <= 1.5).all()
        browser.value("choose([0])")
        assert browser.value("document.querySelectorAll('#neighbours tbody tr').length") == 5
        browser.value("document.getElementById('clear').click()")
        browser.mouse("mouseMoved", *where[0])
        width = f"document.querySelector('#tip img').naturalWidth == {WIDTHS[page.name]}"
        browser.until(f"!document.getElementById('tip').hidden && {width}")
        assert browser.value("document.querySelectorAll('#tip bdi').length") >= 3
        assert browser.errors == [] and browser.requests == []


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_on_a_phone_a_page_does_not_scroll_sideways(page):
    with Browser(390, 844) as browser:
        browser.resize(390, 844, phone=True)
        browser.open(page)
        browser.until("document.documentElement.dataset.ready")
        browser.value("choose([0, 1, 2])")
        assert browser.value("document.querySelectorAll('#selection tbody tr').length") == 3
        assert browser.value("document.documentElement.scrollWidth") <= 390
        assert browser.value("panels.every((one) => one.over.getBoundingClientRect().right <= 390)")
        assert browser.errors == [] and browser.requests == []
